"""What the Kamstrup meters share: registers with B = 1, the event logs, the loggers.

Sources: Kamstrup 5512-1040 rev. C1 (05.2012) for the 162M/382M, Kamstrup 55121235_D1_GB (11.2015)
for the OMNIPOWER, Kamstrup 5512-2631_EN_F2 (12-2022) for the event numbers of its successor, which
the DLMS logs use. Load profile and analysis logger keep registers of every phase that is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blathy.models.model import (
    Codes,
    Column,
    DataType,
    DisplayList,
    EventLog,
    Facility,
    Group,
    Parameter,
    Row,
)
from blathy.models.row_groups import (
    COMMON_FACILITIES,
    DISPLAY_MIRROR,
    INVOCATION_COUNTER,
    OPTICAL_AND_HDLC,
    PREPAYMENT,
    alarm_filters,
    columns,
    counter,
    demands,
    energies,
    o,
    parameter,
    per_phase,
    powers,
    text,
    timed,
)
from blathy.quantity import Kind, Measure, Phase, Unit

B: Final = 1
"""Kamstrup writes value group B as 1 where others write 0."""
CLOCK: Final = o("0-1:1.0.0")
TARIFF_MEASURES: Final = (
    Measure.A_IMPORT,
    Measure.A_EXPORT,
    Measure.R_PLUS,
    Measure.R_MINUS,
    Measure.E_IMPORT,
    Measure.E_EXPORT,
)
QUADRANTS: Final = (Measure.R1, Measure.R2, Measure.R3, Measure.R4)


def identity_rows() -> tuple[Row, ...]:
    """Numbers and names, the counters that every logger also keeps."""
    return (
        text("0-0:42.0.0", "ldn", "logical device name"),
        text("1-1:0.0.1", "serial", "meter number", DataType.U32),
        text("1-1:96.1.1", "type_text", "type number", DataType.TEXT),
        text("1-1:0.2.0", "firmware", "software number and revision", DataType.TEXT),
        text(
            "1-1:0.2.8", "software_id", "software identification of the legal part", DataType.TEXT
        ),
        text("0-0:96.14.0", "active_tariff", "active tariff", group=Group.TARIFF),
        counter(
            "0-1:96.8.0",
            "operating_hours",
            "hour counter",
            DataType.U32,
            class_id=3,
            unit=Unit.HOUR,
        ),
        counter("1-1:0.1.0", "billing_periods", "debiting stops", DataType.U32, class_id=3),
        counter("1-1:0.128.1", "pulses_1", "pulse input", DataType.U32, class_id=3),
        counter("1-1:97.97.0", "error_register", "meter status", DataType.U32),
        counter("0-0:96.11.0", "last_event", "last event code", group=Group.LOG),
        counter("0-0:96.10.1", "profile_status_load", "load profile quality", DataType.U32),
        counter("0-0:96.10.2", "profile_status_analysis", "analysis logger quality", DataType.U32),
        counter("0-0:96.7.0", "power_failures", "power failures", DataType.U32),
        counter(
            "0-0:97.98.0",
            "alarm_register_1",
            "alarm register 1",
            DataType.U32,
            group=Group.PARAMETER,
        ),
        counter(
            "0-0:97.98.1",
            "alarm_register_2",
            "alarm register 2",
            DataType.U32,
            group=Group.PARAMETER,
        ),
        counter(
            "0-0:97.98.2",
            "alarm_register_3",
            "alarm register 3",
            DataType.U32,
            group=Group.PARAMETER,
        ),
        counter(
            "0-0:97.98.3",
            "alarm_register_4",
            "alarm register 4",
            DataType.U32,
            group=Group.PARAMETER,
        ),
    )


def energy_rows(
    rates: int, tariff_measures: Iterable[Measure], plain: Iterable[Measure]
) -> tuple[Row, ...]:
    """Main registers and their tariffs: u32 in steps of 10 Wh."""
    return (
        *energies(tariff_measures, rates, DataType.U32, 1, b=B),
        *energies(plain, 0, DataType.U32, 1, b=B),
    )


def network_rows(phases: tuple[Phase, ...], measures: tuple[Measure, ...]) -> tuple[Row, ...]:
    """Powers, voltages, currents, power factor, frequency."""
    rows: list[Row] = [*powers(measures, DataType.U32, 0, b=B)]
    if len(phases) > 1:
        rows += powers((Measure.A_IMPORT, Measure.A_EXPORT), DataType.U32, 0, b=B, phases=phases)
        rows += energies(
            (Measure.A_IMPORT, Measure.A_EXPORT), 0, DataType.U32, 1, b=B, phases=phases
        )
    rows += per_phase(Measure.U, phases, DataType.U16, 0, b=B)
    rows += per_phase(Measure.I, phases, DataType.U32, -2, b=B)
    rows += per_phase(Measure.PF, (Phase.TOTAL, *phases), DataType.U16, -2, b=B, assumed=True)
    rows += per_phase(Measure.F, (Phase.TOTAL,), DataType.U16, -2, b=B, assumed=True)
    return tuple(rows)


def mean_rows(phases: tuple[Phase, ...], measures: tuple[Measure, ...]) -> tuple[Row, ...]:
    """x.25.0: means over the analysis period."""
    mean = Kind.MEAN
    return (
        *powers(measures, DataType.U32, 0, b=B, kind=mean, assumed=True),
        *per_phase(Measure.U, phases, DataType.U16, -1, b=B, kind=mean, assumed=True),
        *per_phase(Measure.I, phases, DataType.U32, -2, b=B, kind=mean, assumed=True),
    )


def peak_rows() -> tuple[Row, ...]:
    """Peak powers of the debiting period, by tariff for P+ and Q+, and their accumulated sums."""
    return (
        *demands((Measure.A_IMPORT,), 2, DataType.U32, 0, b=B),
        *demands((Measure.R_PLUS,), 2, DataType.U32, 0, b=B),
        *demands((Measure.E_IMPORT, Measure.E_EXPORT), 0, DataType.U32, 0, b=B, running=False),
    )


DEBITING_1: Final[tuple[Column, ...]] = (
    *columns("0-1:96.8.0", "1-1:0.1.0", "1-1:96.51.2", "1-1:0.128.1"),
    *columns(*(f"1-1:{c}.8.0" for c in (1, 2, 3, 4, 9, 10))),
    *columns(*(f"1-1:1.8.{e}" for e in range(1, 5)), *(f"1-1:3.8.{e}" for e in range(1, 5))),
    *timed("1-1:1.6.0", "1-1:1.6.1", "1-1:1.6.2"),
    *columns("1-1:1.2.0", "1-1:1.2.1", "1-1:1.2.2"),
    *timed("1-1:3.6.0", "1-1:3.6.1", "1-1:3.6.2"),
    *columns("1-1:3.2.0"),
    *timed("1-1:9.6.0", "1-1:10.6.0"),
)
"""What the data sheet of the OMNIPOWER lists, in its order."""
DEBITING_2: Final[tuple[Column, ...]] = (
    *columns("0-1:96.8.0"),
    *columns(*(f"1-1:{c}.8.0" for c in (1, 2, 3, 4))),
    *columns(*(f"1-1:{c}.8.{e}" for c in (1, 2, 3, 4) for e in range(1, 5))),
)

THRESHOLD_ROWS: Final = (
    counter(
        "1-1:96.51.2", "power_threshold_count", "power threshold counter", DataType.U32, class_id=3
    ),
)

STANDARD_LOG: Final[dict[str, Codes]] = {
    "power_down": 1,
    "power_up": 2,
    "clock_adjusted_old": 4,
    "clock_adjusted_new": 5,
    "clock_invalid": 6,
    "device_error": 12,
    "storage_failed": 14,
    "firmware_ready": 17,
    "firmware_activated": 18,
    "parameters_changed": 47,
    "phase_sequence_wrong": 88,
    "neutral_fault_start": 89,
    "neutral_fault_end": 230,
    "overcurrent_start": (213, 214, 215),
    "overcurrent_end": (449, 450, 451),
    "firmware_refused": 226,
    "missing_current_start": (225, 225, 225),
    "current_without_voltage": 444,
    "power_limit_exceeded": 458,
    "power_limit_ended": 459,
    "log_cleared": 255,
    "profile_cleared": 254,
    "billing_reset": 253,
    "calendar_activated": 11,
    "alarm_input_on": 20,
}
FRAUD_LOG: Final[dict[str, Codes]] = {
    "terminal_cover_opened": 40,
    "terminal_cover_closed": 41,
    "main_cover_opened": 44,
    "main_cover_closed": 45,
    "magnet_start": 42,
    "magnet_end": 43,
    "decryption_failed": 49,
    "authentication_failed": 46,
    "replay_detected": 50,
    "current_reversed": 91,
}
DISCONNECT_LOG: Final[dict[str, Codes]] = {
    "breaker_released": 59,
    "breaker_opened_locally": 60,
    "breaker_closed_locally": 61,
    "breaker_opened_remotely": 62,
    "breaker_closed_remotely": 63,
    "breaker_opened_automatically": 64,
    "breaker_failed": 68,
    "breaker_closed_automatically": 69,
    "credit_exhausted": 140,
    "low_credit": 141,
    "credit_added": 142,
    "relay_on": 143,
    "relay_off": 144,
}
QUALITY_LOG: Final[dict[str, Codes]] = {
    "undervoltage_start": (76, 77, 78),
    "undervoltage_end": (406, 407, 408),
    "overvoltage_start": (79, 80, 81),
    "overvoltage_end": (403, 404, 405),
    "phase_lost": (82, 83, 84),
    "phase_returned": (400, 401, 402),
    "voltage_asymmetry_start": 90,
    "voltage_asymmetry_end": 428,
    "thd_u_start": (431, 432, 433),
    "thd_u_end": (434, 435, 436),
    "long_outage": 3,
}
COMMUNICATION_LOG: Final[dict[str, Codes]] = {
    "time_server_lost": 768,
    "time_server_back": 769,
}
ACCESS_LOG: Final[dict[str, Codes]] = {
    "local_access": 28,
    "access_refused": 212,
}


def logs(entries: int) -> tuple[EventLog, ...]:
    """The six logs of the DLMS object list, each a ring of `entries`."""
    return (
        EventLog(
            "standard", o("0-0:99.98.0"), "standard event log", entries, STANDARD_LOG, assumed=True
        ),
        EventLog(
            "fraud",
            o("0-0:99.98.1"),
            "fraud log (tamper and magnet)",
            entries,
            FRAUD_LOG,
            assumed=True,
        ),
        EventLog(
            "disconnect", o("0-0:99.98.2"), "disconnect log", entries, DISCONNECT_LOG, assumed=True
        ),
        EventLog(
            "quality", o("0-0:99.98.4"), "voltage quality log", entries, QUALITY_LOG, assumed=True
        ),
        EventLog(
            "communication",
            o("0-0:99.98.5"),
            "communication log",
            entries,
            COMMUNICATION_LOG,
            assumed=True,
        ),
        EventLog("access", o("0-0:99.98.128"), "access log", entries, ACCESS_LOG, assumed=True),
    )


RTC_LOG: Final = EventLog(
    "rtc",
    o("1-1:99.98.3"),
    "clock adjustment log",
    200,
    {"clock_adjusted_old": 4, "clock_adjusted_new": 5, "clock_invalid": 6},
)
STATUS_LOG: Final = EventLog(
    "status",
    o("1-1:99.98.2"),
    "status log",
    200,
    {
        "device_error": 2,
        "magnet_start": 3,
        "main_cover_opened": 7,
        "terminal_cover_opened": 8,
        "power_up": 9,
    },
)
VOLTAGE_LOG: Final = EventLog(
    "voltage_quality",
    o("1-1:99.98.16"),
    "voltage quality log with figures",
    200,
    {
        "undervoltage_start": 0,
        "overvoltage_start": 1,
        "undervoltage_end": 2,
        "overvoltage_end": 3,
        "sag_start": 6,
        "sag_end": 7,
        "swell_start": 8,
        "swell_end": 9,
        "phase_lost": 4,
        "phase_returned": 5,
        "power_down": 10,
        "power_up": 11,
    },
    code_type=DataType.U8,
    figures=(o("0-0:96.11.20"), o("0-0:96.11.21")),
)
NEUTRAL_LOG: Final = EventLog(
    "neutral",
    o("1-1:99.98.12"),
    "neutral fault log",
    45,
    {"neutral_fault_start": 89, "neutral_fault_end": 230},
    assumed=True,
)
CUTOFF_LOG: Final = EventLog(
    "cutoff",
    o("1-1:99.98.5"),
    "breaker log",
    200,
    {name: code for name, code in DISCONNECT_LOG.items() if name.startswith("breaker")},
    assumed=True,
)

SECURITY_POLICY: Final = 0x6C
"""Requests and responses authenticated and encrypted: the interface encryption of the sheets
(AES-128; Z28 of the OMNIPOWER, which can be ordered without)."""

ALARMS: Final = {
    "clock_invalid": (1, 0),
    "device_error": (1, 8),
    "storage_failed": (1, 10),
    "power_down": (2, 0),
    "power_up": (2, 1),
    "phase_lost": (2, 2),
    "voltage_asymmetry_start": (2, 9),
    "current_reversed": (2, 10),
    "phase_sequence_wrong": (2, 11),
    "breaker_failed": (2, 31),
    "breaker_released": (3, 0),
    "breaker_opened_locally": (3, 1),
    "breaker_closed_locally": (3, 2),
    "breaker_opened_remotely": (3, 3),
    "breaker_closed_remotely": (3, 4),
    "breaker_opened_automatically": (3, 5),
    "breaker_closed_automatically": (3, 6),
    "firmware_activated": (3, 17),
    "firmware_refused": (3, 18),
    "replay_detected": (3, 19),
    "decryption_failed": (3, 20),
    "parameters_changed": (3, 21),
    "current_without_voltage": (3, 26),
    "undervoltage_start": (4, 8),
    "overvoltage_start": (4, 11),
    "voltage_asymmetry_end": (4, 14),
    "neutral_fault_start": (4, 16),
    "neutral_fault_end": (4, 17),
    "magnet_start": (4, 18),
    "magnet_end": (4, 19),
    "terminal_cover_opened": (4, 20),
    "terminal_cover_closed": (4, 21),
}
FACILITIES: Final = (
    *(Facility(f.class_id, f.obis, f.group, f.title, f.version, f.role) for f in COMMON_FACILITIES),
    *OPTICAL_AND_HDLC,
    DISPLAY_MIRROR,
    INVOCATION_COUNTER,
    *PREPAYMENT,
    Facility(40, o("0-1:25.9.0"), Group.COMMUNICATION, "push setup NVE 1", 1, "consumer fast"),
    Facility(40, o("0-2:25.9.0"), Group.COMMUNICATION, "push setup NVE 2", 1, "consumer hourly"),
)


def breaker_parameters() -> tuple[Parameter, ...]:
    """1.1.128.0.x: factors and times of smart disconnect, over-voltage opening, prepayment."""
    return (
        *(
            parameter(
                f"1-1:128.0.{n}",
                f"disconnect_k{n - 1}",
                factor,
                f"smart disconnect factor k{n - 1}",
                DataType.U8,
                class_id=3,
                scaler=-1,
                group=Group.CONTROL,
            )
            for n, factor in ((2, 16), (3, 13), (4, 11))
        ),
        *(
            parameter(
                f"1-1:128.0.{n}",
                f"disconnect_t{n - 4}_s",
                time_s,
                f"smart disconnect time t{n - 4}",
                DataType.U16,
                class_id=3,
                unit=Unit.SECOND,
                group=Group.CONTROL,
            )
            for n, time_s in ((5, 10), (6, 60), (7, 600))
        ),
        parameter(
            "1-1:128.0.9",
            "prepayment_days",
            0,
            "days of exception power",
            DataType.U8,
            class_id=3,
            unit=Unit.DAY,
            group=Group.PAYMENT,
            writable=False,
        ),
        *(
            parameter(
                f"1-1:128.0.{130 + n}",
                name,
                0,
                title,
                DataType.U16,
                class_id=3,
                unit=Unit.MINUTE,
                group=Group.PAYMENT,
                highest=1440,
            )
            for n, (name, title) in enumerate(
                (
                    ("friendly_from_min", "friendly time begins, after midnight"),
                    ("friendly_until_min", "friendly time ends, after midnight"),
                )
            )
        ),
        parameter(
            "1-1:128.0.132",
            "friendly_weekdays",
            0,
            "friendly days: Monday 1, Tuesday 2, ... Sunday 64",
            DataType.U8,
            class_id=3,
            group=Group.PAYMENT,
            highest=0x7F,
        ),
        parameter(
            "1-1:128.0.13",
            "disconnect_limit_a",
            0,
            "smart disconnect limit Id",
            DataType.U8,
            class_id=3,
            unit=Unit.A,
            group=Group.CONTROL,
        ),
        parameter(
            "1-1:128.0.19",
            "overvoltage_open_v",
            285,
            "over-voltage opening (off)",
            DataType.U16,
            class_id=3,
            unit=Unit.V,
            group=Group.CONTROL,
            writable=False,
        ),
        parameter(
            "1-1:128.0.21",
            "overvoltage_close_v",
            265,
            "over-voltage reclosing (off)",
            DataType.U16,
            class_id=3,
            unit=Unit.V,
            group=Group.CONTROL,
            writable=False,
        ),
        parameter(
            "1-1:96.51.1",
            "power_threshold_w",
            0,
            "power threshold",
            class_id=3,
            unit=Unit.W,
        ),
        *alarm_filters(f"0-0:97.98.{n}" for n in range(10, 16)),
    )


ANNUNCIATORS: Final = (
    "L1 L2 L3",
    "I1 I2 I3",
    "quadrant",
    "T1 T2 T3 T4 T5 T6 T7 T8",
    "breaker",
    "tamper",
    "error",
    "radio",
    "module",
    "prepayment",
)


def display_lists(phases: tuple[Phase, ...], rates: int) -> tuple[DisplayList, ...]:
    """The lists of the order form: automatic, manual, utility and battery."""
    u = tuple(f"1-1:{12 + 20 * p}.7.0" for p in phases)
    i = tuple(f"1-1:{11 + 20 * p}.7.0" for p in phases)
    return (
        DisplayList("automatic", ("1-1:1.8.0", "1-1:2.8.0", "1-1:1.7.0", "clock", "date")),
        DisplayList(
            "manual",
            (
                "1-1:1.8.0",
                *(f"1-1:1.8.{rate}" for rate in range(1, rates + 1)),
                *(f"1-1:{c}.8.0" for c in (2, 3, 4)),
                "1-1:1.6.0",
                "1-1:1.7.0",
                "1-1:2.7.0",
                *u,
                *i,
                "1-1:13.7.0",
                "0-1:96.8.0",
                "1-1:0.0.1",
                "1-1:0.2.0",
                "1-1:0.2.8",
                "1-1:97.97.0",
                "test",
            ),
            items_max=30,
        ),
        DisplayList("utility", ("1-1:97.97.0", "1-1:0.1.0", "clock", "date"), items_max=16),
        DisplayList("battery", ("1-1:1.8.0", "1-1:2.8.0", "1-1:0.0.1", "clock"), items_max=8),
    )
