"""The vocabulary of events: neutral names that metrology, terminals and control use.

A model maps each to the code and the log of its maker.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final[dict[str, str]] = {
    # supply
    "power_down": "Power failed",
    "power_up": "Power returned",
    "long_outage": "Outage longer than 3 minutes",
    "phase_lost": "Phase failed",
    "phase_returned": "Phase returned",
    # voltage quality
    "sag_start": "Voltage sag began",
    "sag_end": "Voltage sag ended",
    "swell_start": "Voltage swell began",
    "swell_end": "Voltage swell ended",
    "undervoltage_start": "Under-voltage began",
    "undervoltage_end": "Under-voltage ended",
    "overvoltage_start": "Over-voltage began",
    "overvoltage_end": "Over-voltage ended",
    "voltage_asymmetry_start": "Voltage asymmetry began",
    "voltage_asymmetry_end": "Voltage asymmetry ended",
    "thd_u_start": "Voltage THD above limit",
    "thd_u_end": "Voltage THD normal",
    "neutral_fault_start": "Neutral conductor broken",
    "neutral_fault_end": "Neutral conductor restored",
    "phase_sequence_wrong": "Wrong phase sequence",
    "phase_sequence_right": "Phase sequence right again",
    # current and power
    "overcurrent_start": "Current limit exceeded",
    "overcurrent_end": "Current back below limit",
    "current_reversed": "Current reversed",
    "current_without_voltage": "Current without voltage",
    "missing_current_start": "Phase current missing",
    "missing_current_end": "Phase current back",
    "current_asymmetry_start": "Current asymmetry began",
    "current_asymmetry_end": "Current asymmetry ended",
    "power_limit_exceeded": "Power limit exceeded",
    "power_limit_ended": "Power back below limit",
    # tamper
    "terminal_cover_opened": "Terminal cover opened",
    "terminal_cover_closed": "Terminal cover closed",
    "main_cover_opened": "Main cover opened",
    "main_cover_closed": "Main cover closed",
    "magnet_start": "Magnetic field detected",
    "magnet_end": "Magnetic field gone",
    # clock
    "clock_adjusted_old": "Clock set (old time)",
    "clock_adjusted_new": "Clock set (new time)",
    "clock_invalid": "Clock invalid",
    "time_server_lost": "Time server does not answer",
    "time_server_back": "Time server answers again",
    "dst_changed": "Daylight saving changed",
    # configuration and access
    "parameters_changed": "Parameters changed",
    "billing_reset": "Billing period ended",
    "log_cleared": "Log cleared",
    "profile_cleared": "Load profile cleared",
    "firmware_ready": "Firmware ready",
    "firmware_activated": "Firmware activated",
    "firmware_refused": "Firmware refused",
    "access_refused": "Access refused",
    "authentication_failed": "Authentication failed",
    "decryption_failed": "Decryption failed",
    "replay_detected": "Replay detected",
    "local_access": "Local access",
    "calendar_activated": "Calendar activated",
    # supply control and prepayment
    "breaker_opened_remotely": "Disconnected remotely",
    "breaker_closed_remotely": "Connected remotely",
    "breaker_released": "Released for reconnection",
    "breaker_opened_locally": "Disconnected by button",
    "breaker_closed_locally": "Connected by button",
    "breaker_opened_automatically": "Disconnected by limiter",
    "breaker_closed_automatically": "Reconnected by limiter",
    "breaker_failed": "Breaker failed",
    "low_credit": "Credit low",
    "credit_exhausted": "Credit used up",
    "emergency_credit_activated": "Emergency credit taken",
    "credit_added": "Credit added",
    "token_refused": "Token refused",
    "relay_on": "Load relay switched on",
    "relay_off": "Load relay switched off",
    # inputs and device
    "alarm_input_on": "Alarm input active",
    "alarm_input_off": "Alarm input idle",
    "device_error": "Device error",
    "storage_failed": "Storage failed",
    "storage_restored": "Storage restored",
}
