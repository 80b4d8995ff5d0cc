"""Script tables (class 9), register activation (6), push setup (40).

A script is a list of writes and methods of the same object tree; it runs with the meter's own
authority, so whoever may run it needs the right to run it and nothing else. Whoever makes a
schedule or a monitor run it needs that right too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.captured_items import parse_items
from blathy.cosem.classes.enumerations import PushMessage, TransportService
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.classes.push_protection import (
    DELIVERED_SAP,
    client_of,
    layers_of,
    protection_attribute,
    require_possible,
)
from blathy.meter.objects import (
    DATE,
    ENUM,
    I8,
    LN,
    OS,
    U8,
    U16,
    U32,
    WINDOWS,
    Attribute,
    CosemObject,
    Method,
    array_shape,
    constant,
    refused,
    require,
    setting,
    setting_of,
    structure_shape,
)
from blathy.models.model import Facility, Level, Model, Row
from blathy.obis import Obis
from blathy.quantity import Kind

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

WRITE: Final = 1
EXECUTE: Final = 2
ZERO: Final = axdr.i8(0)
BUTTON_SCRIPTS: Final = ("short", "long")
SERVER_SAP: Final = 1
NO_SCRIPT: Final = bytes(6)


def own_authority(meter: Meter) -> Requester:
    """Who the meter itself is where it acts: its management."""
    association = next(a for a in meter.model.associations if a.level is Level.MANAGEMENT)
    return Requester(association.client_sap, SERVER_SAP, association.obis)


def run_script(meter: Meter, item: Data) -> None:
    """Run the script that an action item names, with the meter's own authority; six octets of
    zero name none."""
    table, selector = item.value
    if bytes(table.value) == NO_SCRIPT:
        return
    step = ScriptAction(EXECUTE, 9, Obis.of(table.value), 1, axdr.u16(int(selector.value)))
    meter.tree.run(meter, step, own_authority(meter))


def require_script(meter: Meter, item: Data, who: Requester) -> None:
    """AccessError where an action item names no script to run, or one that whoever sets the item up
    may not run."""
    name = bytes(item.value[0].value)
    if name == NO_SCRIPT:
        return
    entry = meter.objects.view_of(who).entries.get(name)
    if entry is None or entry.object.class_id != 9 or entry.object.method(1) is None:
        raise AccessError(DataAccessResult.OTHER_REASON, "there is no such script table to run")
    if not entry.may_invoke(1):
        raise AccessError(DataAccessResult.READ_WRITE_DENIED, "a script beyond your rights")


@dataclass(frozen=True, slots=True)
class ScriptAction:
    """One step of a script."""

    service: int
    class_id: int
    obis: Obis
    index: int
    parameter: Data = ZERO

    def data(self) -> Data:
        return axdr.structure(
            axdr.enum(self.service),
            axdr.u16(self.class_id),
            axdr.octets(self.obis),
            axdr.i8(self.index),
            self.parameter,
        )


Scripts = Mapping[int, tuple[ScriptAction, ...]]


def scripts_of(model: Model, role: str) -> Scripts:
    """What the scripts of a table do, by identifier."""
    if role == "billing":
        ends = next((b for b in model.billing if b.resets_demand), None)
        return {} if ends is None else {1: (ScriptAction(EXECUTE, 7, ends.obis, 2),)}
    if role == "tariff":
        return {rate: (_select_rate(model, rate),) for rate in range(1, model.tariffs.rates + 1)}
    if role == "disconnect":
        if model.breaker is None:
            return {}
        obis = model.breaker.obis
        return {1: (ScriptAction(EXECUTE, 70, obis, 1),), 2: (ScriptAction(EXECUTE, 70, obis, 2),)}
    if role == "outputs":
        return {
            2 * n + 1 + step: (ScriptAction(EXECUTE, 70, relay.obis, step + 1),)
            for n, relay in enumerate(model.relays)
            for step in (0, 1)
        }
    if role == "monitoring":
        targets = [f.obis for f in model.facilities if f.class_id == 66]
        return {
            n: (ScriptAction(EXECUTE, 66, target, 2, axdr.u16(n)),)
            for n, target in enumerate(targets, 1)
        }
    if role in {"image", "push"}:
        class_id, method = (18, 4) if role == "image" else (40, 1)
        targets = [f.obis for f in model.facilities if f.class_id == class_id]
        return {n: (ScriptAction(EXECUTE, class_id, t, method),) for n, t in enumerate(targets, 1)}
    assert role == "buttons"
    buttons = [t for t in model.terminals if t.kind == "button"]
    return dict.fromkeys(range(1, 2 * len(buttons) + 1), ())


def _select_rate(model: Model, rate: int) -> ScriptAction:
    activation = next((f.obis for f in model.facilities if f.role == "energy"), None)
    mask = axdr.octets(f"{rate:04d}".encode())
    if activation is not None:
        return ScriptAction(WRITE, 6, activation, 4, mask)
    return ScriptAction(WRITE, 1, Obis(0, 0, 96, 14, 0), 2, mask)


def script_object(model: Model, facility: Facility) -> CosemObject:
    """Class 9. Tariff scripts run by calendar only: a client cannot choose the rate."""
    scripts = scripts_of(model, facility.role)
    table = axdr.array_of(
        axdr.structure(axdr.u16(number), axdr.array_of(action.data() for action in actions))
        for number, actions in scripts.items()
    )
    buttons = [t.key for t in model.terminals if t.kind == "button"]

    def execute(meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, U16, "the script is a long-unsigned")
        number = int(data.value)
        if number == 0:
            return b""
        if number not in scripts:
            raise refused("there is no such script")
        if facility.role == "buttons":
            meter.press(buttons[(number - 1) // 2], BUTTON_SCRIPTS[(number - 1) % 2])
            return b""
        for action in scripts[number]:
            meter.tree.run(meter, action, who)
        return b""

    methods: tuple[Method | None, ...] = (None if facility.role == "tariff" else execute,)
    return CosemObject(
        9, 0, facility.obis, facility.group, facility.title, (constant(table),), methods
    )


# --- register activation ----------------------------------------------------------------------


def activation_object(model: Model, facility: Facility) -> CosemObject:
    """Class 6: which rate registers count; the calendar selects the mask."""
    kind = Kind.MAX_DEMAND if facility.role == "demand" else Kind.ENERGY
    rows: list[Row] = [row for row in model.rows if row.source.kind is kind and row.tariff]
    assignment = axdr.array_of(
        axdr.structure(axdr.u16(row.class_id), axdr.octets(row.obis)) for row in rows
    )
    masks = axdr.array_of(
        axdr.structure(
            axdr.octets(f"{rate:04d}".encode()),
            axdr.array_of(axdr.u8(n) for n, row in enumerate(rows, 1) if row.tariff == rate),
        )
        for rate in range(1, model.tariffs.rates + 1)
    )

    def active(meter: Meter) -> bytes:
        return axdr.encode_octets(f"{meter.books.rate:04d}".encode())

    return CosemObject(
        6,
        0,
        facility.obis,
        facility.group,
        facility.title,
        (constant(assignment), constant(masks), Attribute(active)),
        (None, None, None),
    )


# --- push -------------------------------------------------------------------------------------

_ROWS: Final = (
    "either",
    DataType.NULL_DATA,
    *(structure_shape(bound, bound) for bound in (DATE, U32, U16)),
)
PUSH_OBJECTS: Final = array_shape(
    (
        "either",
        structure_shape(U16, LN, I8, U16),
        structure_shape(U16, LN, I8, U16, structure_shape(ENUM, _ROWS)),
    )
)
PUSHED_MAX: Final = 64
NETWORKS: Final = frozenset({TransportService.TCP, TransportService.UDP})
PUSH_PORTS: Final = frozenset({23, 41})
"""Classes of ports: HDLC, TCP and UDP."""
DESTINATION_OCTETS_MAX: Final = 128
_NO_RESTRICTION: Final = axdr.structure(axdr.enum(0), axdr.null())


def push_element(class_id: int, obis: Obis, attribute: int = 2) -> Data:
    return axdr.structure(
        axdr.u16(class_id), axdr.octets(obis), axdr.i8(attribute), axdr.u16(0), _NO_RESTRICTION
    )


def _default_list(model: Model, facility: Facility) -> Data:
    clock = push_element(8, model.clock.obis)
    if facility.role.startswith("consumer"):
        rows = {row.obis: row for row in model.rows}
        key = "nve1" if facility.role == "consumer fast" else "nve2"
        pushed = next((p.obis for p in model.pushes if p.key == key), ())
        found = (push_element(rows[obis].class_id, obis) for obis in pushed if obis in rows)
        return axdr.array(clock, *found)
    known = {row.obis: row.class_id for row in model.rows}
    wanted = [Obis(0, 0, 42, 0, 0), Obis(0, 0, 96, 11, 0)]
    wanted += [obis for obis in known if obis.c == 97 and obis.d == 98]
    return axdr.array(clock, *(push_element(known[o], o) for o in wanted if o in known))


def _destination_fits(data: Data) -> bool:
    """A service that meters send by; the message is an APDU in A-XDR, as they send no other."""
    service, destination, message = (field.value for field in data.value)
    fits_in = len(destination) <= DESTINATION_OCTETS_MAX
    return service in NETWORKS and fits_in and message == PushMessage.XDLMS_AXDR


def _consumer_destination_fits(data: Data) -> bool:
    """A consumer port needs no destination: whoever is plugged in hears."""
    service, destination, message = (field.value for field in data.value)
    at_the_port = service == TransportService.HDLC and not destination
    return (at_the_port and message == PushMessage.XDLMS_AXDR) or _destination_fits(data)


def _port_attribute(obis: Obis) -> Attribute:
    """The port that is pushed through; six octets of zero for the meter's own choice."""
    held = setting(obis, 8, axdr.octets(bytes(6)), LN)

    def write(meter: Meter, data: Data) -> None:
        name = bytes(require(data, LN, "a port is named by six octets").value)
        port = meter.tree.objects.get(name)
        if name != bytes(6) and (port is None or port.class_id not in PUSH_PORTS):
            raise AccessError(
                DataAccessResult.OTHER_REASON, "this meter pushes through no such port"
            )
        assert held.set is not None
        held.set(meter, data)

    return Attribute(held.get, write)


