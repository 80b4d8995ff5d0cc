"""Decodes a profile with a peer library, in a process of its own (their licences stay there).

`python profile_decoder.py gurux|dlms_cosem rows|seconds|seconds-with-times FILE`

`rows` prints the decoded rows as JSON (octet-strings in hex, null as null); `seconds` prints the
median CPU seconds of decoding the file once, the second form with clock columns as datetimes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 5


def gurux(raw: bytes) -> list[list[Any]]:
    from gurux_dlms import GXByteBuffer, GXDLMSClient
    from gurux_dlms.internal._GXCommon import _GXCommon
    from gurux_dlms.internal._GXDataInfo import _GXDataInfo

    return list(_GXCommon.getData(GXDLMSClient().settings, GXByteBuffer(raw), _GXDataInfo()))


def gurux_times(raw: bytes) -> list[list[Any]]:
    from gurux_dlms import GXDLMSClient
    from gurux_dlms.enums import DataType

    return [[GXDLMSClient.changeType(row[0], DataType.DATETIME), *row[1:]] for row in gurux(raw)]


def dlms_cosem(raw: bytes) -> list[list[Any]]:
    from dlms_cosem.utils import parse_as_dlms_data

    return list(parse_as_dlms_data(raw))


def dlms_cosem_times(raw: bytes) -> list[list[Any]]:
    from dlms_cosem.cosem import CosemAttribute, Obis
    from dlms_cosem.enumerations import CosemInterface
    from dlms_cosem.parsers import ProfileGenericBufferParser

    clock = CosemAttribute(CosemInterface.CLOCK, Obis(0, 0, 1, 0, 0, 255), 2)
    others = [
        CosemAttribute(CosemInterface.REGISTER, Obis(1, 0, i, 8, 0, 255), 2) for i in range(1, 4)
    ]
    parser = ProfileGenericBufferParser([clock, *others], 15)
    return list(parser.parse_entries(dlms_cosem(raw)))


DECODERS: dict[tuple[str, bool], Callable[[bytes], list[list[Any]]]] = {
    ("gurux", False): gurux,
    ("gurux", True): gurux_times,
    ("dlms_cosem", False): dlms_cosem,
    ("dlms_cosem", True): dlms_cosem_times,
}


def plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | bool | float) else int(value)


def seconds(decode: Callable[[bytes], Any], raw: bytes) -> float:
    taken = []
    for _ in range(REPEATS):
        begin = time.process_time()
        decode(raw)
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def main(peer: str, what: str, file: str) -> None:
    raw = Path(file).read_bytes()
    decode = DECODERS[peer, what == "seconds-with-times"]
    if what == "rows":
        print(json.dumps([plain(row) for row in decode(raw)]))
    else:
        print(json.dumps(seconds(decode, raw)))


if __name__ == "__main__":
    main(*sys.argv[1:])
