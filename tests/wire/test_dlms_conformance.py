"""Which service of DLMS is proved by which test: the table behind docs/dlms-conformance.md.

`python -m tests.wire.test_dlms_conformance` writes the page again.
"""

from __future__ import annotations

import importlib
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dlms-conformance.md"

ASSOCIATION = "test_association"
ATTACKS = "test_dlms_attacks"
BLOCKS = "test_dlms_block_transfer"
INTEROP = "test_dlms_interop"
SECURITY = "test_security"
VECTORS = "test_dlms_vectors"
CONVERSATION = "test_dlms_conversation"
VECTOR = "test_every_vector"
PORTS = "tests.interop.test_peers_read_real_meters"
SETUP = "tests.meter.test_security_setup"
NAMES = "tests.meter.test_short_names"
ACCESS = "tests.meter.test_access_table"
PUSHED = "tests.fleet.test_push_sender"
DEFECTS = "tests.meter.test_peers_defects"
FIRMWARE = "tests.meter.test_firmware_and_security"

PLAIN = (ASSOCIATION, "test_every_mechanism_in_a_plain_context")
CIPHERED = (ASSOCIATION, "test_every_mechanism_in_a_ciphered_context")
SIZES = (ASSOCIATION, "test_every_pdu_size_in_a_plain_context")
SIZES_CIPHERED = (ASSOCIATION, "test_every_pdu_size_in_a_ciphered_context")
ENVELOPES = (ASSOCIATION, "test_every_envelope_and_protection")
GURUX = (INTEROP, "test_gurux_client_in_a_plain_context")
GURUX_CIPHERED = (INTEROP, "test_gurux_client_ciphered")
DLMS_COSEM = (INTEROP, "test_dlms_cosem_client")

METERS = (PORTS, "test_gurux_in_a_plain_context")
METERS_CIPHERED = (PORTS, "test_gurux_ciphered")
METERS_DLMS_COSEM = (PORTS, "test_dlms_cosem")
OURS = (SETUP, "test_meters_are_read_in_every_suite_by_every_way_to_authenticate")

