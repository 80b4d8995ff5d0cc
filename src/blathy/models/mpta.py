"""Connet MPTA Monofase and Trifase: measure, profile, transmit and activate.

Source: the maker's data sheet. No manual, register map or protocol is public, so everything beyond
inputs, outputs, memory size and intervals is assumed. The device's own ways are Modbus and the
link to its control centre; its DLMS object list is offered so that one head-end reads them all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from blathy.models.model import (
    Billing,
    Capacity,
    ClockSpec,
    Codes,
    Column,
    DataType,
    Demand,
    EventLog,
    Group,
    Identity,
    Led,
    Limits,
    LoadRelay,
    ModbusItem,
    Model,
    Parameter,
    Port,
    Profile,
    Ratings,
    Row,
    Tariffs,
    Terminal,
)
from blathy.models.row_groups import (
    ACCESS_STANDARD,
    COMMON_FACILITIES,
    DISPLAY_MIRROR,
    INVOCATION_COUNTER,
    IPV4,
    ONE_PHASE,
    THREE_PHASES,
    associations,
    columns,
    counter,
    energies,
    mbus_clients,
    mbus_profiles,
    o,
    obis_of,
    parameter,
    per_phase,
    powers,
    text,
)
from blathy.quantity import Kind, Measure, Phase, Source, Unit

MAIN: Final = (Measure.A_IMPORT, Measure.A_EXPORT, Measure.R_PLUS, Measure.R_MINUS)
STATISTICS: Final = (Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM)

IDENTITY_ROWS: Final = (
    text("0-0:42.0.0", "ldn", "logical device name"),
    text("0-0:96.1.0", "serial", "serial number"),
    text("1-0:0.2.0", "firmware", "firmware version"),
    text("1-0:0.2.8", "software_id", "software identification of the legal part"),
    counter("0-0:96.10.1", "profile_status_load", "record status", DataType.U16),
    counter("0-0:96.7.0", "power_failures", "power failures"),
    counter("0-0:97.97.0", "error_register", "error register", DataType.U32),
    counter("0-0:96.11.0", "last_event", "last event code", group=Group.LOG),
    counter("1-1:82.8.0", "pulses_1", "pulse input 1", DataType.U32, class_id=3),
    counter("1-2:82.8.0", "pulses_2", "pulse input 2", DataType.U32, class_id=3),
)


def _statistics(measures: tuple[Measure, ...], phases: tuple[Phase, ...]) -> tuple[Row, ...]:
    """Mean, minimum and maximum of the interval for each measure and phase."""
    rows: list[Row] = []
    for measure in measures:
        scaler = {Measure.U: -1, Measure.I: -3, Measure.F: -2}.get(measure, 0)
        data_type = DataType.U16 if measure in {Measure.U, Measure.F} else DataType.I32
        for kind in STATISTICS:
            rows.extend(per_phase(measure, phases, data_type, scaler, kind=kind, assumed=True))
    return tuple(rows)


def _profile_columns(
    phases: tuple[Phase, ...], measures: tuple[Measure, ...]
) -> tuple[Column, ...]:
    """What every 5-minute record holds: energies, then mean, minimum, maximum of U, I and P."""
    energy = tuple(Column(obis_of(Source(Kind.ENERGY, measure))) for measure in measures)
    voltage = tuple(
        Column(obis_of(Source(kind, Measure.U, phase))) for phase in phases for kind in STATISTICS
    )
    current = tuple(
        Column(obis_of(Source(kind, Measure.I, phase))) for phase in phases for kind in STATISTICS
    )
    power = tuple(Column(obis_of(Source(kind, Measure.A_NET))) for kind in STATISTICS)
    return (*energy, *power, *voltage, *current)


def _rings(
    phases: tuple[Phase, ...], measures: tuple[Measure, ...], ring: Capacity, second: Capacity
) -> tuple[Profile, ...]:
    cols = _profile_columns(phases, measures)
    other = "mod. 6" if len(phases) == 3 else "mod. 2"
    status = o("0-0:96.10.1")
    energy = tuple(Column(obis_of(Source(Kind.ENERGY, measure))) for measure in measures)
    return (
        Profile(
            "load",
            o("1-0:99.1.0"),
            "5-minute ring in flash",
            cols,
            300,
            (300,),
            ring,
            status,
            DataType.U16,
            columns_max=64,
            variants={other: second},
        ),
        Profile(
            "fast",
            o("1-0:99.2.0"),
            "10-second samples in RAM",
            cols,
            10,
            (10, 20, 30, 60),
            Capacity(entries=1080, law="3 hours of 10 s, lost in a power cut"),
            status,
            DataType.U16,
            columns_max=64,
            assumed=True,
        ),
        Profile(
            "hourly",
            o("1-0:99.4.0"),
            "hourly profile",
            energy,
            3600,
            (3600,),
            Capacity(entries=24 * 400, law="400 days"),
            status,
            DataType.U16,
            assumed=True,
        ),
        Profile(
            "daily",
            o("1-0:99.5.0"),
            "daily profile",
            energy,
            86_400,
            (86_400,),
            Capacity(entries=3660, law="ten years"),
            status,
            DataType.U16,
            assumed=True,
        ),
    )


def _flash(sectors: int, record: int) -> Capacity:
    """NOR flash of 4 KiB sectors, 16 bytes of header in each, one always erased."""
    return Capacity(
        area_bytes=sectors * 4096,
        overhead_bytes=record,
        page_bytes=4096,
        page_header_bytes=16,
        spare_pages=1,
        law=f"{sectors} sectors of 4 KiB, one erased, {record} bytes a record",
    )


CODES: Final[dict[str, Codes]] = {
    "power_up": 1,
    "power_down": 2,
    "clock_adjusted_old": 4,
    "clock_adjusted_new": 5,
    "clock_invalid": 6,
    "phase_lost": (10, 11, 12),
    "phase_returned": (13, 14, 15),
    "sag_start": (16, 17, 18),
    "swell_start": (19, 20, 21),
    "overcurrent_start": (22, 23, 24),
    "overcurrent_end": (25, 26, 27),
    "power_limit_exceeded": 28,
    "power_limit_ended": 29,
    "alarm_input_on": 30,
    "alarm_input_off": 31,
    "relay_on": 32,
    "relay_off": 33,
    "current_reversed": 34,
    "parameters_changed": 40,
    "firmware_ready": 41,
    "firmware_activated": 42,
    "firmware_refused": 43,
    "log_cleared": 44,
    "profile_cleared": 45,
    "device_error": 46,
    "access_refused": 47,
    "authentication_failed": 48,
    "decryption_failed": 49,
    "replay_detected": 50,
}
PLATE: Final = {
    "supply": "100-240 V AC, 50/60 Hz",
    "installation": "DIN rail, screw terminals (pluggable at the relays)",
}


def _registers(phases: tuple[Phase, ...], measures: tuple[Measure, ...]) -> tuple[Row, ...]:
    three = len(phases) == 3
    return (
        *IDENTITY_ROWS,
        *energies(measures, 0, DataType.U64, 0),
        *powers(measures, DataType.U32, 0),
        *powers((Measure.A_NET,), DataType.I32, 0),
        *(powers((Measure.A_NET,), DataType.I32, 0, phases=phases) if three else ()),
        *per_phase(Measure.U, phases, DataType.U16, -1),
        *per_phase(Measure.I, phases, DataType.U32, -3),
        *(per_phase(Measure.PF, (Phase.TOTAL, *phases), DataType.I16, -3) if three else ()),
        *per_phase(Measure.F, (Phase.TOTAL,), DataType.U16, -2, assumed=True),
        *_statistics((Measure.U, Measure.I), phases),
        *_statistics((Measure.A_NET,), (Phase.TOTAL,)),
    )


def _modbus(phases: tuple[Phase, ...], measures: tuple[Measure, ...]) -> tuple[ModbusItem, ...]:
    """The SDM630 layout that common readers know, as far as its registers are measured here."""
    items: list[ModbusItem] = []
    for phase in phases:
        n = 2 * (phase - 1)
        items.append(ModbusItem(0x0000 + n, o(f"1-0:{12 + 20 * phase}.7.0"), "float32"))
        items.append(ModbusItem(0x0006 + n, o(f"1-0:{11 + 20 * phase}.7.0"), "float32"))
        if len(phases) == 3:
            items.append(ModbusItem(0x000C + n, o(f"1-0:{16 + 20 * phase}.7.0"), "float32"))
    items.append(ModbusItem(0x0034, o("1-0:16.7.0"), "float32"))
    if len(phases) == 3:
        items.append(ModbusItem(0x003E, o("1-0:13.7.0"), "float32"))
    items.append(ModbusItem(0x0046, o("1-0:14.7.0"), "float32"))
    for n, measure in enumerate(measures):
        items.append(
            ModbusItem(0x0048 + 2 * n, obis_of(Source(Kind.ENERGY, measure)), "float32", 3)
        )
    return tuple(items)


def _terminals(ct: int, ntc: int, ma: int, volt: int, relays: int) -> tuple[Terminal, ...]:
    return (
        *(Terminal(f"ct{n}", "ct", f"CT {n}", note="33 mA full scale") for n in range(1, ct + 1)),
        Terminal("pulse1", "pulse", "pulse 1", ("energy", "heat", "volume", "alarm"), "or optical"),
        Terminal("pulse2", "pulse", "pulse 2", ("energy", "heat", "volume", "alarm")),
        *(
            Terminal(f"ntc{n}", "ntc", f"NTC {n}", ("temperature", "alarm"), "10 k at 25 °C")
            for n in range(1, ntc + 1)
        ),
        *(Terminal(f"ma{n}", "ma", f"4-20 mA {n}", note="active") for n in range(1, ma + 1)),
        *(Terminal(f"volt{n}", "volt", f"0-10 V {n}") for n in range(1, volt + 1)),
        *(
            Terminal(
                f"relay{n}",
                "relay",
                f"relay {n}",
                ("load", "alarm"),
                "230 V AC, 3 A resistive" + (", changeover" if n == relays else ""),
            )
            for n in range(1, relays + 1)
        ),
    )


def _inputs(inputs: int, used: int) -> tuple[Parameter, ...]:
    """What is set for each current input: primary current of its transformer at full scale, the
    load and phase that it belongs to, the transformer's serial number and its measured errors."""
    channels = range(1, inputs + 1)
    return (
        *(
            parameter(
                f"1-0:0.4.{128 + n}", f"ct_{n}_nominal", 100, f"primary current of CT {n}",
                DataType.U16, unit=Unit.A, class_id=3,
            )
            for n in channels
        ),
        *(
            parameter(
                f"1-0:0.4.{136 + n}", f"ct_{n}_load", 10 + n if n <= used else 0,
                f"load and phase of CT {n} (10 x load + phase, 0: not used)", DataType.U8,
            )
            for n in channels
        ),
        *(
            Parameter(
                o(f"1-0:0.4.{base + n}"), f"ct_{n}_{name}", b"", DataType.OCTETS, title=title,
            )
            for n in channels
            for base, name, title in (
                (144, "serial", f"serial number of CT {n}"),
                (152, "constants", f"measured errors of CT {n}: 12 octets a point"),
            )
        ),
    )  # fmt: skip


