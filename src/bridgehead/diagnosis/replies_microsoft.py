# SPDX-License-Identifier: MIT
"""What Microsoft 365 means by its refusals, to it and from it: tenants, connectors, TLS, limits. Data."""

from typing import Final

from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.reply_rule import ReplyRule, reply_rule

FAR, NETWORK, SENDER, YOU = Owner.FAR_SIDE, Owner.NETWORK, Owner.SENDER, Owner.YOU

MICROSOFT: Final[list[ReplyRule]] = [
    reply_rule(
        "tenant-attribution",
        (43,),
        YOU,
        r"TenantAttribution;? *Relay Access Denied|5\.7\.64\b",
        "{who} does not know whose mail this is: neither the certificate nor the address we come from{local_shown} "
        "matches an inbound connector of the tenant.",
        "enter the present address or certificate name in the tenant's inbound connector (Exchange admin centre, "
        "Mail flow, Connectors), then: bridgehead queue retry '{queue}'",
    ),
    reply_rule(
        "direct-send-refused",
        (45,),
        YOU,
        r"5\.7\.68\b|TenantInboundAttribution|Direct Send not allowed",
        "The tenant refuses Direct Send (RejectDirectSend), and no inbound connector of it matches this path.",
        'create an inbound connector for our address or certificate in the tenant, or give "{connector}" a login',
    ),
    reply_rule(
        "basic-authentication-retired",
        (46,),
        YOU,
        r"5\.7\.30\b(?!.*REQUIRETLS)|Basic authentication is (?:not supported|disabled)",
        "{who} no longer takes a password (basic authentication) on this path.",
        'give "{connector}" smart_host_auth_mechanism = "OAuth" (docs/howto/microsoft-365.md), or use a connector path '
        "(address or certificate)",
    ),
    reply_rule(
        "smtp-auth-disabled",
        (28,),
        YOU,
        r"SmtpClientAuthentication is disabled|5\.7\.139\b.*SmtpClientAuth",
        "SMTP AUTH is off {scope} at {who}.",
        "{smtp_auth_remedy}",
    ),
    reply_rule(
        "mailbox-not-opened",
        (28,),
        YOU,
        r"MapiExceptionLogonFailed|mailbox logon failure",
        "{who} took the log-on, but the application may not open the mailbox that it sends as.",
        "Add-MailboxPermission -Identity MAILBOX -User SERVICE-PRINCIPAL -AccessRights FullAccess; it takes up to half "
        "an hour to count",
    ),
    reply_rule(
        "security-defaults",
        (28,),
        YOU,
        r"security defaults|5\.7\.139\b.*(?:policy|conditional access)|AADSTS53003",
        "The login is right but blocked by a policy of the tenant (Security Defaults or Conditional Access).",
        "exclude this account from the policy, or use a connector path instead of a login",
    ),
    reply_rule(
        "login-refused",
        (28,),
        YOU,
        r"\b535\b|5\.7\.139\b|5\.7\.8\b|Authentication unsuccessful|authentication failed"
        r"|Username and Password not accepted|invalid credentials",
        "{who} refused the name or the password of the login.",
        'correct authentication_username or the password file of "{connector}", then: bridgehead reload',
    ),
    reply_rule(
        "out-of-date-server",
        (47,),
        YOU,
        r"[45]\.7\.230\b|out[- ]of[- ]date.*(?:Exchange|server)",
        "Microsoft 365 slows or blocks this connection because an Exchange server on the way is out of date.",
        "update the Exchange server that the message passed (its build stands in the Received fields)",
    ),
    reply_rule(
        "recipient-thread-limit",
        (48,),
        FAR,
        r"recipient thread limit|concurrent (?:connections|sessions?) (?:exceeds|limit)|Concurrent connections limit"
        r"|432\b.*4\.3\.2|4\.3\.2 STOREDRV",
        "The mailbox or account at {who} takes only so many deliveries at a time; what is above that limit waits "
        "and nothing is lost.",
        'lower max_outbound_connections_per_domain of "{connector}", then: bridgehead reload',
    ),
    reply_rule(
        "reputation-throttled",
        (49,),
        YOU,
        r"4\.7\.(?:5\d\d|6[0-9]\d)\b|server busy.{0,80}S3115|S77[57]|RP-00[123]|4\.7\.8[5-9]\d\b|unusual rate of"
        r"|421-?.{0,20}4\.7\.28|unsolicited mail originating",
        "{who} slows us down: the reputation of our address or a sudden rise in volume.",
        "find who sends so much: bridgehead trace --event RECEIVE; slow it, and raise volume by and by",
    ),
    reply_rule(
        "address-banned",
        (50,),
        YOU,
        r"5\.7\.6(?:0[6-9]|[1-4]\d)\b.*|banned sending IP|5\.7\.511\b|delist@|S3140|S3150",
        "Our address {ip} is on {who}'s own block list.",
        "stop what sent the abuse, then ask for removal (https://sender.office.com or the address in the reply)",
    ),
    reply_rule(
        "sender-restricted",
        (53,),
        YOU,
        r"5\.1\.90\b|5\.1\.8\b.*(?:bad outbound|outbound sender)|bad outbound sender|5\.7\.(?:705|708|750)\b"
        r"|exceeded (?:the|its) (?:sending|outbound|tenant) |submission quota|TERRL|5\.2\.0\b.*quota|5\.7\.232"
        r"|5\.7\.233",
        "The tenant or account has used up what it may send to the outside, or was restricted.",
        "lift the restriction (Microsoft 365 Defender, Restricted entities) or wait until the window opens again",
    ),
    reply_rule(
        "continuous-errors",
        (54,),
        YOU,
        r"5\.2\.25[1-5]\b|too many (?:repeated )?errors.*account",
        "The account was suspended there because a device repeated messages that fail for good.",
        "find the device: bridgehead trace --event FAIL; mend its recipient list",
    ),
    reply_rule(
        "group-internal-only",
        (55,),
        FAR,
        r"5\.7\.1(?:24|33|34|36|93)\b|RESOLVER\.RST\.(?:AuthRequired|NotAuthorized|SenderNotAuthenticatedForGroup"
        r"|SenderNotAuthenticatedForMailbox)|only accepts messages from",
        "The recipient takes mail only from certain or internal senders, and our path makes the message external.",
        "ask the recipient's administrator to allow the sender, or send through a path that keeps messages internal",
    ),
    reply_rule(
        "forwarding-barred",
        (56,),
        FAR,
        r"5\.7\.(?:367|520)\b|your organization does not allow external forwarding",
        "Forwarding to the outside is barred by the outbound policy of the organization that forwards.",
        "allow it for this mailbox in the outbound spam filter policy of that tenant",
    ),
    reply_rule(
        "wrong-region",
        (44,),
        YOU,
        r"4\.4\.62\b|wrong.{0,20}region",
        "The smart host belongs to another region or tenant: {who} does not serve this one.",
        'set smart_hosts of "{connector}" to the tenant\'s present MX (contoso-com.mail.protection.outlook.com)',
    ),
    reply_rule(
        "corrupt-content",
        (57,),
        SENDER,
        r"5\.6\.0\b.*(?:STOREDRV|corrupt|content)|STOREDRV\.Deliver.*(?:corrupt|conversion)"
        r"|message (?:content )?(?:is )?(?:malformed|not RFC ?(?:2822|5322) compliant)|5\.6\.[02]\b.*(?:mime"
        r"|malformed|8-bit data)|improper use of 8-bit data|MIME nesting exceeds",
        "{who} takes the message for broken MIME.",
        "mend the program that made it; its content: bridgehead message export",
    ),
    reply_rule(
        "cloud-dns-failed",
        (4,),
        YOU,
        r"[45]\.4\.312\b|DNS query failed.*(?:NonExistentDomain|InfoDomainNonexistent)|[45]\.4\.315\b.*DNS",
        "The sending cloud cannot resolve the name of our host: its record is gone, or the connector names another.",
        "restore the A or MX record, or correct the host in the tenant's outbound connector",
    ),
    reply_rule(
        "cloud-connection-refused",
        (5,),
        YOU,
        r"[45]\.4\.316\b|socket error(?: code)? 10061|\b10061\b",
        "Nothing listens at the address where the sender tried to reach us, or a firewall refuses it.",
        "see whether the server runs and listens: bridgehead status",
    ),
    reply_rule(
        "cloud-connection-timed-out",
        (4, 6),
        NETWORK,
        r"[45]\.4\.31[45]\b|[45]\.4\.397\b|\b10060\b|4\.4\.1\b.*timed out",
        "The connection attempt got no answer at all: a firewall or NAT rule drops it, often after a change of "
        "servers.",
        "allow the sending addresses to port 25 of the present server in firewall and NAT",
    ),
    reply_rule(
        "cloud-connection-dropped",
        (8,),
        NETWORK,
        r"[45]\.4\.318\b|\b10054\b|connection was closed abruptly",
        "The connection was cut in mid-session: an inspecting device, a packet size (MTU) problem or a rate limit.",
        "switch SMTP inspection off between the two servers and look at the size at which it breaks",
    ),
    reply_rule(
        "cloud-starttls-required",
        (13,),
        YOU,
        r"[45]\.4\.317\b(?!.*(?:UntrustedRoot|(?<!Message )Expired|SubjectMismatch))|451 5\.7\.3 STARTTLS is required",
        "TLS is required on one side and the other offers none; often an inspecting firewall removed it.",
        "see what is offered: bridgehead test smtp {target}; switch SMTP inspection off on the firewall",
    ),
    reply_rule(
        "cloud-certificate-mismatch",
        (14,),
        YOU,
        r"SubjectMismatch|4\.7\.320\b.*mismatch",
        "The certificate shown does not carry the name that the connector expects.",
        "put the expected name into the certificate or the certificate's name into the connector",
    ),
    reply_rule(
        "cloud-certificate-expired",
        (15,),
        YOU,
        r"(?:certificate|4\.7\.32\d|[45]\.4\.317).*(?<!Message )\bexpired\b|\[Expired\]",
        "The certificate shown has expired: renewal was forgotten, or the old one is still in use.",
        "install the renewed certificate where tls_certificate_file points to; it is taken up by itself",
    ),
    reply_rule(
        "cloud-untrusted-root",
        (16,),
        YOU,
        r"UntrustedRoot|4\.7\.320\b|self[- ]signed certificate",
        "The certificate's chain does not end at a root that the other side trusts; usually only the leaf is sent "
        "and the intermediate is missing.",
        "append the intermediate certificate to tls_certificate_file; it is taken up by itself",
    ),
    reply_rule(
        "dane-failed",
        (25,),
        FAR,
        r"[45]\.7\.32[1-5]\b|tlsa-invalid|dane-required|sts-(?:policy|webpki)|starttls-not-supported",
        "The receiving domain's DANE or MTA-STS record and its certificate do not agree; refusing is right.",
        "tell the receiving domain's administrator which record does not match",
    ),
]
