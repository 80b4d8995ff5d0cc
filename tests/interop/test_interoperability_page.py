"""docs/interoperability.md, written from the tables that the tests of this folder run.

`python -m tests.interop.test_interoperability_page` writes the page again.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from blathy.models import MODELS
from tests.interop.generated_apdus import ACSE, MAKERS
from tests.interop.matrix import (
    COLUMNS,
    CONTEXTS,
    ENVELOPES,
    LEVELS,
    LINES,
    NEVER_MADE,
    NO_SUITE,
    PEERS,
    SERVICES,
    TERMS,
    Cell,
    cells,
)
from tests.interop.test_apdus_of_peers import (
    DLMS_COSEM_KNOWS,
    GURUX_READS_NOT,
    GURUX_WRITES_NOT,
)
from tests.interop.test_every_model import NOT_TAKEN, WITHOUT_CLASS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "interoperability.md"
HEAD: Final = """\
# Interoperability

Clients that this project did not write, each in a process of its own, over real ports (TCP on the
loopback device, pseudo terminals) against the meters of the models. Written by
`python -m tests.interop.test_interoperability_page` from the tables that the tests run; a test
fails where the page is out of date.

**yes** is a session of `tests/interop/test_matrix.py` in the default suite: it associates, reads,
writes and acts, compares what the client got with what the meter holds, and releases. A number is a
footnote: what stops the peer there, in its version below. Where a peer fails by itself the suite
asks for that failure, so that a better version of the peer shows.

| peer | version |
| --- | --- |
"""
CLASSES: Final = (
    (
        "Firmware by GXDLMSImageTransfer: blocks left out and brought later, verified, activated",
        ("test_an_image_is_transferred_with_blocks_left_out_and_brought_later",),
    ),
    (
        "Keys by GXDLMSSecuritySetup (it wraps none of suite 2, has no data to agree on one)",
        ("test_keys_wrapped_by_gurux_are_in_force_at_once", "test_gurux_wraps_no_keys_of_suite_2"),
    ),
    (
        "Certificates by GXDLMSSecuritySetup: listed, exported, requested, imported, removed",
        ("test_certificates_are_listed_exported_requested_and_imported",),
    ),
    ("Security policy activated", ("test_a_policy_activated_by_gurux_holds",)),
    (
        "Every profile and event log of every model: whole, by range, entry and column, both names",
        ("test_every_profile_by_range_by_entry_and_by_column",),
    ),
)
ELSEWHERE: Final = (
    ("Pushes (DataNotification)", "tests.fleet.test_push_sender", "test_gurux_reads_our_pushes"),
    (
        "EventNotification in clear", "tests.interop.test_peers_hear_events",
        "test_gurux_reads_an_event_in_clear",
    ),
    (
        "EventNotification, ciphered", "tests.interop.test_peers_hear_events",
        "test_gurux_reads_a_ciphered_event",
    ),
    (
        "The public client", "tests.interop.test_peers_read_real_meters",
        "test_the_public_client_sees_what_it_may",
    ),
    (
        "A wrong password", "tests.interop.test_peers_read_real_meters",
        "test_a_wrong_password_is_told",
    ),
    (
        "Refused services, and the next one served", "tests.interop.test_peers_read_real_meters",
        "test_refusals_end_nothing",
    ),
    (
        "A repeated invocation counter", "tests.interop.test_peers_read_real_meters",
        "test_a_repeated_invocation_counter_is_told",
    ),
)  # fmt: skip


WORKED_ROUND: Final = """\
- gurux-dlms: a public key of 64 octets loses its last one; it is given with the 04 in front.
- gurux-dlms: the hash of signatures on P-384 is chosen by asking for P-256 twice.
- gurux-dlms, short names, ciphered: an assertion is the wrong way round (it runs with `-O`), one
  invocation counter serves for ever, and the RLRQ is ciphered like a service.
- gurux-dlms, short names, HLS: the proof goes in a Write, whose answer has no room for the meter's;
  it is sent in a parameterised Read.
- gurux-dlms, short names: the methods of clock, register and profile stand at offsets of other
  classes; two functions that a Read in blocks calls are missing.
- gurux-dlms: the request for the object list is cut after its first HDLC frame.
- gurux-dlms: ACCESS and SET with list take their values from an event made of wrong arguments.
- gurux-dlms: the preset time of a clock is sent as an array where the class has a structure.
- dlms-cosem: the HDLC reader splits a frame whose check sequence ends in 7E; frames are taken by
  their length.
- dlms-cosem: after an error its state machine waits for an answer for ever; it is set back.
"""


class Footnotes:
    """Reasons, each once, in the order in which they are met."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def mark(self, reason: str) -> str:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"no <sup>{self.reasons.index(reason) + 1}</sup>"


def word(cell: Cell, notes: Footnotes) -> str:
    if cell.lack == NO_SUITE:
        return notes.mark(NO_SUITE)
    if cell.lack:
        return notes.mark(f"{cell.peer.split(' ')[0]}: {cell.lack}")
    return "refused, as the standard asks" if cell.refused else "yes"


