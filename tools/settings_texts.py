# SPDX-License-Identifier: MIT
"""What each setting means, where the docstring of its struct does not say so, and its name in Exchange.

`settings_manual.py` joins this with the settings' own types, defaults and bounds; a test sees to it that nothing is
missing and nothing is left over.
"""

TABLES: dict[str, tuple[str, str, str]] = {
    # table in the file: heading, Exchange cmdlet, what it is
    "server": ("The server", "", "One table."),
    "accepted_domains": ("Accepted domains", "Set-AcceptedDomain", "One table for each domain that is ours."),
    "receive_connectors": (
        "Receive connectors",
        "Set-ReceiveConnector",
        (
            "One table for each connector. Of the connectors bound to the address that a client reached, the one whose "
            "remote range around the client is narrowest takes the connection. Ranges on one binding may overlap only "
            "when one contains the other."
        ),
    ),
    "receive_connectors.extended_rights": (
        "Extended rights",
        "Add-ADPermission",
        (
            "Tables within a receive connector: single rights beyond its permission groups, for one class of clients. "
            "What is denied stays denied."
        ),
    ),
    "send_connectors": (
        "Send connectors",
        "Set-SendConnector",
        (
            "One table for each connector. For a recipient's domain the most specific address space wins, then the "
            "lowest cost, then the lowest name. Connectors whose `max_message_size` is too small do not take part."
        ),
    ),
    "send_connectors.oauth": (
        "Access tokens of a send connector",
        "",
        (
            'One table within a send connector with `smart_host_auth_mechanism = "OAuth"`. '
            "[Microsoft 365](../howto/microsoft-365.md) and [Gmail](../howto/google.md) tell what to set up there."
        ),
    ),
    "foreign_connectors": (
        "Foreign connectors",
        "Set-ForeignConnector",
        "One table for each gateway that reads files.",
    ),
    "mailbox_store": ("The mailbox store", "", "One table: where mail for local mailboxes goes."),
    "directory": ("The directory", "", "One table: recipients and logins."),
    "queues": (
        "Queues and retries",
        "Set-TransportService",
        "One table. [Queues](../explanation/queues.md) tells how they work together.",
    ),
    "back_pressure": (
        "Back pressure",
        "EdgeTransport.exe.config",
        "One table. [Back pressure](../explanation/back-pressure.md) tells what follows from each level.",
    ),
    "back_pressure.database_used_space": (
        "Back pressure: the drive of the queue database",
        "DatabaseUsedSpace",
        (
            "One table: percent in use. While none of its settings is given, all four are lowered on drives of less "
            "than 50 GB, so that High begins where 500 MB are left, or a tenth of a drive below 5 GB, and raised on "
            "bigger ones, so that with 5 GB free they are never Medium, nor High with 1000 MB free."
        ),
    ),
    "back_pressure.used_disk_space": (
        "Back pressure: the drive of the logs",
        "UsedDiskSpace",
        (
            "One table: percent in use. While none of its settings is given, all four are lowered on drives of less "
            "than 112 GB, so that High begins where 1152 MB are left, or a tenth of a drive below 11 GB, and raised on "
            "bigger ones, so that with 5 GB free they are never Medium, nor High with 2304 MB free."
        ),
    ),
    "back_pressure.private_bytes": (
        "Back pressure: memory of the server",
        "PrivateBytes",
        "One table: percent of the machine's memory, or of what its control group allows.",
    ),
    "back_pressure.system_memory": (
        "Back pressure: memory in use by all",
        "SystemMemory",
        "One table: percent of the machine's memory, or of what its control group allows.",
    ),
    "back_pressure.submission_queue_length": (
        "Back pressure: the Submission queue",
        "QueueLength[SubmissionQueue]",
        "One table: messages that wait in Submission.",
    ),
    "queues.sender_weights": (
        "Weights of senders",
        "",
        (
            "Tables within `queues`: senders whose messages have more or fewer turns than others' where mail waits. "
            "[Queues](../explanation/queues.md#who-goes-next) tells what counts as a sender."
        ),
    ),
    "categorizer": ("The categorizer", "Set-TransportConfig", "One table: limits for the whole organisation."),
    "delivery": ("Delivery and reports", "Set-TransportService and Set-TransportConfig", "One table."),
    "connector_tests": (
        "Tests of connectors",
        "",
        "One table. [Test connectors](../howto/test-connectors.md) tells what is tested.",
    ),
    "certificates": (
        "Certificates",
        "Import-ExchangeCertificate",
        (
            "One table for each pair of files that connectors may show: the best for the `fqdn`, for the name "
            "that a client asks for, or the one that a connector pins by name."
        ),
    ),
    "acme": (
        "ACME",
        "",
        (
            "One table: the authority that issues certificates by itself (RFC 8555), and how names are proved. Needs "
            "`pip install 'bridgehead[acme]'`. [Certificates](../howto/certificates.md) shows how."
        ),
    ),
    "acme.certificates": ("Certificates by ACME", "", "One table for each certificate that is fetched and renewed."),
    "mta_sts": (
        "MTA-STS policies of our domains",
        "",
        (
            "One table: the policies that other servers fetch from us (RFC 8461). `bridgehead dns check` prints the "
            "records that go with them."
        ),
    ),
    "tls": ("Domain Security", "Set-TransportConfig", "One table: partners who are known by their certificates."),
    "tls_reports": (
        "TLS reports",
        "",
        (
            "One table: reports on how TLS went, to others and from them (RFC 8460). "
            "[TLS reports](../howto/tls-report.md) tells the rest."
        ),
    ),
    "devices": (
        "Devices",
        "",
        (
            "One table for each printer, scanner or program that is known by its address. "
            "[Printers](../howto/printer.md) shows how."
        ),
    ),
    "sender_exceptions": (
        "Sender exceptions",
        "New-TenantAllowBlockListSpoofItems",
        (
            "One table for each exception: who may send in your name from outside. "
            "[Mail in your own name](../explanation/spoofing.md) tells when that is asked."
        ),
    ),
    "auth_servers": (
        "Issuers of tokens",
        "New-AuthServer",
        (
            "One table for each OpenID provider whose access tokens log in over OAUTHBEARER and XOAUTH2. "
            "[Logins](../howto/logins.md) shows one."
        ),
    ),
    "ldap_logins": (
        "Logins from LDAP or Active Directory",
        "",
        "One table. [Logins from a directory](../howto/ldap.md) tells how to set it up, and how it fails.",
    ),
    "kerberos": (
        "Kerberos",
        "",
        (
            'One table: tickets that log in where a receive connector has `"Integrated"` in `auth_mechanism`. Needs '
            "`pip install 'bridgehead[kerberos]'`. [Kerberos](../howto/kerberos.md) shows how."
        ),
    ),
    "kerberos.principals": ("Principals with a login of another name", "", "One table for each principal."),
    "lockout": (
        "Lock-out",
        "",
        "One table. [Logins](../howto/logins.md) tells who is locked when, and how a lock is lifted.",
    ),
    "pickup": ("Pickup and replay directories", "Set-TransportService", "One table."),
    "logs": ("Logs", "Set-TransportService", "One table."),
    "api": (
        "The management interface",
        "",
        "One table. [How to use the interface](../howto/management-api.md) shows it at work.",
    ),
    "alarms": (
        "Alarms",
        "",
        (
            "One table: who is told when something is wrong, and from where on it is. "
            "[Watch the server](../howto/monitoring.md) shows how to set it up."
        ),
    ),
    "monitoring": ("Numbers and probes", "", "One table."),
}

