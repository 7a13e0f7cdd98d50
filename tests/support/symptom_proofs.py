# SPDX-License-Identifier: MIT
"""Which tests produce each symptom for real and expect what is said of it.

"For real" is a program, a certificate, a name server, a socket that does what the symptom says. Where only Exchange or
Microsoft 365 says something, a host of the test's own says it in their words, at the place where they do; `SCRIPTED`
holds those.
"""

from typing import Final

_SENDING: Final = "e2e/test_why_sending.py::"
_HISTORY: Final = "e2e/test_why_history.py::"
_SCHEDULER: Final = "e2e/test_why_scheduler.py::"
_DOOR: Final = "e2e/test_why_door.py::"
_CERTIFICATES: Final = "e2e/test_why_certificates.py::"
_POSTFIX: Final = "interop/test_why_postfix.py::"
_REFUSED: Final = f"{_POSTFIX}test_what_postfix_refuses_is_told"
_REPLY: Final = f"{_SENDING}test_a_reply_is_told_by_its_meaning"
_TLS: Final = f"{_SENDING}test_tls_and_logins"
_NO_SMTP: Final = f"{_SENDING}test_hosts_that_are_no_mail_hosts"
_NOWHERE: Final = f"{_SENDING}test_domains_that_lead_nowhere_return_the_message"

