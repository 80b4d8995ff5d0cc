"""Interface classes that set up communication (IEC 62056-6-2, 4.7 and following)."""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes.model import Family, dynamic, method, static

_PUSH_OBJECT = "class_id u16, logical_name LN, attribute_index i8, data_index u16"
_PPP_OPTIONS = "array {option_type u8, option_length u8, option_data any}"
_QOS = "{precedence u8, delay u8, reliability u8, peak_throughput u8, mean_throughput u8}"
_CELL_V1 = (
    "{cell_ID u32, location_ID u16, signal_quality u8, ber u8, mcc u16, mnc u16, "
    "channel_number u32}"
)
_IPV6_CHANGE = "{IPv6_address_type enum(Ipv6AddressType), IPv6_address os}"
_MBUS_BLOCKS = "data_information_block os, value_information_block os"

_SERIAL: Final = (
    Family(
        19,
        "IEC local port setup",
        (0, 1),
        (
            static(2, "default_mode", "enum(LocalPortMode)", "RW"),
            static(3, "default_baud", "speed", "RW"),
            static(4, "prop_baud", "speed", "RW"),
            static(5, "response_time", "enum(ResponseTime)", "RW"),
            static(6, "device_addr", "os", "RW"),
            static(7, "pass_p1", "os", "RW"),
            static(8, "pass_p2", "os", "RW"),
            static(9, "pass_w5", "os", "RW"),
        ),
    ),
    Family(
        23,
        "IEC HDLC setup",
        (0, 1),
        (
            static(2, "comm_speed", "speed", "RW"),
            static(3, "window_size_transmit", "u8", "RW"),
            static(4, "window_size_receive", "u8", "RW"),
            static(5, "max_info_field_length_transmit", "u8 | u16", "RW", until=0),
            static(5, "max_info_field_length_transmit", "u16", "RW", since=1),
            static(6, "max_info_field_length_receive", "u8 | u16", "RW", until=0),
            static(6, "max_info_field_length_receive", "u16", "RW", since=1),
            static(7, "inter_octet_time_out", "u16", "RW"),
            static(8, "inactivity_time_out", "u16", "RW"),
            static(9, "device_address", "u16", "RW"),
        ),
    ),
    Family(
        24,
        "IEC twisted pair (1) setup",
        (0, 1),
        (
            static(2, "secondary_address", "os", "RW", until=0),
            static(2, "mode", "enum(TwistedPairMode)", "RW", since=1),
            static(3, "primary_address_list", "array (os | u8)", "RW", until=0),
            static(3, "comm_speed", "speed", "RW", since=1),
            static(4, "tabi_list", "array i8", "RW", until=0),
            static(4, "primary_address_list", "array u8", "RW", since=1),
            dynamic(5, "fatal_error", "enum", until=0),
            static(5, "tabi_list", "array i8", "RW", since=1),
        ),
    ),
    Family(
        27,
        "Modem configuration",
        (0, 1),
        (
            static(2, "comm_speed", "speed", "RW"),
            static(3, "initialization_string", "array {request os, response os}", "RW", until=0),
            static(
                3,
                "initialization_string",
                "array {request os, response os, delay_after_response u16}",
                "RW",
                since=1,
            ),
            static(4, "modem_profile", "array os", "RW"),
        ),
    ),
    Family(
        28,
        "Auto answer",
        (0, 2),
        (
            static(2, "mode", "enum(AutoAnswerMode)", "RW"),
            static(3, "listening_window", "array window", "RW"),
            dynamic(4, "status", "enum(AutoAnswerStatus)"),
            static(5, "number_of_calls", "u8", "RW"),
            static(
                6, "number_of_rings", "{nr_rings_in_window u8, nr_rings_out_of_window u8}", "RW"
            ),
            static(
                7,
                "list_of_allowed_callers",
                "array {caller_id os, call_type enum(CallType)}",
                "RW",
                since=2,
            ),
        ),
    ),
    Family(
        29,
        "Auto connect",
        (0, 1, 2),
        (
            static(2, "mode", "enum(AutoConnectMode)", "RW"),
            static(3, "repetitions", "u8", "RW"),
            static(4, "repetition_delay", "u16", "RW"),
            static(5, "calling_window", "array window", "RW"),
            static(6, "destination_list", "array os", "RW"),
        ),
        (method(1, "connect", since=1),),
    ),
)