def matrix(
    section: str, corner: str, rows: Iterable[str], columns: Iterable[str], notes: Footnotes
) -> Iterator[str]:
    every = {(c.row, c.column, c.peer): c for c in cells() if c.section == section}
    columns = list(columns)
    for peer in PEERS:
        yield f"\n{peer}:\n"
        yield f"| {corner} | {' | '.join(columns)} |"
        yield "| --- |" + " --- |" * len(columns)
        for row in rows:
            found = (word(every[row, column, peer], notes) for column in columns)
            yield f"| {row} | {' | '.join(found)} |"


def page() -> str:
    """The page as it should stand in docs/."""
    notes = Footnotes()
    lines = [HEAD.rstrip("\n")]
    lines += [f"| {name} | {installed} |" for name, installed in (p.split(" ") for p in PEERS)]
    lines += ["\n## Associations"]
    lines += matrix("association", "level", LEVELS.values(), CONTEXTS, notes)
    lines += ["\n## Protection of services (HLS 5)"]
    suites = [f"suite {n}" for n in (0, 1, 2)]
    lines += matrix("protection", "APDU", (*ENVELOPES, *NEVER_MADE), suites, notes)
    lines += ["\n## Lines"]
    lines += matrix("line", "line", LINES, TERMS, notes)
    lines += ["\n## Services", "\nIn clear with LLS, ciphered with HLS 5 and suite 0."]
    lines += matrix("service", "service", SERVICES, COLUMNS, notes)
    lines += ["\n### What stops the peers\n"]
    lines += [f"{number}. {reason}" for number, reason in enumerate(notes.reasons, 1)]
    lines += ["\n### What the tests work round, without helping our side\n"]
    lines += [WORKED_ROUND.rstrip("\n")]
    lines += ["\n## Whole models\n", *models()]
    lines += ["\n## Objects driven by Gurux' own classes\n", "| what | proof |", "| --- | --- |"]
    for what, tests in CLASSES:
        names = ", ".join(f"`test_gurux_classes.{name}`" for name in tests)
        lines.append(f"| {what} | {names} |")
    lines += [f"| {what} | `{module}.{test}` |" for what, module, test in ELSEWHERE]
    lines += ["\n## APDUs, octet by octet\n", *apdus()]
    lines += ["\n## Our client and recorded meters\n", *other_way()]
    return "\n".join(lines) + "\n"


def other_way() -> Iterator[str]:
    yield (
        "No foreign meter runs in Python under any licence. Our client reads, over TCP with the\n"
        "wrapper and with HDLC, meters that answer by recorded AARE, UA, clock and push, also\n"
        "octet by octet, pushing before they answer, without parameters in UA, with a bare\n"
        "release response or none\n"
        "(`test_recorded_meters.test_our_client_reads_a_recorded_meter`). The recorded\n"
        "IEC 62056-21 programming session is replayed by\n"
        "`tests.wire.test_iec62056_21.test_recorded_programming_session_replays`, every other\n"
        "recorded frame by `tests.wire.test_every_vector`."
    )


def models() -> Iterator[str]:
    names = ", ".join((*MODELS, "reference"))
    taken = ", ".join(f"{c}.{a}" for c, a in sorted(NOT_TAKEN))
    unknown = ", ".join(str(c) for c in sorted(WITHOUT_CLASS))
    yield (
        "Every attribute that the management client may read, of every object of every model\n"
        f"({names}): decoded by both peers to the value that the\n"
        "meter holds, and taken over by Gurux' class of the object\n"
        "(`test_every_model.test_every_attribute_is_read_as_the_meter_says_it`). Limits of the\n"
        "peers: gurux-dlms has no class for "
        f"{unknown};\nits classes do not take {taken} (class.attribute);\n"
        "dlms-cosem decodes no bit-string, utf8-string and compact-array."
    )


def apdus() -> Iterator[str]:
    yield (
        "Generated APDUs of every service, 25 of each kind (`test_apdus_of_peers`): the XML of\n"
        "Gurux' translator says what we meant, and its way back gives our octets; the classes of\n"
        "dlms-cosem give our octets again. `blathy explain` says the same values as that XML.\n"
    )
    yield "| APDU | gurux-dlms reads ours | gurux-dlms writes the same | dlms-cosem |"
    yield "| --- | --- | --- | --- |"
    for kind in (*MAKERS, *ACSE):
        reads = "no: " + GURUX_READS_NOT[kind] if GURUX_READS_NOT.get(kind) else "yes"
        if kind in ACSE or GURUX_READS_NOT.get(kind) == "":
            reads = "–"
        writes = "no: " + GURUX_WRITES_NOT[kind] if kind in GURUX_WRITES_NOT else "yes"
        known = "yes" if kind in DLMS_COSEM_KNOWS else "–"
        yield f"| {kind} | {reads} | {writes} | {known} |"


def test_the_page_is_up_to_date() -> None:
    command = "python -m tests.interop.test_interoperability_page"
    assert PAGE.read_text() == page(), f"run {command}"


def test_the_peers_are_of_the_versions_that_the_page_names() -> None:
    assert [f"{name} {version(name)}" for name in ("gurux-dlms", "dlms-cosem")] == list(PEERS)


def test_every_proof_exists() -> None:
    places = [("tests.interop.test_gurux_classes", test) for _, tests in CLASSES for test in tests]
    for module, name in [*places, *((module, test) for _, module, test in ELSEWHERE)]:
        assert callable(getattr(importlib.import_module(module), name))


if __name__ == "__main__":
    PAGE.write_text(page())
