"""Kamstrup 162M (single-phase) and 382M (poly-phase).

Sources: the maker's data sheet (Danish); Kamstrup 5512-1040 rev. C1 (05.2012) for registers,
loggers, indicators and breaker. Depth of the analysis logger: 512 KiB in all, of which the load
profile's records take 19 + 4 bytes per channel and the analysis records 11 + 7 per register, which
reproduces every published number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from blathy.models import kamstrup_line as line
from blathy.models.model import (
    Billing,
    BillingStop,
    Breaker,
    Capacity,
    ClockSpec,
    DataType,
    Demand,
    Display,
    Identity,
    Led,
    Limits,
    LoadRelay,
    MbusRecord,
    Model,
    Port,
    Profile,
    PulseOutput,
    PushList,
    Ratings,
    ReadoutItem,
    Row,
    Tariffs,
    Terminal,
)
from blathy.models.row_groups import (
    ACCESS_STANDARD,
    IPV4,
    ONE_PHASE,
    THREE_PHASES,
    associations,
    columns,
    o,
)
from blathy.models.voltage_quality import (
    STATUS_OBIS,
    STATUS_ROW,
    quality_profile,
    quality_rows,
    voltage_limits,
)
from blathy.quantity import Measure, Phase

FOUR: Final = (Measure.A_IMPORT, Measure.A_EXPORT, Measure.R_PLUS, Measure.R_MINUS)
LOAD_DAYS: Final = 130
TOTAL_BYTES: Final = 512 * 1024
LOAD_RECORDS: Final = LOAD_DAYS * 96


def analysis_area(load_channels: int) -> int:
    """Bytes that a load profile of so many channels at 15 min leaves to the analysis logger."""
    return TOTAL_BYTES - LOAD_RECORDS * (19 + 4 * load_channels)


def _analysis(phases: tuple[Phase, ...], load_channels: int) -> Profile:
    channels = {1: (1,), 2: (1, 2), 4: (1, 2, 3, 4)}[load_channels]
    measures = (f"1-1:{c}.25.0" for c in channels)
    u = (f"1-1:{12 + 20 * p}.25.0" for p in phases)
    i = (f"1-1:{11 + 20 * p}.25.0" for p in phases)
    return Profile(
        "analysis",
        o("1-1:99.1.1"),
        "analysis logger",
        columns(*measures, *u, *i),
        900,
        (300, 900, 1800, 3600),
        Capacity(
            area_bytes=analysis_area(load_channels),
            overhead_bytes=11,
            channel_bytes=7,
            law="what the load profile leaves of 512 KiB, 11 + 7 bytes per register",
        ),
        o("0-0:96.10.2"),
        DataType.U32,
        columns_max=16,
        variants={
            f"{n} load channels": Capacity(
                area_bytes=analysis_area(n), overhead_bytes=11, channel_bytes=7
            )
            for n in (1, 2, 4)
        },
    )


LOAD: Final = Profile(
    "load",
    o("1-1:99.1.0"),
    "load profile",
    columns("1-1:1.8.0", "1-1:2.8.0", "1-1:3.8.0", "1-1:4.8.0"),
    900,
    (300, 900, 1800, 3600),
    Capacity(
        days=LOAD_DAYS,
        entries_max=LOAD_RECORDS,
        law="130 days at 15, 30 and 60 min; at 5 min what 130 days at 15 min occupy",
    ),
    o("0-0:96.10.1"),
    DataType.U32,
    layouts={
        "A+": columns("1-1:1.8.0"),
        "A+/A-": columns("1-1:1.8.0", "1-1:2.8.0"),
        "A+/A-/R+/R-": columns("1-1:1.8.0", "1-1:2.8.0", "1-1:3.8.0", "1-1:4.8.0"),
    },
    columns_max=4,
)


def _rows(phases: tuple[Phase, ...]) -> tuple[Row, ...]:
    rows = _registers(phases)
    return (*rows, STATUS_ROW, *quality_rows(phases, line.B, known=rows))


def _registers(phases: tuple[Phase, ...]) -> tuple[Row, ...]:
    return (
        *line.identity_rows(),
        *line.THRESHOLD_ROWS,
        *line.energy_rows(8, FOUR, (Measure.A_ABS, Measure.E_IMPORT, Measure.E_EXPORT)),
        *line.network_rows(phases, FOUR),
        *line.mean_rows(phases, FOUR),
        *line.peak_rows(),
    )


def _readout() -> tuple[ReadoutItem, ...]:
    return (
        ReadoutItem("0.0.0", o("1-1:0.0.1"), (8, 0), ""),
        *(ReadoutItem(f"1.8.{e}", o(f"1-1:1.8.{e}"), (6, 1), "kWh") for e in range(5)),
        ReadoutItem("2.8.0", o("1-1:2.8.0"), (6, 1), "kWh"),
        ReadoutItem("3.8.0", o("1-1:3.8.0"), (6, 1), "kvarh"),
        ReadoutItem("4.8.0", o("1-1:4.8.0"), (6, 1), "kvarh"),
        ReadoutItem("96.8.0", o("0-1:96.8.0"), (7, 0), "h"),
        ReadoutItem("0.128.1", o("1-1:0.128.1"), (8, 0), ""),
        ReadoutItem("1.6.0", o("1-1:1.6.0"), (2, 3), "kW", with_time=True),
    )


HAN: Final = (
    PushList(
        "nve1",
        "Kamstrup_V0001",
        tuple(
            o(f"1-1:{code}")
            for code in ("96.1.1", "1.7.0", "2.7.0", "3.7.0", "4.7.0", "31.7.0", "32.7.0")
        ),
        10,
    ),
    PushList(
        "nve2",
        "Kamstrup_V0001",
        tuple(
            o(f"1-1:{code}")
            for code in (
                "96.1.1",
                "1.7.0",
                "2.7.0",
                "3.7.0",
                "4.7.0",
                "31.7.0",
                "32.7.0",
                "1.8.0",
                "2.8.0",
                "3.8.0",
                "4.8.0",
            )
        ),
        3600,
        5,
    ),
)

LCD: Final = Display(
    value_digits=8,
    code_digits=7,
    formats=((6, 1), (7, 0)),
    lists=line.display_lists(THREE_PHASES, 8),
    scroll_s=10,
    back_to_automatic_s=120,
    annunciators=line.ANNUNCIATORS,
    shows_legal_always=True,
)
BREAKER: Final = Breaker(
    o("0-0:96.3.10"),
    mode=4,
    modes=(0, 1, 2, 3, 4, 5, 6),
    built_in=True,
    limiter_obis=o("0-0:17.0.0"),
    limit_w=55_000,
    limit_ma=80_000,
    prepayment=True,
)

K382M: Final = Model(
    key="k382m",
    name="Kamstrup 382M",
    maker="Kamstrup",
    flag="KAM",
    title="Poly-phase household meter with breaker",
    description=(
        "Four-quadrant meter with voltage quality, breaker, neutral-fault detection, prepayment,"
        " eight tariffs, load profile, analysis and debiting loggers and exchangeable modules."
    ),
    sources=("162M/382M data sheet", "Kamstrup 5512-1040 rev. C1 (05.2012)"),
    identity=Identity(
        ldn="KAM382M{serial:08d}",
        identification="/KAM 684-2B-4BC4-500",
        type_text="684-2B-4BC4-500",
        device_type=0x45,
        firmware="5098-382 C1",
    ),
    phases=THREE_PHASES,
    connection="direct, 1, 2 or 3 phases, 4 wires",
    ratings=Ratings(
        un_v=(230, 400),
        i_ref_ma=(5000, 10_000),
        i_max_ma=85_000,
        accuracy_active=("2", "A", "1", "B"),
        accuracy_reactive=("2",),
        imp_per_kwh=1000,
        starting_ma=10,
        starting_w_tenth=23,
        supply_indicator_v=160,
        starting_assumed=False,
    ),
    plate={
        "currents": "5(65), 10(60), 5(85), 10(85) A; without breaker also 5(100) A",
        "temperature": "-40 to +70 °C, storage -40 to +85 °C",
        "protection": "IP 54",
        "own consumption": "current circuit 0.01 VA; 0.1 W per phase",
        "terminals": "DIN 43857",
        "standards": "EN 50470-1, EN 50470-3, IEC 62052-11, IEC 62053-21, IEC 62053-23",
        "principle": "a shunt per phase",
    },
    rows=_rows(THREE_PHASES),
    profiles=(
        LOAD,
        _analysis(THREE_PHASES, 4),
        quality_profile(THREE_PHASES, STATUS_OBIS, line.B),
    ),
    billing=(
        Billing(
            "debiting1", o("1-1:98.1.0"), "debiting logger 1", line.DEBITING_1, 36, assumed=True
        ),
        Billing(
            "debiting2",
            o("1-1:98.2.0"),
            "debiting logger 2",
            line.DEBITING_2,
            45,
            BillingStop.DAILY,
            resets_demand=False,
        ),
    ),
    logs=(
        *line.logs(270),
        line.STATUS_LOG,
        line.RTC_LOG,
        line.VOLTAGE_LOG,
        line.NEUTRAL_LOG,
        line.CUTOFF_LOG,
    ),
    tariffs=Tariffs(rates=8, seasons=4, day_profiles=16, switchings=8, special_days=140),
    demand=Demand(
        900,
        (300, 900, 1800, 3600),
        (Measure.A_IMPORT, Measure.R_PLUS, Measure.E_IMPORT, Measure.E_EXPORT),
    ),
    clock=ClockSpec(line.CLOCK, drift_ppm=5, reserve_s=7 * 86_400, shift_limit_s=7, assumed=True),
    display=LCD,
    leds=(
        Led("energy", "imp/kWh", "red", "energy", imp_per_kwh=1000, pulse_ms=30),
        Led("breaker", "breaker", "red", "breaker"),
    ),
    terminals=(
        Terminal("s0", "pulse-out", "S0", ("A+",), "DIN 43864"),
        Terminal("in1", "pulse", "pulse input", ("energy", "volume", "alarm")),
        Terminal("left", "button", "reading", note="left button; 6 s acts on the breaker"),
        Terminal("right", "button", "utility", note="under the seal"),
        Terminal("cover", "cover", "meter cover"),
        Terminal("magnet", "magnet", "magnetic sensor"),
        Terminal("lc1", "relay", "load control 1", ("load",)),
        Terminal("lc2", "relay", "load control 2", ("load",)),
    ),
    ports=(
        Port("optical", "optical", ("iec62056-21", "dlms-hdlc", "kmp"), 300, 9600, "mode A, 7E1"),
        Port("module", "lan", ("dlms-tcp", "kmp"), note="TCP/IP, Wi-Fi, GSM or GPRS module"),
        Port("radio", "radio", ("wmbus",), note="integrated or as module"),
        Port("mbus", "mbus", ("mbus",), 300, 9600, "module"),
        Port("ccc", "han", ("han",), 2400, 9600, "consumer communication channel"),
    ),
    associations=associations(consumer=32),
    access=ACCESS_STANDARD,
    facilities=(*line.FACILITIES, *IPV4),
    parameters=(*line.breaker_parameters(), *voltage_limits(line.B, 2070, 2530, 60)),
    pulses=(
        PulseOutput("led", (Measure.A_IMPORT, Measure.A_EXPORT), 1000, 30),
        PulseOutput("s0", (Measure.A_IMPORT,), 1000, 30),
    ),
    breaker=BREAKER,
    relays=(
        LoadRelay(o("0-1:96.3.10"), "lc1", "load control 1"),
        LoadRelay(o("0-2:96.3.10"), "lc2", "load control 2"),
    ),
    limits=Limits(
        overvoltage_permille=1100,
        undervoltage_permille=900,
        voltage_delay_s=60,
        phase_lost_permille=695,
    ),
    readout=_readout(),
    mbus=(
        MbusRecord(b"\x04\x06", o("1-1:1.8.0"), 4, 3),
        MbusRecord(b"\x04\x22", o("0-1:96.8.0"), 4, 0),
        MbusRecord(b"\x04\x2b", o("1-1:1.7.0"), 4, 0),
        MbusRecord(b"\x14\x2b", o("1-1:1.6.0"), 4, 0),
        MbusRecord(b"\x84\x50\x06", o("1-1:1.8.1"), 4, 3),
        MbusRecord(b"\x84\x60\x06", o("1-1:1.8.2"), 4, 3),
    ),
    pushes=HAN,
    alarms=line.ALARMS,
    security_policy=line.SECURITY_POLICY,
    errors={
        "nv_access": 1,
        "magnetic_field": 2,
        "ram_checksum": 3,
        "program_checksum": 4,
        "alarm_input": 5,
        "cover_open": 6,
    },
    quirks=(
        "Value group B is 1 in every electricity code (captures of its consumer port).",
        "Changing the profile period erases the load profile (5512-1040 rev. C1).",
        "The meter's status has eight digits with fixed places (5512-1040 rev. C1).",
        "Mode A at 300 Bd, 7E1; the speed is never changed (public readers).",
    ),
    assumptions=(
        "The DLMS object list and event numbers are those of its successor.",
        "Debiting logger 1: 36 entries, as in the OMNIPOWER.",
        "Meter constant 1000 imp/kWh, as in the OMNIPOWER.",
        "Type number: the form that Kamstrup's three-phase meters of that time have.",
        "Ten-minute voltage values for 40 days, and where the voltage limits are set.",
        "Cut-off log of 200 and neutral-fault log of 45, as in the OMNIPOWER.",
    ),
)

K162M: Final = replace(
    K382M,
    key="k162m",
    name="Kamstrup 162M",
    title="Single-phase household meter with breaker",
    identity=Identity(
        ldn="KAM162M{serial:08d}",
        identification="/KAM 686-2B-4BC4-500",
        type_text="686-2B-4BC4-500",
        device_type=0x45,
        firmware="5098-162 C1",
    ),
    phases=ONE_PHASE,
    connection="direct, single-phase, 2 wires",
    ratings=replace(K382M.ratings, un_v=(230,)),
    plate={
        **K382M.plate,
        "own consumption": "current circuit 0.01 VA; 0.2 W per phase",
        "principle": "a shunt",
    },
    rows=_rows(ONE_PHASE),
    profiles=(
        LOAD,
        _analysis(ONE_PHASE, 4),
        quality_profile(ONE_PHASE, STATUS_OBIS, line.B),
    ),
    logs=(
        *line.logs(270),
        line.STATUS_LOG,
        line.RTC_LOG,
        line.VOLTAGE_LOG,
        line.NEUTRAL_LOG,
        line.CUTOFF_LOG,
    ),
    display=replace(LCD, lists=line.display_lists(ONE_PHASE, 8)),
    breaker=replace(BREAKER, limit_w=18_000),
)
