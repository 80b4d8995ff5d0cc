"""Pozyton / Apator smartESOX P: three-phase CT and CT/VT meter.

Sources: the maker's data sheet; object model, profiles and event codes of a Polish operator
(Stoen Operator, object model v2.0, 13.01.2025) as the companion model; manuals of its siblings. No
manual of the smartESOX P itself is public.
"""

from __future__ import annotations

from typing import Final

from blathy.models.model import (
    Billing,
    Capacity,
    ClockSpec,
    Codes,
    Column,
    DataType,
    Demand,
    Display,
    DisplayList,
    EventLog,
    Facility,
    Group,
    Identity,
    Led,
    Limits,
    LoadRelay,
    Model,
    Port,
    Profile,
    PulseOutput,
    Ratings,
    ReadoutItem,
    Row,
    Tariffs,
    Terminal,
)
from blathy.models.row_groups import (
    ACCESS_STANDARD,
    COMMON_FACILITIES,
    DISPLAY_MIRROR,
    GSM_MODEM,
    INVOCATION_COUNTER,
    IPV4,
    OPTICAL_AND_HDLC,
    THREE_PHASES,
    alarm_filters,
    associations,
    columns,
    counter,
    demands,
    energies,
    losses,
    o,
    parameter,
    per_phase,
    powers,
    row,
    text,
    timed,
)
from blathy.models.voltage_quality import unbalance_row, voltage_limits
from blathy.obis import Obis
from blathy.quantity import Kind, Measure, Phase, Source, Unit

ENERGY: Final = (
    Measure.A_IMPORT,
    Measure.A_EXPORT,
    Measure.R_PLUS,
    Measure.R_MINUS,
    Measure.R1,
    Measure.R2,
    Measure.R3,
    Measure.R4,
    Measure.E_IMPORT,
    Measure.E_EXPORT,
    Measure.A_ABS,
)
DEMANDS: Final = (Measure.A_IMPORT, Measure.A_EXPORT, Measure.R_PLUS, Measure.R_MINUS)
HARMONICS: Final = range(2, 41)
FLASH_BYTES: Final = 16 * 1024 * 1024


def _harmonics() -> tuple[Row, ...]:
    """Voltage and current harmonics 2 to 40 of each phase, in percent of the fundamental."""
    return tuple(
        Row(
            Obis(1, 0, c + 20 * phase, 7, order),
            3,
            Source(Kind.COUNTER, name=f"harmonic_{letter}_l{phase.value}_{order}"),
            DataType.U16,
            -2,
            Unit.PERCENT,
            f"{name} harmonic {order} {phase.name}",
        )
        for c, letter, name in ((12, "u", "voltage"), (11, "i", "current"))
        for phase in THREE_PHASES
        for order in HARMONICS
    )


def _excess() -> tuple[Row, ...]:
    """Power above the contracted one: number, largest, the ten largest, their sum."""
    rows = [
        counter("1-0:1.36.0", "excess_count", "number of excesses", DataType.U32, class_id=3),
        counter(
            "1-0:1.38.0", "excess_largest", "largest excess", DataType.U32, class_id=4, unit=Unit.W
        ),
        counter(
            "1-0:128.8.0",
            "excess_sum",
            "sum of the excesses",
            DataType.U64,
            class_id=3,
            unit=Unit.W,
        ),
    ]
    rows += [
        counter(
            f"1-0:128.6.{n}",
            f"excess_{n}",
            f"excess number {n} by size",
            DataType.U32,
            class_id=4,
            unit=Unit.W,
        )
        for n in range(1, 11)
    ]
    return tuple(rows)


def _secondary() -> tuple[Row, ...]:
    """B = 1: what stands on the secondary side of the transformers."""
    energies_of = (
        ("1-1:1.8.0", "a_import", "A+", Unit.WH),
        ("1-1:2.8.0", "a_export", "A-", Unit.WH),
        ("1-1:3.8.0", "r_plus", "R+", Unit.VARH),
        ("1-1:4.8.0", "r_minus", "R-", Unit.VARH),
    )
    instants_of = (
        *(
            (f"1-1:{c + 20 * p}.7.0", f"{letter}_l{p.value}", f"{letter.upper()} {p.name}", unit)
            for c, letter, unit in ((12, "u", Unit.V), (11, "i", Unit.A))
            for p in THREE_PHASES
        ),
        ("1-1:1.7.0", "a_import", "P+", Unit.W),
        ("1-1:2.7.0", "a_export", "P-", Unit.W),
    )
    kinds = (("energy", energies_of, DataType.U64), ("instant", instants_of, DataType.U32))
    return tuple(
        counter(
            code, f"secondary_{kind}_{name}", f"{title}, secondary value", data_type,
            class_id=3, unit=unit, scaler=-3,
        )
        for kind, table, data_type in kinds
        for code, name, title, unit in table
    )  # fmt: skip


