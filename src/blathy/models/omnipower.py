"""Kamstrup OMNIPOWER single-phase.

Sources: the maker's data sheet (French); Kamstrup 55121235_D1_GB (11.2015) for registers, loggers,
display and breaker; interface descriptions of its consumer port. The load profile's depth follows
from one law that gives all fifteen numbers of the data sheet: 574 KiB, 18 + 4 bytes per channel.
"""

from __future__ import annotations

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
    Tariffs,
    Terminal,
)
from blathy.models.row_groups import (
    ACCESS_STANDARD,
    GSM_MODEM,
    IPV4,
    ONE_PHASE,
    associations,
    columns,
    mbus_clients,
    mbus_profiles,
    o,
    per_phase,
    text,
)
from blathy.models.voltage_quality import (
    STATUS_OBIS,
    STATUS_ROW,
    quality_profile,
    voltage_limits,
)
from blathy.quantity import Kind, Measure, Phase

RECORD_OVERHEAD_BYTES: Final = 18
CHANNEL_BYTES: Final = 4
POWERS: Final = (
    Measure.A_IMPORT,
    Measure.A_EXPORT,
    Measure.R_PLUS,
    Measure.R_MINUS,
    Measure.E_IMPORT,
    Measure.E_EXPORT,
)
LAYOUTS: Final = {
    "A+": columns("1-1:1.8.0"),
    "A+/A-": columns("1-1:1.8.0", "1-1:2.8.0"),
    "A+/A-/R+/R-": columns(*(f"1-1:{c}.8.0" for c in (1, 2, 3, 4))),
    "A+/A-/R1/R2/R3/R4": columns(*(f"1-1:{c}.8.0" for c in (1, 2, 5, 6, 7, 8))),
    "A+/A-/R+/R-/R1/R2/R3/R4": columns(*(f"1-1:{c}.8.0" for c in range(1, 9))),
}
"""Load profiles by configuration code Z29 = 1 ... 5."""

NVE_1: Final = tuple(
    o(f"1-1:{code}")
    for code in (
        "0.0.5",
        "96.1.1",
        "1.7.0",
        "2.7.0",
        "3.7.0",
        "4.7.0",
        "31.7.0",
        "51.7.0",
        "71.7.0",
        "32.7.0",
        "52.7.0",
        "72.7.0",
    )
)
"""The consumer list that is sent every ten seconds, after its version text."""

