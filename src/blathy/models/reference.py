"""A meter of no maker: one object of every interface class, to develop and test clients against.

It measures, tariffs and logs as the MT372 table does. It is not among the meters of the data
sheets: `blathy model list` leaves it out, `blathy meter run reference` runs it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from blathy.models.model import Facility, Group, Identity
from blathy.models.mt372 import MT372
from blathy.models.row_groups import IPV4, associations, o

_DATA: Final = (
    Facility(30, o("0-0:43.2.0"), Group.SECURITY, "data protection"),
    Facility(62, o("0-0:66.0.1"), Group.PROFILE, "compact data"),
)

_COMMUNICATION: Final = (
    Facility(24, o("0-0:23.0.0"), Group.COMMUNICATION, "twisted pair setup", version=1),
    Facility(25, o("0-0:24.0.0"), Group.COMMUNICATION, "M-Bus slave port setup"),
    Facility(44, o("0-0:25.3.0"), Group.COMMUNICATION, "PPP setup"),
    Facility(46, o("0-0:25.5.0"), Group.COMMUNICATION, "SMTP setup"),
    Facility(48, o("0-0:25.7.0"), Group.COMMUNICATION, "IPv6 setup"),
    Facility(73, o("0-0:31.0.0"), Group.COMMUNICATION, "wireless mode Q channel", version=1),
    Facility(74, o("0-0:24.6.0"), Group.COMMUNICATION, "M-Bus master port setup"),
    Facility(76, o("0-0:24.8.0"), Group.COMMUNICATION, "DLMS server M-Bus port setup"),
    Facility(77, o("0-0:24.9.0"), Group.COMMUNICATION, "M-Bus diagnostic"),
    Facility(124, o("0-0:44.2.0"), Group.COMMUNICATION, "communication port protection"),
    Facility(151, o("0-0:25.11.0"), Group.COMMUNICATION, "LTE monitoring", version=1),
)

_PAYMENT: Final = (
    Facility(113, o("0-0:19.20.0"), Group.PAYMENT, "charge by consumption", values={3: 0}),
    Facility(113, o("0-0:19.20.1"), Group.PAYMENT, "standing charge", values={3: 1}),
    Facility(113, o("0-0:19.20.2"), Group.PAYMENT, "debt by purchases", values={3: 2}),
    Facility(115, o("0-0:19.40.0"), Group.PAYMENT, "token gateway"),
    Facility(116, o("0-0:19.60.0"), Group.PAYMENT, "IEC 62055-41 attributes"),
)

_DECIDING: Final = (
    Facility(
        66, o("0-0:16.3.0"), Group.CONTROL, "voltage L1 around a trigger",
        values={2: o("1-0:32.7.0")},
    ),
    Facility(10, o("0-0:12.0.0"), Group.TARIFF, "schedule"),
    Facility(21, o("0-0:16.1.0"), Group.CONTROL, "register monitor"),
    Facility(26, o("0-0:65.0.1"), Group.PARAMETER, "general manufacturer identification"),
    Facility(26, o("0-0:65.0.5"), Group.PARAMETER, "device identification"),
    Facility(
        61, o("0-0:21.0.1"), Group.PROFILE, "active energy by rate", values={3: o("1-0:1.8.255")}
    ),
    Facility(63, o("0-0:96.5.128"), Group.PARAMETER, "status mapping"),
    Facility(65, o("0-0:16.2.0"), Group.CONTROL, "parameter monitor", version=1),
    Facility(9, o("0-0:10.0.105"), Group.CONTROL, "trigger scripts", role="monitoring"),
    Facility(
        67, o("0-0:16.4.0"), Group.CONTROL, "sensor of the current L1",
        values={13: o("1-0:31.7.0")},
    ),
    Facility(68, o("0-0:96.3.20"), Group.CONTROL, "arbitrator"),
    Facility(122, o("0-0:44.1.0"), Group.CONTROL, "function control"),
    Facility(123, o("0-0:18.0.0"), Group.CONTROL, "array manager"),
)  # fmt: skip
"""Objects that act on the rest of the meter. They decide in this order: what samples an interval
comes before what triggers it."""

REFERENCE: Final = replace(
    MT372,
    key="reference",
    name="Reference meter",
    maker="blathy",
    flag="BLY",
    title="One object of every interface class",
    description=(
        "A three-phase meter of no maker, for people who write clients: it measures as the MT372"
        " table does and carries an object of every interface class, so that each can be browsed,"
        " read, written and seen acting."
    ),
    sources=("IEC 62056-6-2",),
    identity=Identity(
        ldn="BLYREF00{serial:08d}",
        identification="/BLY5\\2REFERENCE",
        type_text="REFERENCE",
        firmware="1.0.0",
    ),
    associations=associations(hls=True),
    event_code=o("0-0:96.11.0"),
    facilities=(
        *MT372.facilities,
        *(f for f in IPV4 if f.obis not in {each.obis for each in MT372.facilities}),
        *_COMMUNICATION,
        *_PAYMENT,
        *_DATA,
        *_DECIDING,
    ),
    quirks=(),
    assumptions=("All of it: there is no such meter to buy.",),
)
