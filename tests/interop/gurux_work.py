"""What a gurux-dlms client is asked to do: one function per piece of work, results as JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSAccessItem, GXWriteItem
from gurux_dlms.enums import AccessServiceCommandType, DataType, ObjectType
from gurux_dlms.GXBitString import GXBitString
from gurux_dlms.objects import (
    GXDLMSActivityCalendar,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDayProfile,
    GXDLMSDisconnectControl,
    GXDLMSImageTransfer,
    GXDLMSObject,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
    GXDLMSScriptTable,
    GXDLMSSecuritySetup,
    GXDLMSSpecialDay,
    GXDLMSSpecialDaysTable,
)
from gurux_dlms.objects.enums import CertificateEntity, CertificateType, GlobalKeyType

from tests.interop.gurux_link import ASSOCIATION_SN, Link

Work = Callable[..., Any]
WORK: dict[str, Work] = {}
ENERGY = "1.0.1.8.0.255"
LIMIT = "1.0.0.4.128.255"
BREAKER = "0.0.96.3.10.255"
PROFILE = "1.0.99.1.0.255"


def work(function: Work) -> Work:
    WORK[function.__name__.rstrip("_")] = function
    return function


def named(link: Link, item: Any) -> Any:
    """The object with the short name that the meter gave it."""
    item.shortName = link.job.get("names", {}).get(item.logicalName, 0)
    return item


def read(link: Link, item: Any, attribute: int) -> Any:
    reply = link.send(link.client.read(named(link, item), attribute))
    return link.client.updateValue(item, attribute, reply.value)


def write(link: Link, item: Any, attribute: int) -> None:
    link.send(link.client.write(named(link, item), attribute))


def plain(value: Any) -> Any:
    """A value of Gurux as JSON, so that it can be compared with ours."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        return "x" + bytes(value).hex()
    if isinstance(value, GXBitString):
        return "b" + str(value)
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value
    if isinstance(value, GXDateTime):
        return f"t{int(value.value.timestamp())}"
    return int(value)


# GET


@work
def clock(link: Link) -> str:
    value: str = read(link, GXDLMSClock("0.0.1.0.0.255"), 2).value.isoformat()
    return value


@work
def register(link: Link, name: str = ENERGY) -> list[Any]:
    item = GXDLMSRegister(name)
    read(link, item, 3)
    return [float(read(link, item, 2)), int(item.unit)]


@work
def get(link: Link, class_id: int, name: str, attribute: int) -> Any:
    """Any attribute, as decoded by Gurux."""
    item = named(link, link.client.createObject(ObjectType(class_id)))
    item.logicalName = name
    return plain(link.send(link.client.read(named(link, item), attribute)).value)


@work
def many(link: Link) -> int:
    pairs = [
        (named(link, GXDLMSRegister(ENERGY)), 2), (named(link, GXDLMSClock("0.0.1.0.0.255")), 2),
        (named(link, GXDLMSRegister("1.0.2.8.0.255")), 2),
    ]  # fmt: skip
    return len(link.send(link.client.readList(pairs)).value)


@work
def objects(link: Link) -> int:
    return len(_object_list(link, True))


def _object_list(link: Link, only_known: bool) -> Any:
    """Its `getObjectsRequest` gives the first frame of several only (gurux 1.0.203)."""
    client = link.client
    name = "0.0.40.0.0.255" if link.logical_names else ASSOCIATION_SN
    kind = ObjectType.ASSOCIATION_LOGICAL_NAME
    reply = link.send(client._read(name, kind, 2))
    return client.parseObjects(reply.data, only_known, False)


@work
def object_list(link: Link) -> list[list[Any]]:
    """Class, version, name and rights of everything, as Gurux understands the object list."""
    found = _object_list(link, True)
    return [
        [
            int(item.objectType), item.version, item.logicalName,
            [int(item.getAccess3(n)) for n in range(1, item.getAttributeCount() + 1)],
        ]
        for item in found
    ]  # fmt: skip


