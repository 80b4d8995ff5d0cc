"""Which service of DLMS is proved by which test: the table behind docs/dlms-conformance.md.

`python -m tests.wire.test_dlms_conformance` writes the page again.
"""

from __future__ import annotations

import importlib
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dlms-conformance.md"

ASSOCIATION = "test_association"
ATTACKS = "test_dlms_attacks"
RULES = "test_security_rules"
PLAYED = "tests.meter.test_attacks_on_meters"
BLOCKS = "test_dlms_block_transfer"
INTEROP = "test_dlms_interop"
SECURITY = "test_security"
VECTORS = "test_dlms_vectors"
CONVERSATION = "test_dlms_conversation"
VECTOR = "test_every_vector"
PORTS = "tests.interop.test_peers_read_real_meters"
MATRIX = "tests.interop.test_matrix"
SETUP = "tests.meter.test_security_setup"
SETUP_RULES = "tests.meter.test_security_setup_rules"
NAMES = "tests.meter.test_short_names"
ACCESS = "tests.meter.test_access_table"
PUSHED = "tests.fleet.test_push_sender"
DEFECTS = "tests.meter.test_peers_defects"
FIRMWARE = "tests.meter.test_firmware_and_security"
EVENTS = "tests.meter.test_event_notification"
REPORTS = "test_event_reports"
HEARD = "tests.interop.test_peers_hear_events"
SELECTED = "tests.meter.test_selective_access"
COMPACT = "tests.meter.test_compact_and_protected_data"
PORT_GUARD = "tests.meter.test_port_protection"
CALLED = "tests.fleet.test_call_home"
ASKED = "tests.fleet.test_time_asker"
BUS = "tests.fleet.test_bus"
LINKS = "tests.meter.test_communication_objects"
PAYMENT = "tests.meter.test_charges_and_tokens"
GURUX_READS = "tests.meter.test_interop_gurux"
DATAGRAMS = "tests.meter.test_dlms_over_udp"
ENCRYPTED = "tests.meter.test_interface_encryption"
ACTING = "tests.meter.test_schedules_and_monitors"
FUNCTIONS = "tests.meter.test_functions_and_tables"
SINGLE = "tests.meter.test_single_actions"
UNFRIENDLY = "tests.meter.test_unfriendly_values"
CLOCK = "tests.meter.test_clock_and_calendar"
HDLC = "test_hdlc_link"
WORKED = "test_hdlc_worked"
WRAPPER = "test_wrapper"
OPTICAL = "tests.client.test_optical_port"
LINES = "tests.meter.test_serial_ports"
PARALLEL = "tests.client.test_parallel_conversations"
TYPES = "tests.cosem.test_axdr"
COLUMNS = "tests.cosem.test_columns"
TIMES = "tests.cosem.test_cosem_time"
RECEIVED = "tests.client.test_push"
EXPLAINED = "tests.client.test_explain"
REFUSED = "tests.client.test_refusals_explained"
BROKEN = "tests.client.test_broken_situations"
GIVEN_UP = "tests.client.test_cancelled_reads"
ONE_API = "tests.client.test_one_api"
OPERATIONS = "tests.client.test_operations"

FRAMES = "tests.meter.test_conformance_hdlc"
PACKETS = "tests.meter.test_conformance_wrapper"
ACSE = "tests.meter.test_conformance_association"
SERVICES = "tests.meter.test_conformance_services"
ODD = "tests.client.test_odd_meters"

PLAIN = (ASSOCIATION, "test_every_mechanism_in_a_plain_context")
CIPHERED = (ASSOCIATION, "test_every_mechanism_in_a_ciphered_context")
SIZES = (ASSOCIATION, "test_every_pdu_size_in_a_plain_context")
SIZES_CIPHERED = (ASSOCIATION, "test_every_pdu_size_in_a_ciphered_context")
ENVELOPES = (ASSOCIATION, "test_every_envelope_and_protection")
GURUX = (INTEROP, "test_gurux_client_in_a_plain_context")
GURUX_CIPHERED = (INTEROP, "test_gurux_client_ciphered")
DLMS_COSEM = (INTEROP, "test_dlms_cosem_client")

PEERS = (MATRIX, "test_the_peer_does_its_work")
EVERY_VALUE = (
    "tests.interop.test_every_model",
    "test_every_attribute_is_read_as_the_meter_says_it",
)
OURS = (SETUP, "test_meters_are_read_in_every_suite_by_every_way_to_authenticate")