_PUSH: Final = (
    Family(
        40,
        "Push setup",
        (0, 1, 2),
        (
            static(2, "push_object_list", f"array {{{_PUSH_OBJECT}}}", "RW", until=0),
            static(
                2,
                "push_object_list",
                f"array {{{_PUSH_OBJECT}, restriction restriction}}",
                "RW",
                since=1,
                until=1,
            ),
            static(
                2,
                "push_object_list",
                f"array {{{_PUSH_OBJECT}, restriction restriction, columns array capture_object}}",
                "RW",
                since=2,
            ),
            static(
                3,
                "send_destination_and_method",
                "{transport_service enum(TransportService), destination os, "
                "message enum(PushMessage)}",
                "RW",
            ),
            static(4, "communication_window", "array window", "RW"),
            static(5, "randomisation_start_interval", "u16", "RW"),
            static(6, "number_of_retries", "u8", "RW"),
            static(7, "repetition_delay", "u16", "RW", until=1),
            static(
                7,
                "repetition_delay",
                "{repetition_delay_min u16, repetition_delay_exponent u16, "
                "repetition_delay_max u16}",
                "RW",
                since=2,
            ),
            static(8, "port_reference", "LN", "RW", since=1),
            static(9, "push_client_SAP", "i8", "RW", since=1),
            static(10, "push_protection_parameters", "array protection_parameters", "RW", since=1),
            static(11, "push_operation_method", "enum(PushOperation)", "RW", since=2),
            static(
                12,
                "confirmation_parameters",
                "{confirmation_start_date dt, confirmation_interval u32}",
                "RW",
                since=2,
            ),
            dynamic(13, "last_confirmation_date_time", "dt", since=2),
        ),
        (method(1, "push"), method(2, "reset", since=2)),
        ((0, 0x38),),
    ),
)