def _means() -> tuple[Row, ...]:
    mean = Kind.MEAN
    return (
        *per_phase(Measure.U, THREE_PHASES, DataType.U32, -2, kind=mean, assumed=True),
        *per_phase(Measure.I, THREE_PHASES, DataType.U32, -3, kind=mean, assumed=True),
        *per_phase(Measure.THD_U, THREE_PHASES, DataType.U16, -2, kind=mean, assumed=True),
        *per_phase(Measure.THD_I, THREE_PHASES, DataType.U16, -2, kind=mean, assumed=True),
        *per_phase(Measure.F, (Phase.TOTAL,), DataType.U16, -3, kind=mean, assumed=True),
        *(
            row(Source(kind, Measure.F), DataType.U16, -3, assumed=True)
            for kind in (Kind.MINIMUM, Kind.MAXIMUM)
        ),
        unbalance_row(Kind.MEAN),
        *powers((Measure.A_IMPORT, Measure.A_EXPORT), DataType.U32, 0, kind=mean, assumed=True),
    )


ROWS: Final = (
    text("0-0:42.0.0", "ldn", "logical device name"),
    text("0-0:96.1.0", "serial", "serial number"),
    text("1-0:0.2.0", "firmware", "firmware version"),
    text("1-0:0.2.8", "software_id", "software identification of the legal part"),
    text("0-0:96.14.0", "active_tariff", "active zone", group=Group.TARIFF),
    counter("1-0:0.1.0", "billing_periods", "reference period counter"),
    counter("0-0:96.7.0", "power_failures", "power failures"),
    counter("0-0:96.7.9", "long_outages", "long outages"),
    counter("0-0:97.97.0", "error_register", "error register", DataType.U32),
    counter(
        "0-0:97.98.0", "alarm_register_1", "alarm register", DataType.U32, group=Group.PARAMETER
    ),
    counter("0-0:96.11.0", "last_event", "last event code", group=Group.LOG),
    *(
        counter(f"0-0:96.10.{n}", f"profile_status_{key}", f"status of profile {n}", DataType.U16)
        for n, key in enumerate(("load", "hourly", "rms", "fast"), 1)
    ),
    counter("1-1:82.8.0", "pulses_1", "pulse input 1", DataType.U32, class_id=3),
    counter("1-2:82.8.0", "pulses_2", "pulse input 2", DataType.U32, class_id=3),
    *energies(ENERGY, 6, DataType.U64, -2),
    *losses(DataType.U64, -2),
    *powers((*DEMANDS, Measure.E_IMPORT, Measure.E_EXPORT), DataType.U32, -1),
    *powers((Measure.A_NET,), DataType.I32, -1, phases=(Phase.TOTAL, *THREE_PHASES)),
    *per_phase(Measure.U, THREE_PHASES, DataType.U32, -2),
    *per_phase(Measure.I, THREE_PHASES, DataType.U32, -3),
    *per_phase(Measure.I_N, (Phase.TOTAL,), DataType.U32, -3),
    *per_phase(Measure.PF, (Phase.TOTAL, *THREE_PHASES), DataType.I16, -3),
    *per_phase(Measure.F, (Phase.TOTAL,), DataType.U16, -3),
    *per_phase(Measure.ANGLE, THREE_PHASES, DataType.I16, -1, assumed=True),
    *(
        row(Source(Kind.INSTANT, Measure.ANGLE, tariff=pair), DataType.I16, -1, assumed=True)
        for pair in (10, 20)
    ),
    *per_phase(Measure.THD_U, THREE_PHASES, DataType.U16, -2),
    *per_phase(Measure.THD_I, THREE_PHASES, DataType.U16, -2),
    unbalance_row(Kind.INSTANT, assumed=False),
    counter(
        "1-0:128.7.21", "asymmetry_i", "current asymmetry", class_id=3, unit=Unit.PERCENT, scaler=-1
    ),
    *_harmonics(),
    *_secondary(),
    *_means(),
    *demands(DEMANDS, 6, DataType.U32, -1),
    *_excess(),
)

