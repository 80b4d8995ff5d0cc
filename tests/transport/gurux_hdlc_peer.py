"""An independent HDLC client in its own process: gurux-dlms (a test dependency only).

Arguments: port, physical address, largest information field. Prints JSON.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from gurux_dlms import GXByteBuffer, GXDLMSClient, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType
from gurux_dlms.objects import GXDLMSData, GXDLMSProfileGeneric, GXDLMSRegister


def main() -> None:
    port, physical, size = map(int, sys.argv[1:4])
    server = GXDLMSClient.getServerAddress(1, physical) if physical else 1
    client = GXDLMSClient(True, 16, server, Authentication.NONE, None, InterfaceType.HDLC)
    client.hdlcSettings.maxInfoTX = client.hdlcSettings.maxInfoRX = size
    sock = socket.create_connection(("127.0.0.1", port), 120)
    sock.settimeout(120)

    def exchange(data: Any, reply: GXReplyData) -> None:
        for part in data if isinstance(data, list) else [data]:
            reply.clear()
            send(part, reply)
            while reply.isMoreData():
                send(client.receiverReady(reply), reply)

    def send(part: Any, reply: GXReplyData) -> None:
        sock.sendall(bytes(part))
        received, notify = GXByteBuffer(), GXReplyData()
        while not client.getData(received, reply, notify):
            received.set(sock.recv(65536))

    def read(item: Any, attribute: int) -> Any:
        reply = GXReplyData()
        exchange(client.read(item, attribute), reply)
        return client.updateValue(item, attribute, reply.value)

    reply = GXReplyData()
    exchange(client.snrmRequest(), reply)
    client.parseUAResponse(reply.data)
    exchange(client.aarqRequest(), reply)
    client.parseAareResponse(reply.data)
    register = GXDLMSRegister("1.0.1.8.0.255")
    read(register, 3)
    energy = read(register, 2)
    serial = read(GXDLMSData("0.0.96.1.0.255"), 2)
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    read(profile, 3)
    rows = read(profile, 2)
    exchange(client.disconnectRequest(True), reply)
    found = {
        "energy": int(energy), "unit": int(register.unit), "serial": bytes(serial).decode(),
        "rows": len(rows), "last": int(rows[-1][1]),
        "sizes": [client.hdlcSettings.maxInfoTX, client.hdlcSettings.maxInfoRX],
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
