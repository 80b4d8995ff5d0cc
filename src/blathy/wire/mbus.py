"""Wired M-Bus (EN 13757-2 link layer, EN 13757-3 application layer), as the rooms above import it.

A telegram is a list of records; `MbusMaster` reads and writes one `MbusSlave` at a time. Nothing
but LocalProtocolError and RemoteProtocolError leaves these modules.
"""

from blathy.wire.mbus_frames import (
    ACK,
    Frame,
    FrameReader,
)
from blathy.wire.mbus_master import (
    Acknowledged,
    MasterEvent,
    MbusMaster,
    NoAnswer,
    Reading,
)
from blathy.wire.mbus_records import (
    Function,
    Medium,
    Record,
    Vif,
    datetime_bytes,
    datetime_seconds_bytes,
    decode_records,
    manufacturer_code,
    manufacturer_letters,
    record_bytes,
    require_information,
)
from blathy.wire.mbus_slave import (
    MbusSlave,
)
from blathy.wire.mbus_telegram import (
    Header,
    Telegram,
    decode_telegram,
)

__all__ = [
    "ACK",
    "Acknowledged",
    "Frame",
    "FrameReader",
    "Function",
    "Header",
    "MasterEvent",
    "MbusMaster",
    "MbusSlave",
    "Medium",
    "NoAnswer",
    "Reading",
    "Record",
    "Telegram",
    "Vif",
    "datetime_bytes",
    "datetime_seconds_bytes",
    "decode_records",
    "decode_telegram",
    "manufacturer_code",
    "manufacturer_letters",
    "record_bytes",
    "require_information",
]
