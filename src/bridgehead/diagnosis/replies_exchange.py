# SPDX-License-Identifier: MIT
"""What Exchange servers mean by their errors, and what every server means by DNS, expiry, loops and shortage. Data."""

from typing import Final

from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.reply_rule import ReplyRule, reply_rule

FAR, NETWORK, SENDER, YOU = Owner.FAR_SIDE, Owner.NETWORK, Owner.SENDER, Owner.YOU

EXCHANGE: Final[list[ReplyRule]] = [
    reply_rule(
        "no-credentials",
        (17,),
        YOU,
        r"NoCredentials",
        "The certificate of that Exchange server has no private key that the service may read.",
        "give the service read access to the key, or import the certificate with its key",
    ),
    reply_rule(
        "unknown-credentials",
        (18,),
        YOU,
        r"UnknownCredentials",
        "No certificate is assigned to SMTP on that Exchange server.",
        "assign one: Enable-ExchangeCertificate -Services SMTP",
    ),
    reply_rule(
        "certificate-name-not-found",
        (19, 24),
        YOU,
        r"TlsCertificateName.{0,200}could not be found|4\.7\.5\b.*certificate specified",
        "The connector still names the old certificate by issuer and subject; the renewed one has another issuer.",
        "set TlsCertificateName of the connector anew from the renewed certificate",
    ),
    reply_rule(
        "exchange-server-authentication",
        (30,),
        NETWORK,
        r"Cannot achieve Exchange Server authentication|5\.7\.3\b.*Exchange Server auth",
        "Extended verbs (X-EXPS, X-ANONYMOUSTLS) are removed between two Exchange servers, or their clocks differ.",
        "switch SMTP inspection off between the servers; compare their clocks",
    ),
    reply_rule(
        "front-end-proxy",
        (31,),
        YOU,
        r"\bPRX\d{1,2}\b|4\.7\.0 Temporary server error",
        "An Exchange front end could not reach its back end: name resolution, connection, TLS or login of the proxy "
        "hop.",
        "take resolvers that do not know the internal names out of that server's network settings",
    ),
    reply_rule(
        "dns-failed",
        (1, 2, 3, 4),
        NETWORK,
        r"DNS query failed|DNS gave no answer|ErrorTimeout|InfoNoRecords|ServerFailure"
        r"|Host or domain name not found.{0,80}try again|DNS server (?:returned|failure)|4\.4\.3\b"
        r"|temporary lookup failure|unable to look up host|failure in name resolution|Name or service not known",
        "The name of the next hop could not be resolved: the resolver did not answer or got no usable answer.",
        "test it server by server: bridgehead test domain {domain}",
    ),
    reply_rule(
        "null-mx",
        (11,),
        SENDER,
        r"null ?MX|accepts no mail|5\.1\.10\b.*MX|domain does not accept mail",
        "The recipient's domain says in DNS that it takes no mail at all (null MX, RFC 7505).",
        "correct the address and send again",
    ),
    reply_rule(
        "mx-leads-nowhere",
        (1, 11),
        FAR,
        r"names mail hosts that have no address|has neither MX nor address",
        "The recipient's domain leads nowhere: its DNS records name no host that has an address.",
        "tell the domain's administrator; correct the address if it is misspelt",
    ),
    reply_rule(
        "domain-does-not-exist",
        (11,),
        SENDER,
        r"NonExistentDomain|(?<!Sender address rejected: )Domain (?:name )?(?:not found|does not exist)"
        r"|Host or domain name not found"
        r"|no such domain|5\.1\.2\b|5\.4\.4\b|\bNXDOMAIN\b|\bunrouteable\b",
        "The recipient's domain does not exist or takes no mail: usually a typing error.",
        "correct the address and send again",
    ),
    reply_rule(
        "expired",
        (12,),
        NETWORK,
        r"QUEUE\.Expired|message expired|4\.4\.7\b|5\.4\.7\b|retry time not reached|delivery time expired",
        "The message was given up because no attempt in its whole life succeeded.",
        "find the last error, in the report or in the tracking log of the server that gave up, mend it and send again",
    ),
    reply_rule(
        "loop",
        (61,),
        YOU,
        r"5\.4\.(?:6|14)\b|hop count exceeded|too many hops|mail (?:for \S{1,255} )?loops? back|routing loop"
        r"|5\.3\.5\b",
        "The message goes round in a circle: two servers each take the domain for the other's.",
        "decide which of the two delivers the domain, and make it accepted there: [[accepted_domains]]",
    ),
    reply_rule(
        "related-errors",
        (60,),
        YOU,
        r"5\.3\.0\b.*related errors|poison",
        "A message crashed its server too often and was set aside.",
        "look at it: bridgehead queue show Poison",
    ),
    reply_rule(
        "back-pressure",
        (33, 34),
        FAR,
        r"Insufficient system (?:resources|storage)|452\b.*4\.3\.1\b|4\.3\.1\b",
        "The receiving server is short of disk space or memory and puts mail off (back pressure).",
        "free disk space or memory on that server; the mail comes by itself afterwards",
    ),
    reply_rule(
        "service-not-available",
        (32,),
        FAR,
        r"421\b.*4\.3\.2\b|4\.3\.2\b.*(?:not (?:available|active|accepting)|shutting down)|Service not (?:available"
        r"|active)|System not accepting network messages",
        "The receiving service is stopped, in maintenance, or not allowed to take mail now.",
        "see its state on that server; here: bridgehead status",
    ),
]
