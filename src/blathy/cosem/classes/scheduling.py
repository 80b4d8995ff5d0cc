"""Interface classes for time- and event-bound control (IEC 62056-6-2, 4.5)."""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes.model import Family, dynamic, method, static

_SCHEDULE_ENTRY = (
    "{index u16, enable bool, script_logical_name LN, script_selector u16, switch_time os_t, "
    "validity_window u16, exec_weekdays bits, exec_specdays bits, begin_date os_d, end_date os_d}"
)
_SPECIAL_DAY = "{index u16, specialday_date os_d, day_id u8}"
_SEASONS = "array {season_profile_name os, season_start os_dt, week_name os}"
_WEEKS = (
    "array {week_profile_name os, monday u8, tuesday u8, wednesday u8, thursday u8, friday u8, "
    "saturday u8, sunday u8}"
)
_DAYS = (
    "array {day_id u8, day_schedule array {start_time os_t, script_logical_name LN, "
    "script_selector u16}}"
)

FAMILIES: Final = (
    Family(
        8,
        "Clock",
        (0,),
        (
            dynamic(2, "time", "os_dt", "RW"),
            static(3, "time_zone", "i16", "RW"),
            dynamic(4, "status", "u8"),
            static(5, "daylight_savings_begin", "os_dt", "RW"),
            static(6, "daylight_savings_end", "os_dt", "RW"),
            static(7, "daylight_savings_deviation", "i8", "RW"),
            static(8, "daylight_savings_enabled", "bool", "RW"),
            static(9, "clock_base", "enum(ClockBase)"),
        ),
        (
            method(1, "adjust_to_quarter"),
            method(2, "adjust_to_measuring_period"),
            method(3, "adjust_to_minute"),
            method(4, "adjust_to_preset_time"),
            method(
                5,
                "preset_adjusting_time",
                "{preset_time os_dt, validity_interval_start os_dt, validity_interval_end os_dt}",
            ),
            method(6, "shift_time", "i16"),
        ),
        ((0, 0x60),),
    ),
    Family(
        9,
        "Script table",
        (0,),
        (
            static(
                2,
                "scripts",
                "array {script_identifier u16, actions array {service_id enum(ScriptService), "
                "class_id u16, logical_name LN, index i8, parameter any}}",
                "RW",
            ),
        ),
        (method(1, "execute", "u16"),),
        ((0, 0x20),),
    ),
    Family(
        10,
        "Schedule",
        (0,),
        (static(2, "entries", f"array {_SCHEDULE_ENTRY}", "RW"),),
        (
            method(
                1,
                "enable_disable",
                "{first_index_a u16, last_index_a u16, first_index_b u16, last_index_b u16}",
            ),
            method(2, "insert", _SCHEDULE_ENTRY),
            method(3, "delete", "{first_index u16, last_index u16}"),
        ),
        ((0, 0x20),),
    ),
    Family(
        11,
        "Special days table",
        (0,),
        (static(2, "entries", f"array {_SPECIAL_DAY}", "RW"),),
        (method(1, "insert", _SPECIAL_DAY), method(2, "delete", "u16")),
        ((0, 0x10),),
    ),
    Family(
        20,
        "Activity calendar",
        (0,),
        (
            static(2, "calendar_name_active", "os"),
            static(3, "season_profile_active", _SEASONS),
            static(4, "week_profile_table_active", _WEEKS),
            static(5, "day_profile_table_active", _DAYS),
            static(6, "calendar_name_passive", "os", "RW"),
            static(7, "season_profile_passive", _SEASONS, "RW"),
            static(8, "week_profile_table_passive", _WEEKS, "RW"),
            static(9, "day_profile_table_passive", _DAYS, "RW"),
            static(10, "activate_passive_calendar_time", "os_dt", "RW"),
        ),
        (method(1, "activate_passive_calendar"),),
        ((0, 0x50),),
    ),
    Family(
        21,
        "Register monitor",
        (0,),
        (
            static(2, "thresholds", "array simple", "RW"),
            static(3, "monitored_value", "value_definition", "RW"),
            static(4, "actions", "array up_down", "RW"),
        ),
    ),
    Family(
        22,
        "Single action schedule",
        (0,),
        (
            static(2, "executed_script", "action_item", "RW"),
            static(3, "type", "enum(SingleActionType)", "RW"),
            static(4, "execution_time", "array {time os_t, date os_d}", "RW"),
        ),
    ),
    Family(
        65,
        "Parameter monitor",
        (0, 1),
        (
            dynamic(
                2,
                "changed_parameter",
                "{class_id u16, logical_name LN, attribute_index i8, attribute_value any}",
            ),
            dynamic(3, "capture_time", "os_dt"),
            static(4, "parameter_list", "array value_definition", "RW"),
            static(5, "parameter_list_name", "os", "RW", since=1),
            static(6, "hash_algorithm_id", "enum", "RW", since=1),
            dynamic(7, "parameter_value_digest", "os", since=1),
            dynamic(8, "parameter_values", "any", since=1),
        ),
        (
            method(1, "add_parameter", "value_definition"),
            method(2, "delete_parameter", "value_definition"),
        ),
        ((1, 0x40),),
    ),
    Family(
        67,
        "Sensor manager",
        (0,),
        (
            static(2, "serial_number", "os"),
            static(3, "metrological_identification", "os"),
            static(4, "output_type", "enum(SensorOutput)"),
            static(5, "adjustment_method", "os"),
            static(6, "sealing_method", "enum"),
            dynamic(7, "raw_value", "simple"),
            static(8, "scaler_unit", "scal_unit"),
            dynamic(9, "status", "simple"),
            dynamic(10, "capture_time", "dt"),
            static(11, "raw_value_thresholds", "array simple", "RW"),
            static(12, "raw_value_actions", "array up_down", "RW"),
            static(13, "processed_value", "value_definition", "RW"),
            static(14, "processed_value_thresholds", "array simple", "RW"),
            static(15, "processed_value_actions", "array up_down", "RW"),
        ),
        (method(1, "reset"),),
        ((0, 0x80),),
    ),
    Family(
        68,
        "Arbitrator",
        (0,),
        (
            static(2, "actions", "array action_item", "RW"),
            static(3, "permissions_table", "array bits", "RW"),
            static(4, "weightings_table", "array array u16", "RW"),
            dynamic(5, "most_recent_requests_table", "array bits"),
            dynamic(6, "last_outcome", "u8"),
        ),
        (
            method(1, "request_action", "{request_actor u8, request_action_list bits}"),
            method(2, "reset"),
        ),
    ),
    Family(
        70,
        "Disconnect control",
        (0, 1),
        (
            dynamic(2, "output_state", "bool"),
            dynamic(3, "control_state", "enum(ControlState)"),
            static(4, "control_mode", "enum(ControlMode)", "RW"),
        ),
        (method(1, "remote_disconnect"), method(2, "remote_reconnect")),
        ((0, 0x20),),
    ),
    Family(
        71,
        "Limiter",
        (0,),
        (
            static(2, "monitored_value", "value_definition", "RW"),
            dynamic(3, "threshold_active", "simple"),
            static(4, "threshold_normal", "simple", "RW"),
            static(5, "threshold_emergency", "simple", "RW"),
            static(6, "min_over_threshold_duration", "u32", "RW"),
            static(7, "min_under_threshold_duration", "u32", "RW"),
            static(
                8,
                "emergency_profile",
                "{emergency_profile_id u16, emergency_activation_time os_dt, "
                "emergency_duration u32}",
                "RW",
            ),
            static(9, "emergency_profile_group_id_list", "array u16", "RW"),
            dynamic(10, "emergency_profile_active", "bool"),
            static(
                11,
                "actions",
                "{action_over_threshold action_item, action_under_threshold action_item}",
                "RW",
            ),
        ),
    ),
)
