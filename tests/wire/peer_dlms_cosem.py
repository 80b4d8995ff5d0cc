"""A dlms-cosem client in a process of its own, speaking APDUs over pipes (see peer_gurux)."""

import json
import logging
import sys
import time

import structlog
from dlms_cosem import cosem, enumerations
from dlms_cosem.client import DlmsClient
from dlms_cosem.connection import DlmsConnectionSettings
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class PipeTransport:
    client_logical_address = 16
    server_logical_address = 1
    io = None
    timeout = 10

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def send_request(self, octets: bytes) -> bytes:
        print(f"APDU {bytes(octets).hex()}", flush=True)
        answers = json.loads(sys.stdin.readline())
        return bytes.fromhex(answers[0]) if answers else b""


def run(job: dict) -> dict:
    authentication = {
        0: NoSecurityAuthentication,
        1: lambda: LowLevelSecurityAuthentication(secret=bytes.fromhex(job["secret"])),
        5: HighLevelSecurityGmacAuthentication,
    }[job["mechanism"]]()
    client = DlmsClient(
        transport=PipeTransport(),
        authentication=authentication,
        encryption_key=bytes.fromhex(job["ek"]) if job.get("ek") else None,
        authentication_key=bytes.fromhex(job["ak"]) if job.get("ak") else None,
        security_suite=job.get("suite", 0),
        client_system_title=bytes.fromhex(job["title"]) if job.get("title") else None,
        client_initial_invocation_counter=job.get("counter", 1),
        max_pdu_size=job.get("pdu_size", 65535),
        connection_settings=DlmsConnectionSettings(),
    )
    out: dict = {}
    client.associate()
    out["associated"] = True
    register = cosem.CosemAttribute(
        enumerations.CosemInterface.REGISTER, cosem.Obis(1, 0, 1, 8, 0), 2
    )
    profile = cosem.CosemAttribute(
        enumerations.CosemInterface.PROFILE_GENERIC, cosem.Obis(1, 0, 99, 1, 0), 2
    )
    data = cosem.CosemAttribute(enumerations.CosemInterface.DATA, cosem.Obis(0, 0, 96, 1, 0), 2)
    out["register"] = client.get(register).hex()
    out["profile"] = client.get(profile).hex()
    if "sessions" in job:
        client.release_association()
        return out
    out["set"] = client.set(data, bytes.fromhex("090161")).result.value
    many = client.get_many([cosem.CosemAttributeWithSelection(register, None) for _ in range(2)])
    out["list"] = len(many.results) if hasattr(many, "results") else str(many)
    client.action(
        cosem.CosemMethod(
            enumerations.CosemInterface.DISCONNECT_CONTROL, cosem.Obis(0, 0, 96, 3, 10), 1
        ),
        bytes.fromhex("0f00"),
    )
    out["action"] = True
    client.release_association()
    out["released"] = True
    return out


def main() -> None:
    while line := sys.stdin.readline():
        job = json.loads(line)
        try:
            result = run(job)
            taken = []
            for session in range(1, job.get("sessions", 1)):
                started = time.process_time()
                result = run(job | {"counter": 1 + 50 * session})
                taken.append((time.process_time() - started) * 1e3)
            if taken:
                result["cpu_ms"] = min(taken)
        except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
            result = {"failed": f"{type(error).__name__}: {error}"}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