Proof = tuple[str, str]
ROWS: tuple[tuple[str, str, tuple[Proof, ...]], ...] = (
    ("HDLC: sizes, windows, segments, addresses of 1, 2, 4 octets, UI", "server, client", (
        (WORKED, "test_conversation_gives_the_worked_octets"),
        (HDLC, "test_any_apdu_over_any_parameters_in_any_cut"),
        (HDLC, "test_all_address_forms_are_answered_in_the_form_asked"),
        (HDLC, "test_permission_releases_a_held_push"),
        PEERS)),
    ("HDLC: lost frames, inter-octet and inactivity time-outs, DM, FRMR", "server, client", (
        (HDLC, "test_lost_transmissions_are_repeated_and_nothing_is_served_twice"),
        (HDLC, "test_unfinished_frame_is_dropped_after_the_inter_octet_time_and_the_next_works"),
        (HDLC, "test_inactivity_ends_the_link_and_the_next_disc_gets_dm"),
        (HDLC, "test_rules_of_the_secondary"))),
    ("HDLC in bare octets, TCP and serial port: every rule of the secondary", "server", (
        (FRAMES, "test_frames"), (FRAMES, "test_negotiation"),
        (FRAMES, "test_a_window_of_the_client_is_acknowledged_once"),
        (FRAMES, "test_a_window_of_the_meter_has_the_token_on_its_last_frame"),
        (FRAMES, "test_the_answer_has_the_address_in_the_form_asked"),
        (FRAMES, "test_the_inactivity_time_out_ends_link_and_association"),
        (FRAMES, "test_what_the_setup_object_says_is_what_ua_says"))),
    ("HDLC and local port setup (classes 23, 19) act on lines and addresses", "server", (
        (LINES, "test_speed_and_address_of_the_hdlc_port_act_on_the_next_link"),
        (LINES, "test_the_device_address_holds_over_tcp_as_well"),
        (LINES, "test_the_optical_port_signs_on_as_it_is_set_up"),
        (LINES, "test_octets_may_be_far_apart_on_networks_only"))),
    ("HDLC: odd meters", "client", ((ODD, "test_an_odd_hdlc_meter_is_read"),)),
    ("Wrapper in bare octets, TCP and UDP", "server", (
        (PACKETS, "test_a_stream"), (PACKETS, "test_a_datagram"),
        (PACKETS, "test_another_version_is_lost_step_and_ends_the_connection"),
        (PACKETS, "test_every_block_of_a_stream_is_a_datagram_of_its_own"),
        (PACKETS, "test_a_scan_of_all_client_addresses_on_one_connection_is_answered"))),
    ("AARQ, Initiate and release in bare octets: every field, diagnostic and refusal", "server", (
        (ACSE, "test_an_aarq"), (ACSE, "test_an_initiate_request"),
        (ACSE, "test_a_ciphered_initiate_request"), (ACSE, "test_before_an_association"),
        (ACSE, "test_the_aare_of_each_kind_has_its_fields_and_no_others"),
        (ACSE, "test_a_release_in_a_ciphered_association"),
        (ACSE, "test_a_plain_association_is_released_in_every_form"))),
    ("AARE, release, errors, clocks and profiles: odd meters", "client", (
        (ODD, "test_an_odd_aare_is_taken"),
        (ODD, "test_the_end_comes_whatever_the_meter_says_to_it"),
        (ODD, "test_an_error_of_three_octets_in_every_state"),
        (ODD, "test_invoke_ids_that_are_not_copied"), (ODD, "test_an_odd_profile"))),
    ("Unconfirmed association", "server", (
        (ACSE, "test_an_unconfirmed_association_has_no_aare_and_unconfirmed_services_only"),
        (ACSE, "test_nobody_hears_why_an_unconfirmed_association_was_refused"))),
    ("GET, SET, ACTION, ACCESS, lists and blocks in bare octets over every link", "server", (
        (SERVICES, "test_a_service_by_logical_name"),
        (SERVICES, "test_the_same_over_every_other_link"),
        (SERVICES, "test_no_answer_is_longer_than_the_client_takes"))),
    ("Read, Write, UnconfirmedWrite in bare octets", "server", (
        (SERVICES, "test_a_service_by_short_name"),
        (SERVICES, "test_the_list_of_short_names_is_signed_and_complete"))),
    ("General block transfer in bare octets: windows, losses, abort", "server", (
        (SERVICES, "test_a_long_answer_streams_in_the_clients_window"),
        (SERVICES, "test_lost_blocks_are_sent_again_from_the_gap"),
        (SERVICES, "test_a_request_in_blocks_is_acknowledged_and_executed_once"),
        (SERVICES, "test_block_number_0_aborts_and_another_request_too"))),
    ("Mode E hand-over from IEC 62056-21", "server, client", (
        (OPTICAL, "test_mode_e_sign_on_then_dlms_and_again"),)),
    ("Wrapper over TCP", "server, client", (
        (WRAPPER, "test_any_packets_in_any_cut"), PEERS)),
    ("Wrapper over UDP", "server, client", (
        (WRAPPER, "test_wrong_datagrams"),
        (DATAGRAMS, "test_a_meter_is_read_over_udp_in_blocks_that_fit_datagrams"),
        (DATAGRAMS, "test_a_meter_of_the_command_line_listens_to_datagrams"))),
    ("A-XDR: every type, compact array, null-data, delta types", "server, client", (
        (TYPES, "test_bytes_of_each_type"), (TYPES, "test_every_value_comes_back"),
        (TYPES, "test_compact_arrays_as_worked_out_in_the_facts"),
        (COLUMNS, "test_null_data_keeps_its_place"),
        (COLUMNS, "test_delta_values_add_up_from_the_last_absolute_one"))),
    ("Date-times: wildcards, deviation, status", "server, client", (
        (TIMES, "test_utc_comes_back_from_what_the_meter_shows"),
        (TIMES, "test_wildcards_repeat"), (TIMES, "test_quirks_of_meters"))),
    ("Association, logical names, no security", "server, client", (
        PLAIN, GURUX, DLMS_COSEM, (PORTS, "test_the_public_client_sees_what_it_may"))),
    ("LLS", "server, client", (
        PLAIN, CIPHERED, GURUX, DLMS_COSEM, PEERS, OURS)),
    ("HLS 2 (manufacturer, AES)", "server, client", (PLAIN, CIPHERED, GURUX, PEERS, OURS)),
    ("HLS 3, 4 (MD5, SHA-1)", "server, client", (PLAIN, CIPHERED, GURUX, PEERS, OURS)),
    ("HLS 5 (GMAC)", "server, client", (
        (CONVERSATION, "test_the_client_says_what_the_worked_conversation_says"),
        (CONVERSATION, "test_the_server_says_what_the_worked_conversation_says"),
        GURUX_CIPHERED, DLMS_COSEM, PEERS, OURS)),
    ("HLS 6 (SHA-256)", "server, client", (PLAIN, CIPHERED, GURUX_CIPHERED, PEERS, OURS)),
    ("HLS 7 (ECDSA)", "server, client", (
        PLAIN, CIPHERED, (INTEROP, "test_gurux_client_proves_itself_with_ecdsa"),
        PEERS, OURS)),
    ("Association by short names", "server, client", (
        (ASSOCIATION, "test_short_names_serve_every_mechanism"),
        (INTEROP, "test_gurux_client_with_short_names"),
        PEERS,
        (NAMES, "test_our_client_reads_writes_and_acts_by_short_names"))),
    ("Refusals with the diagnostic of the standard", "server", (
        (ASSOCIATION, "test_aarq_refusals_carry_the_diagnostic_of_the_standard"),
        (ASSOCIATION, "test_terms_that_cannot_be_met_are_refused_with_their_error"))),
    ("Refusals told with cause and remedy", "client", (
        (REFUSED, "test_cause_and_remedy_are_named_and_no_number_is_left_to_look_up"),
        (BROKEN, "test_cause_and_remedy_are_told"),
        (BROKEN, "test_a_counter_too_low_at_a_meter_that_keeps_silent_is_found_out"))),
    ("A request given up half-way", "client", (
        (GIVEN_UP, "test_wherever_it_is_given_up_the_next_answer_is_right_or_an_outcome"),
        (GIVEN_UP, "test_an_error_in_the_body_releases_the_association"))),
    ("Every line (TCP, UDP, HDLC, serial, mode E) with every authentication", "client", (
        (ONE_API, "test_it_works_as_it_is_written_over_every_line_with_every_authentication"),)),
    ("Release, bare and protected", "server, client", (
        (ASSOCIATION, "test_release_of_a_ciphered_association_needs_the_protected_initiate"),
        (ASSOCIATION, "test_every_form_of_release_response_ends_the_association"),
        (RULES, "test_a_ciphered_association_is_ended_by_a_protected_release_only"), PEERS)),
    ("Pre-established association, broadcast", "server, client", (
        (ASSOCIATION, "test_broadcast_set_is_executed_once_and_never_answered"),
        (DATAGRAMS, "test_one_datagram_each_way_on_an_association_that_always_stands"),
        (DATAGRAMS, "test_on_it_nothing_is_served_in_clear_or_twice"))),
    ("Broadcast key: unconfirmed services only, opens and answers nothing", "server, client", (
        (RULES, "test_nothing_confirmed_is_served_under_the_broadcast_key"),
        (RULES, "test_a_broadcast_is_not_answered_whatever_is_wrong_with_it"),
        (RULES, "test_an_association_is_not_opened_nor_ended_under_the_broadcast_key"),
        (RULES, "test_the_client_takes_no_answer_under_the_broadcast_key"),
        ("tests.client.test_push",
         "test_a_push_under_the_broadcast_key_says_nothing_of_its_meter"))),
    ("GET normal, next, with-list", "server, client", (
        PLAIN, SIZES, GURUX, DLMS_COSEM, PEERS)),
    ("SET normal, in blocks, with-list", "server, client", (
        PLAIN, SIZES, GURUX, PEERS)),
    ("ACTION normal, in blocks both ways, with-list", "server, client", (
        PLAIN, SIZES, GURUX, PEERS)),
    ("Selective access", "server, client", (
        (ASSOCIATION, "test_selective_access_reaches_the_object_unchanged"), PEERS,
        (DEFECTS, "test_an_answer_by_entry_is_an_array_of_the_rows"),
        (SELECTED, "test_a_range_of_any_captured_column_gives_exactly_its_rows"),
        (SELECTED, "test_entries_and_columns_are_counted_from_one"),
        (SELECTED, "test_a_range_may_choose_columns"))),
    ("Unconfirmed services", "server, client", (
        (ASSOCIATION, "test_unconfirmed_requests_are_executed_and_never_answered"),)),
    ("ACCESS", "server, client", (CIPHERED, ENVELOPES, SIZES_CIPHERED, PEERS)),
    ("Read, Write, UnconfirmedWrite, in blocks both ways", "server, client", (
        (ASSOCIATION, "test_short_names_serve_every_mechanism"),
        (ASSOCIATION, "test_short_names_in_blocks_both_ways"), PEERS)),
    ("General block transfer, windows and lost blocks", "server, client", (
        (ASSOCIATION, "test_general_block_transfer_alone_carries_every_service"),
        (BLOCKS, "test_a_bad_link_delivers_the_whole_answer_or_none"),
        (INTEROP, "test_gurux_client_with_general_block_transfer"), PEERS)),
    ("DataNotification, ciphered, in blocks", "server, client", (
        (ASSOCIATION, "test_push_in_an_association_is_protected_as_the_policy_says_and_decoded"),
        (ASSOCIATION, "test_long_push_goes_in_unconfirmed_blocks"),
        (VECTORS, "test_pushes_of_real_meters_in_block_transfer_and_ciphered_are_read"),
        (VECTOR, "test_the_entry_decodes_as_it_says_and_encodes_to_the_same_octets"),
        (PUSHED, "test_gurux_reads_our_pushes"))),
    ("Push setup: destination, retries, randomisation, windows, TCP and UDP", "server, client", (
        (PUSHED, "test_a_push_reaches_the_destination_named_and_authenticated"),
        (PUSHED, "test_nobody_there_means_again_after_the_delay_and_an_end"),
        (PUSHED, "test_randomised_pushes_do_not_all_come_at_once"),
        (PUSHED, "test_communication_windows"),
        (PUSHED, "test_a_meter_of_the_command_line_pushes_to_a_listener_of_the_command_line"))),
    ("Push protection of the setup itself (class 40, attribute 10): every kind and key", "server", (
        (PUSHED, "test_a_setup_protects_its_messages_as_its_parameters_say"),
        (PUSHED, "test_protection_that_cannot_be_is_refused_when_it_is_written"),
        (PUSHED, "test_no_setup_gives_less_protection_than_the_policy_asks_for"),
        (PUSHED, "test_gurux_reads_pushes_under_protection_of_their_setup"))),
    ("DataNotification confirmed", "server, client", (
        (ASSOCIATION, "test_notification_confirmation_reaches_the_meter"),)),
    ("EventNotification", "server, client", (
        (REPORTS, "test_in_a_plain_association_it_is_the_octets_of_the_standard"),
        (REPORTS, "test_it_is_protected_as_the_policy_asks"),
        (EVENTS, "test_an_event_is_told_with_code_and_time_of_the_meters_clock"),
        (EVENTS, "test_events_arrive_while_a_long_answer_is_on_its_way"),
        (EVENTS, "test_the_host_hears_of_an_event_at_once"),
        (HEARD, "test_gurux_reads_an_event_in_clear"),
        (HEARD, "test_gurux_reads_a_ciphered_event"))),
    ("InformationReport", "server, client", (
        (REPORTS, "test_by_short_names_it_is_an_information_report"),
        (EVENTS, "test_by_short_names_the_event_is_an_information_report"))),
    ("Security suites 0, 1, 2", "server, client", (
        CIPHERED, ENVELOPES, GURUX_CIPHERED, PEERS, OURS)),
    ("glo-, ded-, general-glo, general-ded", "server, client", (
        ENVELOPES, SIZES_CIPHERED, PEERS,
        (RULES, "test_general_protection_is_served_where_it_was_agreed_to"))),
    ("general-ciphering: identified, wrapped, agreed keys", "server, client", (
        (ASSOCIATION, "test_general_ciphering_with_every_way_to_name_the_key"),
        (SECURITY, "test_general_ciphering_with_identified_key_gives_the_worked_octets"),
        (SETUP, "test_every_envelope_and_way_to_name_the_key_reads_a_meter"),
        (RULES, "test_general_ciphering_is_refused"),
        (RULES, "test_a_wrapped_key_cannot_be_used_for_old_numbers_again"),
        (RULES, "test_a_thousand_keys_that_came_along_leave_one_number_and_no_replay"),
        (SETUP_RULES,
         "test_keys_that_come_along_take_no_room_and_work_once_also_after_a_power_cut"))),
    ("general-signing inside ciphering", "server, client", (
        (RULES, "test_what_is_signed_first_satisfies_the_same_policy"),
        (RULES, "test_a_signature_inside_cannot_be_stripped_wrapped_up_again_or_doubled"))),
    ("general-signing, alone and around ciphering", "server, client", (
        (RULES, "test_signed_plain_apdus_are_refused"),
        (RULES, "test_the_other_form_of_a_signature_opens_no_replay"),
        (ASSOCIATION, "test_a_policy_that_asks_for_signatures_gets_them_both_ways"),
        (SETUP, "test_a_policy_that_asks_for_signatures_holds_from_the_next_association_on"))),
    ("Key transfer and agreement", "server, client", (
        (ASSOCIATION, "test_key_transfer_takes_effect_after_its_own_response"),
        (SECURITY, "test_both_sides_of_a_key_agreement_arrive_at_one_key"),
        (SETUP, "test_a_transferred_key_is_in_force_after_its_own_answer"),
        (SETUP, "test_an_agreed_key_is_known_to_both_and_was_never_sent"),
        (SETUP, "test_an_interrupted_change_leaves_exactly_one_key"),
        (SETUP_RULES, "test_a_key_transfer_that_is_wrong_changes_nothing"),
        (SETUP_RULES, "test_a_key_agreement_that_is_wrong_changes_nothing"),
        (RULES, "test_a_key_changed_in_one_association_ends_the_old_one_in_all"))),
    ("Dedicated key: from the fourth pass to the end of its association", "server, client", (
        ENVELOPES,
        (RULES, "test_a_dedicated_key_ends_with_its_association"),
        (RULES, "test_a_dedicated_key_taken_again_repeats_no_nonce_and_no_request"))),
    ("Certificates: generate, request, import, export, remove", "server, client", (
        (SETUP, "test_a_meter_is_delivered_with_four_certificates"),
        (SETUP, "test_a_new_key_pair_is_in_force_once_its_certificate_is_there"),
        (SETUP, "test_another_client_is_let_in_by_its_certificate_and_shut_out_without"),
        (SETUP_RULES, "test_a_certificate_that_is_wrong_is_not_imported"),
        (SETUP_RULES, "test_what_names_no_certificate_exports_and_removes_none"),
        (SETUP_RULES, "test_chains_lead_over_authorities_below_and_end_where_one_is_removed"),
        (SETUP_RULES, "test_certificates_count_within_their_time_by_the_clock_of_the_meter"),
        (SETUP_RULES, "test_a_pair_for_tls_is_made_requested_and_certified_like_the_others"))),
    ("Security policy, raised and as delivered", "server, client", (
        (ENCRYPTED, "test_as_delivered_it_is_read_encrypted_and_not_otherwise"),
        (ENCRYPTED, "test_in_an_encrypted_association_nothing_less_is_served"),
        (ENCRYPTED, "test_a_foreign_client_reads_it_encrypted"),
        (FIRMWARE, "test_a_policy_is_only_ever_strengthened"),
        (SETUP_RULES, "test_a_policy_is_taken_exactly_where_it_asks_for_more"),
        (RULES, "test_a_policy_strengthened_in_one_association_holds_in_all_from_the_next_apdu"))),
    ("Data protection (class 30): attributes read and written, methods called", "server, client", (
        (COMPACT, "test_attributes_and_methods_travel_protected"),
        (COMPACT, "test_less_than_the_object_requires_is_refused_both_ways"),
        (COMPACT, "test_forged_altered_and_repeated_data_are_refused"),
        (COMPACT, "test_protection_gives_nobody_a_right"))),
    ("Data protection: protection_buffer read and written, all or none", "server, client", (
        (COMPACT, "test_the_buffer_reads_and_writes_attributes"),
        (COMPACT, "test_forged_altered_and_repeated_buffers_are_refused"),
        (COMPACT, "test_what_was_read_cannot_be_written_back"),
        (COMPACT, "test_of_several_writes_all_or_none_take_place"),
        (COMPACT, "test_signed_data_without_a_counter_are_taken_once_too"))),
    ("Compact data (class 62): capture by method and when read, template", "server, client", (
        (COMPACT, "test_it_captures_when_told_and_forgets_when_reset"),
        (COMPACT, "test_it_captures_at_every_reading_where_the_method_says_so"),
        (COMPACT, "test_profiles_are_captured_by_entry_and_by_date_with_the_columns_wanted"))),
    ("Guessing slowed down, over restarts", "server", (
        (SETUP, "test_guessed_passwords_are_slowed_down_over_a_restart_and_all_logged"),
        (RULES, "test_guesses_are_slowed_down_over_many_associations_opened_at_once"))),
    ("Communication port protection (class 124): locked by failures, longer each time", "server", (
        (PORT_GUARD, "test_too_many_failures_lock_the_port_for_all_that_can_be_guessed"),
        (PORT_GUARD, "test_every_further_failure_locks_longer_up_to_the_limit"),
        (PORT_GUARD, "test_the_lock_outlasts_a_power_cut"),
        (PORT_GUARD, "test_modes_lock_at_once_and_never"),
        (PORT_GUARD, "test_a_port_that_is_attacked_locks_and_the_other_serves_on"),
        (PORT_GUARD,
         "test_several_ports_and_many_associations_give_no_more_guesses_than_one"))),
    ("Addresses of ports and buses (classes 24, 25, 44, 46, 48, 73, 74, 76)", "server", (
        (LINKS, "test_addresses_are_added_and_removed_and_kept"),
        (LINKS, "test_an_address_of_another_kind_or_known_already_is_not_added"),
        (LINKS, "test_a_written_address_is_assigned_and_can_be_given_up"),
        (LINKS, "test_numbers_out_of_range_are_refused"),
        (LINKS, "test_passwords_of_ppp_and_mail_are_written_and_never_read"))),
    ("Auto connect (class 29): a meter calls home, a client takes the call", "server, client", (
        (CALLED, "test_a_meter_that_is_told_to_connect_is_read_on_its_own_connection"),
        (CALLED, "test_a_fleet_keeps_a_permanent_call_from_the_address_of_its_meter"),
        (CALLED, "test_nobody_there_means_again_as_often_as_set_and_an_end"),
        (CALLED, "test_the_calling_window_begins_and_ends_a_call"),
        (CALLED, "test_an_alarm_calls_home_as_the_mode_says"),
        (CALLED, "test_connect_is_refused_where_no_call_goes_out"))),
    ("NTP setup (class 100): synchronize, and once a day", "server", (
        (ASKED, "test_a_meter_that_is_told_to_synchronize_takes_the_time_of_its_server"),
        (ASKED, "test_an_activated_setup_asks_once_a_day_and_an_hour_after_a_failure"),
        (ASKED,
         "test_a_server_that_cannot_be_reached_leaves_the_clock_and_harms_nobody"),
        (ASKED, "test_a_forged_answer_is_passed_over_for_the_true_one"),
        (ASKED, "test_synchronize_is_refused_where_no_server_can_be_asked"),
        (ASKED, "test_with_shared_secrets_question_and_answer_prove_the_newest_key"),
        (ASKED, "test_authentication_that_the_meter_does_not_do_is_refused"),
        (ASKED, "test_a_server_that_is_lost_and_back_is_an_event_each"))),
    ("M-Bus client (class 72): install, deinstall, capture, clock, data, keys", "server", (
        (LINKS, "test_a_device_is_read_when_its_client_object_is_told_to"),
        (BUS, "test_a_deinstalled_device_is_read_no_more_until_it_is_installed_again"),
        (BUS, "test_without_an_address_the_bus_is_searched_and_a_new_device_gets_one"),
        (BUS, "test_an_installation_that_cannot_be_is_refused"),
        (BUS, "test_what_is_written_of_a_device_says_which_one_is_installed"),
        (BUS, "test_a_channel_is_on_a_port_that_the_meter_has"),
        (BUS, "test_the_capture_definition_says_which_record_the_channel_shows"),
        (BUS, "test_a_record_that_the_device_does_not_send_is_never_another_one"),
        (BUS, "test_a_capture_definition_that_names_no_record_is_refused"),
        (BUS, "test_the_clock_of_the_device_is_set_to_that_of_the_meter"),
        (BUS, "test_data_reach_the_device_or_are_refused_where_it_does_not_take_them"),
        (BUS, "test_a_key_of_both_sides_encrypts_the_readings"),
        (BUS, "test_over_the_port_a_client_exchanges_the_device"))),
    ("M-Bus diagnostic, LTE monitoring (classes 77, 151)", "server", (
        (LINKS, "test_frames_of_the_m_bus_are_counted_and_a_silent_device_shows"),
        (LINKS, "test_lte_is_shown_while_the_modem_is_on_it"))),
    ("Charge (class 113): by consumption, by time, of purchases; prices, debts", "server", (
        (PAYMENT, "test_a_standing_charge_is_collected_every_period"),
        (PAYMENT, "test_consumption_is_charged_by_what_was_used_and_prices_change_at_their_time"),
        (PAYMENT, "test_each_rate_has_its_price"),
        (PAYMENT, "test_a_debt_is_recovered_from_purchases_and_ends"),
        (PAYMENT, "test_a_charge_ends_the_credit_and_opens_the_breaker_in_its_interval"),
        (PAYMENT, "test_collections_do_not_depend_on_how_the_time_is_cut"),
        (PAYMENT, "test_methods_and_prices_over_the_port"))),
    ("Token gateway (class 115), IEC 62055-41 attributes (class 116)", "server, client", (
        (PAYMENT, "test_a_token_is_booked_once"),
        (PAYMENT, "test_forged_foreign_and_malformed_tokens_book_nothing"),
        (PAYMENT, "test_tokens_come_in_any_order_and_old_ones_end"),
        (PAYMENT, "test_a_power_cut_books_a_token_once_or_not_at_all"),
        (PAYMENT, "test_sts_attributes_say_that_there_is_no_sts"),
        (GURUX_READS, "test_its_charge_token_gateway_and_port_protection_are_ours"),
        ("tests.cli.test_token_command",
         "test_a_token_is_made_entered_and_not_taken_twice"))),
    ("Interface classes: every association, object, attribute, get, set, action", "server", (
        (ACCESS, "test_get_answers_as_the_list_says"),
        (ACCESS, "test_set_answers_as_the_list_says"),
        (ACCESS, "test_action_answers_as_the_list_says"),
        (ACCESS, "test_every_attribute_is_of_the_type_its_class_says"), EVERY_VALUE,
        (ACCESS, "test_the_reference_meter_has_an_object_of_every_class"),
        ("tests.meter.test_any_value", "test_the_reference_meter_takes_or_refuses_anything"),
        ("tests.meter.test_any_value", "test_every_model_takes_or_refuses_anything"))),
    ("What may be written acts, is refused, or is known to be held", "server", (
        ("tests.meter.test_nothing_is_ignored",
         "test_every_writable_attribute_acts_or_is_known_to_be_held"),
        ("tests.meter.test_nothing_is_ignored",
         "test_what_a_meter_cannot_push_by_is_refused"),
        ("tests.meter.test_nothing_is_ignored",
         "test_a_command_that_leaves_the_breaker_as_it_is_says_so"))),
    ("HDLC and wrapper on real meters", "server, client", (
        PEERS,)),
    ("Image transfer", "server, client", (
        (OPERATIONS, "test_a_transfer_goes_on_where_it_stopped"),
        (OPERATIONS, "test_an_image_that_is_not_the_makers_changes_nothing"),
        (FIRMWARE, "test_blocks_come_in_any_order_and_the_image_runs_after_activation"),
        (FIRMWARE, "test_missing_blocks_are_named_and_verification_waits_for_them"),
        (FIRMWARE, "test_what_is_to_be_activated_is_told_of_verified_images_only"),
        (FIRMWARE, "test_a_transfer_goes_on_after_a_power_cut"))),
    ("Clock: all methods", "server", (
        (CLOCK, "test_adjusting_to_the_nearest_quarter_and_minute"),
        (CLOCK, "test_adjusting_to_the_measuring_period"),
        (CLOCK, "test_a_preset_time_is_taken_within_its_validity_only"),
        (CLOCK, "test_a_small_correction_is_a_silent_shift"), PEERS)),
    ("Schedule (10): entries switch, weekdays, special days, validity window", "server", (
        (ACTING, "test_entries_switch_at_their_times_by_the_clock_of_the_meter"),
        (ACTING, "test_weekday_special_day_and_season_decide_on_which_days"),
        (ACTING, "test_what_an_outage_passed_over_runs_within_its_validity_window"),
        (ACTING, "test_a_clock_set_forward_runs_what_it_passed_and_set_back_repeats"),
        (ACTING, "test_entries_are_disabled_enabled_replaced_and_deleted"),
        (ACTING, "test_a_meter_of_the_command_line_switches_by_itself"),
        (ACTING, "test_an_independent_client_fills_the_schedule_and_switches_load_control_off"))),
    ("Single action (22), planned activity calendar (20): at their moment, in any cut", "server", (
        (SINGLE, "test_the_script_that_is_named_runs_and_no_other"),
        (SINGLE, "test_a_script_that_nobody_may_run_is_refused"),
        (SINGLE, "test_two_days_at_once_are_as_minute_by_minute"),
        (SINGLE, "test_what_an_outage_passed_over_runs_once_when_power_returns"),
        (SINGLE, "test_the_passive_calendar_becomes_active_in_the_middle_of_a_block"))),
    ("Values out of range, dates that are none, wrong types: refused, nothing changes", "server", (
        (UNFRIENDLY, "test_a_value_that_cannot_be_is_refused_and_changes_nothing"),
        (UNFRIENDLY, "test_a_parameter_that_cannot_be_is_refused"))),
    ("Register monitor (21), sensor manager (67), data monitoring (66): crossings act", "server", (
        (ACTING, "test_a_threshold_that_is_crossed_switches_a_relay_there_and_back"),
        (ACTING, "test_only_the_crossing_counts"),
        (ACTING, "test_a_crossing_that_an_outage_hid_is_found_after_it"),
        (ACTING, "test_the_result_is_the_same_for_any_cut_of_the_blocks"),
        (ACTING, "test_the_raw_value_of_a_sensor_has_thresholds_of_its_own"),
        (ACTING, "test_a_trigger_captures_what_was_before_and_what_comes_after_it"),
        (ACTING, "test_a_register_monitor_triggers_the_capture"))),
    ("Arbitrator (68), function control (122)", "server", (
        (FUNCTIONS, "test_the_heaviest_standing_request_moves_the_breaker"),
        (FUNCTIONS, "test_weights_and_permissions_can_be_set_and_outlast_a_power_cut"),
        (FUNCTIONS, "test_load_control_that_is_off_switches_nothing_by_command_nor_by_schedule"),
        (FUNCTIONS, "test_push_and_firmware_are_functions_too"),
        (FUNCTIONS, "test_functions_are_added_and_removed_by_who_may_act_on_their_objects"))),
    ("Parameter monitor (65): last change, values, digest", "server", (
        (FUNCTIONS, "test_the_last_change_of_a_listed_parameter_is_told_with_its_time"),
        (FUNCTIONS, "test_values_and_digest_tell_that_the_parameters_are_as_wanted"),
        (FUNCTIONS, "test_what_is_no_parameter_or_not_to_be_read_is_not_watched"))),
    ("Array manager (123), with the rights of who asks", "server", (
        (FUNCTIONS, "test_entries_of_arrays_are_counted_read_inserted_replaced_and_removed"),
        (FUNCTIONS, "test_the_array_manager_gives_nobody_a_right"),
        (FUNCTIONS, "test_an_independent_client_reads_them_and_has_an_array_counted"))),
    ("Utility tables (26), register table (61), status mapping (63)", "server", (
        (FUNCTIONS, "test_tables_are_read_whole_and_in_part"),
        (FUNCTIONS, "test_the_utility_writes_the_table_that_is_its_own"),
        (FUNCTIONS, "test_a_register_table_holds_what_it_captured"),
        (FUNCTIONS, "test_the_status_word_is_that_of_the_meter"))),
    ("Compressed APDUs are refused: exception-response, deciphering-error", "server, client", (
        ("test_compression_refused",
         "test_a_compressed_request_is_a_deciphering_error_and_the_association_stands"),
        ("test_compression_refused",
         "test_a_compressed_answer_is_refused_by_the_client_and_the_real_one_taken"))),
    ("Parallel conversations under one key take turns: tasks, threads, processes", "client", (
        (PARALLEL, "test_tasks_of_one_process_take_turns"),
        (PARALLEL, "test_threads_with_one_store_take_turns"),
        (PARALLEL, "test_processes_with_one_counter_file_speak_with_one_meter_in_turn"),
        (PARALLEL, "test_a_meter_that_another_process_speaks_with_is_waited_for"))),
    ("Invocation counters: reserved ahead, strictly increasing", "server, client", (
        (SECURITY, "test_numbers_are_reserved_ahead_and_never_given_twice_over_restarts"),
        (SECURITY, "test_replay_names_the_lowest_counter_and_only_to_the_key_holder"),
        (RULES, "test_counters_are_kept_for_each_key_and_each_sender"),
        (RULES, "test_a_key_at_its_end_is_refused_on_receipt_and_nothing_overflows"),
        (RULES, "test_a_key_that_nears_its_end_is_told_of_once_and_long_before"),
        (SECURITY, "test_a_liar_on_the_line_cannot_use_our_key_up"),
        (ATTACKS, "test_a_recorded_session_cannot_be_played_again"))),
    ("Forged, truncated, reflected, downgraded APDUs refused", "server, client", (
        (ATTACKS, "test_forged_apdus_are_all_refused"),
        (RULES, "test_the_server_serves_no_misuse_and_goes_on"),
        (PLAYED, "test_a_conversation_that_was_listened_to_cannot_be_played_to_any_meter"),
        (PLAYED, "test_nobody_drives_the_traces_of_tampering_out_of_the_logs"),
        (ATTACKS, "test_downgraded_aarqs_open_nothing"),
        (ATTACKS, "test_downgraded_aares_are_not_accepted"))),
    ("Mutated input: every parser, 10⁵ frames in the suite and 10⁶ in `make fuzz`",
     "server, client", (
        ("test_dlms_fuzz", "test_mutated_apdus"),
        ("test_fuzz_other_cores", "test_mutated_input"),
        (HDLC, "test_mutated_conversations_in_any_cut_give_the_same_and_never_an_exception"),
        (WRAPPER, "test_mutated_streams_in_any_cut_give_the_same"),
        ("test_iec62056_21", "test_any_octets_in_any_cut_give_the_same_and_never_an_exception"),
        (RECEIVED, "test_any_octets_in_any_cut_give_the_same_and_never_an_exception"),
        ("tests.cosem.test_fuzz_cosem", "test_mutated_buffers"),
        ("tests.client.test_fuzz_client", "test_mutated_input"))),
    ("What peers do wrong, done right", "server, client", (
        (DEFECTS, "test_a_server_starts_and_answers_by_every_way_to_authenticate"),
        (DEFECTS, "test_nothing_secret_is_printed_logged_or_shown"),
        (DEFECTS, "test_the_client_takes_no_answer_twice"),
        (DEFECTS, "test_a_profile_in_blocks_has_every_row_once"),
        (DEFECTS, "test_an_answer_by_entry_is_an_array_of_the_rows"),
        (DEFECTS, "test_sizes_are_not_cut_at_16_bits"),
        (DEFECTS, "test_truncated_data_is_refused_at_once"),
        (DEFECTS, "test_null_data_keeps_its_place_in_a_row"),
        (DEFECTS, "test_an_exception_response_is_an_answer_with_a_reason"),
        (DEFECTS, "test_every_kind_of_ciphered_answer_is_understood"))),
    ("Pushes of makers: with codes, with a list, by fixed lists; several meters, wrong keys",
     "client", (
        (RECEIVED, "test_aidon_says_its_scalers_itself"),
        (RECEIVED, "test_kamstrup_has_fixed_scalers_and_its_own_group_b"),
        (RECEIVED, "test_kaifa_names_nothing_and_is_known_by_its_lists"),
        (RECEIVED, "test_iskraemeco_names_nothing_and_is_known_by_its_lists"),
        (RECEIVED, "test_without_the_authentication_key_it_is_read_and_flagged"),
        (RECEIVED, "test_several_meters_on_one_listener_and_wrong_keys"),
        (RECEIVED, "test_independent_readers_see_the_same_values"))),
    ("`explain`: hex, dumps, traces, captures; every service; damaged frames as far as they go",
     "tool", (
        (EXPLAINED, "test_every_service_of_a_conversation"),
        (EXPLAINED, "test_damaged_frames_are_shown_with_what_is_wrong"),
        (EXPLAINED, "test_what_is_readable_of_a_cut_apdu_is_shown"),
        (EXPLAINED, "test_general_protection_opens_in_every_suite"),
        (EXPLAINED, "test_dedicated_keys_are_learnt_from_the_conversation"),
        (EXPLAINED, "test_proofs_are_checked_with_the_secret"),
        (EXPLAINED, "test_of_every_signature_it_is_said_whether_it_holds"),
        (EXPLAINED, "test_keys_that_came_along_are_found_again"),
        (EXPLAINED, "test_every_recorded_vector_is_explained"),
        ("tests.client.test_capture", "test_every_link_layer"),
        ("tests.client.test_capture", "test_what_a_capture_lacks_is_told"),
        ("tests.client.test_capture", "test_traces_with_directions"))),
    ("`record`, `replay`: wrapper, UDP, HDLC, serial, mode E; in clear and ciphered", "tool", (
        ("tests.cli.test_record_and_replay",
         "test_a_reader_with_an_optical_head_is_recorded_through_all_its_speeds"),
        ("tests.cli.test_record_and_replay",
         "test_datagrams_are_recorded_and_given_back_one_by_one"),
        ("tests.cli.test_record_and_replay", "test_what_was_recorded_answers_as_the_meter"),
        ("tests.cli.test_record_and_replay", "test_serial_lines_are_recorded_and_played"),
        ("tests.client.test_turns", "test_differences_are_told_in_octets_and_in_words"))),
    ("`clone`: every model as each of its clients, served again", "tool", (
        ("tests.cli.test_clone_every_model", "test_a_clone_answers_as_its_original"),
        ("tests.cli.test_clone_command", "test_a_clone_goes_on_where_its_connection_was_lost"),
        ("tests.client.test_clone", "test_what_is_refused_is_marked_and_the_rest_is_there"),
        ("tests.client.test_clone", "test_secrets_stay_out_of_the_file"))),
)  # fmt: skip
NO_COMPRESSION = (
    "no implementation to test against was found; never proposed, and an APDU with bit 7 of its"
    " security control set is answered by exception-response, deciphering-error"
)
NO_WAVEFORMS = (
    "the books take what is measured in an interval, not the samples of the wave: it captures the"
    " rms value of every second"
)
ABSENT = (
    ("Compression (V.44)", NO_COMPRESSION),
    ("Waveforms in measurement data monitoring (66)", NO_WAVEFORMS),
    ("Several associations of one client on one link", "one per pair of addresses and link"),
)