_INTERNET: Final = (
    Family(
        41,
        "TCP-UDP setup",
        (0,),
        (
            static(2, "TCP_UDP_port", "u16", "RW"),
            static(3, "IP_reference", "LN", "RW"),
            static(4, "MSS", "u16", "RW"),
            static(5, "nb_of_sim_conn", "u8", "RW"),
            static(6, "inactivity_time_out", "u16", "RW"),
        ),
    ),
    Family(
        42,
        "IPv4 setup",
        (0,),
        (
            static(2, "DL_reference", "LN", "RW"),
            static(3, "IP_address", "u32", "RW"),
            static(4, "multicast_IP_address", "array u32", "RW"),
            static(
                5,
                "IP_options",
                "array {IP_option_type u8, IP_option_length u8, IP_option_data os}",
                "RW",
            ),
            static(6, "subnet_mask", "u32", "RW"),
            static(7, "gateway_IP_address", "u32", "RW"),
            static(8, "use_DHCP_flag", "bool", "RW"),
            static(9, "primary_DNS_address", "u32", "RW"),
            static(10, "secondary_DNS_address", "u32", "RW"),
        ),
        (
            method(1, "add_mc_IP_address", "u32"),
            method(2, "delete_mc_IP_address", "u32"),
            method(3, "get_nbof_mc_IP_addresses", "nothing", "u16"),
        ),
        ((0, 0x60),),
    ),
    Family(43, "MAC address setup", (0,), (static(2, "MAC_address", "os", "RW"),)),
    Family(
        44,
        "PPP setup",
        (0,),
        (
            static(2, "PHY_reference", "LN", "RW"),
            static(3, "LCP_options", _PPP_OPTIONS, "RW"),
            static(4, "IPCP_options", _PPP_OPTIONS, "RW"),
            static(5, "PPP_authentication", "null | {user_name os, password os}", "RW"),
        ),
    ),
    Family(
        45,
        "GPRS modem setup",
        (0,),
        (
            static(2, "APN", "os", "RW"),
            static(3, "PIN_code", "u16", "RW"),
            static(4, "quality_of_service", f"{{default {_QOS}, requested {_QOS}}}", "RW"),
        ),
    ),
    Family(
        46,
        "SMTP setup",
        (0,),
        (
            static(2, "server_port", "u16", "RW"),
            static(3, "user_name", "os", "RW"),
            static(4, "login_password", "os", "RW"),
            static(5, "server_address", "os", "RW"),
            static(6, "sender_address", "os", "RW"),
        ),
    ),
    Family(
        47,
        "GSM diagnostic",
        (0, 1, 2),
        (
            dynamic(2, "operator", "vs"),
            dynamic(3, "status", "enum(GsmStatus)"),
            dynamic(4, "cs_attachment", "enum(CsAttachment)"),
            dynamic(5, "ps_status", "enum(PsStatus)"),
            dynamic(
                6,
                "cell_info",
                "{cell_ID u16, location_ID u16, signal_quality u8, ber u8}",
                until=0,
            ),
            dynamic(6, "cell_info", _CELL_V1, since=1),
            dynamic(7, "adjacent_cells", "array {cell_ID u16, signal_quality u8}", until=0),
            dynamic(7, "adjacent_cells", "array {cell_ID u32, signal_quality u8}", since=1),
            dynamic(8, "capture_time", "dt"),
        ),
    ),
    Family(
        48,
        "IPv6 setup",
        (0,),
        (
            static(2, "DL_reference", "LN", "RW"),
            static(3, "address_config_mode", "enum(Ipv6AddressMode)", "RW"),
            static(4, "unicast_IPv6_addresses", "array os(16)", "RW"),
            static(5, "multicast_IPv6_addresses", "array os(16)", "RW"),
            static(6, "gateway_IPv6_addresses", "array os(16)", "RW"),
            static(7, "primary_DNS_address", "os", "RW"),
            static(8, "secondary_DNS_address", "os", "RW"),
            static(9, "traffic_class", "u8", "RW"),
            static(
                10,
                "neighbor_discovery_setup",
                "array {RS_max_retry u8, RS_retry_wait_time u16, RA_send_period u32}",
                "RW",
            ),
        ),
        (
            method(1, "add_IPv6_address", _IPV6_CHANGE),
            method(2, "remove_IPv6_address", _IPV6_CHANGE),
        ),
    ),
    Family(
        100,
        "NTP setup",
        (0,),
        (
            static(2, "activated", "bool", "RW"),
            static(3, "server_address", "os", "RW"),
            static(4, "server_port", "u16", "RW"),
            static(5, "authentication_method", "enum(NtpAuthentication)", "RW"),
            static(6, "authentication_keys", "array {key_id u32, key os}", "RW"),
            static(7, "client_key", "os", "RW"),
        ),
        (
            method(1, "synchronize"),
            method(2, "add_authentication_key", "{key_id u32, key os}"),
            method(3, "delete_authentication_key", "u32"),
        ),
    ),
    Family(
        151,
        "LTE monitoring",
        (0, 1),
        (
            dynamic(
                2,
                "LTE_network_parameters",
                "{T3402 u16, T3412 u16, RSRQ u8, RSRP u8, qRxlevMin i8}",
                until=0,
            ),
            dynamic(
                2,
                "LTE_network_parameters",
                "{T3402 u16, T3412 u16, T3412ext2 u32, T3324 u16, TeDRX u32, TPTW u16, "
                "qRxlevMin i8, qRxlevMinCE i8, qRxlevMinCE1 i8}",
                since=1,
            ),
            dynamic(
                3,
                "LTE_quality_of_service",
                "{RSRQ i8, RSRP i8, SNR i8, coverage_enhancement enum(CoverageEnhancement)}",
                since=1,
            ),
        ),
    ),
)

