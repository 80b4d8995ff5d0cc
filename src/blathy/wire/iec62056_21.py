"""IEC 62056-21 (the optical and serial readout, "IEC 1107"): client and server cores.

Theory of operation. The reader sends a request (`/?address!`), the meter identifies itself
(`/XXXZident`); Z names the baud rate and with it the mode: A (no change), B (change without being
asked), C (the reader answers ACK V Z Y and chooses readout or programming), E (C with `\\2` in
the identification: V = 2, Y = 2 hands the line over to HDLC). A readout is one block
STX ... `!` CR LF ETX BCC. In programming mode both sides exchange SOH command STX data ETX BCC,
answered by a data block, ACK, NAK (repeat) or the break B0. BCC is the XOR of everything after the
first SOH or STX up to and including ETX or EOT.

The mode table and the tables of states are the whole protocol; characters have seven bits and the
parity bit, where a line shows it, is cut off. The rooms above import it from here.
"""

from blathy.wire.iec62056_21_client import (
    CLIENT_TABLE,
    ClientSettings,
    ClientState,
    Iec21Client,
)
from blathy.wire.iec62056_21_messages import (
    ACK,
    BAUD_MODE_C,
    BREAK,
    ETX,
    INITIAL_BAUD,
    Accepted,
    Answer,
    BaudChange,
    Broken,
    DataSet,
    Event,
    HandOver,
    Identification,
    Identified,
    Mode,
    NoAnswer,
    PasswordRequest,
    Purpose,
    Readout,
    SignedOn,
    bcc,
    block,
    command,
    parse_data_sets,
)
from blathy.wire.iec62056_21_server import (
    SERVER_TABLE,
    CommandRefused,
    Device,
    Iec21Server,
    ServerSettings,
    ServerState,
)
from blathy.wire.vdew_profile import (
    ProfileBlock,
    parse_profile,
)

__all__ = [
    "ACK",
    "BAUD_MODE_C",
    "BREAK",
    "CLIENT_TABLE",
    "ETX",
    "INITIAL_BAUD",
    "SERVER_TABLE",
    "Accepted",
    "Answer",
    "BaudChange",
    "Broken",
    "ClientSettings",
    "ClientState",
    "CommandRefused",
    "DataSet",
    "Device",
    "Event",
    "HandOver",
    "Identification",
    "Identified",
    "Iec21Client",
    "Iec21Server",
    "Mode",
    "NoAnswer",
    "PasswordRequest",
    "ProfileBlock",
    "Purpose",
    "Readout",
    "ServerSettings",
    "ServerState",
    "SignedOn",
    "bcc",
    "block",
    "command",
    "parse_data_sets",
    "parse_profile",
]
