"""A Gurux client in a process of its own, speaking APDUs over pipes.

Reads one JSON line with what to do; then writes `APDU <hex>` and reads a JSON list of answering
APDUs in hexadecimal, until it writes `RESULT <json>`. The package itself imports nothing of Gurux.
"""

import contextlib
import io
import json
import sys
import time

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.ecdsa.GXPrivateKey import GXPrivateKey
from gurux_dlms.ecdsa.GXPublicKey import GXPublicKey
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient


def wrap(apdu: bytes, source: int, target: int) -> bytes:
    head = b"".join(n.to_bytes(2, "big") for n in (1, source, target, len(apdu)))
    return head + apdu


class Peer:
    def __init__(self, job: dict) -> None:
        self.job = job
        client = GXDLMSSecureClient(
            not job.get("short_names"),
            job["client"],
            1,
            Authentication(job["mechanism"]),
            bytearray.fromhex(job["secret"]) if job["secret"] else None,
            InterfaceType.WRAPPER,
        )
        client.maxReceivePDUSize = job.get("pdu_size", 0xFFFF)
        if job.get("title"):
            client.ciphering.systemTitle = bytes.fromhex(job["title"])
        if job.get("ek"):
            client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
            client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
            client.ciphering.securitySuite = SecuritySuite(job.get("suite", 0))
            client.ciphering.invocationCounter = job.get("counter", 1)
        if job.get("security"):
            client.ciphering.security = Security(job["security"])
        if job.get("signing"):
            public = GXPublicKey.fromRawBytes(bytes.fromhex(job["peer_signing"]))
            private = GXPrivateKey.fromRawBytes(bytes.fromhex(job["signing"]))
            client.ciphering.signingKeyPair = (public, private)
            client.settings.useCustomChallenge = True
            client.settings.ctoSChallenge = bytearray(range(32))  # its own would be too short
        if job.get("dedicated"):
            client.ciphering.dedicatedKey = bytes.fromhex(job["dedicated"])
        if job.get("conformance") is not None:
            client.proposedConformance = Conformance(job["conformance"])
        client.useProtectedRelease = True
        if job.get("gbt_window"):
            client.settings.gbtWindowSize = job["gbt_window"]
        # Its block transfer reads an attribute that its settings never had.
        type(client.settings).blockNumber = property(lambda settings: settings.blockIndex)
        self.client = client
        self.backlog: list[bytes] = []

    def exchange(self, apdu: bytes) -> list[bytes]:
        real = sys.__stdout__
        assert real is not None
        real.write(f"APDU {apdu.hex()}\n")
        real.flush()
        return [bytes.fromhex(line) for line in json.loads(sys.stdin.readline())]

    def send(self, frames: object, reply: GXReplyData) -> None:
        if not isinstance(frames, list):
            frames = [frames]
        flat = [f for frame in frames for f in (frame if isinstance(frame, list) else [frame])]
        for frame in flat:
            reply.clear()
            self.one(bytes(frame), reply)
            while reply.isMoreData():
                if reply.isStreaming() and self.backlog:
                    self.feed(self.backlog.pop(0), reply)
                    continue
                more = self.client.receiverReady(reply)
                if more is None:
                    break
                self.one(bytes(more), reply)

    def one(self, frame: bytes, reply: GXReplyData) -> None:
        answers = self.exchange(frame[8:])
        if not answers:
            return
        self.backlog += answers[1:]
        self.feed(answers[0], reply)

    def feed(self, apdu: bytes, reply: GXReplyData) -> None:
        buffer = GXByteBuffer(wrap(apdu, 1, self.job["client"]))
        self.client.getData(buffer, reply, None)
        if reply.error:
            raise RuntimeError(f"error {reply.error}")

    def run(self) -> dict:
        client, reply, out = self.client, GXReplyData(), {}
        job_names = self.job.get("short_names") or {}
        self.send(client.aarqRequest(), reply)
        client.parseAareResponse(reply.data)
        out["associated"] = True
        if self.job["mechanism"] > 1:
            self.send(client.getApplicationAssociationRequest(), reply)
            client.parseApplicationAssociationResponse(reply.data)
            out["authenticated"] = True
        for name, index in self.job.get("get", []):
            target = {
                "register": GXDLMSRegister("1.0.1.8.0.255"),
                "clock": GXDLMSClock("0.0.1.0.0.255"),
                "data": GXDLMSData("0.0.96.1.0.255"),
                "profile": GXDLMSProfileGeneric("1.0.99.1.0.255"),
                "association": GXDLMSAssociationLogicalName("0.0.40.0.0.255"),
            }[name]
            target.shortName = job_names.get(name, 0)
            try:
                self.send(client.read(target, index)[0], reply)
            except RuntimeError as error:
                out[name] = str(error)
                continue
            value = reply.value
            out[name] = len(value) if name == "profile" else str(value)
        if "set" in self.job:
            data = GXDLMSData("0.0.96.1.0.255")
            data.value = bytearray.fromhex(self.job["set"])
            data.setDataType(2, DataType.OCTET_STRING)
            data.shortName = job_names.get("data", 0)
            self.send(client.write(data, 2), reply)
            out["set"] = True
        if self.job.get("action"):
            breaker = GXDLMSDisconnectControl("0.0.96.3.10.255")
            self.send(client.method(breaker, 1, 0, DataType.INT8), reply)
            out["action"] = True
        if self.job.get("list"):
            register, clock = GXDLMSRegister("1.0.1.8.0.255"), GXDLMSClock("0.0.1.0.0.255")
            register.shortName, clock.shortName = (
                job_names.get("register", 0),
                job_names.get("clock", 0),
            )
            self.send(client.readList([(register, 2), (clock, 2)]), reply)
            out["list"] = len(reply.value)
        self.send(client.releaseRequest(), reply)
        out["released"] = True
        return out


def main() -> None:
    while line := sys.stdin.readline():
        job = json.loads(line)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                result = Peer(job).run()
                taken = []
                for session in range(1, job.get("sessions", 1)):
                    started = time.process_time()
                    result = Peer(job | {"counter": 1 + 50 * session}).run()
                    taken.append((time.process_time() - started) * 1e3)
                if taken:
                    result["cpu_ms"] = min(taken)
            except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
                result = {"failed": f"{type(error).__name__}: {error}"}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