LOG_GROUPS: Final[tuple[tuple[str, str, dict[str, Codes]], ...]] = (
    (
        "supply",
        "supply",
        {
            "power_down": 1,
            "power_up": 2,
            "phase_lost": (82, 83, 84),
            "phase_returned": (85, 86, 87),
            "long_outage": 3,
        },
    ),
    (
        "quality",
        "voltage quality",
        {
            "sag_start": (76, 77, 78),
            "sag_end": (33, 34, 35),
            "swell_start": (79, 80, 81),
            "swell_end": (36, 37, 38),
            "undervoltage_start": (70, 71, 72),
            "undervoltage_end": (73, 74, 75),
            "overvoltage_start": (94, 95, 96),
            "overvoltage_end": (97, 98, 99),
            "voltage_asymmetry_start": 90,
            "voltage_asymmetry_end": 92,
            "thd_u_start": (100, 101, 102),
            "thd_u_end": (103, 104, 105),
            "phase_sequence_wrong": 88,
            "phase_sequence_right": 89,
        },
    ),
    (
        "current",
        "current and power",
        {
            "overcurrent_start": (110, 111, 112),
            "overcurrent_end": (113, 114, 115),
            "power_limit_exceeded": 116,
            "power_limit_ended": 117,
            "current_without_voltage": (118, 119, 120),
            "missing_current_start": (121, 122, 123),
            "missing_current_end": (124, 125, 126),
            "current_asymmetry_start": 127,
            "current_asymmetry_end": 128,
            "current_reversed": 91,
        },
    ),
    (
        "tamper",
        "tamper",
        {
            "terminal_cover_opened": 40,
            "terminal_cover_closed": 41,
            "magnet_start": 42,
            "magnet_end": 43,
            "main_cover_opened": 44,
            "main_cover_closed": 45,
        },
    ),
    (
        "clock",
        "clock",
        {
            "clock_adjusted_old": 4,
            "clock_adjusted_new": 5,
            "clock_invalid": 6,
            "dst_changed": 7,
        },
    ),
    (
        "access",
        "configuration and access",
        {
            "parameters_changed": 47,
            "log_cleared": 255,
            "profile_cleared": 254,
            "billing_reset": 253,
            "authentication_failed": 46,
            "decryption_failed": 49,
            "replay_detected": 50,
            "access_refused": 137,
            "local_access": 138,
            "firmware_ready": 17,
            "firmware_activated": 18,
            "firmware_refused": 19,
            "calendar_activated": 8,
        },
    ),
    (
        "inputs",
        "inputs, outputs, errors",
        {
            "alarm_input_on": 20,
            "alarm_input_off": 21,
            "relay_on": 22,
            "relay_off": 23,
            "device_error": 12,
            "storage_failed": 14,
            "storage_restored": 15,
        },
    ),
)


