"""Every event the head-end can meet, in plain words, with its severity and group."""

from __future__ import annotations

from typing import Final, NamedTuple


class Meaning(NamedTuple):
    """`severity` is info, warning or alarm."""

    text: str
    severity: str
    group: str


def _all(group: str, severity: str, *rows: tuple[str, str]) -> dict[str, Meaning]:
    return {name: Meaning(text, severity, group) for name, text in rows}


MEANINGS: Final[dict[str, Meaning]] = {
    **_all(
        "supply", "info",
        ("power_up", "Power returned"),
        ("phase_returned", "Phase returned"),
    ),
    **_all(
        "supply", "alarm",
        ("power_down", "Power failed"),
        ("long_outage", "Outage longer than 3 minutes"),
        ("phase_lost", "Phase failed"),
    ),
    **_all(
        "voltage", "warning",
        ("sag_start", "Voltage sag began"),
        ("swell_start", "Voltage swell began"),
        ("undervoltage_start", "Under-voltage began"),
        ("overvoltage_start", "Over-voltage began"),
        ("voltage_asymmetry_start", "Voltage asymmetry began"),
        ("thd_u_start", "Voltage THD above limit"),
        ("phase_sequence_wrong", "Wrong phase sequence"),
    ),
    **_all("voltage", "alarm", ("neutral_fault_start", "Neutral conductor broken")),
    **_all(
        "voltage", "info",
        ("sag_end", "Voltage sag ended"),
        ("swell_end", "Voltage swell ended"),
        ("undervoltage_end", "Under-voltage ended"),
        ("overvoltage_end", "Over-voltage ended"),
        ("voltage_asymmetry_end", "Voltage asymmetry ended"),
        ("thd_u_end", "Voltage THD normal"),
        ("neutral_fault_end", "Neutral conductor restored"),
        ("phase_sequence_right", "Phase sequence right again"),
    ),
    **_all(
        "current", "warning",
        ("overcurrent_start", "Current limit exceeded"),
        ("current_reversed", "Current reversed"),
        ("current_without_voltage", "Current without voltage"),
        ("missing_current_start", "Phase current missing"),
        ("current_asymmetry_start", "Current asymmetry began"),
        ("power_limit_exceeded", "Power limit exceeded"),
    ),
    **_all(
        "current", "info",
        ("overcurrent_end", "Current back below limit"),
        ("missing_current_end", "Phase current back"),
        ("current_asymmetry_end", "Current asymmetry ended"),
        ("power_limit_ended", "Power back below limit"),
    ),
    **_all(
        "tamper", "alarm",
        ("terminal_cover_opened", "Terminal cover opened"),
        ("main_cover_opened", "Main cover opened"),
        ("magnet_start", "Magnetic field detected"),
    ),
    **_all(
        "tamper", "info",
        ("terminal_cover_closed", "Terminal cover closed"),
        ("main_cover_closed", "Main cover closed"),
        ("magnet_end", "Magnetic field gone"),
    ),
    **_all(
        "clock", "info",
        ("clock_adjusted_old", "Clock set (old time)"),
        ("clock_adjusted_new", "Clock set (new time)"),
        ("dst_changed", "Daylight saving changed"),
        ("time_server_back", "Time server answers again"),
    ),
    **_all(
        "clock", "warning",
        ("clock_invalid", "Clock invalid"),
        ("time_server_lost", "Time server does not answer"),
    ),
    **_all(
        "access", "info",
        ("parameters_changed", "Parameters changed"),
        ("billing_reset", "Billing period ended"),
        ("firmware_ready", "Firmware ready"),
        ("firmware_activated", "Firmware activated"),
        ("local_access", "Local access"),
        ("calendar_activated", "Calendar activated"),
    ),
    **_all(
        "access", "warning",
        ("log_cleared", "Log cleared"),
        ("profile_cleared", "Load profile cleared"),
        ("firmware_refused", "Firmware refused"),
        ("access_refused", "Access refused"),
        ("authentication_failed", "Authentication failed"),
        ("decryption_failed", "Decryption failed"),
    ),
    **_all("access", "alarm", ("replay_detected", "Replay detected")),
    **_all(
        "control", "warning",
        ("breaker_opened_remotely", "Disconnected remotely"),
        ("breaker_opened_automatically", "Disconnected by limiter"),
    ),
    **_all(
        "control", "info",
        ("breaker_closed_remotely", "Connected remotely"),
        ("breaker_released", "Released for reconnection"),
        ("breaker_opened_locally", "Disconnected by button"),
        ("breaker_closed_locally", "Connected by button"),
        ("breaker_closed_automatically", "Reconnected by limiter"),
        ("relay_on", "Load relay switched on"),
        ("relay_off", "Load relay switched off"),
    ),
    **_all("control", "alarm", ("breaker_failed", "Breaker failed")),
    **_all(
        "payment", "warning",
        ("low_credit", "Credit low"),
        ("credit_exhausted", "Credit used up"),
        ("token_refused", "Token refused"),
    ),
    **_all(
        "payment", "info",
        ("emergency_credit_activated", "Emergency credit taken"),
        ("credit_added", "Credit added"),
    ),
    **_all("device", "warning", ("alarm_input_on", "Alarm input active")),
    **_all(
        "device", "info",
        ("alarm_input_off", "Alarm input idle"),
        ("storage_restored", "Storage restored"),
    ),
    **_all(
        "device", "alarm",
        ("device_error", "Device error"),
        ("storage_failed", "Storage failed"),
        ("alarm_reported", "Alarm reported by the meter"),
    ),
    **_all(
        "readings", "alarm",
        ("reading_contradicted", "The meter sent another value for a slot already read"),
        ("identity_mismatch", "Another meter answers at this address"),
    ),
    **_all(
        "readings", "warning",
        ("meter_quarantined", "Meter set apart after three failed conversations"),
        ("clock_off", "The meter's clock is off"),
        ("register_mismatch", "Profile and registers do not agree"),
    ),
    **_all("readings", "info", ("meter_returned", "Meter answers again")),
    # new ones at the end: the codes are their places
    **_all("readings", "alarm", ("push_replayed", "A message of this meter came again: refused")),
}  # fmt: skip

HEADEND_LOG: Final = "head-end"
"""The log name of events that the head-end itself found."""

HEADEND_CODES: Final = {
    name: number
    for number, name in enumerate(
        (name for name, meaning in MEANINGS.items() if meaning.group == "readings"), 1
    )
}


def meaning_of(name: str, code: int) -> Meaning:
    """The meaning of a neutral name; a code that no table knows is shown as it came."""
    return MEANINGS.get(name) or Meaning(f"Event code {code}", "info", "device")
