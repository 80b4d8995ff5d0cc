"""Every way that a foreign client can speak to our meters, cell by cell: the table behind
docs/interoperability.md and the parameters of test_matrix.py.

A cell is a session that must do its work over a real port, or says why the peer cannot. Where a
peer fails by itself, `fails` is a part of what it says then, and the test asks for that: a peer
that gets better breaks the test, and the page becomes true again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from blathy.models.model import Mechanism

GURUX: Final = "gurux-dlms 1.0.203"
DLMS_COSEM: Final = "dlms-cosem 25.1.0"
PEERS: Final = (GURUX, DLMS_COSEM)
Work = tuple[Any, ...]
Extra = tuple[tuple[str, Any], ...]

SINCE: Final = "2026-01-01T02:00:00+00:00"
UNTIL: Final = "2026-01-01T03:00:00+00:00"
SHORT: Final[Work] = ("clock", "register")
BRIEFLY: Final[Work] = ("clock", "register", ("by_range", SINCE, UNTIL), "set", "action")
AT_LENGTH: Final[Work] = ("objects", ("by_range", SINCE, UNTIL), "set", "action")


@dataclass(frozen=True, slots=True)
class Cell:
    """One session of one peer."""

    section: str
    row: str
    column: str
    peer: str
    mechanism: Mechanism = Mechanism.LLS
    suite: int = 0
    ciphered: bool = False
    short_names: bool = False
    line: str = "tcp"
    pdu_size: int = 2048
    extra: Extra = ()
    work: Work = BRIEFLY
    tags: frozenset[str] = field(default_factory=frozenset)
    """First octets of APDUs that must have been on the line."""
    lack: str = ""
    fails: str = ""
    refused: str = ""
    """What the peer says of our refusal, where the standard asks for one."""

    @property
    def name(self) -> str:
        words = f"{self.peer.split('-')[0]} {self.section} {self.row} {self.column}"
        return words.lower().replace(" ", "-").replace(",", "")


def lacking(cell: Cell, why: str, fails: str = "") -> Cell:
    return replace(cell, lack=why, fails=fails)


# Associations

LEVELS: Final = {
    Mechanism.NONE: "none",
    Mechanism.LLS: "LLS",
    Mechanism.HLS: "HLS 2 (AES of the manufacturer)",
    Mechanism.HLS_MD5: "HLS 3 (MD5)",
    Mechanism.HLS_SHA1: "HLS 4 (SHA-1)",
    Mechanism.HLS_GMAC: "HLS 5 (GMAC)",
    Mechanism.HLS_SHA256: "HLS 6 (SHA-256)",
    Mechanism.HLS_ECDSA: "HLS 7 (ECDSA)",
}
CONTEXTS: Final = {"in clear": None, "suite 0": 0, "suite 1": 1, "suite 2": 2}
NO_SUITE = "the standard has signatures in suites 1 and 2 only"


def associations() -> Iterator[Cell]:
    for mechanism, row in LEVELS.items():
        for column, suite in CONTEXTS.items():
            signs = mechanism is Mechanism.HLS_ECDSA
            cell = Cell(
                "association", row, column, GURUX, mechanism,
                suite=1 if signs and suite is None else suite or 0, ciphered=suite is not None,
            )  # fmt: skip
            yield lacking(cell, NO_SUITE) if signs and suite == 0 else cell
            yield _association_of_dlms_cosem(replace(cell, peer=DLMS_COSEM))


def _association_of_dlms_cosem(cell: Cell) -> Cell:
    if cell.mechanism not in {Mechanism.NONE, Mechanism.LLS, Mechanism.HLS, Mechanism.HLS_GMAC}:
        return lacking(cell, "knows no such mechanism")
    if cell.mechanism is Mechanism.HLS_GMAC and not cell.ciphered:
        return lacking(cell, "ciphers wherever it has keys, and the proof needs them")
    return cell


# Protection

ENVELOPES: Final[dict[str, tuple[Extra, str]]] = {
    "glo-": ((("without", ["GENERAL_PROTECTION"]),), "C8 CC"),
    "ded-": ((("without", ["GENERAL_PROTECTION"]), ("dedicated", True)), "D0 D4"),
    "general-glo": ((), "DB"),
    "general-ded": ((("dedicated", True),), "DC"),
    "authenticated only": ((("security", 0x10), ("release", "none")), "DB"),
    "encrypted only": ((("security", 0x20), ("release", "none")), "DB"),
}
NEVER_MADE: Final = {
    "general-ciphering": "parses it, its client has no code that makes it",
    "general-signing": "its client has no code that makes it",
}


def protection() -> Iterator[Cell]:
    for suite in (0, 1, 2):
        base = Cell(
            "protection", "", f"suite {suite}", GURUX, Mechanism.HLS_GMAC, suite, ciphered=True,
        )  # fmt: skip
        for row, (extra, tags) in ENVELOPES.items():
            cell = replace(base, row=row, extra=extra, tags=frozenset(tags.split()))
            yield cell
            other = replace(cell, peer=DLMS_COSEM, extra=())
            if row == "general-glo":
                yield other
            else:
                yield lacking(other, "makes general-glo, authenticated and encrypted, only")
        for row, why in NEVER_MADE.items():
            yield lacking(replace(base, row=row), why)
            yield lacking(replace(base, row=row, peer=DLMS_COSEM), "knows no such APDU")


# Lines

FRAMES: Final = (("framing", "hdlc"),)
WINDOWS: Final = {"windowSizeTX": 7, "windowSizeRX": 7}
WIDE: Final = {"maxInfoTX": 2030, "maxInfoRX": 2030}
NARROW: Final = {"maxInfoTX": 32, "maxInfoRX": 32}
LINES: Final[dict[str, tuple[str, Extra]]] = {
    "wrapper on TCP": ("tcp", ()),
    "HDLC on TCP, address of 1 octet": ("tcp", (*FRAMES, ("address_octets", 1))),
    "HDLC on TCP, address of 2 octets": ("tcp", (*FRAMES, ("address_octets", 2))),
    "HDLC on TCP, address of 4 octets": ("tcp", (*FRAMES, ("address_octets", 4))),
    "HDLC, windows of 7": ("tcp", (*FRAMES, ("hdlc", WINDOWS))),
    "HDLC, frames of 2030 octets": ("tcp", (*FRAMES, ("hdlc", WIDE))),
    "HDLC, frames of 32 octets": ("tcp", (*FRAMES, ("hdlc", NARROW))),
    "HDLC, frames of 2030 in windows of 7": ("tcp", (*FRAMES, ("hdlc", WIDE | WINDOWS))),
    "HDLC on a serial port": ("tty", FRAMES),
    "mode E of IEC 62056-21, then HDLC": ("tty", (*FRAMES, ("mode_e", True))),
    "receiver ready between requests": ("tcp", FRAMES),
}
TERMS: Final = {"in clear": Mechanism.LLS, "ciphered": Mechanism.HLS_GMAC}


def lines() -> Iterator[Cell]:
    for row, (line, extra) in LINES.items():
        for column, mechanism in TERMS.items():
            ciphered = column == "ciphered"
            cell = Cell(
                "line", row, column, GURUX, mechanism, ciphered=ciphered, line=line, extra=extra,
                work=AT_LENGTH,
            )  # fmt: skip
            if row.startswith("receiver"):
                why = (
                    "its keep-alive acknowledges a frame that never came (FRMR), and takes a right"
                    " answer for an echo"
                )
                cell = lacking(cell, why)
            yield cell
            yield _line_of_dlms_cosem(replace(cell, peer=DLMS_COSEM))


def _line_of_dlms_cosem(cell: Cell) -> Cell:
    if "windows" in cell.row or "frames of" in cell.row:
        return lacking(cell, "proposes no sizes and no windows")
    if cell.row.startswith("mode E"):
        return lacking(cell, "has no sign-on of IEC 62056-21")
    if cell.row.startswith("receiver"):
        return lacking(cell, "sends none by itself")
    return cell


# Services

BLOCKS: Final = ("pdu_size", 128)
GBT: Final = ("conformance", ["GENERAL_BLOCK_TRANSFER"])
NO_GET_BLOCKS: Final = ("without", ["BLOCK_TRANSFER_WITH_GET_OR_READ"])
LONG_RANGE: Final = (("by_range", SINCE, UNTIL), "objects")
MOMENT: Final = "2026-01-02T00:30:00+00:00"
METHODS: Final[dict[str, Work]] = {
    "clock (8): all methods": (("clock_methods", MOMENT),),
    "clock (8): time written": (("set_clock", "2026-01-02T00:20:00+00:00"),),
    "script table (9): disconnect by script": (("script", "0.0.10.0.106.255", 1),),
    "event log (7): reset": (("reset", 7, "0.0.99.98.0.255"),),
    "disconnect control (70): off and on": ("reconnect",),
    "special days (11): write, insert, delete": ("special_days",),
    "activity calendar (20): write and activate": ("calendar",),
    "profile (7): capture": (("capture", "0.0.98.1.0.255"),),
}


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is asked for, by logical and by short names; "" where the peer can."""

    work: Work
    extra: Extra = ()
    pdu_size: int = 2048
    tags: tuple[str, str, str] = ("", "", "")
    short: str = ""
    dlms_cosem: str = ""
    refused: str = ""
    """What the peer says where the standard lets us refuse it in a ciphered association."""
    fails: str = ""