OMNIPOWER: Final = Model(
    key="omnipower",
    name="Kamstrup OMNIPOWER single-phase",
    maker="Kamstrup",
    flag="KAM",
    title="Single-phase smart meter with breaker, prepayment and power quality",
    description=(
        "Four-quadrant single-phase meter with shunt: load profile in up to eight channels,"
        " 24-register analysis logger, two debiting loggers, power quality after EN 50160, breaker"
        " with smart disconnect and prepayment, module area and consumer channel."
    ),
    sources=(
        "OMNIPOWER single-phase data sheet",
        "Kamstrup 55121235_D1_GB (11.2015)",
        "Kamstrup 5512-2584_GB_A2 (11-2019)",
    ),
    identity=Identity(
        ldn="KAM68611{serial:08d}",
        identification="/KAM06861111BN242101040",
        type_text="6861111BN242101040",
        device_type=0x45,
        firmware="50981137 E1",
    ),
    phases=ONE_PHASE,
    connection="direct, single-phase, 2 wires",
    ratings=Ratings(
        un_v=(230,),
        i_ref_ma=(5000,),
        i_max_ma=100_000,
        i_min_ma=250,
        accuracy_active=("A", "B", "2", "1"),
        accuracy_reactive=("2",),
        voltage_permille=(800, 1150),
        imp_per_kwh=1000,
        starting_ma=10,
        starting_w_tenth=23,
        supply_indicator_v=160,
        starting_assumed=False,
    ),
    plate={
        "temperature": "-40 to +70 °C, storage -40 to +85 °C",
        "humidity": "< 75 % yearly mean at 21 °C, < 95 % for fewer than 30 days a year at 25 °C",
        "protection": "IP 54, class II",
        "weight": "1100 g with breaker, 800 g without",
        "own consumption": "current circuit 0.01 VA; voltage circuit 0.6 VA, 0.2 W",
        "material": "glass-reinforced polycarbonate",
        "memory": "EEPROM, more than 10 years without voltage",
        "digits": "7 mm values, 5 mm codes, 3 mm voltage and tariff symbols",
        "short circuit": "4500 A",
        "terminals": "35 mm², DIN 43857 in part or BS 7856",
        "use": "indoors, or outdoors in a cabinet",
    },
    rows=(
        STATUS_ROW,
        *line.identity_rows(),
        text("1-1:0.0.5", "gs1", "GS1 number", DataType.TEXT),
        *line.THRESHOLD_ROWS,
        *line.energy_rows(8, POWERS, (*line.QUADRANTS, Measure.A_ABS, Measure.A_NET)),
        *line.network_rows(ONE_PHASE, POWERS),
        *per_phase(Measure.THD_U, ONE_PHASE, DataType.U16, -1, b=1, assumed=True),
        *per_phase(Measure.THD_I, ONE_PHASE, DataType.U16, -1, b=1, assumed=True),
        *line.mean_rows(ONE_PHASE, POWERS),
        *per_phase(Measure.U, ONE_PHASE, DataType.U16, -1, b=1, kind=Kind.MINIMUM, assumed=True),
        *per_phase(Measure.U, ONE_PHASE, DataType.U16, -1, b=1, kind=Kind.MAXIMUM, assumed=True),
        *per_phase(Measure.F, (Phase.TOTAL,), DataType.U16, -2, b=1, kind=Kind.MEAN, assumed=True),
        *per_phase(
            Measure.F, (Phase.TOTAL,), DataType.U16, -2, b=1, kind=Kind.MINIMUM, assumed=True
        ),
        *per_phase(
            Measure.F, (Phase.TOTAL,), DataType.U16, -2, b=1, kind=Kind.MAXIMUM, assumed=True
        ),
        *per_phase(Measure.THD_U, ONE_PHASE, DataType.U16, -2, b=1, kind=Kind.MEAN, assumed=True),
        *line.peak_rows(),
    ),
    profiles=(
        Profile(
            "load",
            o("1-1:99.1.0"),
            "load profile",
            LAYOUTS["A+/A-/R+/R-"],
            900,
            (900, 1800, 3600),
            Capacity(
                area_bytes=574 * 1024,
                overhead_bytes=RECORD_OVERHEAD_BYTES,
                channel_bytes=CHANNEL_BYTES,
                law="574 KiB, 18 + 4 bytes per channel",
            ),
            o("0-0:96.10.1"),
            DataType.U32,
            layouts=LAYOUTS,
            columns_max=8,
            variants={
                "austria": Capacity(entries=60 * 96, law="60 days at a fixed 15 min"),
                "firmware-2015": Capacity(
                    area_bytes=554_400, overhead_bytes=17, channel_bytes=4, law="17 + 4 bytes"
                ),
            },
        ),
        Profile(
            "analysis",
            o("1-1:99.1.1"),
            "analysis logger",
            columns(
                *(f"1-1:{c}.25.0" for c in (1, 2, 3, 4, 9, 10, 32, 31, 14)),
                "1-1:32.3.0",
                "1-1:32.26.0",
            ),
            900,
            (300, 900, 1800, 3600),
            Capacity(
                area_bytes=320 * 1024,
                overhead_bytes=RECORD_OVERHEAD_BYTES,
                channel_bytes=CHANNEL_BYTES,
                law="320 KiB, 18 + 4 bytes per register",
            ),
            o("0-0:96.10.2"),
            DataType.U32,
            columns_max=24,
        ),
        quality_profile(ONE_PHASE, STATUS_OBIS, line.B, thd=True),
        *mbus_profiles(2),
    ),
    billing=(
        Billing("debiting1", o("1-1:98.1.0"), "debiting logger 1", line.DEBITING_1, 36),
        Billing(
            "debiting2",
            o("1-1:98.2.0"),
            "debiting logger 2",
            line.DEBITING_2,
            175,
            BillingStop.DAILY,
            resets_demand=False,
        ),
    ),
    logs=(
        *line.logs(270),
        line.STATUS_LOG,
        line.RTC_LOG,
        line.CUTOFF_LOG,
        line.VOLTAGE_LOG,
    ),
    tariffs=Tariffs(rates=8, seasons=8, day_profiles=16, switchings=10, special_days=200),
    demand=Demand(
        900,
        (900, 1800, 3600),
        (Measure.A_IMPORT, Measure.R_PLUS, Measure.E_IMPORT, Measure.E_EXPORT),
    ),
    clock=ClockSpec(line.CLOCK, drift_ppm=5, reserve_s=7 * 86_400, shift_limit_s=7),
    display=Display(
        value_digits=9,
        code_digits=7,
        formats=((7, 0), (6, 1), (7, 2), (6, 3)),
        lists=line.display_lists(ONE_PHASE, 8),
        scroll_s=10,
        back_to_automatic_s=120,
        annunciators=line.ANNUNCIATORS,
        shows_legal_always=True,
        assumed=False,
    ),
    leds=(
        Led("energy", "imp/kWh, kvarh", "red", "energy", imp_per_kwh=1000, pulse_ms=30),
        Led("breaker", "breaker", "red", "breaker"),
    ),
    terminals=(
        Terminal("s0", "pulse-out", "S0", ("A+",), "27 V DC, 27 mA"),
        Terminal("io1", "module", "I/O 1", ("tariff", "pulse", "alarm", "pulse-out", "load")),
        Terminal("io2", "module", "I/O 2", ("tariff", "pulse", "alarm", "pulse-out", "load")),
        Terminal("left", "button", "reading", note="left button; 6 s acts on the breaker"),
        Terminal("right", "button", "utility", note="right button under the seal"),
        Terminal("cover", "cover", "terminal cover"),
        Terminal("magnet", "magnet", "magnetic sensor"),
    ),
    ports=(
        Port("optical", "optical", ("dlms-hdlc", "iec62056-21", "kmp"), 9600, 19_200),
        Port("module", "lan", ("dlms-tcp", "kmp"), note="TCP/IP, GSM/GPRS, RS-485 or RS-232"),
        Port("radio", "radio", ("wmbus",), note="mesh or C1 mode"),
        Port("mbus", "mbus", ("mbus",), 300, 9600, "module 68 50 068, secondary address"),
        Port("ccc", "han", ("han",), 2400, 9600, "consumer communication module"),
    ),
    associations=associations(consumer=32),
    access=ACCESS_STANDARD,
    facilities=(*line.FACILITIES, *IPV4, *GSM_MODEM, *mbus_clients(2)),
    parameters=(*line.breaker_parameters(), *voltage_limits(line.B, 2070, 2530, 600)),
    pulses=(
        PulseOutput("led", (Measure.A_IMPORT, Measure.A_EXPORT), 1000, 30),
        PulseOutput("s0", (Measure.A_IMPORT, Measure.A_EXPORT), 1000, 30),
        PulseOutput("led_kvarh", (Measure.R_PLUS, Measure.R_MINUS), 1000, 30),
        PulseOutput("s0_kvarh", (Measure.R_PLUS, Measure.R_MINUS), 1000, 30),
    ),
    breaker=Breaker(
        o("0-0:96.3.10"),
        mode=4,
        modes=(0, 1, 2, 3, 4, 5, 6),
        built_in=True,
        limiter_obis=o("0-0:17.0.0"),
        limit_w=23_000,
        limit_ma=80_000,
        prepayment=True,
    ),
    relays=(
        LoadRelay(o("0-1:96.3.10"), "lc1", "load control 1", rated_ma=5000),
        LoadRelay(o("0-2:96.3.10"), "lc2", "load control 2", rated_ma=5000),
    ),
    limits=Limits(
        overvoltage_permille=1100,
        undervoltage_permille=900,
        voltage_delay_s=600,
        phase_lost_permille=695,
        sag_permille=800,
        swell_permille=1200,
    ),
    readout=(
        ReadoutItem("0.0.0", o("1-1:0.0.1"), (8, 0), ""),
        *(ReadoutItem(f"1.8.{e}", o(f"1-1:1.8.{e}"), (6, 2), "kWh") for e in range(5)),
        *(ReadoutItem(f"2.8.{e}", o(f"1-1:2.8.{e}"), (6, 2), "kWh") for e in range(5)),
        ReadoutItem("3.8.0", o("1-1:3.8.0"), (6, 2), "kvarh"),
        ReadoutItem("4.8.0", o("1-1:4.8.0"), (6, 2), "kvarh"),
        ReadoutItem("96.8.0", o("0-1:96.8.0"), (7, 0), "h"),
        ReadoutItem("1.7.0", o("1-1:1.7.0"), (2, 3), "kW"),
        ReadoutItem("1.6.0", o("1-1:1.6.0"), (2, 3), "kW", with_time=True),
    ),
    mbus=(
        MbusRecord(b"\x04\x06", o("1-1:1.8.0"), 4, 3),
        MbusRecord(b"\x04\x22", o("0-1:96.8.0"), 4, 0),
        MbusRecord(b"\x04\x2b", o("1-1:1.7.0"), 4, 0),
        MbusRecord(b"\x14\x2b", o("1-1:1.6.0"), 4, 0),
        MbusRecord(b"\x84\x50\x06", o("1-1:1.8.1"), 4, 3),
        MbusRecord(b"\x84\x60\x06", o("1-1:1.8.2"), 4, 3),
        MbusRecord(b"\x04\x84\x3c", o("1-1:2.8.0"), 4, 1),
    ),
    pushes=(
        PushList(
            "nve1",
            "Kamstrup_V0001",
            NVE_1,
            10,
        ),
        PushList(
            "nve2",
            "Kamstrup_V0001",
            (*NVE_1, line.CLOCK, *(o(f"1-1:{c}.8.0") for c in (1, 2, 3, 4))),
            3600,
            5,
        ),
    ),
    alarms=line.ALARMS,
    security_policy=line.SECURITY_POLICY,
    iec62056_21=("none", "A", "C"),
    errors={"nv_access": 1, "program_checksum": 4, "magnetic_field": 2, "cover_open": 6},
    quirks=(
        "Value group B is 1 in every electricity code (captures of its consumer port).",
        "The system title is KAM, 45h and the meter number as u32 (captures, inferred).",
        "Pushes keep the codes of phases that are missing, with null for code and value.",
        "Billing and load profile are deeper on later firmware; the depth of 2015 is a variant.",
    ),
    assumptions=(
        "Object list: the maker's DLMS interface specification is not public.",
        "Default display lists: the items of the order form, in its order.",
        "Ten-minute voltage values for 40 days, and where the voltage limits are set.",
        "Analysis logger: 320 KiB with the load profile's record, as in its successor.",
        "Event numbers of the DLMS logs: those of its successor.",
    ),
)
