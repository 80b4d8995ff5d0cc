"""gurux-dlms or dlms-cosem in a process of its own: pushes (lines of hex) to values (JSON lines).

Run by test_push; nothing of ours is imported here.
"""

import datetime as dt
import json
import sys
from typing import Any


def plain(value: Any) -> Any:
    """Numbers, texts, hex of octets, lists; None for null-data."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "array"):
        return bytes(value.array()).hex()
    return int(value)


def by_gurux(octets: bytes) -> Any:
    from gurux_dlms import GXByteBuffer
    from gurux_dlms.internal._GXCommon import _GXCommon
    from gurux_dlms.internal._GXDataInfo import _GXDataInfo

    # The notification's head is read by hand: gurux gives its body to nobody but its own client.
    at = 6 if octets[5:7] == b"\x09\x0c" else 5
    at += 1 + octets[at]
    buffer = GXByteBuffer(octets[at:])
    return plain(_GXCommon.getData(None, buffer, _GXDataInfo()))


def by_dlms_cosem(octets: bytes) -> Any:
    from dlms_cosem.protocol.xdlms import DataNotification
    from dlms_cosem.utils import parse_as_dlms_data

    return plain(parse_as_dlms_data(DataNotification.from_bytes(octets).body))


READERS = {"gurux": by_gurux, "dlms_cosem": by_dlms_cosem}

if __name__ == "__main__":
    read = READERS[sys.argv[1]]
    for line in sys.stdin:
        try:
            print(json.dumps(read(bytes.fromhex(line))), flush=True)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises
            print(json.dumps({"gave up": str(error)}), flush=True)