ONLY_LN: Final = "a service of logical names"
NO_BLOCKS: Final = "writes no blocks"
RAW: Final = "takes raw parameters: nothing of the class is its own"
SERVICES: Final[dict[str, Service]] = {
    "GET / Read": Service(SHORT, tags=("C0 C4", "DB", "05 0C")),
    "object list of the association": Service(("objects",)),
    "GET next / Read in blocks": Service(
        LONG_RANGE, (BLOCKS, ("conformance", ["BLOCK_TRANSFER_WITH_GET_OR_READ"])),
        short="takes the blocks of a Read for the value, without the list of results around it",
        fails="list index out of range",
    ),
    "GET with list / Read of many": Service(("many",)),
    "GET by range / parameterised Read": Service((("by_range", SINCE, UNTIL),)),
    "GET by entry / parameterised Read": Service(
        ("by_entry",), dlms_cosem="its descriptor of entries has no encoding"
    ),
    "SET / Write": Service(("set",), tags=("C1 C5", "DB", "06 0D")),
    "SET in blocks": Service(
        ("long_calendar",), (("without", ["GENERAL_PROTECTION"]),), 128,
        short="its Write in blocks names no variable", dlms_cosem=NO_BLOCKS,
        fails="ValueError: position",
    ),
    "SET with list / Write of many": Service(
        ("set_many",), dlms_cosem="not there",
        short="its list of variables carries an octet too many", fails="Write exception",
    ),
    "ACTION / method by Write": Service(("action",), tags=("C3 C7", "DB", "06 0D")),
    "ACTION in blocks": Service(
        ("long_insert",), (("without", ["GENERAL_PROTECTION"]),), 64, short=ONLY_LN,
        dlms_cosem=NO_BLOCKS,
    ),
    "ACCESS": Service(
        ("access",), (("conformance", ["ACCESS"]),), tags=("D9 DA", "DB", ""), short=ONLY_LN,
        dlms_cosem="not there",
    ),
    "general block transfer": Service(
        LONG_RANGE, (("pdu_size", 300), GBT, NO_GET_BLOCKS), tags=("E0", "E0", ""), short=ONLY_LN,
        dlms_cosem="not there",
    ),
    "general block transfer, windows of 4": Service(
        LONG_RANGE, (("pdu_size", 300), GBT, NO_GET_BLOCKS, ("gbt_window", 4)),
        tags=("E0", "E0", ""), short=ONLY_LN, dlms_cosem="not there",
    ),
    "SET in general blocks": Service(
        ("long_calendar",), (("without", ["GENERAL_PROTECTION"]), GBT), 128,
        tags=("E0", "E0", ""), short=ONLY_LN, dlms_cosem=NO_BLOCKS,
    ),
    "release with a protected Initiate": Service(SHORT, (("release", "protected"),)),
    "bare release": Service(
        SHORT, (("release", "bare"),), dlms_cosem="always sends the Initiate along",
        refused="Operation not possible",
    ),
    **{name: Service(work, dlms_cosem=RAW) for name, work in METHODS.items()},
}  # fmt: skip
COLUMNS: Final = ("names", "names, ciphered", "short names", "short names, ciphered")


def services() -> Iterator[Cell]:
    for row, service in SERVICES.items():
        for number, column in enumerate(COLUMNS):
            short, ciphered = number > 1, bool(number % 2)
            tags = service.tags[1 if ciphered and not short else 2 if short else 0]
            if short and ciphered:
                tags = "25 2C" if tags == "05 0C" else "26 2D" if tags else ""
            cell = Cell(
                "service", row, column, GURUX, Mechanism.HLS_GMAC if ciphered else Mechanism.LLS,
                ciphered=ciphered, short_names=short, pdu_size=service.pdu_size,
                extra=service.extra, work=service.work, tags=frozenset(tags.split()),
            )  # fmt: skip
            if ciphered and service.refused:
                cell = replace(cell, refused=service.refused)
            yield lacking(cell, service.short, service.fails) if short and service.short else cell
            other = replace(cell, peer=DLMS_COSEM)
            why = "speaks logical names only" if short else service.dlms_cosem
            yield lacking(other, why) if why else other


def cells() -> tuple[Cell, ...]:
    return (*associations(), *protection(), *lines(), *services())
