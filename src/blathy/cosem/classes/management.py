"""Interface classes for access control and management (IEC 62056-6-2, 4.4)."""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes.model import Family, dynamic, method, static

_CONTEXT_NAME = "os | {a u8, b u8, c u16, d u8, e u8, name u8, id u8}"
_CERTIFICATE_ID = (
    "{certificate_identification_type enum(CertificateIdentification), option "
    "{certificate_entity enum(CertificateEntity), certificate_type enum(CertificateType), "
    "system_title os} | {serial_number os, issuer os}}"
)

FAMILIES: Final = (
    Family(
        12,
        "Association SN",
        (0, 1, 2, 3, 4),
        (
            static(
                2,
                "object_list",
                "array {base_name i16, class_id u16, version u8, logical_name LN}",
            ),
            static(
                3,
                "access_rights_list",
                "array {base_name i16 | u16, attribute_access array {attribute_id i8, "
                "access_mode enum, access_selectors null | array i8}, method_access array "
                "{method_id i8, access_mode enum | bool}}",
                since=1,
            ),
            static(4, "security_setup_reference", "LN", since=2),
            static(5, "user_list", "array user", "RW", since=3),
            static(6, "current_user", "user", since=3),
        ),
        (
            method(3, "read_by_logicalname", "array value_definition", "array any"),
            method(5, "change_secret", "os"),
            method(6, "change_HLS_secret", "os"),
            method(8, "reply_to_HLS_authentication", "os", "os"),
            method(9, "add_user", "user", since=3),
            method(10, "remove_user", "user", since=3),
        ),
        ((0, 0x20),),
    ),
    Family(
        15,
        "Association LN",
        (0, 1, 2, 3),
        (
            static(2, "object_list", "array object_list_element"),
            static(3, "associated_partners_id", "{client_SAP i8, server_SAP u16}"),
            static(4, "application_context_name", _CONTEXT_NAME),
            static(
                5,
                "xDLMS_context_info",
                "{conformance bits(24), max_receive_pdu_size u16, max_send_pdu_size u16, "
                "dlms_version_number u8, quality_of_service i8, cyphering_info os}",
            ),
            static(6, "authentication_mechanism_name", _CONTEXT_NAME),
            static(7, "secret", "os", "W"),
            dynamic(8, "association_status", "enum(AssociationStatus)"),
            static(9, "security_setup_reference", "LN", since=1),
            static(10, "user_list", "array user", "RW", since=2),
            static(11, "current_user", "user", since=2),
        ),
        (
            method(1, "reply_to_HLS_authentication", "os", "os"),
            method(2, "change_HLS_secret", "os"),
            method(3, "add_object", "object_list_element"),
            method(4, "remove_object", "object_list_element"),
            method(5, "add_user", "user", since=2),
            method(6, "remove_user", "user", since=2),
        ),
        ((0, 0x60),),
    ),
    Family(
        17,
        "SAP assignment",
        (0,),
        (static(2, "SAP_assignment_list", "array {SAP u16, logical_device_name os}"),),
        (method(1, "connect_logical_device", "{SAP u16, logical_device_name os}"),),
        ((0, 0x20),),
    ),
    Family(
        18,
        "Image transfer",
        (0,),
        (
            static(2, "image_block_size", "u32"),
            dynamic(3, "image_transferred_blocks_status", "bits"),
            dynamic(4, "image_first_not_transferred_block_number", "u32"),
            static(5, "image_transfer_enabled", "bool", "RW"),
            dynamic(6, "image_transfer_status", "enum(ImageTransferStatus)"),
            dynamic(
                7,
                "image_to_activate_info",
                "array {image_to_activate_size u32, image_to_activate_identification os, "
                "image_to_activate_signature os}",
            ),
        ),
        (
            method(1, "image_transfer_initiate", "{image_identifier os, image_size u32}"),
            method(2, "image_block_transfer", "{image_block_number u32, image_block_value os}"),
            method(3, "image_verify"),
            method(4, "image_activate"),
        ),
        ((0, 0x40),),
    ),
    Family(
        30,
        "Data protection",
        (0,),
        (
            dynamic(2, "protection_buffer", "os"),
            static(
                3,
                "protection_object_list",
                "array {class_id u16, logical_name LN, attribute_index i8, data_index u16, "
                "restriction restriction}",
                "RW",
            ),
            static(4, "protection_parameters_get", "array protection_parameters", "RW"),
            static(5, "protection_parameters_set", "array protection_parameters", "RW"),
            static(6, "required_protection", "enum(SecurityPolicy)", "RW"),
        ),
        (
            method(1, "get_protected_attributes", "any", "any"),
            method(2, "set_protected_attributes", "any"),
            method(3, "invoke_protected_method", "any", "any"),
        ),
    ),
    Family(
        64,
        "Security setup",
        (0, 1),
        (
            static(2, "security_policy", "enum(SecurityPolicyV0)", until=0),
            static(2, "security_policy", "enum(SecurityPolicy)", since=1),
            static(3, "security_suite", "enum(SecuritySuite)"),
            dynamic(4, "client_system_title", "os"),
            static(5, "server_system_title", "os"),
            dynamic(
                6,
                "certificates",
                "array {certificate_entity enum(CertificateEntity), certificate_type "
                "enum(CertificateType), serial_number os, issuer os, subject os, "
                "subject_alt_name os}",
                since=1,
            ),
        ),
        (
            method(1, "security_activate", "enum"),
            method(2, "key_transfer", "array {key_id enum(KeyId), key_wrapped os}"),
            method(
                3,
                "key_agreement",
                "array {key_id enum(KeyId), key_data os}",
                "array {key_id enum(KeyId), key_data os}",
                since=1,
            ),
            method(4, "generate_key_pair", "enum(KeyPairType)", since=1),
            method(5, "generate_certificate_request", "enum(KeyPairType)", "os", since=1),
            method(6, "import_certificate", "os", since=1),
            method(7, "export_certificate", _CERTIFICATE_ID, "os", since=1),
            method(8, "remove_certificate", _CERTIFICATE_ID, since=1),
        ),
        ((0, 0x28), (1, 0x30)),
    ),
    Family(
        122,
        "Function control",
        (0,),
        (
            dynamic(2, "activation_status", "array {function_name os, function_status bool}"),
            static(
                3,
                "function_list",
                "array {function_name os, function_definition array object_id}",
            ),
        ),
        (
            method(1, "set_function_status", "array {function_name os, function_status bool}"),
            method(2, "add_function", "{function_name os, function_definition array object_id}"),
            method(3, "remove_function", "os"),
        ),
    ),
    Family(
        123,
        "Array manager",
        (0,),
        (
            static(
                2,
                "array_object_list",
                "array {array_object_id u8, array_object_attribute value_definition}",
                "RW",
            ),
        ),
        (
            method(1, "retrieve_number_of_entries", "u8", "u16 | u32"),
            method(
                2,
                "retrieve_entries",
                "{array_object_id u8, range {from u16, to u16}}",
                "array any",
            ),
            method(3, "insert_entry", "{array_object_id u8, entry {index u16, value any}}"),
            method(4, "update_entry", "{array_object_id u8, entry {index u16, value any}}"),
            method(5, "remove_entries", "{array_object_id u8, range {from u16, to u16}}"),
        ),
    ),
    Family(
        124,
        "Communication port protection",
        (0,),
        (
            static(2, "protection_mode", "enum(PortProtectionMode)", "RW"),
            static(3, "allowed_failed_attempts", "u16", "RW"),
            static(4, "initial_lockout_time", "u32", "RW"),
            static(5, "steepness_factor", "u8", "RW"),
            static(6, "max_lockout_time", "u32", "RW"),
            static(7, "port_reference", "LN", "RW"),
            dynamic(8, "protection_status", "enum(PortProtectionStatus)"),
            dynamic(9, "failed_attempts", "u32"),
            dynamic(10, "cumulative_failed_attempts", "u32"),
        ),
        (method(1, "reset"),),
    ),
)
