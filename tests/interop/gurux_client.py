"""A resident gurux-dlms client (GPL-2.0, a test dependency only): JSON jobs in, results out.

A job names a line, a way to associate and pieces of work. What Gurux itself cannot do ends in a
result `failed`, never in the end of the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from typing import Any

from gurux_dlms import GXByteBuffer, GXDLMSTranslator, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security, TranslatorOutputType
from gurux_dlms.objects import GXDLMSData
from gurux_dlms.secure import GXDLMSSecureClient

from tests.interop.gurux_link import Link
from tests.interop.gurux_work import WORK


def failure(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return f"{type(error).__name__}: {error} ({where})"


def session(job: dict[str, Any]) -> dict[str, Any]:
    """One association: `work` must succeed; what `tries` raises is its result."""
    link = Link(job)
    out: dict[str, Any] = {}
    try:
        link.associate()
        out["associated"] = True
        if link.signed_on:
            out["identification"] = link.signed_on
        for each in job["work"]:
            name, *given = [each] if isinstance(each, str) else each
            out[name] = WORK[name](link, *given)
        for each in job.get("tries", ()):
            name, *given = each
            try:
                done = WORK[name](link, *given)
            except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
                done = {"failed": failure(error)}
            out.setdefault("tries", []).append(done)
        link.release()
        out["released"] = True
        out["tags"] = sorted(link.tags)
    finally:
        link.close()
    return out


def pushed(job: dict[str, Any]) -> dict[str, Any]:
    """What Gurux makes of the octets of a push."""
    client = GXDLMSSecureClient(True, 102, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    if "ek" in job:
        client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
        client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(bytes.fromhex(job["push"])), reply, notify)
    value = notify.value if notify.value is not None else reply.value
    return {"values": [str(v) for v in value]}


def reported(job: dict[str, Any]) -> dict[str, Any]:
    """What Gurux makes of an event notification of a known Data object."""
    client = GXDLMSSecureClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    known = GXDLMSData(job["object"])
    values: list[Any] = []
    # Gurux 1.0.203 makes the event of the wrong arguments, which reads and misses what follows.
    known.settings = client.settings
    known.setValue = lambda _settings, event: values.append(event.value)
    client.settings.objects.append(known)
    if "ek" in job:
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
        client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
        client.settings.sourceSystemTitle = bytes.fromhex(job["meter"])
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(bytes.fromhex(job["report"])), reply, notify)
    found: list[Any] = []
    client.parseReport(notify if notify.command else reply, found)
    (item, attribute), *_ = found
    return {"object": item.logicalName, "attribute": attribute, "value": values[0]}


def translated(job: dict[str, Any]) -> dict[str, Any]:
    """Each APDU as the XML of Gurux' translator, and back to octets."""
    translator = GXDLMSTranslator(TranslatorOutputType.SIMPLE_XML)
    out = []
    for octets in job["translate"]:
        found: dict[str, Any] = {}
        try:
            found["xml"] = translator.pduToXml(GXByteBuffer(bytes.fromhex(octets)))
            back = translator.xmlToPdu(found["xml"])
            found["back"] = bytes(back.array() if isinstance(back, GXByteBuffer) else back).hex()
        except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
            found["failed"] = failure(error)
        out.append(found)
    return {"translated": out}


def run(job: dict[str, Any]) -> dict[str, Any]:
    if "push" in job:
        return pushed(job)
    if "report" in job:
        return reported(job)
    if "translate" in job:
        return translated(job)
    return session(job)


def main() -> None:
    for line in sys.stdin:
        result: dict[str, Any]
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                result = run(json.loads(line))
            except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
                result = {"failed": failure(error)}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
