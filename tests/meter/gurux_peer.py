"""An independent client in its own process: gurux-dlms (GPL-2.0, a test dependency only).

Reads a job as JSON from standard input, prints what it read as JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import sys
from typing import Any

from gurux_dlms import GXByteBuffer, GXDate, GXDateTime, GXReplyData, GXTime, objects
from gurux_dlms.enums import Authentication, DataType, InterfaceType, ObjectType, Security
from gurux_dlms.objects import GXDLMSClock, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient


class Peer:
    def __init__(self, job: dict[str, Any]) -> None:
        auth = {
            "none": Authentication.NONE,
            "lls": Authentication.LOW,
            "hls5": Authentication.HIGH_GMAC,
        }
        self.client = GXDLMSSecureClient(
            True, job["client"], 1, auth[job["auth"]], None, InterfaceType.WRAPPER
        )
        if job["auth"] == "lls":
            self.client.password = job["password"].encode()
        if "ek" in job:
            self.client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            self.client.ciphering.systemTitle = bytearray(b"GRX00001")
            self.client.ciphering.blockCipherKey = bytearray.fromhex(job["ek"])
            self.client.ciphering.authenticationKey = bytearray.fromhex(job["ak"])
            self.client.ciphering.invocationCounter = job.get("counter", 1)
        self.socket = socket.create_connection((job.get("host", "127.0.0.1"), job["port"]), 120)

    def exchange(self, data: Any, reply: GXReplyData) -> None:
        if not data:
            return
        if isinstance(data, list):
            for part in data:
                reply.clear()
                self.exchange(part, reply)
            return
        self.socket.sendall(bytes(data))
        received = GXByteBuffer()
        notify = GXReplyData()
        while not self.client.getData(received, reply, notify):
            received.set(self.socket.recv(65536))
        if reply.error:
            raise RuntimeError(f"error {reply.error}")
        while reply.isMoreData():
            request = self.client.receiverReady(reply)
            self.socket.sendall(bytes(request))
            received = GXByteBuffer()
            while not self.client.getData(received, reply, notify):
                received.set(self.socket.recv(65536))

    def associate(self) -> None:
        reply = GXReplyData()
        self.exchange(self.client.aarqRequest(), reply)
        self.client.parseAareResponse(reply.data)
        reply.clear()
        if self.client.authentication > Authentication.LOW:
            for request in self.client.getApplicationAssociationRequest():
                self.exchange(request, reply)
            self.client.parseApplicationAssociationResponse(reply.data)

    def objects(self) -> list[list[Any]]:
        reply = GXReplyData()
        self.exchange(self.client.getObjectsRequest(), reply)
        found = self.client.parseObjects(reply.data, True)
        return [[int(o.objectType), o.logicalName, o.version] for o in found]

    def read(self, item: Any, attribute: int) -> Any:
        reply = GXReplyData()
        self.exchange(self.client.read(item, attribute), reply)
        return self.client.updateValue(item, attribute, reply.value)

    def attributes(self, kind: str, obis: str, numbers: list[int]) -> list[str]:
        """Attributes of an object as that library shows them."""
        item = getattr(objects, kind)(obis)
        for number in numbers:
            self.read(item, number)
        return [str(item.getValues()[number - 1]) for number in numbers]

    def call(self, kind: str, obis: str, method: int, octets: str, data_type: int) -> str:
        """What a method returns, in hex; the parameter in hex where it is an octet-string."""
        item = getattr(objects, kind)(obis)
        value = bytearray.fromhex(octets) if data_type == DataType.OCTET_STRING else int(octets)
        reply = GXReplyData()
        self.exchange(self.client.method(item, method, value, DataType(data_type)), reply)
        return bytes(reply.data.array()[reply.data.position :]).hex()

    def switch(self, obis: str, functions: list[list[Any]]) -> None:
        """Switch functions on or off, by name."""
        item = objects.GXDLMSFunctionControl(obis)
        self.exchange(item.setFunctionStatus(self.client, functions), GXReplyData())

    def insert(self, obis: str, script: list[Any], hour: int) -> None:
        """Let a schedule run a script every day at an hour."""
        entry = objects.GXDLMSScheduleEntry()
        entry.index, entry.enable = 1, True
        entry.logicalName, entry.scriptSelector = script
        entry.switchTime = GXTime(dt.datetime(2000, 1, 1, hour, tzinfo=dt.UTC))
        entry.execWeekdays, entry.execSpecDays = 0x7F, "0"
        entry.beginDate = GXDate(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        entry.endDate = GXDate(dt.datetime(2026, 12, 31, tzinfo=dt.UTC))
        item = objects.GXDLMSSchedule(obis)
        self.exchange(item.insert(self.client, entry), GXReplyData())

    def profile(self, obis: str, since: str, until: str) -> list[list[Any]]:
        item = GXDLMSProfileGeneric(obis)
        self.read(item, 3)
        start = GXDateTime(dt.datetime.fromisoformat(since))
        end = GXDateTime(dt.datetime.fromisoformat(until))
        reply = GXReplyData()
        self.exchange(self.client.readRowsByRange(item, start, end), reply)
        rows = self.client.updateValue(item, 2, reply.value)
        return [[c.value.isoformat() if hasattr(c, "value") else c for c in row] for row in rows]

    def all_attributes(self) -> list[list[Any]]:
        """Read every attribute that the object list grants; what went wrong."""
        wrong: list[list[Any]] = []
        for item in self.client.objects:
            for number in range(1, item.getAttributeCount() + 1):
                if item.getAccess(number) & 1 == 0:
                    continue
                if item.objectType == ObjectType.PROFILE_GENERIC and number == 2:
                    continue
                try:
                    self.read(item, number)
                except Exception as error:  # noqa: BLE001 - what gurux cannot take is the result
                    wrong.append([int(item.objectType), item.logicalName, number, repr(error)])
        return wrong


def main() -> None:
    job = json.load(sys.stdin)
    peer = Peer(job)
    peer.associate()
    result: dict[str, Any] = {"objects": peer.objects()}
    if job.get("walk"):
        result["wrong"] = peer.all_attributes()
    clock = GXDLMSClock(job["clock"])
    result["clock"] = peer.read(clock, 2).value.isoformat()
    if "register" in job:
        register = GXDLMSRegister(job["register"])
        peer.read(register, 3)
        result["register"] = peer.read(register, 2)
        result["unit"] = int(register.unit)
    if "profile" in job:
        result["rows"] = peer.profile(job["profile"], job["since"], job["until"])
    if "insert" in job:
        peer.insert(*job["insert"])
    if "switch" in job:
        peer.switch(*job["switch"])
    result["called"] = [peer.call(*parts) for parts in job.get("call", ())]
    result["attributes"] = [peer.attributes(*parts) for parts in job.get("attributes", ())]
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
