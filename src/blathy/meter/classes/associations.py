"""Associations (class 15), SAP assignment (17), invocation counter.

Passwords are written, never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.objectlist import select_objects
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.access import ASSOCIATION_VERSION, CURRENT_ASSOCIATION
from blathy.meter.noticing import conformance_of
from blathy.meter.objects import (
    OS,
    Attribute,
    CosemObject,
    constant,
    require,
)
from blathy.models.model import Association, Ciphering, Facility, Group, Mechanism
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

SECURITY_SETUP: Final = Obis(0, 0, 43, 0, 0)
SERVER_SAP: Final = 1
DLMS_VERSION: Final = 6
ASSOCIATED: Final = 2
PASSWORD_OCTETS: Final = range(8, 65)


def _name(last_arcs: tuple[int, int]) -> Data:
    return axdr.structure(
        axdr.u8(2), axdr.u8(16), axdr.u16(756), axdr.u8(5), axdr.u8(8),
        axdr.u8(last_arcs[0]), axdr.u8(last_arcs[1]),
    )  # fmt: skip


def _context_info(conformance: int) -> Data:
    return axdr.structure(
        axdr.bits(f"{conformance:024b}"),
        axdr.u16(2048),
        axdr.u16(2048),
        axdr.u8(DLMS_VERSION),
        axdr.i8(0),
        axdr.octets(b""),
    )


def _association_of(meter: Meter, obis: Obis, who: Requester) -> Association:
    """The association an object stands for: the requester's own for 0-0:40.0.0."""
    if obis == CURRENT_ASSOCIATION:
        found = meter.model.association(who.client_sap)
    else:
        found = next((a for a in meter.model.associations if a.obis == obis), None)
    if found is None:
        raise AccessError(DataAccessResult.OBJECT_UNDEFINED, "there is no such association")
    return found


def association_object(obis: Obis, title: str) -> CosemObject:
    """Class 15, version 1."""

    def object_list(meter: Meter, who: Requester) -> bytes:
        association = _association_of(meter, obis, who)
        return meter.tree.view(association.level).list_bytes

    def select(meter: Meter, selector: int, parameters: bytes, who: Requester) -> bytes:
        association = _association_of(meter, obis, who)
        entries = meter.tree.view(association.level).list_entries
        try:
            return select_objects(entries, selector, parameters, ASSOCIATION_VERSION)
        except AxdrError as error:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error

    def partners(meter: Meter, who: Requester) -> bytes:
        client = _association_of(meter, obis, who).client_sap
        return axdr.encode(axdr.structure(axdr.i8(client), axdr.u16(SERVER_SAP)))

    def context(meter: Meter, who: Requester) -> bytes:
        association = _association_of(meter, obis, who)
        ciphered = association.ciphering is Ciphering.REQUIRED or bool(who.protected)
        return axdr.encode(_name((1, 3 if ciphered else 1)))

    def context_info(meter: Meter) -> bytes:
        return axdr.encode(_context_info(conformance_of(meter.model)))

    def mechanism(meter: Meter, who: Requester) -> bytes:
        association = _association_of(meter, obis, who)
        return axdr.encode(_name((2, int(meter.mechanism_of(association)))))

    def set_named_secret(meter: Meter, data: Data) -> None:
        require(data, OS)
        association = next(a for a in meter.model.associations if a.obis == obis)
        change_secret_of(meter, association, bytes(data.value))

    def status(_meter: Meter, who: Requester) -> bytes:
        own = obis == CURRENT_ASSOCIATION or who.association == obis
        return axdr.encode_enum(ASSOCIATED if own else 0)

    def change_secret(meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, OS, "the secret is an octet-string")
        change_secret_of(meter, _association_of(meter, obis, who), bytes(data.value))
        return b""

    current = obis == CURRENT_ASSOCIATION
    return CosemObject(
        15,
        ASSOCIATION_VERSION,
        obis,
        Group.ASSOCIATION,
        title,
        (
            Attribute(None, selectors=(1, 2, 3, 4), personal=object_list, personal_select=select),
            Attribute(None, personal=partners),
            Attribute(None, personal=context),
            Attribute(context_info),
            Attribute(None, personal=mechanism),
            Attribute(None, None if current else set_named_secret),
            Attribute(None, personal=status),
            constant(axdr.octets(SECURITY_SETUP)),
        ),
        (None, change_secret, None, None),
    )


def change_secret_of(meter: Meter, association: Association, secret: bytes) -> None:
    """Another password or HLS secret, from the next association on."""
    if len(secret) not in PASSWORD_OCTETS:
        raise AccessError(DataAccessResult.OTHER_REASON, "a secret has 8 to 64 octets")
    mechanism = meter.mechanism_of(association)
    if mechanism is Mechanism.NONE:
        raise AccessError(DataAccessResult.OTHER_REASON, "this association has no secret")
    meter.change_secret(association, secret)
    meter.record("parameters_changed")


def sap_object(facility: Facility) -> CosemObject:
    """Class 17: the logical device, and those of further loads beside it."""

    def saps(meter: Meter) -> bytes:
        devices = {SERVER_SAP: meter.identity.ldn, **meter.neighbours}
        rows = (axdr.structure(axdr.u16(n), axdr.octets(ldn)) for n, ldn in devices.items())
        return axdr.encode(axdr.array(*rows))

    return CosemObject(
        17, 0, facility.obis, facility.group, facility.title, (Attribute(saps),), (None,)
    )


def invocation_counter_object(facility: Facility) -> CosemObject:
    """The highest invocation counter received: a client goes on above it."""

    def counter(meter: Meter) -> bytes:
        return axdr.encode_u32(meter.received_counter())

    return CosemObject(1, 0, facility.obis, facility.group, facility.title, (Attribute(counter),))