@work
def walk(link: Link, readable: list[list[Any]]) -> list[list[Any]]:
    """Every attribute: decoded and then taken over by Gurux' class of it."""
    found: list[list[Any]] = []
    known = {(int(o.objectType), o.logicalName): o for o in link.client.objects}
    for class_id, name, attribute in readable:
        try:
            where = name if link.logical_names else link.job["names"][name]
            value = link.send(link.client._read(where, class_id, attribute)).value
        except Exception as error:  # noqa: BLE001 - what Gurux cannot take is the result
            found.append([class_id, name, attribute, None, f"get: {error!r}"])
            continue
        wrong, decoded = "", plain(value)  # taking a value over may change it in place
        item = known.get((class_id, name))
        try:
            if item is None or type(item) is GXDLMSObject:
                wrong = "no class"
            else:
                link.client.updateValue(item, attribute, value)
                item.getValues()
        except Exception as error:  # noqa: BLE001 - what Gurux cannot take is the result
            wrong = f"class: {error!r}"
        found.append([class_id, name, attribute, decoded, wrong])
    return found


# Profiles


def _profile(link: Link, name: str = PROFILE) -> GXDLMSProfileGeneric:
    profile = named(link, GXDLMSProfileGeneric(name))
    read(link, profile, 3)
    return profile


def _moment(text: str) -> GXDateTime:
    return GXDateTime(dt.datetime.fromisoformat(text))


@work
def by_range(link: Link, since: str, until: str) -> list[Any]:
    profile = _profile(link)
    start, end = _moment(since), _moment(until)
    reply = link.send(link.client.readRowsByRange(profile, start, end))
    rows = link.client.updateValue(profile, 2, reply.value)
    return [len(rows), rows[0][0].value.isoformat(), int(rows[-1][2])]


@work
def by_entry(link: Link) -> list[Any]:
    profile = _profile(link)
    rows = _entries(link, profile, 3, 7)
    return [len(rows), rows[0][0].value.isoformat()]


def _entries(link: Link, profile: Any, first: int, count: int, columns: Any = None) -> list[Any]:
    reply = link.send(link.client.readRowsByEntry(profile, first, count, columns))
    if reply.value is None:
        return []
    rows: list[Any] = link.client.updateValue(profile, 2, reply.value)
    return rows


@work
def whole_profile(link: Link, name: str, since: str, until: str) -> dict[str, Any]:
    """A profile by every way: all of it, by range, by entry, with chosen columns."""
    profile = _profile(link, name)
    captured = [list(pair) for pair in profile.captureObjects]
    read(link, profile, 7)
    reply = link.send(link.client.read(profile, 2))
    everything = plain(reply.value or [])
    reply = link.send(link.client.readRowsByRange(profile, _moment(since), _moment(until)))
    ranged = plain(reply.value or [])
    entries = min(3, len(everything))
    some = link.send(link.client.readRowsByEntry(profile, 1, entries or 1)).value
    column = [captured[-1]]
    chosen = GXDLMSProfileGeneric(name)
    chosen.captureObjects = profile.captureObjects
    named(link, chosen)
    start, end = _moment(since), _moment(until)
    narrow = link.send(link.client.readRowsByRange(chosen, start, end, column)).value
    return {
        "columns": [[int(o.objectType), o.logicalName, c.attributeIndex] for o, c in captured],
        "in_use": int(profile.entriesInUse), "rows": everything, "range": ranged,
        "entries": plain(some or []), "column": plain(narrow or []),
    }  # fmt: skip


# SET


@work
def set_(link: Link) -> int:
    limit = named(link, GXDLMSRegister(LIMIT))
    before = int(read(link, limit, 2))
    limit.value = before + 1
    limit.setDataType(2, DataType.UINT16)
    write(link, limit, 2)
    return int(read(link, limit, 2)) - before


@work
def set_many(link: Link) -> int:
    """Two attributes in one SET."""
    limit = named(link, GXDLMSRegister(LIMIT))
    before = int(read(link, limit, 2))
    limit.value = before + 3
    items = []
    for _ in range(2):
        item = GXWriteItem()
        item.target, item.index, item.dataType = limit, 2, DataType.UINT16
        item.getDataType = lambda: DataType.UINT16  # its own is missing
        items.append(item)
    link.send(link.client.writeList(items))
    return int(read(link, limit, 2)) - before


