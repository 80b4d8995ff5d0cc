"""The DLMS/COSEM client: reads any meter, ours or not."""

from blathy.client.address import AddressError, MeterAddress, parse_address
from blathy.client.cache import ObjectCache
from blathy.client.counters import (
    CounterStore,
    FileCounterStore,
    FileKeyStore,
    KeyStore,
    VolatileCounterStore,
)
from blathy.client.meter import Meter
from blathy.client.sync import SyncMeter
from blathy.client.values import ObjectRefused, ProfileReading, Reading, Value
from blathy.transport.errors import (
    DlmsError,
    Garbled,
    MeterError,
    Refused,
    TimedOut,
    Unreachable,
    Untrusted,
)
from blathy.wire.security import KeySet

__all__ = [
    "AddressError",
    "CounterStore",
    "DlmsError",
    "FileCounterStore",
    "FileKeyStore",
    "Garbled",
    "KeySet",
    "KeyStore",
    "Meter",
    "MeterAddress",
    "MeterError",
    "ObjectCache",
    "ObjectRefused",
    "ProfileReading",
    "Reading",
    "Refused",
    "SyncMeter",
    "TimedOut",
    "Unreachable",
    "Untrusted",
    "Value",
    "VolatileCounterStore",
    "parse_address",
]