MPTA_3: Final = Model(
    key="mpta-3",
    name="Connet MPTA Trifase",
    maker="Connet",
    flag="CNT",
    title="Three-phase energy monitor with CTs, inputs and relays",
    description=(
        "Measures a three-phase line with neutral through 33 mA current transformers, reads pulses,"
        " temperatures and analogue signals, keeps 5-minute profiles and switches three relays."
    ),
    sources=("MPTA data sheet",),
    identity=Identity(
        ldn="CNTMPTA3{serial:08d}",
        identification="CONNET MPTA-3",
        type_text="MPTA-3 mod. 3",
        device_type=0x03,
        firmware="MPTA 2.4.0",
    ),
    phases=THREE_PHASES,
    connection="current transformers 33 mA, 3 or 6; line with neutral",
    ratings=Ratings(
        un_v=(230, 400),
        i_ref_ma=(5000,),
        i_max_ma=1_500_000,
        accuracy_active=("0.5 % of full scale",),
        accuracy_reactive=("0.5 % of full scale",),
        voltage_permille=(435, 1150),
        imp_per_kwh=0,
        starting_ma=0,
        transformers=True,
        current_full_scale_ma=33,
    ),
    plate={**PLATE, "consumption": "10 W, fuse 500 mA", "housing": "9 DIN modules, low profile"},
    rows=_registers(THREE_PHASES, MAIN),
    profiles=(
        *_rings(THREE_PHASES, MAIN, _flash(1791 + 1, 144), _flash(1791 + 1, 240)),
        *mbus_profiles(4),
    ),
    billing=(
        Billing(
            "billing",
            o("0-0:98.1.0"),
            "monthly profile",
            columns(*(str(obis_of(Source(Kind.ENERGY, m))) for m in MAIN)),
            120,
            assumed=True,
        ),
    ),
    logs=(EventLog("events", o("0-0:99.98.0"), "event log", 1000, CODES, assumed=True),),
    tariffs=Tariffs(
        rates=0, seasons=1, day_profiles=1, switchings=1, special_days=20, assumed=True
    ),
    demand=Demand(900, (900,), (Measure.A_IMPORT,), assumed=True),
    clock=ClockSpec(
        o("0-0:1.0.0"), drift_ppm=20, reserve_s=48 * 3600, shift_limit_s=5, assumed=True
    ),
    display=None,
    leds=(
        Led("supply", "supply", "green", "supply"),
        Led("link", "link", "yellow", "link"),
        Led("alarm", "alarm", "red", "alarm"),
        *(Led(f"relay{n}", f"relay {n}", "green", "relay") for n in (1, 2, 3)),
    ),
    terminals=_terminals(6, 2, 2, 1, 3),
    ports=(
        Port("lan", "lan", ("modbus-tcp", "http", "mqtt", "dlms-tcp"), note="or Wi-Fi or GPRS"),
        Port("rs485", "rs485", ("modbus-rtu", "mbus-master"), 9600, 115_200, "M-Bus on request"),
        Port("usb", "usb", ("configuration",), note="programme and configuration"),
    ),
    associations=associations(broadcast=False),
    access=ACCESS_STANDARD,
    facilities=(
        *(f for f in COMMON_FACILITIES if f.class_id not in {11, 20}),
        *IPV4,
        *mbus_clients(4),
        DISPLAY_MIRROR,
        INVOCATION_COUNTER,
    ),
    parameters=(
        *_inputs(6, 3),
        parameter("1-0:1.35.0", "power_limit", 0, "power alarm threshold", unit=Unit.W, class_id=3),
    ),
    relays=tuple(
        LoadRelay(o(f"0-{n}:96.3.10"), f"relay{n}", f"relay {n}", rated_ma=3000) for n in (1, 2, 3)
    ),
    limits=Limits(phase_lost_permille=500),
    modbus=_modbus(THREE_PHASES, MAIN),
    quirks=("The device has no display: its own page on the LAN shows what it measures.",),
    assumptions=(
        "No maker's code is registered: CNT stands for Connet.",
        "Each current input has parameters: full-scale current, load, serial number, errors.",
        "Loads beside the first are logical devices at the server address of their number.",
        "Record layout of the 5-minute ring; the sheet gives only 8 MB and 5 minutes.",
        "Ten-second samples: three hours in RAM.",
        "Modbus map: the SDM630 layout, known to common readers.",
        "The DLMS object list: the device itself speaks Modbus and a protocol of its own.",
    ),
)