# ACTION


@work
def action(link: Link) -> bool:
    breaker = named(link, GXDLMSDisconnectControl(BREAKER))
    link.send(link.client.method(breaker, 1, 0, DataType.INT8))
    return True


@work
def reconnect(link: Link) -> list[int]:
    """Disconnect and reconnect by its own methods, and the state in between and after."""
    breaker = named(link, GXDLMSDisconnectControl(BREAKER))
    link.send(breaker.remoteDisconnect(link.client))
    off = int(read(link, breaker, 3))
    link.send(breaker.remoteReconnect(link.client))
    return [off, int(read(link, breaker, 3))]


@work
def clock_methods(link: Link, now: str) -> list[str]:
    """All six methods of a clock; what it shows after each."""
    item = named(link, GXDLMSClock("0.0.1.0.0.255"))
    shown = []
    moment = dt.datetime.fromisoformat(now)
    hour = dt.timedelta(hours=1)
    requests: tuple[Work, ...] = (
        lambda: item.shiftTime(link.client, 7 * 60),
        lambda: item.adjustToQuarter(link.client),
        lambda: item.shiftTime(link.client, 20),
        lambda: item.adjustToMinute(link.client),
        lambda: item.adjustToMeasuringPeriod(link.client),
        lambda: _preset(item, link.client, moment, moment - hour, moment + hour),
        lambda: item.adjustToPresetTime(link.client),
    )
    for request in requests:
        link.send(request())
        shown.append(read(link, item, 2).value.isoformat())
    return shown


def _preset(item: Any, client: Any, *moments: dt.datetime) -> Any:
    """Its own method sends an array where the standard has a structure (gurux 1.0.203)."""
    data = bytearray(b"\x02\x03")
    for moment in moments:
        octets: Any = GXByteBuffer()
        local = moment.astimezone(dt.UTC)
        octets.set(
            local.year.to_bytes(2, "big")
            + bytes([local.month, local.day, 0xFF, local.hour, local.minute, local.second, 0])
            + b"\x00\x00\x00"
        )
        data += b"\x09\x0c" + octets.array()
    return client.method(item, 5, data, DataType.STRUCTURE)


@work
def set_clock(link: Link, moment: str) -> str:
    item = named(link, GXDLMSClock("0.0.1.0.0.255"))
    item.time = _moment(moment)
    write(link, item, 2)
    shown: str = read(link, item, 2).value.isoformat()
    return shown


@work
def script(link: Link, name: str, number: int) -> bool:
    table = named(link, GXDLMSScriptTable(name))
    link.send(table.execute(link.client, number))
    return True


@work
def reset(link: Link, class_id: int, name: str) -> bool:
    """Reset of a register or of a profile, by its class."""
    item = link.client.createObject(ObjectType(class_id))
    item.logicalName = name
    link.send(named(link, item).reset(link.client))
    return True


@work
def method(link: Link, class_id: int, name: str, number: int) -> bool:
    item = link.client.createObject(ObjectType(class_id))
    item.logicalName = name
    link.send(link.client.method(named(link, item), number, 0, DataType.INT8))
    return True


@work
def capture(link: Link, name: str) -> list[int]:
    """Rows in use before and after Capture by its class."""
    profile = named(link, GXDLMSProfileGeneric(name))
    before = int(read(link, profile, 7))
    link.send(profile.capture(link.client))
    return [before, int(read(link, profile, 7))]


# Image transfer, by Gurux' class