def _profile_capacity(law: str) -> Capacity:
    """An eighth of the 16 MB flash (half holds program and logs): 12 + 4 bytes per register."""
    return Capacity(area_bytes=FLASH_BYTES // 8, overhead_bytes=12, channel_bytes=4, law=law)


PERIODS: Final = (60, 120, 180, 300, 600, 900, 1200, 1800, 3600)
EIGHTH: Final = "2 MiB of 16 MB, 12 + 4 bytes per register"


def _profile(
    n: int, key: str, obis: str, title: str, period_s: int, cols: tuple[Column, ...]
) -> Profile:
    return Profile(
        key,
        o(obis),
        title,
        cols,
        period_s,
        PERIODS,
        _profile_capacity(EIGHTH),
        o(f"0-0:96.10.{n}"),
        DataType.U16,
        columns_max=32,
        assumed=True,
    )


ENERGY_COLUMNS: Final = columns(
    *(f"1-0:{c}.8.0" for c in (1, 2, 5, 6, 7, 8)), "1-0:83.8.3", "1-0:83.8.6"
)
RMS_COLUMNS: Final = columns(
    *(f"1-0:{c}.25.0" for c in (32, 52, 72, 31, 51, 71, 14)),
    *(f"1-0:{c}.25.124" for c in (32, 52, 72, 31, 51, 71)),
    "1-0:14.3.0",
    "1-0:14.26.0",
    "1-0:128.25.20",
)

SMARTESOX: Final = Model(
    key="esox",
    name="smartESOX P",
    maker="Pozyton (Apator)",
    flag="POZ",
    title="Three-phase CT and CT/VT meter for power management",
    description=(
        "Four-quadrant meter for low, medium and high voltage: six zones, transformer losses,"
        " harmonics, excess power, four profiles, seven event logs, two inputs, two relays, six"
        " pulse outputs, three ports and a modem."
    ),
    sources=("smartESOX P data sheet", "Stoen Operator object model v2.0 (13.01.2025)"),
    identity=Identity(
        ldn="POZESOXP{serial:08d}",
        identification="/POZ6\\2ESOX-P",
        type_text="smartESOX P",
        device_type=0x50,
        firmware="ESOX-P 3.2.1",
    ),
    phases=THREE_PHASES,
    connection="CT or CT/VT, 3 or 4 wires",
    ratings=Ratings(
        un_v=(58, 100, 230, 400),
        i_ref_ma=(1000, 5000),
        i_max_ma=6000,
        accuracy_active=("B", "C"),
        accuracy_reactive=("3", "2"),
        imp_per_kwh=20_000,
        starting_ma=5,
        fn_hz=(50,),
        transformers=True,
    ),
    plate={
        "temperature": "-40 to +70 °C",
        "protection": "IP 54, class II",
        "insulation": "4 kV AC 50 Hz, surges 6 kV, optional 8 kV (1.2/50 µs)",
        "back-up": "reading in an outage from an AA battery; auxiliary supply input",
        "standards": "EN 50470-1, EN 50470-3, EN 62053-23",
    },
    rows=ROWS,
    profiles=(
        _profile(1, "load", "1-0:99.1.0", "profile 1: energy and losses", 900, ENERGY_COLUMNS),
        _profile(2, "hourly", "1-0:99.2.0", "profile 2: energy", 3600, ENERGY_COLUMNS),
        _profile(3, "rms", "1-0:99.133.0", "profile 3: mean U, I, f, THD, u2", 600, RMS_COLUMNS),
        _profile(
            4,
            "fast",
            "1-0:99.4.0",
            "profile 4: free",
            60,
            columns("1-0:1.25.0", "1-0:2.25.0", "1-0:32.25.0", "1-0:52.25.0", "1-0:72.25.0"),
        ),
    ),
    billing=(
        Billing(
            "billing",
            o("0-0:98.1.0"),
            "reference periods",
            (
                *columns(
                    *(f"1-0:{c}.8.{e}" for c in (1, 2) for e in range(7)),
                    *(f"1-0:{c}.8.0" for c in (3, 4, 5, 6, 7, 8, 9, 10)),
                    *(f"1-0:83.8.{e}" for e in (3, 6, 12, 15, 19, 20)),
                    *(f"1-0:1.2.{e}" for e in range(7)),
                ),
                *timed("1-0:1.6.0", "1-0:1.6.1", "1-0:1.6.2", "1-0:1.6.3", "1-0:1.6.4"),
            ),
            36,
            assumed=True,
        ),
    ),
    logs=tuple(
        EventLog(
            key, Obis(0, 0, 99, 98, n), f"event log {n + 1}: {title}", 500, codes, assumed=True
        )
        for n, (key, title, codes) in enumerate(LOG_GROUPS)
    ),
    tariffs=Tariffs(rates=6, seasons=12, day_profiles=24, switchings=24, special_days=100),
    demand=Demand(900, (300, 600, 900, 1800, 3600), DEMANDS),
    clock=ClockSpec(o("0-0:1.0.0"), drift_ppm=6, reserve_s=30 * 86_400, shift_limit_s=9),
    display=Display(
        value_digits=8,
        code_digits=7,
        formats=((6, 2), (7, 1), (5, 3), (8, 0)),
        lists=(
            DisplayList(
                "automatic",
                (
                    "clock",
                    "date",
                    "1-0:1.8.0",
                    "1-0:2.8.0",
                    "1-0:3.8.0",
                    "1-0:4.8.0",
                    "1-0:1.6.0",
                    "1-0:1.7.0",
                    "errors",
                ),
            ),
            DisplayList(
                "manual",
                (
                    "test",
                    "0-0:96.1.0",
                    "1-0:0.2.8",
                    *(f"1-0:{c}.8.{e}" for c in (1, 2) for e in range(7)),
                    *(f"1-0:{c}.8.0" for c in range(3, 9)),
                    *(f"1-0:1.6.{e}" for e in range(7)),
                    "1-0:1.2.0",
                    "1-0:83.8.3",
                    "1-0:83.8.6",
                    *(f"1-0:{c}.7.0" for c in (32, 52, 72, 31, 51, 71, 13, 14)),
                    "0-0:97.97.0",
                ),
                items_max=64,
            ),
            DisplayList("battery", ("1-0:1.8.0", "1-0:2.8.0", "1-0:3.8.0", "1-0:4.8.0", "clock")),
        ),
        scroll_s=8,
        back_to_automatic_s=60,
        annunciators=(
            "L1 L2 L3",
            "quadrant",
            "T1 T2 T3 T4 T5 T6",
            "CLOCK",
            "SET",
            "RESET",
            "port",
            "error",
        ),
    ),
    leds=(
        Led("kwh", "imp/kWh", "red", "energy", imp_per_kwh=20_000, pulse_ms=10),
        Led("kvarh", "imp/kvarh", "red", "reactive", imp_per_kwh=20_000, pulse_ms=10),
    ),
    terminals=(
        *(
            Terminal(
                f"in{n}",
                "input",
                f"input {n}",
                ("registration", "zone", "sync", "alarm", "pulse"),
                "optically isolated",
            )
            for n in (1, 2)
        ),
        *(Terminal(f"out{n}", "pulse-out", f"pulse output {n}") for n in range(1, 7)),
        Terminal("r1", "relay", "relay 1", ("load", "alarm")),
        Terminal("r2", "relay", "relay 2", ("load", "alarm")),
        Terminal("scroll", "button", "scroll", note="short next, long next list"),
        Terminal("reset", "button", "reset", note="under the seal"),
        Terminal("terminal_cover", "cover", "terminal cover"),
        Terminal("main_cover", "cover", "meter case"),
        Terminal("magnet", "magnet", "magnetic sensor"),
    ),
    ports=(
        Port("optical", "optical", ("iec62056-21", "dlms-hdlc"), 300, 19_200),
        Port("serial1", "rs485", ("dlms-hdlc", "iec62056-21"), 9600, 57_600, "RS-485"),
        Port("serial2", "rs232", ("dlms-hdlc", "iec62056-21"), 9600, 57_600, "RS-485 or RS-232"),
        Port("modem", "gprs", ("dlms-tcp",), note="GPRS, 3G or 4G, exchangeable"),
    ),
    associations=associations(),
    access=ACCESS_STANDARD,
    facilities=(
        *COMMON_FACILITIES,
        *OPTICAL_AND_HDLC,
        *GSM_MODEM,
        *IPV4,
        Facility(23, o("0-1:22.0.0"), Group.COMMUNICATION, "HDLC setup, serial 1", 1),
        Facility(23, o("0-2:22.0.0"), Group.COMMUNICATION, "HDLC setup, serial 2", 1),
        Facility(6, o("0-0:14.0.0"), Group.TARIFF, "register activation, energy", role="energy"),
        Facility(6, o("0-0:14.0.1"), Group.TARIFF, "register activation, demand", role="demand"),
        DISPLAY_MIRROR,
        INVOCATION_COUNTER,
    ),
    parameters=(
        parameter("1-0:0.4.2", "ct_ratio", 1, "current transformer ratio", DataType.U16),
        parameter("1-0:0.4.3", "vt_ratio", 1, "voltage transformer ratio", DataType.U16),
        parameter(
            "1-0:1.35.0", "contracted_power_w", 0, "contracted power", class_id=3, unit=Unit.W
        ),
        parameter(
            "1-0:0.10.0", "xm_milliohm", 0, "Xm per phase", unit=Unit.OHM, class_id=3, scaler=-3
        ),
        parameter(
            "1-0:0.10.1", "rfe_milliohm", 0, "RFe per phase", unit=Unit.OHM, class_id=3, scaler=-3
        ),
        parameter(
            "1-0:0.10.2", "rcu_microohm", 0, "RCu per phase", unit=Unit.OHM, class_id=3, scaler=-6
        ),
        parameter(
            "1-0:0.10.3", "xs_microohm", 0, "Xs per phase", unit=Unit.OHM, class_id=3, scaler=-6
        ),
        parameter(
            "1-0:0.9.11",
            "clock_shift_limit_s",
            9,
            "clock shift limit",
            DataType.U8,
            unit=Unit.SECOND,
            class_id=3,
        ),
        *voltage_limits(0, 1840, 2530, 60),
        *alarm_filters(("0-0:97.98.10",)),
    ),
    pulses=(
        PulseOutput("led", (Measure.A_IMPORT, Measure.A_EXPORT), 20_000, 10, 50),
        PulseOutput("out1", (Measure.A_IMPORT,), 5000, 30),
        PulseOutput("out2", (Measure.A_EXPORT,), 5000, 30),
        PulseOutput("out3", (Measure.R1,), 5000, 30),
        PulseOutput("out4", (Measure.R2,), 5000, 30),
        PulseOutput("out5", (Measure.R3,), 5000, 30),
        PulseOutput("out6", (Measure.R4,), 5000, 30),
    ),
    relays=(
        LoadRelay(o("0-1:96.3.10"), "r1", "relay 1"),
        LoadRelay(o("0-2:96.3.10"), "r2", "relay 2"),
    ),
    limits=Limits(
        overvoltage_permille=1100,
        undervoltage_permille=800,
        sag_permille=900,
        swell_permille=1100,
        phase_lost_permille=50,
        overcurrent_ma=6000,
        power_limit_w=0,
    ),
    readout=(
        ReadoutItem("F.F", o("0-0:97.97.0"), (8, 0), ""),
        ReadoutItem("0.0.0", o("0-0:96.1.0"), (8, 0), ""),
        ReadoutItem("0.1.0", o("1-0:0.1.0"), (2, 0), ""),
        *(
            ReadoutItem(
                f"{c}.8.{e}",
                o(f"1-0:{c}.8.{e}"),
                (6, 3),
                "kWh" if c in {1, 2} else ("kvarh" if c < 9 else "kVAh"),
            )
            for c in range(1, 11)
            for e in range(7)
        ),
        *(
            ReadoutItem(f"1.6.{e}", o(f"1-0:1.6.{e}"), (5, 3), "kW", with_time=True)
            for e in range(7)
        ),
        ReadoutItem("1.2.0", o("1-0:1.2.0"), (6, 3), "kW"),
        ReadoutItem("83.8.3", o("1-0:83.8.3"), (6, 3), "kWh"),
        ReadoutItem("83.8.6", o("1-0:83.8.6"), (6, 3), "kWh"),
        ReadoutItem("0.4.2", o("1-0:0.4.2"), (5, 0), ""),
        ReadoutItem("0.4.3", o("1-0:0.4.3"), (5, 0), ""),
    ),
    alarms={
        "power_down": (1, 0),
        "power_up": (1, 1),
        "terminal_cover_opened": (1, 2),
        "main_cover_opened": (1, 3),
        "magnet_start": (1, 4),
        "overcurrent_start": (1, 5),
        "power_limit_exceeded": (1, 8),
        "phase_lost": (1, 9),
        "alarm_input_on": (1, 12),
        "device_error": (1, 13),
        "sag_start": (1, 14),
        "swell_start": (1, 17),
    },
    event_code=o("0-0:96.11.0"),
    errors={"nv_access": 14, "ram_checksum": 13, "program_checksum": 12, "clock_invalid": 6},
    quirks=("Registers are primary values; both transformer ratios are parameters.",),
    assumptions=(
        "Object list and codes: those of a Polish operator's companion model.",
        "Profiles: 2 MiB of 16 MB each; the sheet says only that each has its own interval.",
        "Thirty-six monthly reference periods.",
        "Grouping of the events into seven logs; the sheet gives only their number.",
        "Pulse outputs 5 000 imp/kWh, 30 ms.",
        "Thresholds of sag, swell, asymmetry and current without voltage.",
    ),
)