_THRESHOLDS = {
    "low_to_medium": "From here on the level is Medium.",
    "medium_to_high": "From here on the level is High.",
    "high_to_medium": "Below this value High becomes Medium.",
    "medium_to_low": "Below this value Medium becomes Low.",
}

TEXTS: dict[str, dict[str, str]] = {
    "QueueSettings": {
        "max_per_domain_low_priority_connections": "Messages of low priority under way to one next hop at a time.",
        "max_per_domain_normal_priority_connections": "The same for normal priority.",
        "max_per_domain_high_priority_connections": "The same for high priority.",
    },
    "DatabaseUsedSpace": _THRESHOLDS,
    "UsedDiskSpace": _THRESHOLDS,
    "PrivateBytes": _THRESHOLDS,
    "SystemMemory": _THRESHOLDS,
    "SubmissionQueueLength": _THRESHOLDS,
    "AcceptedDomain": {},
    "ReceiveConnector": {
        "name": "Unique name, at most 64 characters.",
        "enabled": "A disabled connector takes no connection.",
        "comment": "For people.",
        "auth_mechanism": "What clients may do to identify themselves. `Tls` offers STARTTLS. `BasicAuth` (PLAIN and "
        "LOGIN) is offered over TLS only, `ScramSha256` over TLS with channel binding as well. `OAuth` takes "
        "tokens of `auth_servers`, over TLS only. `External` asks clients for a certificate and takes the "
        "login that it is for. `ExternalAuthoritative` trusts every client in `remote_ip_ranges` like a "
        "server of ours; it goes with `Tls` only and needs the group `ExchangeServers`.",
        "permission_groups": "Who may send through this connector, and with which rights: see "
        "[permissions](permissions.md).",
        "fqdn": "Our name in banner, EHLO reply and Received; empty: the server's.",
        "banner": "The whole first line, beginning with `220`; empty: made from `fqdn`.",
        "default_domain": "Appended to bare addresses. Empty, safer than Exchange's default: they are refused, so that "
        "nobody becomes a sender of ours unasked; only `<postmaster>` is taken, for the default accepted domain.",
        "require_tls": "No mail before STARTTLS.",
        "pipelining_enabled": "Offer PIPELINING (RFC 2920).",
        "eight_bit_mime_enabled": "Offer 8BITMIME (RFC 6152).",
        "binary_mime_enabled": "Offer BINARYMIME (RFC 3030); needs `chunking_enabled`.",
        "chunking_enabled": "Offer CHUNKING (RFC 3030).",
        "smtp_utf8_enabled": "Offer SMTPUTF8 (RFC 6531).",
        "delivery_status_notification_enabled": "Offer DSN (RFC 3461).",
        "enhanced_status_codes_enabled": "Offer ENHANCEDSTATUSCODES (RFC 2034).",
        "size_enabled": "Offer SIZE (RFC 1870) with the number, without it, or not.",
        "require_ehlo_domain": "Close the session when EHLO or HELO names no domain; else none is needed.",
        "reject_reserved_top_level_recipient_domains": "Refuse recipients in .test, .example and the like, 5.1.4.",
        "reject_reserved_second_level_recipient_domains": "Refuse recipients in example.com, .net, .org with 5.1.5.",
        "reject_single_label_recipient_domains": "Refuse recipients in domains without a dot with 5.1.6.",
        "max_inbound_connection": "Connections open at the same time.",
        "max_inbound_connection_per_source": "Connections open from one address.",
        "max_inbound_connection_percentage_per_source": "Share, in percent, of the connections that others leave.",
        "message_rate_limit": "Messages in a minute, counted by `message_rate_source`.",
        "message_rate_source": "Whether messages are counted by address, by user or by both.",
        "max_protocol_errors": "Errors after which a session is closed.",
        "max_logon_failures": "Failed log-ons after which a session is closed; 0: never.",
        "max_message_size": "Largest message. Sessions with ms-Exch-Bypass-Message-Size-Limit are not checked.",
        "max_header_size": "Largest header.",
        "max_recipients_per_message": "Recipients beyond this are refused with 452 4.5.3; those before are taken.",
        "max_hop_count": "Received fields beyond which a message is refused as looping.",
        "max_local_hop_count": "Received fields naming this server beyond which a message is refused; 0: any.",
        "connection_timeout": "Longest session, even while it transfers.",
        "connection_inactivity_timeout": "Longest silence; shorter than `connection_timeout`.",
        "tarpit_interval": "Delay of replies to clients that earn it: repeated errors and unknown recipients.",
        "auth_tarpit_interval": "Delay of the reply to a failed log-on.",
        "protocol_logging_level": "Write every line of the conversation to the protocol log.",
    },
    "ExtendedRight": {
        "principal": "Whom the rights concern.",
        "grant": "Rights added.",
        "deny": "Rights taken away, whoever grants them.",
    },
    "SendConnector": {
        "name": "Unique name among send and foreign connectors, at most 64 characters.",
        "enabled": "A disabled connector takes no part in routing.",
        "comment": "For people.",
        "dns_routing_enabled": "Deliver by MX records. Excludes smart hosts; unset: true without them.",
        "port": "Port of the remote server.",
        "fqdn": "Our name in EHLO; empty: the server's.",
        "max_message_size": "Larger messages take another connector or fail.",
        "smtp_max_messages_per_connection": "Messages after which a connection is closed.",
        "connection_inactivity_timeout": "Longest silence of the remote server, and of an idle connection.",
        "force_helo": "Say HELO instead of EHLO, to servers that cannot bear it.",
        "ignore_starttls": "Never use STARTTLS, even where it is offered.",
        "require_tls": "Send over TLS or not at all.",
        "tls_auth_level": "How far the certificate is checked: not at all, its chain, its chain and its name. Needs "
        "`require_tls`.",
        "smart_host_auth_mechanism": "How we log on to smart hosts. Passwords and tokens are sent over TLS only, to a "
        "certificate that carries the smart host's name, unless `tls_auth_level` is set and asks for less.",
        "error_policies": "Whether failures are made transient or permanent: DNS failures, log-on failures, those in "
        "`custom_failures`.",
        "protocol_logging_level": "Write every line of the conversation to the protocol log.",
    },
    "ForeignConnector": {
        "name": "Unique name among send and foreign connectors.",
        "address_spaces": "As of a send connector; other types than SMTP are usual here.",
        "drop_directory": "Folder that messages are written to, within the data directory unless absolute.",
        "drop_directory_quota": "Size of the folder beyond which messages wait.",
        "enabled": "A disabled connector takes no part in routing.",
        "comment": "For people.",
        "max_message_size": "Larger messages take another connector or fail.",
        "relay_dsn_required": "Report a message that was written as relayed, to senders who asked.",
    },
    "MailboxStore": {
        "name": "Name of the store in queues and logs.",
        "protocol": "Maildir folders of ours, or a mailbox server that speaks LMTP (RFC 2033).",
    },
    "LogSettings": {
        "message_tracking_log_enabled": "Write the message tracking log.",
        "message_tracking_log_subject_logging_enabled": "Subjects stand in it.",
        "message_tracking_log_max_age": "Older files are removed.",
        "message_tracking_log_max_file_size": "A file of this size is followed by a new one.",
        "message_tracking_log_max_directory_size": "Oldest files go when the folder is larger.",
        "message_tracking_index_max_size": "Beyond it the index of `bridgehead trace` leaves old logs out; 0: no "
        "index.",
        "receive_protocol_log_max_age": "Older files are removed.",
        "receive_protocol_log_max_file_size": "A file of this size is followed by a new one.",
        "receive_protocol_log_max_directory_size": "Oldest files go when the folder is larger.",
        "send_protocol_log_max_age": "Older files are removed.",
        "send_protocol_log_max_file_size": "A file of this size is followed by a new one.",
        "send_protocol_log_max_directory_size": "Oldest files go when the folder is larger.",
        "agent_log_enabled": "Write the agent log: one line for each recipient or command that a check refused.",
        "agent_log_max_age": "Older files are removed.",
        "agent_log_max_file_size": "A file of this size is followed by a new one.",
        "agent_log_max_directory_size": "Oldest files go when the folder is larger.",
        "queue_log_enabled": "Write the queue log: every queue at an interval.",
        "queue_log_interval": "Time between two snapshots of all queues.",
        "queue_log_max_age": "Older files are removed.",
        "queue_log_max_file_size": "A file of this size is followed by a new one.",
        "queue_log_max_directory_size": "Oldest files go when the folder is larger.",
        "routing_table_log_enabled": "Write the routing table as XML at the start, at each reload and at the interval.",
        "routing_config_reload_interval": "The routing table is written again after this time without a change.",
        "routing_table_log_max_age": "Older files are removed.",
        "routing_table_log_max_directory_size": "Oldest files go when the folder is larger.",
        "pipeline_tracing_enabled": "Keep copies of one sender's messages from each step: whole messages, in clear.",
        "pipeline_tracing_sender_address": 'Whose messages are copied; `"<>"` for those of the system itself.',
        "pipeline_tracing_path": "Folder of the copies, within `log_directory` unless absolute.",
        "pipeline_tracing_max_age": "Older copies are removed.",
        "pipeline_tracing_max_directory_size": "Oldest copies go when the folder is larger.",
        "json_log_enabled": "Write each log a second time as JSON lines, `.jsonl` files beside the `.log` files.",
        "connectivity_log_enabled": "Write the connectivity log: one line for each connection to a next hop.",
        "connectivity_log_max_age": "Older files are removed.",
        "connectivity_log_max_file_size": "A file of this size is followed by a new one.",
        "connectivity_log_max_directory_size": "Oldest files go when the folder is larger.",
        "admin_audit_log_age_limit": "Older files are removed.",
        "admin_audit_log_max_file_size": "A file of this size is followed by a new one.",
        "admin_audit_log_max_directory_size": "Oldest files go when the folder is larger.",
        "flush_interval": "Longest time that a line waits in memory.",
        "log_directory": "Folder of all logs, within the data directory unless absolute.",
    },
    "Device": {
        "enabled": "Whether it is known. Disabled, its address is that of any other client.",
        "comment": "Free text.",
        "max_message_size": "Largest message that is taken from it.",
        "max_recipients_per_message": "Most recipients of one message.",
    },
    "PickupSettings": {
        "pickup_directory_path": 'Messages as .eml files, recipients taken from their header; "" disables it.',
        "replay_directory_path": 'Messages as files with X-Sender and X-Receiver fields; "" disables it.',
        "pickup_directory_max_messages_per_minute": "From each of the two directories.",
        "pickup_directory_max_header_size": "Larger headers are set aside as .bad.",
        "pickup_directory_max_recipients_per_message": "More recipients are set aside as .bad.",
        "poll_interval": "How often the directories are looked at.",
    },
}