Proof = tuple[str, str]
ROWS: tuple[tuple[str, str, tuple[Proof, ...]], ...] = (
    ("Association, logical names, no security", "server, client", (
        PLAIN, GURUX, DLMS_COSEM, (PORTS, "test_gurux_as_the_public_client"))),
    ("LLS", "server, client", (
        PLAIN, CIPHERED, GURUX, DLMS_COSEM, METERS, METERS_DLMS_COSEM, OURS)),
    ("HLS 2 (manufacturer, AES)", "server, client", (PLAIN, CIPHERED, GURUX, METERS, OURS)),
    ("HLS 3, 4 (MD5, SHA-1)", "server, client", (PLAIN, CIPHERED, GURUX, METERS, OURS)),
    ("HLS 5 (GMAC)", "server, client", (
        (CONVERSATION, "test_the_client_says_what_the_worked_conversation_says"),
        (CONVERSATION, "test_the_server_says_what_the_worked_conversation_says"),
        GURUX_CIPHERED, DLMS_COSEM, METERS, METERS_CIPHERED, METERS_DLMS_COSEM, OURS)),
    ("HLS 6 (SHA-256)", "server, client", (PLAIN, CIPHERED, GURUX_CIPHERED, METERS_CIPHERED, OURS)),
    ("HLS 7 (ECDSA)", "server, client", (
        PLAIN, CIPHERED, (INTEROP, "test_gurux_client_proves_itself_with_ecdsa"),
        (PORTS, "test_gurux_opens_with_a_signature"), OURS)),
    ("Association by short names", "server, client", (
        (ASSOCIATION, "test_short_names_serve_every_mechanism"),
        (INTEROP, "test_gurux_client_with_short_names"),
        (PORTS, "test_gurux_by_short_names"),
        (NAMES, "test_our_client_reads_writes_and_acts_by_short_names"))),
    ("Refusals with the diagnostic of the standard", "server", (
        (ASSOCIATION, "test_aarq_refusals_carry_the_diagnostic_of_the_standard"),
        (ASSOCIATION, "test_terms_that_cannot_be_met_are_refused_with_their_error"))),
    ("Release, bare and protected", "server, client", (
        (ASSOCIATION, "test_release_of_a_ciphered_association_needs_the_protected_initiate"),
        (ASSOCIATION, "test_every_form_of_release_response_ends_the_association"))),
    ("Pre-established association, broadcast", "server, client", (
        (ASSOCIATION, "test_broadcast_set_is_executed_once_and_never_answered"),)),
    ("GET normal, next, with-list", "server, client", (
        PLAIN, SIZES, GURUX, DLMS_COSEM, METERS, METERS_DLMS_COSEM)),
    ("SET normal, in blocks, with-list", "server, client", (
        PLAIN, SIZES, GURUX, METERS, METERS_DLMS_COSEM)),
    ("ACTION normal, in blocks both ways, with-list", "server, client", (
        PLAIN, SIZES, GURUX, METERS, METERS_DLMS_COSEM)),
    ("Selective access", "server, client", (
        (ASSOCIATION, "test_selective_access_reaches_the_object_unchanged"), METERS,
        (DEFECTS, "test_an_answer_by_entry_is_an_array_of_the_rows"))),
    ("Unconfirmed services", "server, client", (
        (ASSOCIATION, "test_unconfirmed_requests_are_executed_and_never_answered"),)),
    ("ACCESS", "server, client", (CIPHERED, ENVELOPES, SIZES_CIPHERED)),
    ("Read, Write, UnconfirmedWrite, in blocks both ways", "server, client", (
        (ASSOCIATION, "test_short_names_serve_every_mechanism"),
        (ASSOCIATION, "test_short_names_in_blocks_both_ways"))),
    ("General block transfer, windows and lost blocks", "server, client", (
        (ASSOCIATION, "test_general_block_transfer_alone_carries_every_service"),
        (BLOCKS, "test_a_bad_link_delivers_the_whole_answer_or_none"),
        (INTEROP, "test_gurux_client_with_general_block_transfer"))),
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
    ("DataNotification confirmed", "server, client", (
        (ASSOCIATION, "test_notification_confirmation_reaches_the_meter"),)),
    ("EventNotification, InformationReport", "client", (
        (ASSOCIATION, "test_event_notification_and_information_report_are_events"),)),
    ("Security suites 0, 1, 2", "server, client", (
        CIPHERED, ENVELOPES, GURUX_CIPHERED, METERS_CIPHERED, OURS)),
    ("glo-, ded-, general-glo, general-ded", "server, client", (ENVELOPES, SIZES_CIPHERED)),
    ("general-ciphering: identified, wrapped, agreed keys", "server, client", (
        (ASSOCIATION, "test_general_ciphering_with_every_way_to_name_the_key"),
        (SECURITY, "test_general_ciphering_with_identified_key_gives_the_worked_octets"),
        (SETUP, "test_every_envelope_and_way_to_name_the_key_reads_a_meter"))),
    ("general-signing", "server, client", (
        (ASSOCIATION, "test_a_policy_that_asks_for_signatures_gets_them_both_ways"),
        (SETUP, "test_a_policy_that_asks_for_signatures_holds_from_the_next_association_on"))),
    ("Key transfer and agreement", "server, client", (
        (ASSOCIATION, "test_key_transfer_takes_effect_after_its_own_response"),
        (SECURITY, "test_both_sides_of_a_key_agreement_arrive_at_one_key"),
        (SETUP, "test_a_transferred_key_is_in_force_after_its_own_answer"),
        (SETUP, "test_an_agreed_key_is_known_to_both_and_was_never_sent"),
        (SETUP, "test_an_interrupted_change_leaves_exactly_one_key"))),
    ("Certificates: generate, request, import, export, remove", "server, client", (
        (SETUP, "test_a_meter_is_delivered_with_four_certificates"),
        (SETUP, "test_a_new_key_pair_is_in_force_once_its_certificate_is_there"),
        (SETUP, "test_another_client_is_let_in_by_its_certificate_and_shut_out_without"))),
    ("Guessing slowed down, over restarts", "server", (
        (SETUP, "test_guessed_passwords_are_slowed_down_over_a_restart_and_all_logged"),)),
    ("Interface classes: every association, object, attribute, get, set, action", "server", (
        (ACCESS, "test_get_answers_as_the_list_says"),
        (ACCESS, "test_set_answers_as_the_list_says"),
        (ACCESS, "test_action_answers_as_the_list_says"),
        (ACCESS, "test_every_attribute_is_of_the_type_its_class_says"),
        (ACCESS, "test_the_reference_meter_has_an_object_of_every_class"))),
    ("HDLC and wrapper on real meters", "server, client", (
        METERS, METERS_CIPHERED)),
    ("Image transfer", "server", (
        (FIRMWARE, "test_blocks_come_in_any_order_and_the_image_runs_after_activation"),)),
    ("Invocation counters: reserved ahead, strictly increasing", "server, client", (
        (SECURITY, "test_numbers_are_reserved_ahead_and_never_given_twice_over_restarts"),
        (SECURITY, "test_replay_names_the_lowest_counter_and_only_to_the_key_holder"),
        (ATTACKS, "test_a_recorded_session_cannot_be_played_again"))),
    ("Forged, truncated, reflected, downgraded APDUs refused", "server, client", (
        (ATTACKS, "test_ten_thousand_forged_apdus_are_all_refused"),
        (ATTACKS, "test_downgraded_aarqs_open_nothing"),
        (ATTACKS, "test_downgraded_aares_are_not_accepted"))),
)  # fmt: skip
ABSENT = (
    ("Compression (V.44)", "no implementation to test against was found; refused cleanly"),
    ("Several associations of one client on one link", "one per pair of addresses and link"),
)


def page() -> str:
    """The page as it should stand in docs/."""
    lines = [
        "# DLMS/COSEM services and their proofs",
        "",
        "Written by `python -m tests.wire.test_dlms_conformance`; a test fails where it is out of",
        "date or names a test that does not exist. Proofs without a folder are in `tests/wire/`;",
        "those of `test_dlms_interop.py` and `tests/interop/` run gurux-dlms or dlms-cosem in a",
        "process of its own, the latter over real ports against meters of the models.",
        "",
        "| service | sides | proof |",
        "| --- | --- | --- |",
    ]
    for service, sides, proofs in ROWS:
        tests = ", ".join(f"`{module}.{name}`" for module, name in dict.fromkeys(proofs))
        lines.append(f"| {service} | {sides} | {tests} |")
    lines += ["", "## Not there", "", "| what | why |", "| --- | --- |"]
    lines += [f"| {what} | {why} |" for what, why in ABSENT]
    return "\n".join(lines) + "\n"


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
