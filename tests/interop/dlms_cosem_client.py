"""A resident dlms-cosem client (Business Source licence, a test dependency only): jobs as JSON."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import traceback
import tty
from collections.abc import Callable
from typing import Any

import structlog
from dlms_cosem import cosem, enumerations, state, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.connection import DlmsConnectionSettings, XDlmsApduFactory
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import EntryDescriptor, RangeDescriptor
from dlms_cosem.hdlc.frames import HDLC_FLAG as FLAG
from dlms_cosem.hdlc.state import NEED_DATA
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, SerialIO, TcpTransport
from dlms_cosem.parsers import AssociationObjectListParser, ProfileGenericBufferParser
from dlms_cosem.security import (
    HighLevelSecurityCommonAuthentication,
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
Kind = enumerations.CosemInterface
Job = dict[str, Any]
ENERGY = "1-0:1.8.0.255"
LIMIT = "1-0:0.4.128.255"
PROFILE = "1-0:99.1.0.255"


class WholeFrames(HdlcTransport):  # type: ignore[misc]
    """Its HDLC with a reader that takes frames by their length.

    The reader of dlms-cosem 25.1.0 reads to the next 7E. Its parser copes with a 7E inside a frame
    by asking for more; but where the octet before the closing flag is 7E too (the last one of the
    check sequence, one frame in 256), or 7E follows 7E, the reader takes the second for the
    beginning of another frame and waits until it times out. Everything else is its own: parsing,
    check sequences, sequence numbers, segments.
    """

    def recv_frame(self) -> bytes:
        head = self.io.recv(3)
        return bytes(head) + bytes(
            self.io.recv(int.from_bytes(head[1:3], "big") % 2048 + 2 - len(head))
        )

    def next_event(self) -> Any:
        link = self.hdlc_connection
        while (event := link.next_event()) is NEED_DATA:
            if FLAG not in link.buffer[link.buffer_search_position :]:
                link.receive_data(self.recv_frame())
        return event


class Recording(TcpTransport):  # type: ignore[misc]
    """Its wrapper, and which APDUs went over it."""

    def send_request(self, bytes_to_send: bytes) -> bytes:
        answer: bytes = super().send_request(bytes_to_send)
        TAGS.update((f"{bytes_to_send[0]:02X}", f"{answer[0]:02X}"))
        return answer


TAGS: set[str] = set()


def line_of(job: Job) -> Any:
    if "tty" not in job:
        line = BlockingTcpIO("127.0.0.1", job["port"], timeout=240)
    else:
        handle = os.open(job["tty"], os.O_RDWR | os.O_NOCTTY)
        tty.setraw(handle)
        os.close(handle)
        line = SerialIO(job["tty"], timeout=240)
    if job.get("framing", "wrapper") == "wrapper":
        return Recording(job["client"], 1, line)
    octets = job.get("address_octets", 1)
    physical = job.get("physical", 17) if octets > 1 else None
    return WholeFrames(
        job["client"], 1, line, server_physical_address=physical, extended_addressing=octets == 4
    )


def client_of(job: Job) -> DlmsClient:
    secret = bytes.fromhex(job.get("secret", ""))
    authentication = {
        0: NoSecurityAuthentication,
        1: lambda: LowLevelSecurityAuthentication(secret=secret),
        2: lambda: HighLevelSecurityCommonAuthentication(secret=secret),
        5: HighLevelSecurityGmacAuthentication,
    }[job["mechanism"]]()
    return DlmsClient(
        transport=line_of(job),
        authentication=authentication,
        encryption_key=bytes.fromhex(job["ek"]) if "ek" in job else None,
        authentication_key=bytes.fromhex(job["ak"]) if "ak" in job else None,
        security_suite=job.get("suite", 0),
        client_system_title=bytes.fromhex(job["title"]) if "title" in job else None,
        client_initial_invocation_counter=job.get("counter", 1),
        max_pdu_size=job.get("pdu_size", 65535),
        connection_settings=DlmsConnectionSettings(use_rlrq_rlre=job.get("release") != "none"),
    )


def attribute(kind: int, obis: str, number: int) -> cosem.CosemAttribute:
    return cosem.CosemAttribute(Kind(kind), cosem.Obis.from_string(obis), number)


def plain(value: Any) -> Any:
    """A value of its parser as JSON, so that it can be compared with ours."""
    if isinstance(value, (bytes, bytearray)):
        return "x" + bytes(value).hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, (int, float)) or value is None:
        return value
    moment, _status = value
    return f"t{int(moment.timestamp())}"


def clock(client: DlmsClient) -> str:
    return bytes(client.get(attribute(Kind.CLOCK, "0-0:1.0.0.255", 2))).hex()


def register(client: DlmsClient) -> list[int]:
    value = client.get(attribute(Kind.REGISTER, ENERGY, 2))
    unit = client.get(attribute(Kind.REGISTER, ENERGY, 3))
    return [int.from_bytes(bytes(value)[1:], "big"), bytes(unit)[-1]]


def object_list(client: DlmsClient) -> list[list[Any]]:
    octets = bytes(client.get(attribute(Kind.ASSOCIATION_LN, "0-0:40.0.0.255", 2)))
    return [
        [int(item.interface), item.version, item.logical_name.to_string(".")]
        for item in AssociationObjectListParser.parse_bytes(octets)
    ]


def objects(client: DlmsClient) -> int:
    return len(object_list(client))


def chosen_range(since: str, until: str) -> RangeDescriptor:
    return RangeDescriptor(
        restricting_object=CaptureObject(
            cosem_attribute=attribute(Kind.CLOCK, "0-0:1.0.0.255", 2), data_index=0
        ),
        from_value=dt.datetime.fromisoformat(since),
        to_value=dt.datetime.fromisoformat(until),
    )


def rows_of(octets: bytes, columns: int) -> list[Any]:
    capture = [attribute(Kind.CLOCK, "0-0:1.0.0.255", 2)]
    capture += [attribute(Kind.REGISTER, ENERGY, 2)] * (columns - 1)
    rows = ProfileGenericBufferParser(capture, 15).parse_bytes(octets)
    return [[None if cell is None else cell.value for cell in row] for row in rows]


def by_range(client: DlmsClient, since: str, until: str) -> list[Any]:
    octets = client.get(attribute(Kind.PROFILE_GENERIC, PROFILE, 2), chosen_range(since, until))
    rows = rows_of(bytes(octets), octets[3])
    return [len(rows), rows[0][0].isoformat(), rows[-1][2]]


def by_entry(client: DlmsClient) -> list[Any]:
    chosen = EntryDescriptor(from_entry=3, to_entry=9)
    octets = client.get(attribute(Kind.PROFILE_GENERIC, PROFILE, 2), chosen)
    rows = rows_of(bytes(octets), octets[3])
    return [len(rows), rows[0][0].isoformat()]


def write(client: DlmsClient) -> int:
    limit = attribute(Kind.REGISTER, LIMIT, 2)
    before = bytes(client.get(limit))
    number = int.from_bytes(before[1:], "big") + 1
    client.set(limit, before[:1] + number.to_bytes(2, "big"))
    return int.from_bytes(bytes(client.get(limit))[1:], "big") - number + 1


def denied_write(client: DlmsClient) -> str:
    """What it says of a SET that the meter refuses."""
    answer = client.set(attribute(Kind.REGISTER, ENERGY, 2), b"\x06\x00\x00\x00\x00")
    return str(answer.result.name)


def act(client: DlmsClient) -> bool:
    breaker = cosem.Obis.from_string("0-0:96.3.10.255")
    client.action(cosem.CosemMethod(Kind.DISCONNECT_CONTROL, breaker, 1), b"\x0f\x00")
    return True


def many(client: DlmsClient) -> int:
    wanted = [
        cosem.CosemAttributeWithSelection(attribute(Kind.REGISTER, f"1-0:{c}.8.0.255", 2), None)
        for c in (1, 2)
    ]
    return len(client.get_many(wanted).response_data)


def walk(client: DlmsClient, readable: list[list[Any]]) -> list[list[Any]]:
    """Every attribute, decoded by its A-XDR parser."""
    found: list[list[Any]] = []
    for class_id, name, number in readable:
        try:
            octets = bytes(client.get(cosem.CosemAttribute(class_id, obis_of(name), number)))
        except Exception as error:  # noqa: BLE001 - what it cannot take is the result
            found.append([class_id, name, number, None, f"get: {error!r}"])
            continue
        try:
            found.append([class_id, name, number, plain(utils.parse_as_dlms_data(octets)), ""])
        except Exception as error:  # noqa: BLE001 - what it cannot take is the result
            found.append([class_id, name, number, None, f"parse: {error!r}"])
    return found


def obis_of(name: str) -> cosem.Obis:
    return cosem.Obis(*(int(part) for part in name.split(".")))


WORK: dict[str, Callable[..., Any]] = {
    "clock": clock, "register": register, "objects": objects, "by_range": by_range, "set": write,
    "action": act, "many": many, "by_entry": by_entry, "object_list": object_list, "walk": walk,
    "denied_write": denied_write,
}  # fmt: skip


def failure(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return f"{type(error).__name__}: {error} ({where})"


def run(job: Job) -> dict[str, Any]:
    out: dict[str, Any] = {}
    TAGS.clear()
    client = client_of(job)
    client.connect()
    try:
        client.associate()
        out["associated"] = True
        for each in job["work"]:
            name, *given = [each] if isinstance(each, str) else each
            out[name] = WORK[name](client, *given)
        for name, *given in job.get("tries", ()):
            try:
                done = WORK[name](client, *given)
            except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
                done = {"failed": failure(error)}
                # Its state machine stands still after an error; the association does not.
                client.dlms_connection.clear_buffer()
                client.dlms_connection.state.current_state = state.READY
            out.setdefault("tries", []).append(done)
        client.release_association()
        client.disconnect()
        out["released"] = True
        out["tags"] = sorted(TAGS)
    finally:
        if (line := getattr(client.transport.io, "tcp_socket", None)) is not None:
            line.close()
    return out


def translated(job: Job) -> dict[str, Any]:
    """Each APDU through its classes and back to octets; a value that one carries, decoded."""
    out = []
    for octets in job["translate"]:
        found: dict[str, Any] = {}
        try:
            parsed = XDlmsApduFactory.apdu_from_bytes(bytes.fromhex(octets))
            found["class"] = type(parsed).__name__
            if found["class"] in {"GetResponseNormal", "SetRequestNormal"}:
                found["value"] = plain(utils.parse_as_dlms_data(bytes(parsed.data)))
            found["back"] = bytes(parsed.to_bytes()).hex()
        except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
            found["failed"] = failure(error)
        out.append(found)
    return {"translated": out}


def main() -> None:
    for line in sys.stdin:
        try:
            job = json.loads(line)
            result = translated(job) if "translate" in job else run(job)
        except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
            result = {"failed": failure(error)}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