def page() -> str:
    """The page as it should stand in docs/."""
    lines = [
        "# DLMS/COSEM services and their proofs",
        "",
        "Written by `python -m tests.wire.test_dlms_conformance`; a test fails where it is out of",
        "date or names a test that does not exist. Those of `test_dlms_interop.py` and",
        "`tests/interop/` run gurux-dlms or dlms-cosem in a process of its own, the latter over",
        "real ports against meters of the models.",
        "",
        "A proof is run by its name, a group of them by its file, after `make test` or",
        "`make setup .venv/.stamps/dev`:",
        "",
        "    .venv/bin/pytest -v -k test_every_mechanism_in_a_ciphered_context tests",
        "    .venv/bin/pytest -v tests/meter/test_conformance_*.py",
        "",
        "| service | sides | proof |",
        "| --- | --- | --- |",
    ]
    for service, sides, proofs in ROWS:
        lines.append(f"| {service} | {sides} | {_linked(proofs)} |")
    lines += ["", "## Not there", "", "| what | why |", "| --- | --- |"]
    lines += [f"| {what} | {why} |" for what, why in ABSENT]
    return "\n".join(lines) + "\n"


def _linked(proofs: tuple[tuple[str, str], ...]) -> str:
    """The names of the tests, after the file that they are in."""
    files: dict[str, list[str]] = {}
    for module, name in dict.fromkeys(proofs):
        place = module if "." in module else f"tests.wire.{module}"
        files.setdefault(place, []).append(f"`{name}`")
    return "; ".join(
        f"[{place.rpartition('.')[2]}](../{place.replace('.', '/')}.py): {', '.join(names)}"
        for place, names in files.items()
    )


def test_every_proof_exists() -> None:
    for _, _, proofs in ROWS:
        assert proofs
        for module, name in proofs:
            place = module if "." in module else f"tests.wire.{module}"
            assert callable(getattr(importlib.import_module(place), name))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.wire.test_dlms_conformance"


if __name__ == "__main__":
    PAGE.write_text(page())