OWN: dict[str, set[str]] = {
    # settings that Exchange does not have
    "AcceptedDomain": set(),
    "ReceiveConnector": {
        "extended_rights", "implicit_tls", "tls_certificate_file", "tls_key_file", "proxy_protocol_sources",
        "bare_linefeed_repair", "reject_unknown_recipients", "expect", "tls_minimum_version", "tls_ciphers",
        "tls_ca_file", "tls_crl_file", "anti_spoofing_enabled", "non_compliant_sender_policy",
    },
    "Certificate": {"certificate_file", "key_file"},
    "AcmeCertificate": {"name", "names", "challenge"},
    "AcmeSettings": {
        "directory_url", "terms_of_service_agreed", "contact", "ca_file", "external_account_key_id",
        "external_account_secret", "challenge", "key_type", "renew_before", "timeout", "http_binding",
        "tls_alpn_binding", "dns_server", "dns_zone", "dns_key_name", "dns_key_algorithm", "dns_key_secret",
        "dns_secondaries", "dns_propagation_timeout",
    },
    "MtaStsSettings": {"binding", "mode", "mx", "max_age", "domains"},
    "TlsReportSettings": {
        "sending_enabled", "organization_name", "contact_info", "sender_address", "report_address", "max_age",
        "https_ca_file",
    },
    "TlsSettings": {"dnssec_resolvers", "mta_sts_ca_file", "mta_sts_port"},
    "LdapSettings": {
        "servers", "start_tls", "allow_clear_text", "ca_file", "check_server_name", "mode", "bind_template",
        "lookup_name", "lookup_password", "search_base", "login_attributes", "user_filter", "required_group",
        "address_attributes", "connections", "timeout", "cache_time",
    },
    "AuthServer": {
        "audiences", "scopes", "user_claims", "algorithms", "clock_skew", "key_refresh_interval", "max_key_age",
        "ca_file",
    },
    "KerberosSettings": {"service_principals", "keytab_file", "realms", "principals"},
    "KerberosPrincipal": {"principal", "logins"},
    "LockoutSettings": {
        "account_lockout_threshold", "source_lockout_threshold", "lockout_observation_window", "lockout_duration",
        "max_lockout_duration", "exempt_ip_ranges", "alarm_accounts",
    },
    "Device": {
        "name", "remote_ip_ranges", "enabled", "owner", "comment", "receive_connectors", "allowed_senders",
        "rewrite_sender", "signed_content", "allowed_recipients", "default_domain", "counts_as_inside",
        "message_rate_limit", "max_message_size", "max_recipients_per_message", "tls", "tls_minimum_version",
        "tls_ciphers", "bare_linefeed_repair", "silence_after",
    },
    "SenderException": {"name", "owner", "expires", "senders", "remote_ip_ranges", "comment"},
    "ExtendedRight": {"principal", "grant", "deny"},
    "ConnectorOAuth": {
        "provider", "grant", "tenant", "client_id", "client_secret", "client_secret_expires", "certificate_file",
        "key_file", "assertion_algorithm", "service_account", "scopes", "token_url", "device_authorization_url",
        "audience", "ca_file", "http_proxy",
    },
    "SendConnector": {
        "authentication_username", "authentication_password", "oauth", "custom_failures", "dns_servers", "tls_ca_file",
        "preserve_routing_headers", "max_outbound_connections_per_domain", "expect", "tls_crl_file",
        "tls_ocsp_mode",
        "tls_certificate_file", "tls_key_file", "tls_minimum_version", "tls_ciphers", "implicit_tls",
        "tls_downgrade_mode",
    },
    "ForeignConnector": set(),
    "MailboxStore": {"name", "protocol", "path", "address"},
    "QueueSettings": {
        "retry_jitter", "queue_database_path", "removed_message_hold_time", "safety_net_max_size",
        "safety_net_excluded_connectors",
    },
    "SenderWeight": {"sender", "weight"},
    "CategorizerSettings": {"expansion_size_limit", "plus_addressing_enabled"},
    "DeliverySettings": {"connect_timeout", "dsn_send_html", "outbound_window_bytes", "token_store_key"},
    "PickupSettings": {"poll_interval"},
    "ConnectorTestSettings": {"interval", "step_timeout", "results_kept", "relay_self_test_enabled"},
    "LogSettings": {
        "log_directory", "queue_log_enabled", "queue_log_interval", "routing_table_log_enabled", "json_log_enabled",
        "pipeline_tracing_max_age", "pipeline_tracing_max_directory_size", "flush_interval",
        "message_tracking_index_max_size",
        "admin_audit_log_max_file_size", "admin_audit_log_max_directory_size",
    },
    "ApiSettings": {
        "binding", "tls_certificate_file", "tls_key_file", "administrators_file", "local_administrators",
        "local_operators", "local_viewers", "local_help_desk",
    },
    "DirectorySettings": {"recipients_file", "users_file"},
    "ServerSettings": {
        "fqdn", "data_directory", "dns_servers", "tls_certificate_file", "tls_key_file", "control_socket", "workers",
        "user", "group",
    },
    "AlarmSettings": {
        "mail_to", "mail_from", "mail_server", "mail_tls", "mail_ca_file", "mail_username", "mail_password",
        "webhook_url", "webhook_secret", "webhook_ca_file", "command", "channel_timeout", "check_interval",
        "reminder_interval", "all_clear_delay", "hold_time", "oldest_message_age", "time_to_drain",
        "aggregate_delivery_queue_length_warning", "aggregate_delivery_queue_length_critical",
        "active_delivery_queue_length", "submission_queue_length", "unreachable_queue_length", "poison_queue_length",
        "peer_failure_share", "peer_failure_messages", "peer_failure_period", "certificate_expiry_days",
        "source_silence_enabled", "source_habit_days", "source_silence_factor", "source_silence_hours",
        "source_silence_minimum", "sources",
    },
    "MonitoringSettings": {
        "probe_listen", "destinations", "otlp_endpoint", "otlp_interval", "otlp_authorization", "otlp_ca_file",
    },
}  # fmt: skip

EXCHANGE_NAMES: dict[str, str] = {
    # where the snake case of Exchange's name is not made by the plain rule
    "remote_ip_ranges": "RemoteIPRanges",
    "require_tls": "RequireTLS",
    "require_ehlo_domain": "RequireEHLODomain",
    "ignore_starttls": "IgnoreSTARTTLS",
    "force_helo": "ForceHELO",
    "dns_routing_enabled": "DNSRoutingEnabled",
    "source_ip_addresses": "SourceIPAddress",
    "make_default": "MakeDefault",
}