PROOFS: Final[dict[int, tuple[str, ...]]] = {
    1: (f"{_SENDING}test_name_servers_that_drop_or_garble_aaaa", f"{_HISTORY}test_aaaa_is_dropped_while_ipv4_works"),
    2: (f"{_SENDING}test_a_resolver_that_is_dead",),
    3: (f"{_REPLY}[helo.test]",),
    4: (f"{_SENDING}test_a_smart_host_without_address", f"{_POSTFIX}test_a_system_that_cannot_resolve_our_name_says_so_in_its_log"),
    5: (f"{_NO_SMTP}[closed.test]", f"{_POSTFIX}test_a_system_that_cannot_reach_us_says_so_in_its_log"),
    6: (f"{_HISTORY}test_another_source_address_since_which_nothing_answers",),
    7: (f"{_HISTORY}test_port_25_is_blocked_for_everyone",),
    8: (f"{_SENDING}test_content_that_is_cut_says_after_how_many_octets", f"{_NO_SMTP}[dot.test]"),
    9: (f"{_SENDING}test_several_hosts_each_with_its_own_error",),
    10: (f"{_SENDING}test_asterisks_in_the_banner",),
    11: (f"{_NOWHERE}[gmial.test]", f"{_HISTORY}test_a_misspelt_domain_and_the_one_that_was_meant"),
    12: (f"{_HISTORY}test_an_expired_message_is_told_by_its_tries",),
    13: (f"{_REFUSED}[plain.test]", f"{_HISTORY}test_starttls_that_was_offered_and_is_no_longer"),
    14: (f"{_TLS}[othername.test]",),
    15: (f"{_TLS}[expired.test]", f"{_DOOR}test_a_client_that_sees_our_certificate_expired"),
    16: (f"{_TLS}[leafonly.test]", f"{_TLS}[untrusted.test]"),
    17: (f"{_REFUSED}[nokey.test]", f"{_CERTIFICATES}test_a_key_that_is_gone_or_another_is_named_before_it_is_used"),
    18: (f"{_REFUSED}[nocertificate.test]",),
    19: (f"{_CERTIFICATES}test_a_pin_on_the_former_issuer_names_the_successor",
         "e2e/test_certificates.py::test_a_pin_by_issuer_that_the_new_one_does_not_fit_is_told_before"),
    20: (f"{_DOOR}test_a_client_that_does_not_trust_our_certificate",),
    21: (f"{_DOOR}test_a_device_with_old_tls", f"{_TLS}[old.test]"),
    22: (f"{_TLS}[demands.test]", f"{_TLS}[refusesours.test]"),
    23: (f"{_CERTIFICATES}test_nobody_is_asked_about_revocation",),
    24: (f"{_CERTIFICATES}test_issuer_and_subject_of_more_than_256_characters_pin_as_well",),
    25: ("e2e/test_tls_policy.py::test_mail_follows_the_policies_of_its_recipients_domains",),
    26: (f"{_DOOR}test_relay_denied_names_the_connector_that_would_have_allowed_it", f"{_REFUSED}[relay.test]"),
    27: (f"{_DOOR}test_a_device_that_never_tried_to_log_on",),
    28: (f"{_DOOR}test_a_wrong_password_which_is_kept_nowhere", f"{_TLS}[login.test]",
         "e2e/test_oauth.py::test_a_wrong_secret_is_told_and_mended_without_a_restart"),
    29: (f"{_DOOR}test_a_login_that_sends_as_somebody_else",),
    30: (f"{_REPLY}[exps.test]",),
    31: (f"{_REPLY}[front.test]",),
    32: (f"{_SCHEDULER}test_a_port_that_is_taken_names_who_holds_it", f"{_REPLY}[stopped.test]"),
    33: (f"{_SCHEDULER}test_back_pressure_is_told_to_whom_it_refuses", f"{_REFUSED}[full.test]"),
    34: (f"{_SCHEDULER}test_back_pressure_is_told_to_whom_it_refuses",),
    35: (f"{_DOOR}test_too_many_connections", f"{_DOOR}test_too_many_messages_a_minute", f"{_REFUSED}[often.test]"),
    36: (f"{_DOOR}test_a_message_that_is_too_large_names_the_limit_and_where_it_is_set",),
    37: (f"{_DOOR}test_a_header_that_is_too_large_names_the_field",),
    38: (f"{_DOOR}test_too_many_recipients_are_no_error",),
    39: (f"{_DOOR}test_addresses_that_mail_cannot_go_to",),
    40: (f"{_DOOR}test_bare_line_feeds_with_their_place",),
    41: (f"{_DOOR}test_an_unknown_recipient_with_the_nearest_one", f"{_REFUSED}[nobody@postfix.test]"),
    42: (f"{_SCHEDULER}test_a_port_that_is_taken_names_who_holds_it",),
    43: (f"{_REPLY}[attribution.test]", f"{_HISTORY}test_the_cloud_knows_only_our_old_address"),
    44: (f"{_REPLY}[region.test]",),
    45: (f"{_REPLY}[directsend.test]",),
    46: (f"{_REPLY}[basic.test]",),
    47: (f"{_REPLY}[outofdate.test]",),
    48: (f"{_REPLY}[threads.test]",),
    49: (f"{_REPLY}[busy.test]",),
    50: (f"{_REPLY}[listed.test]", f"{_REPLY}[banned.test]", f"{_SENDING}test_a_banner_that_refuses"),
    51: (f"{_REPLY}[spf.test]", f"{_REPLY}[dmarc.test]"),
    52: (f"{_REPLY}[ptr.test]",),
    53: (f"{_REPLY}[quota.test]",),
    54: (f"{_REPLY}[suspended.test]",),
    55: (f"{_REPLY}[internal.test]",),
    56: (f"{_REPLY}[forward.test]",),
    57: (f"{_REFUSED}[kept@strict.test]", f"{_SENDING}test_a_peer_that_refuses_after_data"),
    58: (f"{_SCHEDULER}test_the_limit_of_all_connections_is_named_with_its_line_and_releases_the_queue_when_raised",
         f"{_SCHEDULER}test_the_limit_of_one_connector_is_named_and_releases_its_queue_when_raised"),
    59: (f"{_SCHEDULER}test_submission_that_waits_for_the_directory_says_so",),
    60: (f"{_SCHEDULER}test_a_message_that_crashed_the_server_is_set_aside",),
    61: (f"{_DOOR}test_a_loop_shows_the_circle", f"{_REFUSED}[looped@postfix.test]"),
    62: (f"{_TLS}[expired.test]",),
}  # fmt: skip
"""Test by symptom: file under tests/, function, and parameter where one of several is meant."""

SCRIPTED: Final = frozenset({3, 30, 31, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56})
"""Symptoms whose words come from a host of the test's own: only Exchange, Microsoft 365 and large receivers say them."""