@work
def image(link: Link, name: str, identifier: str, octets: str, skip: list[int]) -> dict[str, Any]:
    """A whole transfer: initiate, blocks (some at first left out), verify, activate."""
    item = named(link, GXDLMSImageTransfer(name))
    read(link, item, 5)
    read(link, item, 2)
    data = bytes.fromhex(octets)
    out: dict[str, Any] = {"block": int(item.imageBlockSize)}
    link.send(item.imageTransferInitiate(link.client, identifier, len(data)))
    blocks = item.imageBlockTransfer(link.client, data, [0])
    for number, block in enumerate(blocks):
        if number not in skip:
            link.send(block)
    out["first_missing"] = int(read(link, item, 4))
    out["status"] = str(read(link, item, 3))
    for number in skip:
        link.send(item.imageBlockTransfer(link.client, data, [0])[number])
    out["all_there"] = str(read(link, item, 3))
    out["verify"] = attempt(link, item.imageVerify(link.client))
    out["state"] = int(read(link, item, 6))
    read(link, item, 7)
    out["to_activate"] = [[int(i.size), plain(i.identification)] for i in item.imageActivateInfo]
    out["activate"] = attempt(link, item.imageActivate(link.client))
    out["end"] = int(read(link, item, 6))
    return out


def attempt(link: Link, request: Any) -> str:
    try:
        link.send(request)
    except RuntimeError as error:
        return str(error)
    return "done"


# Security setup, by Gurux' class


@work
def transfer_keys(link: Link, kek: str, keys: dict[str, str]) -> bool:
    """Global keys wrapped by Gurux; what follows in this session already uses them."""
    setup = named(link, GXDLMSSecuritySetup("0.0.43.0.0.255"))
    pairs = [(GlobalKeyType(int(k)), bytearray.fromhex(v)) for k, v in keys.items()]
    link.send(setup.globalKeyTransfer(link.client, bytearray.fromhex(kek), pairs))
    cipher = link.client.ciphering
    if "0" in keys:
        cipher.blockCipherKey = bytes.fromhex(keys["0"])
    if "2" in keys:
        cipher.authenticationKey = bytes.fromhex(keys["2"])
    return True


@work
def certificates(link: Link, title: str) -> dict[str, Any]:
    """The list, one exported by whose it is, a new key pair and the request to certify it."""
    setup = named(link, GXDLMSSecuritySetup("0.0.43.0.0.255"))
    setup.version = 1
    read(link, setup, 6)
    server, signature = CertificateEntity.SERVER, CertificateType.DIGITAL_SIGNATURE
    request = setup.exportCertificateByEntity(
        link.client, server, signature, bytearray.fromhex(title)
    )
    exported = link.send(request).value
    link.send(setup.generateKeyPair(link.client, signature))
    requested = link.send(setup.generateCertificate(link.client, signature)).value
    return {
        "listed": [[int(c.entity), int(c.type_)] for c in setup.certificates],
        "exported": bytes(exported).hex(), "requested": bytes(requested).hex(),
    }  # fmt: skip


@work
def import_certificate(link: Link, octets: str) -> bool:
    class Certificate:
        encoded = bytearray.fromhex(octets)

    setup = named(link, GXDLMSSecuritySetup("0.0.43.0.0.255"))
    link.send(setup.importCertificate(link.client, Certificate))
    return True


@work
def remove_certificate(link: Link, title: str, kind: int) -> bool:
    setup = named(link, GXDLMSSecuritySetup("0.0.43.0.0.255"))
    request = setup.removeCertificateByEntity(
        link.client, CertificateEntity.CLIENT, CertificateType(kind), bytearray.fromhex(title)
    )
    link.send(request)
    return True


@work
def activate_policy(link: Link, policy: int) -> int:
    setup = named(link, GXDLMSSecuritySetup("0.0.43.0.0.255"))
    link.send(setup.activate(link.client, policy))
    return int(read(link, setup, 2))


# Calendars, by Gurux' classes