_MBUS: Final = (
    Family(
        25,
        "M-Bus slave port setup",
        (0,),
        (
            static(2, "default_baud", "speed", "RW"),
            static(3, "avail_baud", "speed", "RW"),
            static(4, "addr_state", "enum(AddressState)", "RW"),
            static(5, "bus_address", "u8", "RW"),
        ),
    ),
    Family(
        72,
        "M-Bus client",
        (0, 1),
        (
            static(2, "mbus_port_reference", "LN", "RW"),
            static(3, "capture_definition", f"array {{{_MBUS_BLOCKS}}}", "RW"),
            static(4, "capture_period", "u32", "RW"),
            dynamic(5, "primary_address", "u8", "RW"),
            dynamic(6, "identification_number", "u32", "RW"),
            dynamic(7, "manufacturer_id", "u16", "RW"),
            dynamic(8, "data_header_version", "u8", "RW"),
            dynamic(9, "device_type", "u8", "RW"),
            dynamic(10, "access_number", "u8"),
            dynamic(11, "status", "u8"),
            dynamic(12, "alarm", "u8"),
            dynamic(13, "configuration", "u16", "R", since=1),
            dynamic(14, "encryption_key_status", "enum(MBusKeyStatus)", "R", since=1),
        ),
        (
            method(1, "slave_install", "i8 | u8"),
            method(2, "slave_deinstall"),
            method(3, "capture"),
            method(4, "reset_alarm"),
            method(5, "synchronize_clock"),
            method(6, "data_send", f"array {{{_MBUS_BLOCKS}, data any}}"),
            method(7, "set_encryption_key", "os"),
            method(8, "transfer_key", "os"),
        ),
        ((0, 0x60), (1, 0x70)),
    ),
    Family(
        73,
        "Wireless mode Q channel",
        (0, 1),
        (
            dynamic(2, "addr_state", "enum(AddressState)", "RW"),
            static(3, "device_address", "os", "RW"),
            static(4, "address_mask", "os", "RW"),
        ),
    ),
    Family(74, "M-Bus master port setup", (0,), (static(2, "comm_speed", "speed", "RW"),)),
    Family(
        76,
        "DLMS server M-Bus port setup",
        (0,),
        (
            static(2, "MBus_profile_selection", "LN", "RW"),
            dynamic(3, "MBus_port_communication_state", "enum(MBusPortState)"),
            static(4, "MBus_Data_Header_Type", "enum(MBusHeader)", "RW"),
            static(5, "primary_address", "u8", "RW"),
            static(6, "identification_number", "u32", "RW"),
            static(7, "manufacturer_id", "u16", "RW"),
            static(8, "mbus_version", "u8", "RW"),
            static(9, "device_type", "u8", "RW"),
            static(10, "max_pdu_size", "u16", "RW"),
            static(11, "listening_window", "array window", "RW"),
        ),
    ),
    Family(
        77,
        "M-Bus diagnostic",
        (0,),
        (
            dynamic(2, "received_signal_strength", "u8"),
            dynamic(3, "channel_Id", "u8"),
            dynamic(4, "link_status", "enum(MBusLinkStatus)"),
            dynamic(
                5,
                "broadcast_frames_counter",
                "array {client_id u8, counter u32, time_stamp dt}",
            ),
            dynamic(6, "transmissions_counter", "u32"),
            dynamic(7, "FCS_OK_frames_counter", "u32"),
            dynamic(8, "FCS_NOK_frames_counter", "u32"),
            dynamic(9, "capture_time", "{attribute_id u8, time_stamp dt}"),
        ),
        (method(1, "reset"),),
    ),
)

FAMILIES: Final = _SERIAL + _PUSH + _INTERNET + _MBUS
