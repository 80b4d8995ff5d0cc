"""The DLMS/COSEM client: reads any meter, ours or not."""

from blathy.client.address import AddressError, MeterAddress, parse_address
from blathy.client.cache import FileObjectCache, ObjectCache
from blathy.client.counters import (
    CounterStore,
    FileCounterStore,
    FileKeyStore,
    KeyStore,
    VolatileCounterStore,
)
from blathy.client.event_logs import MeterEvent, event_logs, read_events
from blathy.client.firmware import transfer_image
from blathy.client.meter import Meter
from blathy.client.protected import ProtectedAccess, read_compact
from blathy.client.push_setup import PushSetup, push_now, push_setup, set_push
from blathy.client.security_setup import (
    activate_security,
    change_keys,
    change_password,
    security_policy,
)
from blathy.client.switching import SwitchState, disconnect, reconnect, switch_state, switches
from blathy.client.sync import SyncMeter
from blathy.client.values import ObjectRefused, ProfileReading, ProfileRow, Reading, Value
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
    "FileObjectCache",
    "Garbled",
    "KeySet",
    "KeyStore",
    "Meter",
    "MeterAddress",
    "MeterError",
    "MeterEvent",
    "ObjectCache",
    "ObjectRefused",
    "ProfileReading",
    "ProfileRow",
    "ProtectedAccess",
    "PushSetup",
    "Reading",
    "Refused",
    "SwitchState",
    "SyncMeter",
    "TimedOut",
    "Unreachable",
    "Untrusted",
    "Value",
    "VolatileCounterStore",
    "activate_security",
    "change_keys",
    "change_password",
    "disconnect",
    "event_logs",
    "parse_address",
    "push_now",
    "push_setup",
    "read_compact",
    "read_events",
    "reconnect",
    "security_policy",
    "set_push",
    "switch_state",
    "switches",
    "transfer_image",
]
