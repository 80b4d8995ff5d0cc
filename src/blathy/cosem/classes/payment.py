"""Interface classes for payment metering (IEC 62056-6-2, 4.6)."""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes.model import Family, dynamic, method, static

_UNIT_CHARGE = (
    "{charge_per_unit_scaling {commodity_scale i8, price_scale i8}, "
    "commodity_reference value_definition, charge_table array {index os, charge_per_unit i16}}"
)
_TOKEN_STATUS = "{status_code enum(TokenStatus), data_value bits}"  # noqa: S105 - a type

FAMILIES: Final = (
    Family(
        111,
        "Account",
        (0,),
        (
            dynamic(
                2,
                "account_mode_and_status",
                "{payment_mode enum(PaymentMode), account_status enum(AccountStatus)}",
            ),
            dynamic(3, "current_credit_in_use", "u8"),
            dynamic(4, "current_credit_status", "bits(8)"),
            dynamic(5, "available_credit", "i32"),
            dynamic(6, "amount_to_clear", "i32"),
            static(7, "clearance_threshold", "i32", "RW"),
            dynamic(8, "aggregated_debt", "i32"),
            static(9, "credit_reference_list", "array LN", "RW"),
            static(10, "charge_reference_list", "array LN", "RW"),
            static(
                11,
                "credit_charge_configuration",
                "array {credit_reference LN, charge_reference LN, "
                "collection_configuration bits(3)}",
                "RW",
            ),
            static(
                12,
                "token_gateway_configuration",
                "array {credit_reference LN, token_proportion u8}",
                "RW",
            ),
            static(13, "account_activation_time", "os_dt", "RW"),
            static(14, "account_closure_time", "os_dt", "RW"),
            static(
                15,
                "currency",
                "{currency_name utf8, currency_scale i8, currency_unit enum(CurrencyUnit)}",
                "RW",
            ),
            static(16, "low_credit_threshold", "i32", "RW"),
            static(17, "next_credit_available_threshold", "i32", "RW"),
            static(18, "max_provision", "u16", "RW"),
            static(19, "max_provision_period", "i32", "RW"),
        ),
        (
            method(1, "activate_account"),
            method(2, "close_account"),
            method(3, "reset_account"),
        ),
    ),
    Family(
        112,
        "Credit",
        (0,),
        (
            dynamic(2, "current_credit_amount", "i32"),
            static(3, "credit_type", "enum(CreditType)", "RW"),
            static(4, "priority", "u8", "RW"),
            static(5, "warning_threshold", "i32", "RW"),
            static(6, "limit", "i32", "RW"),
            static(7, "credit_configuration", "bits(5)", "RW"),
            dynamic(8, "credit_status", "enum(CreditStatus)"),
            static(9, "preset_credit_amount", "i32", "RW"),
            static(10, "credit_available_threshold", "i32", "RW"),
            static(11, "period", "os_dt", "RW"),
        ),
        (
            method(1, "update_amount", "i32"),
            method(2, "set_amount_to_value", "i32", "i32"),
            method(3, "invoke_credit"),
        ),
        ((0, 0x58),),
    ),
    Family(
        113,
        "Charge",
        (0,),
        (
            dynamic(2, "total_amount_paid", "i32"),
            static(3, "charge_type", "enum(ChargeType)", "RW"),
            static(4, "priority", "u8", "RW"),
            static(5, "unit_charge_active", _UNIT_CHARGE),
            static(6, "unit_charge_passive", _UNIT_CHARGE, "RW"),
            static(7, "unit_charge_activation_time", "os_dt", "RW"),
            static(8, "period", "u32", "RW"),
            static(9, "charge_configuration", "bits(2)", "RW"),
            dynamic(10, "last_collection_time", "dt"),
            dynamic(11, "last_collection_amount", "i32"),
            dynamic(12, "total_amount_remaining", "i32"),
            static(13, "proportion", "u16", "RW"),
        ),
        (
            method(1, "update_unit_charge", "array {index os, charge_per_unit i16}"),
            method(2, "activate_passive_unit_charge"),
            method(3, "collect"),
            method(4, "update_total_amount_remaining", "i32"),
            method(5, "set_total_amount_remaining", "i32"),
        ),
        ((0, 0x68),),
    ),
    Family(
        115,
        "Token gateway",
        (0,),
        (
            dynamic(2, "token", "os"),
            dynamic(3, "token_time", "os_dt"),
            dynamic(4, "token_description", "array os"),
            dynamic(5, "token_delivery_method", "enum(TokenDelivery)"),
            dynamic(6, "token_status", _TOKEN_STATUS),
        ),
        (method(1, "enter", "os", _TOKEN_STATUS),),
    ),
    Family(
        116,
        "IEC 62055-41 attributes",
        (0,),
        (
            static(
                2,
                "meter_pan",
                "{issuer_id u32, decoder_reference_number u64, pan_check_digit u8}",
            ),
            static(3, "commodity", "vs"),
            static(4, "token_carrier_types", "array u8"),
            static(5, "encryption_algorithm", "u8"),
            dynamic(6, "supply_group_code", "u32"),
            dynamic(7, "tariff_index", "u8"),
            dynamic(8, "key_revision_number", "u8"),
            dynamic(9, "key_type", "u8"),
            dynamic(10, "key_expiry_number", "u8"),
            static(11, "no_of_kct_supported", "u8"),
            static(12, "sts_certificate_no", "vs"),
        ),
    ),
)