@work
def calendar(link: Link) -> dict[str, Any]:
    """Write a passive calendar, read it back, activate it; the active one's name after that."""
    item = named(link, GXDLMSActivityCalendar("0.0.13.0.0.255"))
    for attribute in (2, 3, 4, 5):
        read(link, item, attribute)
    item.calendarNamePassive = "gurux"
    item.seasonProfilePassive = item.seasonProfileActive
    item.weekProfileTablePassive = item.weekProfileTableActive
    days = []
    for source in item.dayProfileTableActive:
        day = GXDLMSDayProfile()
        day.dayId = source.dayId
        day.daySchedules = source.daySchedules
        days.append(day)
    item.dayProfileTablePassive = days
    for attribute in (6, 7, 8, 9):
        write(link, item, attribute)
    link.send(item.activatePassiveCalendar(link.client))
    read(link, item, 2)
    return {
        "name": item.calendarNameActive, "seasons": len(item.seasonProfileActive),
        "weeks": len(item.weekProfileTableActive), "days": len(days),
    }  # fmt: skip


@work
def long_calendar(link: Link) -> list[Any]:
    """A table of many day profiles, longer than an APDU, as written and as read."""
    item = named(link, GXDLMSActivityCalendar("0.0.13.0.0.255"))
    read(link, item, 5)
    item.dayProfileTablePassive = []
    for number in range(1, 5):
        day = GXDLMSDayProfile()
        day.dayId = number
        day.daySchedules = item.dayProfileTableActive[0].daySchedules
        item.dayProfileTablePassive.append(day)
    write(link, item, 9)
    back = named(link, GXDLMSActivityCalendar("0.0.13.0.0.255"))
    read(link, back, 9)
    return [[str(day) for day in each.dayProfileTablePassive] for each in (item, back)]


@work
def long_insert(link: Link) -> bool:
    """Blocks of an image, each longer than an APDU; true where all have arrived."""
    item = named(link, GXDLMSImageTransfer("0.0.44.0.0.255"))
    read(link, item, 2)
    size = link.client.maxReceivePDUSize
    link.client.maxReceivePDUSize = 0xFFFF  # it would refuse to begin with blocks so long
    request = item.imageTransferInitiate(link.client, "an image", 3 * item.imageBlockSize)
    link.client.maxReceivePDUSize = size
    link.send(request)
    for block in item.imageBlockTransfer(link.client, bytes(3 * item.imageBlockSize), [0]):
        link.send(block)
    return str(read(link, item, 3)) == "111"


@work
def special_days(link: Link) -> list[list[Any]]:
    """Write two days, insert a third, delete the first; what the table holds then."""
    item = named(link, GXDLMSSpecialDaysTable("0.0.11.0.0.255"))
    item.entries = [_day(link, 1, "12/25/2026"), _day(link, 2, "01/01/2027")]
    write(link, item, 2)
    link.send(item.insert(link.client, _day(link, 3, "05/01/2027")))
    link.send(item.delete(link.client, item.entries[0]))
    read(link, item, 2)
    return [[int(e.index), str(e.date), int(e.dayId)] for e in item.entries]


def _day(_link: Link, index: int, text: str) -> GXDLMSSpecialDay:
    from gurux_dlms import GXDate

    day = GXDLMSSpecialDay()
    day.index, day.dayId = index, 2
    day.date = GXDate(text)
    return day


# ACCESS


@work
def access(link: Link) -> list[Any]:
    """Two GETs and a SET in one request; what Gurux makes of the answer."""
    limit = named(link, GXDLMSRegister(LIMIT))
    before = int(read(link, limit, 2))
    limit.value = before + 5
    limit.setDataType(2, DataType.UINT16)
    reading, unknown = GXDLMSRegister(ENERGY), GXDLMSData("0.0.96.99.99.255")
    # Its ACCESS makes the event that asks for the value to write of the wrong arguments.
    limit.settings = link.client.settings
    limit.getValue = lambda _settings, _event: limit.value
    items = [
        GXDLMSAccessItem(AccessServiceCommandType.GET, reading, 2),
        GXDLMSAccessItem(AccessServiceCommandType.SET, limit, 2),
        GXDLMSAccessItem(AccessServiceCommandType.GET, unknown, 2),
    ]
    reply = link.send(link.client.accessRequest(None, items))
    link.client.parseAccessResponse(items, reply.data)
    return [
        plain(items[0].value), [int(i.error) for i in items],
        int(read(link, GXDLMSRegister(LIMIT), 2)) - before,
    ]  # fmt: skip
