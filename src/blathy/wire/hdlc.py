"""The HDLC data link of DLMS/COSEM (IEC 62056-46), as the rooms above import it.

The primary station (client) holds the token: it sends with P = 1 and waits; the secondary (server)
answers and hands the token back with F = 1. `HdlcClient` is the primary for one server;
`HdlcServer` is one physical device with any number of logical devices and client links. Both take
bytes in any cut; what they want transmitted is collected by `data_to_send()`.
"""

from blathy.wire.hdlc_client import (
    CLIENT_TABLE,
    ClientState,
    HdlcClient,
    HdlcClientSettings,
)
from blathy.wire.hdlc_frames import (
    FLAG,
    FRAME_MIN,
    LENGTH_MAX,
    Frame,
    FrameDecoder,
    FrameType,
    LineCounters,
    ServerAddress,
    client_octet,
    fcs,
    parse_frame,
)
from blathy.wire.hdlc_link import (
    INFORMATION_MAX,
    LARGEST,
    Apdu,
    Discarded,
    Event,
    HdlcParameters,
    LinkDown,
    LinkUp,
    Permission,
    Reason,
    strip_llc,
)
from blathy.wire.hdlc_server import (
    SERVER_TABLE,
    HdlcServer,
    HdlcServerSettings,
    LinkState,
    PortSetup,
)

__all__ = [
    "CLIENT_TABLE",
    "FLAG",
    "FRAME_MIN",
    "INFORMATION_MAX",
    "LARGEST",
    "LENGTH_MAX",
    "SERVER_TABLE",
    "Apdu",
    "ClientState",
    "Discarded",
    "Event",
    "Frame",
    "FrameDecoder",
    "FrameType",
    "HdlcClient",
    "HdlcClientSettings",
    "HdlcParameters",
    "HdlcServer",
    "HdlcServerSettings",
    "LineCounters",
    "LinkDown",
    "LinkState",
    "LinkUp",
    "Permission",
    "PortSetup",
    "Reason",
    "ServerAddress",
    "client_octet",
    "fcs",
    "parse_frame",
    "strip_llc",
]
