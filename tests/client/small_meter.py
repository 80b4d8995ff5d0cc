"""A meter small enough to see through: eight objects, three clients, one day of quarter hours."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from blathy.client.address import MeterAddress, parse_address
from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import (
    AccessRight,
    AttributeAccess,
    MethodAccess,
    ObjectEntry,
    ScalerUnit,
    ShortName,
    build_object_list,
    build_short_names,
)
from blathy.cosem.selective import (
    CLOCK,
    CaptureObject,
    EntryDescriptor,
    build_capture_objects,
    parse_selection,
)
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    Requester,
)
from blathy.obis import Obis
from blathy.quantity import Unit
from blathy.transport.dlms_session import DlmsSession, Framing, Lookup
from blathy.transport.memory import Faults, SessionLine
from blathy.transport.session import Endpoint
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import LN_CONFORMANCE, SN_CONFORMANCE, Conformance
from blathy.wire.security import (
    InvocationCounters,
    KeySet,
    SecurityPolicy,
    VolatileCounterStore,
)
from blathy.wire.server import AssociationProfile, LogicalDevice

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
KEYS = KeySet(0, EK, AK)
PASSWORD = b"12345678"
TITLE = bytes.fromhex("4D4D4D0000BC614E")
DAY_START = 1_773_100_800  # 2026-03-10T00:00:00Z
ENERGY = Obis.parse("1-0:1.8.0")
VOLTAGE = Obis.parse("1-0:32.7.0")
SERIAL = Obis.parse("0-0:96.1.0")
PROFILE = Obis.parse("1-0:99.1.0")
CLOCK_CODE = Obis.parse("0-0:1.0.0")
BREAKER = Obis.parse("0-0:96.3.10")
SECRET = Obis.parse("0-0:96.1.9")
ASSOCIATION = Obis.parse("0-0:40.0.0")
CAPTURES = (CLOCK, CaptureObject(3, ENERGY))
READ, WRITE = AccessRight.READ, AccessRight.WRITE
UTC = Zone("UTC")
_OPTIONAL = Conformance.SELECTIVE_ACCESS | Conformance.MULTIPLE_REFERENCES


def _entry(class_id: int, version: int, obis: Obis, count: int, methods: int = 0) -> ObjectEntry:
    rights = tuple(AttributeAccess(n, READ | WRITE) for n in range(1, count + 1))
    return ObjectEntry(
        class_id, version, obis, rights,
        tuple(MethodAccess(n, AccessRight.READ) for n in range(1, methods + 1)),
    )  # fmt: skip


ENTRIES = (
    _entry(15, 3, ASSOCIATION, 11),
    _entry(1, 0, SERIAL, 2),
    _entry(1, 0, SECRET, 2),
    _entry(3, 0, ENERGY, 3),
    _entry(3, 0, VOLTAGE, 3),
    _entry(7, 1, PROFILE, 8),
    _entry(8, 0, CLOCK_CODE, 9),
    _entry(70, 0, BREAKER, 4, 2),
)
SHORT_NAMES = (
    ShortName(0xFA00, 12, 4, ASSOCIATION),
    *(
        ShortName(0x1000 + 0x100 * number, entry.class_id, entry.version, entry.obis)
        for number, entry in enumerate(ENTRIES[1:])
    ),
)
OBJECT_LIST = build_object_list(ENTRIES)
SHORT_NAME_LIST = build_short_names(SHORT_NAMES)


@dataclass
class SmallMeter:
    """An ObjectModel."""

    rows: int = 96
    serial: bytes = b"00012345"
    connected: bool = True
    extra_column: bool = False
    clock: bytes = field(default_factory=lambda: CosemDateTime.from_utc(DAY_START, UTC).raw())
    asked: list[AttributeRef] = field(default_factory=list)

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        self.asked.append(ref)
        if ref.obis == SECRET:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)
        found = self._values(ref).get((ref.class_id, ref.obis, ref.attribute))
        if found is None:
            raise AccessError(DataAccessResult.OBJECT_UNDEFINED)
        return found

    def _values(self, ref: AttributeRef) -> dict[tuple[int, Obis, int], bytes]:
        return {
            (1, SERIAL, 2): axdr.encode_octets(self.serial),
            (1, Obis.parse("0-0:42.0.0"), 2): axdr.encode_octets(b"BLY0000000012345"),
            (3, ENERGY, 2): axdr.encode_u32(1_234_567),
            (3, ENERGY, 3): ScalerUnit(0, Unit.WH).encode(),
            (3, VOLTAGE, 2): axdr.encode_u16(2301),
            (3, VOLTAGE, 3): ScalerUnit(-1, Unit.V).encode(),
            (7, PROFILE, 3): build_capture_objects(self.captures),
            (7, PROFILE, 4): axdr.encode_u32(900),
            (8, CLOCK_CODE, 2): axdr.encode_octets(self.clock),
            (15, ASSOCIATION, 2): OBJECT_LIST,
            (12, ASSOCIATION, 2): SHORT_NAME_LIST,
            (70, BREAKER, 2): axdr.encode_boolean(self.connected),
        } | (
            {(7, PROFILE, 2): self._buffer(ref)} if (ref.class_id, ref.attribute) == (7, 2) else {}
        )

    @property
    def captures(self) -> tuple[CaptureObject, ...]:
        """The columns of the profile."""
        return (*CAPTURES, CaptureObject(3, VOLTAGE)) if self.extra_column else CAPTURES

    def _buffer(self, ref: AttributeRef) -> bytes:
        stamps = DAY_START + 900 * np.arange(1, self.rows + 1)
        chosen = np.arange(self.rows)
        if ref.selector is not None:
            try:
                selection = parse_selection(ref.selector, ref.parameters)
                if isinstance(selection, EntryDescriptor):
                    chosen = np.array(selection.rows(self.rows))
                else:
                    first, last = selection.utc_bounds(UTC)
                    chosen = chosen[(stamps >= first) & (stamps <= last)]
            except AxdrError as error:
                raise AccessError(DataAccessResult.TYPE_UNMATCHED) from error
        return axdr.encode_array(
            axdr.encode_structure(
                axdr.encode_octets(CosemDateTime.from_utc(int(stamps[row]), UTC).raw()),
                axdr.encode_u32(1_000_000 + 100 * int(row)),
                *([axdr.encode_u16(2300)] if self.extra_column else []),
            )
            for row in chosen
        )

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        if ref.obis == SERIAL and who.client_sap != 16:
            self.serial = axdr.decode(value).value
        elif ref.obis == CLOCK_CODE:
            self.clock = axdr.decode(value).value
        else:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED)

    def invoke(self, ref: MethodRef, parameters: bytes, who: Requester) -> bytes:
        if ref.obis != BREAKER or ref.method not in {1, 2}:
            raise AccessError(ActionResult.OBJECT_UNDEFINED)
        self.connected = ref.method == 2
        return b""

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        return {row.base_name: (row.class_id, row.obis) for row in SHORT_NAMES}


def profiles(**changes: object) -> dict[int, AssociationProfile]:
    return {
        16: AssociationProfile(16),
        2: AssociationProfile(2, Mechanism.LLS, PASSWORD),
        3: AssociationProfile(3, Mechanism.HLS_SHA256, PASSWORD),
        4: AssociationProfile(4, conformance=LN_CONFORMANCE & ~_OPTIONAL),
        5: AssociationProfile(5, conformance=SN_CONFORMANCE, short_names=True),
        6: AssociationProfile(
            6, Mechanism.HLS_SHA1, PASSWORD, conformance=SN_CONFORMANCE, short_names=True
        ),
        1: AssociationProfile(
            1, Mechanism.HLS_GMAC, keys=KEYS, policy=SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED
        ),
    }


class Entropy:
    """Octets that differ and repeat with the run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return (self.count.to_bytes(2, "big") * size)[:size]


def device(model: SmallMeter, pdu_size: int = 1024) -> LogicalDevice:
    return LogicalDevice(
        profiles(), model, TITLE, Entropy(), InvocationCounters(VolatileCounterStore()),
        pdu_size=pdu_size,
    )  # fmt: skip


def lookup(found: LogicalDevice, physical: int | None = None) -> Lookup:
    def answer(endpoint: Endpoint, server: int, lower: int | None) -> LogicalDevice | None:
        return found if server == 1 and lower in {None, physical} else None

    return answer


def line(
    found: LogicalDevice,
    framing: Framing = Framing.DETECT,
    there: Faults | None = None,
    back: Faults | None = None,
    physical: int | None = None,
    datagrams: bool = False,
) -> SessionLine:
    session = DlmsSession(
        Endpoint("127.0.0.1", 4059, "127.0.0.1", 50_000), lambda _: None,
        lookup(found, physical), framing=framing,
    )  # fmt: skip
    return SessionLine(session, there or Faults(), back or Faults(), datagrams=datagrams)


def address(query: str, scheme: str = "dlms") -> MeterAddress:
    return parse_address(f"{scheme}://meter?{query}")


SECURE = f"client=1&auth=hls5&ek={EK.hex()}&ak={AK.hex()}"