def push_object(model: Model, facility: Facility) -> CosemObject:
    """Class 40, version 1."""
    obis = facility.obis
    consumer = facility.role.startswith("consumer")
    service = TransportService.HDLC if consumer else TransportService.TCP
    destination = axdr.structure(axdr.enum(service), axdr.octets(b""), axdr.enum(0))
    destination_fits = _consumer_destination_fits if consumer else _destination_fits

    def push(meter: Meter, _data: Data, _who: Requester) -> bytes:
        held = setting_of(meter, obis, 3)
        if not consumer and (held is None or not held.value[1].value):
            raise refused("there is no destination to push to; set one first")
        require_possible(meter, layers_of(meter, obis), client_of(meter, obis))
        meter.push(obis)
        return b""

    return CosemObject(
        40,
        1,
        obis,
        facility.group,
        facility.title,
        (
            setting(
                obis,
                2,
                _default_list(model, facility),
                PUSH_OBJECTS,
                check=lambda d: len(parse_items(d)) <= PUSHED_MAX,
            ),
            setting(obis, 3, destination, structure_shape(ENUM, OS, ENUM), check=destination_fits),
            setting(obis, 4, axdr.array(), WINDOWS, check=lambda d: len(d.value) <= 16),
            setting(obis, 5, axdr.u16(0), U16),
            setting(obis, 6, axdr.u8(3), U8),
            setting(obis, 7, axdr.u16(60), U16),
            _port_attribute(obis),
            setting(obis, 9, axdr.i8(DELIVERED_SAP), I8),
            protection_attribute(obis),
        ),
        (push,),
    )