MONO: Final = (Measure.A_IMPORT, Measure.A_EXPORT)
MPTA_1: Final = replace(
    MPTA_3,
    key="mpta-1",
    name="Connet MPTA Monofase",
    title="Single-phase energy monitor with CTs, inputs and a relay",
    description=(
        "Measures power and energy of a single-phase line through one or two 33 mA current"
        " transformers, reads pulses, a temperature and an analogue signal and switches a relay."
    ),
    identity=Identity(
        ldn="CNTMPTA1{serial:08d}",
        identification="CONNET MPTA-1",
        type_text="MPTA-1 mod. 1",
        device_type=0x01,
        firmware="MPTA 2.4.0",
    ),
    phases=ONE_PHASE,
    connection="current transformers 33 mA, 1 or 2; single-phase line",
    ratings=replace(
        MPTA_3.ratings,
        un_v=(230,),
        accuracy_active=("0.5 % in the measuring range",),
        accuracy_reactive=(),
    ),
    plate={**PLATE, "consumption": "5 W, fuse 160 mA", "housing": "4 DIN modules, low profile"},
    rows=_registers(ONE_PHASE, MONO),
    profiles=(
        *_rings(ONE_PHASE, MONO, _flash(767 + 1, 60), _flash(767 + 1, 90)),
        *mbus_profiles(4),
    ),
    billing=(
        Billing(
            "billing",
            o("0-0:98.1.0"),
            "monthly profile",
            columns("1-0:1.8.0", "1-0:2.8.0"),
            120,
            assumed=True,
        ),
    ),
    leds=tuple(led for led in MPTA_3.leds if led.key not in {"relay2", "relay3"}),
    terminals=_terminals(2, 1, 1, 0, 1),
    parameters=(
        *_inputs(2, 1),
        MPTA_3.parameters[-1],
    ),
    relays=MPTA_3.relays[:1],
    modbus=_modbus(ONE_PHASE, MONO),
)
