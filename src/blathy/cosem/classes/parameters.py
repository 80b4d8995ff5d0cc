"""Interface classes for parameters and measurement data (IEC 62056-6-2, 4.3)."""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes.model import Family, dynamic, method, static

FAMILIES: Final = (
    Family(1, "Data", (0,), (dynamic(2, "value", "any", "RW"),)),
    Family(
        3,
        "Register",
        (0,),
        (dynamic(2, "value", "measured"), static(3, "scaler_unit", "scal_unit")),
        (method(1, "reset"),),
        ((0, 0x28),),
    ),
    Family(
        4,
        "Extended register",
        (0,),
        (
            dynamic(2, "value", "measured"),
            static(3, "scaler_unit", "scal_unit"),
            dynamic(4, "status", "status"),
            dynamic(5, "capture_time", "os_dt"),
        ),
        (method(1, "reset"),),
        ((0, 0x38),),
    ),
    Family(
        5,
        "Demand register",
        (0,),
        (
            dynamic(2, "current_average_value", "measured"),
            dynamic(3, "last_average_value", "measured"),
            static(4, "scaler_unit", "scal_unit"),
            dynamic(5, "status", "status"),
            dynamic(6, "capture_time", "os_dt"),
            dynamic(7, "start_time_current", "os_dt"),
            static(8, "period", "u32", "RW"),
            static(9, "number_of_periods", "u16", "RW"),
        ),
        (method(1, "reset"), method(2, "next_period")),
        ((0, 0x48),),
    ),
    Family(
        6,
        "Register activation",
        (0,),
        (
            static(2, "register_assignment", "array object_id", "RW"),
            static(3, "mask_list", "array {mask_name os, index_list array u8}", "RW"),
            static(4, "active_mask", "os", "RW"),
        ),
        (
            method(1, "add_register", "object_id"),
            method(2, "add_mask", "{mask_name os, index_list array u8}"),
            method(3, "delete_mask", "os"),
        ),
        ((0, 0x30),),
    ),
    Family(
        7,
        "Profile generic",
        (0, 1),
        (
            dynamic(2, "buffer", "array any"),
            static(3, "capture_objects", "array (capture_object | value_definition)", "RW"),
            static(4, "capture_period", "u32", "RW"),
            static(5, "sort_method", "enum(SortMethod)"),
            static(6, "sort_object", "capture_object | value_definition"),
            dynamic(7, "entries_in_use", "u32"),
            static(8, "profile_entries", "u32", "RW"),
        ),
        (
            method(1, "reset"),
            method(2, "capture"),
            method(3, "get_buffer_by_range", "any", "array any", until=0),
            method(4, "get_buffer_by_index", "any", "array any", until=0),
        ),
        ((0, 0x58),),
    ),
    Family(
        26,
        "Utility tables",
        (0,),
        (
            static(2, "table_ID", "u16"),
            dynamic(3, "length", "u32"),
            dynamic(4, "buffer", "os", "RW"),
        ),
    ),
    Family(
        61,
        "Register table",
        (0,),
        (
            dynamic(2, "table_cell_values", "array any"),
            static(
                3,
                "table_cell_definition",
                "{class_id u16, logical_name LN, group_E_values array u8, attribute_index i8}",
                "RW",
            ),
            static(4, "scaler_unit", "scal_unit"),
        ),
        (method(1, "reset"), method(2, "capture")),
        ((0, 0x28),),
    ),
    Family(
        62,
        "Compact data",
        (0, 1),
        (
            dynamic(2, "compact_buffer", "os"),
            static(3, "capture_objects", "array capture_object", "RW", until=0),
            static(
                3,
                "capture_objects",
                "array {class_id u16, logical_name LN, attribute_index i8, data_index u16, "
                "restriction restriction, columns array capture_object}",
                "RW",
                since=1,
            ),
            static(4, "template_id", "u8", "RW"),
            dynamic(5, "template_description", "os"),
            static(6, "capture_method", "enum(CaptureMethod)", "RW"),
        ),
        (method(1, "reset"), method(2, "capture")),
    ),
    Family(
        63,
        "Status mapping",
        (0,),
        (
            dynamic(2, "status_word", "bits | u8 | u16 | u32 | u64 | os | vs | utf8"),
            static(
                3, "mapping_table", "{ref_table_id u8, ref_table_mapping u16 | array u16}", "RW"
            ),
        ),
    ),
    Family(
        66,
        "Measurement data monitoring",
        (0,),
        (
            dynamic(2, "waveform_data", "array any"),
            dynamic(3, "trigger_time", "u64"),
            dynamic(4, "trigger_source", "{trigger_origin enum(TriggerOrigin), trigger_cause u16}"),
            dynamic(5, "status", "enum"),
            static(6, "sampling_rate", "u32", "RW"),
            static(7, "number_of_samples_before_trigger", "u32", "RW"),
            static(8, "number_of_samples_after_trigger", "u32", "RW"),
            static(9, "scaler_unit", "scal_unit"),
        ),
        (method(1, "reset"), method(2, "trigger")),
        ((0, 0x48),),
    ),
)
