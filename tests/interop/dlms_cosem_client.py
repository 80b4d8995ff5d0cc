"""A resident dlms-cosem client (Business Source licence, a test dependency only): jobs as JSON."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import Any

import structlog
from dlms_cosem import cosem, enumerations
from dlms_cosem.client import DlmsClient
from dlms_cosem.connection import DlmsConnectionSettings
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.hdlc.frames import HDLC_FLAG as FLAG
from dlms_cosem.hdlc.state import NEED_DATA
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, TcpTransport
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)


class WholeFrames(HdlcTransport):
    """Its HDLC with a reader that takes frames by their length.

    The reader of dlms-cosem 25.1.0 reads to the next 7E. Its parser copes with a 7E inside a frame
    by asking for more; but where the octet before the closing flag is 7E too (the last one of the
    check sequence, one frame in 256), or 7E follows 7E, the reader takes the second for the
    beginning of another frame and waits until it times out. Everything else is its own: parsing,
    check sequences, sequence numbers, segments.
    """

    def recv_frame(self) -> bytes:
        head = self.io.recv(3)
        return head + self.io.recv(int.from_bytes(head[1:3], "big") % 2048 + 2 - len(head))

    def next_event(self) -> Any:
        link = self.hdlc_connection
        while (event := link.next_event()) is NEED_DATA:
            if FLAG not in link.buffer[link.buffer_search_position :]:
                link.receive_data(self.recv_frame())
        return event


structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
Kind = enumerations.CosemInterface


def attribute(kind: Kind, obis: str, number: int) -> cosem.CosemAttribute:
    return cosem.CosemAttribute(kind, cosem.Obis.from_string(obis), number)


def run(job: dict[str, Any]) -> dict[str, Any]:
    authentication = {
        0: NoSecurityAuthentication,
        1: lambda: LowLevelSecurityAuthentication(secret=bytes.fromhex(job["secret"])),
        5: HighLevelSecurityGmacAuthentication,
    }[job["mechanism"]]()
    line = BlockingTcpIO("127.0.0.1", job["port"])
    hdlc = job.get("framing") == "hdlc"
    transport = (WholeFrames if hdlc else TcpTransport)(job["client"], 1, line)
    client = DlmsClient(
        transport=transport,
        authentication=authentication,
        encryption_key=bytes.fromhex(job["ek"]) if "ek" in job else None,
        authentication_key=bytes.fromhex(job["ak"]) if "ak" in job else None,
        security_suite=job.get("suite", 0),
        client_system_title=bytes.fromhex(job["title"]) if "title" in job else None,
        client_initial_invocation_counter=job.get("counter", 1),
        max_pdu_size=job.get("pdu_size", 65535),
        connection_settings=DlmsConnectionSettings(),
    )
    out: dict[str, Any] = {}
    with client.session() as session:
        out["associated"] = True
        for work in job["work"]:
            out[work] = WORK[work](session, job)
    out["released"] = True
    return out


def clock(client: DlmsClient, _job: dict[str, Any]) -> str:
    octets = client.get(attribute(Kind.CLOCK, "0-0:1.0.0.255", 2))
    return bytes(octets).hex()


def register(client: DlmsClient, _job: dict[str, Any]) -> list[int]:
    value = client.get(attribute(Kind.REGISTER, "1-0:1.8.0.255", 2))
    unit = client.get(attribute(Kind.REGISTER, "1-0:1.8.0.255", 3))
    return [int.from_bytes(bytes(value)[1:], "big"), bytes(unit)[-1]]


def objects(client: DlmsClient, _job: dict[str, Any]) -> int:
    octets = bytes(client.get(attribute(Kind.ASSOCIATION_LN, "0-0:40.0.0.255", 2)))
    head = octets[1]
    return octets[2] if head == 0x81 else head if head < 0x80 else int.from_bytes(octets[2:4])


def by_range(client: DlmsClient, job: dict[str, Any]) -> int:
    chosen = RangeDescriptor(
        restricting_object=CaptureObject(
            cosem_attribute=attribute(Kind.CLOCK, "0-0:1.0.0.255", 2), data_index=0
        ),
        from_value=dt.datetime.fromisoformat(job["since"]),
        to_value=dt.datetime.fromisoformat(job["until"]),
    )
    profile = attribute(Kind.PROFILE_GENERIC, "1-0:99.1.0.255", 2)
    octets = bytes(client.get(profile, access_descriptor=chosen))
    return octets[1]


def write(client: DlmsClient, _job: dict[str, Any]) -> int:
    limit = attribute(Kind.REGISTER, "1-0:0.4.128.255", 2)
    before = bytes(client.get(limit))
    number = int.from_bytes(before[1:], "big") + 1
    client.set(limit, before[:1] + number.to_bytes(2, "big"))
    return int.from_bytes(bytes(client.get(limit))[1:], "big") - number + 1


def act(client: DlmsClient, _job: dict[str, Any]) -> bool:
    breaker = cosem.Obis.from_string("0-0:96.3.10.255")
    client.action(cosem.CosemMethod(Kind.DISCONNECT_CONTROL, breaker, 1), b"\x0f\x00")
    return True


def many(client: DlmsClient, _job: dict[str, Any]) -> int:
    wanted = [
        cosem.CosemAttributeWithSelection(attribute(Kind.REGISTER, f"1-0:{c}.8.0.255", 2), None)
        for c in (1, 2)
    ]
    return len(client.get_many(wanted).response_data)


WORK = {
    "clock": clock, "register": register, "objects": objects, "range": by_range, "set": write,
    "action": act, "list": many,
}  # fmt: skip


def main() -> None:
    for line in sys.stdin:
        try:
            result = run(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
            result = {"failed": f"{type(error).__name__}: {error}"}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
