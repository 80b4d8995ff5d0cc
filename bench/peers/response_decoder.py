"""Deciphers and decodes register responses with a peer library, in a process of its own.

`python response_decoder.py gurux|dlms_cosem`: a job as JSON on standard input (`ek`, `ak`, `client`
and `meter` title and the `responses`, all in hexadecimal: one, and then rounds of a hundred);
prints the responses a second of CPU in the best round and the last value.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

ROUND = 100
Decode = Callable[[bytes], Any]


def gurux(job: dict[str, Any]) -> Decode:
    from gurux_dlms import GXByteBuffer, GXReplyData
    from gurux_dlms.enums import Authentication, InterfaceType, Security
    from gurux_dlms.secure import GXDLMSSecureClient

    client = GXDLMSSecureClient(True, 16, 1, Authentication.HIGH_GMAC, None, InterfaceType.WRAPPER)
    client.ciphering.systemTitle = bytes.fromhex(job["client"])
    client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
    client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.settings.sourceSystemTitle = bytes.fromhex(job["meter"])

    def decode(apdu: bytes) -> Any:
        head = b"".join(n.to_bytes(2, "big") for n in (1, 1, 16, len(apdu)))
        reply = GXReplyData()
        client.getData(GXByteBuffer(head + apdu), reply, None)
        return reply.value

    return decode


def dlms_cosem(job: dict[str, Any]) -> Decode:
    import logging

    import structlog
    from dlms_cosem.connection import DlmsConnection, XDlmsApduFactory
    from dlms_cosem.security import NoSecurityAuthentication
    from dlms_cosem.utils import parse_as_dlms_data

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    connection = DlmsConnection(
        authentication=NoSecurityAuthentication(),
        client_system_title=bytes.fromhex(job["client"]),
        meter_system_title=bytes.fromhex(job["meter"]),
        global_encryption_key=bytes.fromhex(job["ek"]),
        global_authentication_key=bytes.fromhex(job["ak"]),
    )

    def decode(apdu: bytes) -> Any:
        opened = connection.unprotect(XDlmsApduFactory.apdu_from_bytes(bytearray(apdu)))
        return parse_as_dlms_data(opened.data)

    return decode


def main(peer: str) -> None:
    job = json.load(sys.stdin)
    decode = {"gurux": gurux, "dlms_cosem": dlms_cosem}[peer](job)
    responses = [bytes.fromhex(each) for each in job["responses"]]
    value: Any = None
    with contextlib.redirect_stdout(io.StringIO()):  # Gurux prints as it works
        decode(responses[0])
        rounds = []
        for first in range(1, len(responses), ROUND):
            begin = time.process_time()
            for response in responses[first : first + ROUND]:
                value = decode(response)
            rounds.append(ROUND / (time.process_time() - begin))
    print(json.dumps({"per_s": max(rounds), "value": int(value)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
