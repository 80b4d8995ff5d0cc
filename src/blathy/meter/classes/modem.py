"""What the modem reports: GSM diagnostic (class 47) and LTE monitoring (class 151), all dynamic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.classes.enumerations import CoverageEnhancement
from blathy.meter.objects import Attribute, CosemObject
from blathy.models.model import Facility

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

ON_LTE: Final = frozenset({5, 7, 8, 9})
"""Packet services of class 47 that are LTE: itself, Cat-M1, NB1, NB2."""
NOT_KNOWN: Final = 99
SNR_NOT_KNOWN: Final = 127


@dataclass(frozen=True, slots=True)
class Lte:
    """The cell as an LTE modem sees it. Timers are what the network has assigned."""

    t3402_s: int = 720
    t3412_s: int = 3240
    t3412_extended_s: int = 86_400
    t3324_10ms: int = 1000
    edrx_10ms: int = 2048
    paging_window_s: int = 5
    q_rxlev_min_dbm: int = -122
    q_rxlev_min_ce_dbm: int = -124
    q_rxlev_min_ce1_dbm: int = -126
    rsrp_dbm: int = -95
    rsrq_half_db: int = -20
    snr_db: int = 12
    coverage: CoverageEnhancement = CoverageEnhancement.CE0


def rsrp_reported(rsrp_dbm: int) -> int:
    """3GPP TS 36.133: 0 is below -140 dBm, a step is 1 dB, 97 is -44 dBm or more; the extended
    range goes down to -17."""
    return max(-17, min(97, rsrp_dbm + 141))


def rsrq_reported(rsrq_half_db: int) -> int:
    """3GPP TS 36.133: 0 is below -19.5 dB, a step is 0.5 dB, 34 is -3 dB or more; the extended
    range is -30 to 46."""
    return max(-30, min(46, rsrq_half_db + 40))


def lte_monitoring(facility: Facility) -> CosemObject:
    """Class 151, version 1. A modem that is on another network knows no timers (0) and no quality
    (99; 127 dB for the SNR). That RSRQ and RSRP are numbers of 3GPP TS 36.133 is our reading."""

    def network(meter: Meter) -> bytes:
        modem = meter.modem
        lte = modem.lte if modem.packet_service in ON_LTE else _NOTHING
        return axdr.encode(
            axdr.structure(
                axdr.u16(lte.t3402_s),
                axdr.u16(lte.t3412_s),
                axdr.u32(lte.t3412_extended_s),
                axdr.u16(lte.t3324_10ms),
                axdr.u32(lte.edrx_10ms),
                axdr.u16(lte.paging_window_s),
                axdr.i8(lte.q_rxlev_min_dbm),
                axdr.i8(lte.q_rxlev_min_ce_dbm),
                axdr.i8(lte.q_rxlev_min_ce1_dbm),
            )
        )

    def quality(meter: Meter) -> bytes:
        modem = meter.modem
        lte = modem.lte
        numbers = (rsrq_reported(lte.rsrq_half_db), rsrp_reported(lte.rsrp_dbm), lte.snr_db)
        if modem.packet_service not in ON_LTE:
            numbers = (NOT_KNOWN, NOT_KNOWN, SNR_NOT_KNOWN)
        return axdr.encode(axdr.structure(*map(axdr.i8, numbers), axdr.enum(lte.coverage)))

    return CosemObject(
        151, facility.version, facility.obis, facility.group, facility.title,
        (Attribute(network), Attribute(quality)),
    )  # fmt: skip


_NOTHING: Final = Lte(*(0,) * 9)


def gsm_diagnostic(facility: Facility) -> CosemObject:
    """Class 47: what the modem sees, all dynamic."""

    def operator(meter: Meter) -> bytes:
        return axdr.encode(axdr.visible(meter.modem.operator))

    def status(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.modem.registration)

    def circuit(meter: Meter) -> bytes:
        return axdr.encode_enum(2 if meter.modem.in_call else 0)

    def packet(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.modem.packet_service)

    def cell(meter: Meter) -> bytes:
        modem = meter.modem
        quality = min(31, max(0, (modem.signal_dbm + 113) // 2))
        return axdr.encode(
            axdr.structure(
                axdr.u32(modem.cell_id),
                axdr.u16(modem.location_id),
                axdr.u8(quality),
                axdr.u8(0),
                axdr.u16(modem.country_code),
                axdr.u16(modem.network_code),
                axdr.u32(modem.channel),
            )
        )

    def captured(meter: Meter) -> bytes:
        return axdr.encode(axdr.date_time(meter.clock_raw()))

    return CosemObject(
        47,
        facility.version,
        facility.obis,
        facility.group,
        facility.title,
        (
            Attribute(operator),
            Attribute(status),
            Attribute(circuit),
            Attribute(packet),
            Attribute(cell),
            Attribute(axdr.encode(axdr.array())),
            Attribute(captured),
        ),
    )
