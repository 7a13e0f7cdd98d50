# SPDX-License-Identifier: MIT
"""What servers mean that refuse a sender, an address, a recipient or content. Data."""

from typing import Final

from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.reply_rule import ReplyRule, reply_rule

FAR, SENDER, YOU = Owner.FAR_SIDE, Owner.SENDER, Owner.YOU

POLICY: Final[list[ReplyRule]] = [
    reply_rule(
        "tls-unavailable",
        (17, 18),
        FAR,
        r"TLS (?:is )?(?:currently |temporarily )?(?:not available|unavailable)",
        "{who} offers STARTTLS and cannot do it: its certificate or private key is missing, or cannot be read.",
        "tell its administrator; it is tried again by itself",
    ),
    reply_rule(
        "requiretls-refused",
        (25,),
        SENDER,
        r"\bREQUIRETLS\b",
        "The sender asked for REQUIRETLS (RFC 8689), and no way there gives it: a mail host must be vouched for by "
        "DNSSEC or MTA-STS, show a certificate that can be verified, and offer REQUIRETLS itself.",
        "the sender may send it again without REQUIRETLS; what the domain has: bridgehead tls-policy show {domain}",
    ),
    reply_rule(
        "greylisted",
        (),
        FAR,
        r"gr[ea]y-?list|4\.2\.0\b.*try again|4\.7\.1\b.*(?:try again|later)|postgrey|temporarily (?:deferred"
        r"|rejected).*unknown|come back later",
        "{who} greylists: a sender it has not seen before is put off once. The next attempt is taken.",
        "wait for the next attempt, or: bridgehead queue retry '{queue}'",
    ),
    reply_rule(
        "sender-not-rfc",
        (39,),
        SENDER,
        r"5\.1\.20\b|5\.7\.512\b|multiple (?:From|addresses in From)",
        "The From field is missing, doubled or no address.",
        "mend the program that made the message",
    ),
    reply_rule(
        "dmarc",
        (51,),
        YOU,
        r"5\.7\.(?:26|509)\b|\bDMARC\b|unauthenticated (?:email|mail)",
        "The sender's domain has a DMARC policy, and the message passes neither SPF nor DKIM for it.",
        "add our address to the SPF record of the sender's domain, or have it signed with DKIM",
    ),
    reply_rule(
        "spf",
        (51,),
        YOU,
        r"5\.7\.(?:23|27)\b|\bSPF\b",
        "The SPF record of the sender's domain does not list our address{ip_shown}.",
        "add ip4:{ip_or_ours} to the SPF record (TXT) of the sender's domain",
    ),
    reply_rule(
        "dkim",
        (51,),
        YOU,
        r"5\.7\.2[0-2]\b|\bDKIM\b",
        "The message needs a valid DKIM signature and has none.",
        "have the message signed with DKIM for the sender's domain",
    ),
    reply_rule(
        "no-reverse-name",
        (52,),
        YOU,
        r"5\.7\.(?:25|27)\b|cannot find your (?:reverse )?hostname|reverse DNS|\bPTR\b|rDNS|reverse hostname",
        "Our address{ip_shown} has no reverse name (PTR), or one that does not lead back to it.",
        "have the provider set the PTR record of {ip_or_ours} to {fqdn}",
    ),
    reply_rule(
        "helo-refused",
        (3,),
        YOU,
        r"Helo command rejected|invalid HELO|HELO.{0,40}(?:not found|does not resolve|mismatch)"
        r"|EHLO.{0,30}(?:refused|not accepted)",
        "{who} does not accept {our_name} in EHLO: it does not resolve.",
        'give {fqdn} an address record, or set fqdn of "{connector}" to a name that has one',
    ),
    reply_rule(
        "block-list",
        (50,),
        YOU,
        r"(?P<list>spamhaus|spamcop|barracuda(?:central)?|sorbs|uceprotect|abuseat|invaluement|mailspike|psbl|0spam"
        r"|dnsbl|\brbl\b|block ?list|blacklist)",
        "Our address{ip_shown} stands on a block list ({list}) that {who} uses.",
        "stop what sent the abuse, then ask the list for removal; the page is named in the reply",
    ),
    reply_rule(
        "too-many-connections",
        (35,),
        YOU,
        r"too many (?:concurrent )?(?:SMTP )?connections|4\.7\.0\b.*too many"
        r"|maximum number of (?:concurrent )?connections|too many concurrent|connection (?:rate )?limit",
        "{who} takes fewer connections at a time from us than we open.",
        'lower max_outbound_connections_per_domain of "{connector}", then: bridgehead reload',
    ),
    reply_rule(
        "rate-limited",
        (35, 49),
        YOU,
        r"\b432\b|4\.7\.\d+\b.*(?:rate|too (?:many|fast)|throttl|limit)|rate limit|throttl|submission rate"
        r"|too much mail|too many (?:messages|mails|recipients.{0,20}(?:hour|minute|day))|exceeded.{0,30}(?:rate"
        r"|quota).{0,40}(?:hour|minute|day)",
        "{who} allows fewer messages in this time than we send.",
        'lower max_outbound_connections_per_domain of "{connector}", then: bridgehead reload',
    ),
    reply_rule(
        "mailbox-full",
        (),
        FAR,
        r"[45]\.2\.2\b|mailbox (?:is )?full|over quota|quota exceeded|exceeded (?:his|her|its|their"
        r"|the) (?:storage )?quota",
        "The recipient's mailbox is full.",
        "tell the recipient by another way; nothing can be done here",
    ),
    reply_rule(
        "header-too-large",
        (37,),
        SENDER,
        r"5\.3\.4\b.*header|Header size exceeds|header(?:s)? (?:too (?:large|long|big))|X-DG-Ref",
        "The message's header is larger than the receiver allows.",
        "shorten the header field that is so large; it shows in: bridgehead message show",
    ),
    reply_rule(
        "too-large",
        (36,),
        SENDER,
        r"5\.3\.4\b(?!.*header)|5\.2\.3\b|\b552\b(?!.*(?:virus|header))|message (?:size|too (?:large|big))"
        r"|exceeds.{0,40}size",
        "The message is larger than {who} allows{size_shown}; base64 makes files a third larger than they are.",
        "send a smaller message or a link",
    ),
    reply_rule(
        "too-many-recipients",
        (38,),
        SENDER,
        r"[45]\.5\.3\b|too many recipients|recipient limit",
        "One message named more recipients than the receiver takes at a time; the rest goes in further transactions.",
        "nothing where the code begins with 4; otherwise send to fewer recipients at a time",
    ),
    reply_rule(
        "bare-line-feed",
        (40,),
        SENDER,
        r"5\.6\.11\b|bare (?:LF|line ?feed|linefeed|CR)|invalid characters|smuggl",
        "The message holds a line end that is not CR LF, which RFC 5321 forbids.",
        "mend the program that wrote it, or set bare_linefeed_repair on the receive connector it comes in by",
    ),
    reply_rule(
        "send-as-denied",
        (29,),
        SENDER,
        r"5\.7\.60\b|SendAs ?denied|permissions? to send as|5\.2\.252|not (?:owned by|allowed to use)"
        r"|Sender address rejected: not owned",
        "The login may not use this sender address.",
        "let the device send as the address of its login, or grant the address: bridgehead user add --address",
    ),
    reply_rule(
        "not-authenticated",
        (27,),
        SENDER,
        r"5\.7\.57\b|Client was not authenticated|\b530\b|authentication (?:is )?required|must authenticate"
        r"|must issue a STARTTLS",
        "The server wants a login or TLS first, and the client did not try.",
        "give the client a login (and TLS), or a connector that takes it without",
    ),
    reply_rule(
        "relay-denied",
        (26,),
        YOU,
        r"5\.7\.54\b|unable to relay|relay(?:ing)? (?:access )?(?:denied|not (?:allowed|permitted))"
        r"|not permitted to relay|relay not permitted",
        "{who} does not relay for us: its administrator has not allowed our address or login to send there.",
        'have our address allowed at that server, or set a login on "{connector}"',
    ),
    reply_rule(
        "bad-sender-address",
        (39,),
        SENDER,
        r"5\.1\.(?:7|4|5|6|0)\b|Sender address rejected(?!: Access denied)|reserved by RFC 2606"
        r"|domain has only one label|invalid (?:sender )?address|Domain of sender",
        "The sender's or recipient's address is not one that mail can go to (no domain, one label, or reserved).",
        "set a real address on the device; on our side default_domain completes bare names",
    ),
    reply_rule(
        "recipient-unknown",
        (41,),
        SENDER,
        r"5\.1\.(?:1|10)\b|5\.4\.1\b|user unknown|(?:no such|unknown|invalid) (?:user|recipient|mailbox)"
        r"|mailbox (?:unavailable|not found)|recipient (?:address )?rejected(?!: Access denied)|does not exist"
        r"|RecipientNotFound"
        r"|RecipNotFound|not found in|no mailbox here",
        "{who} knows no such recipient.",
        "correct the address; if it is right, the directory there is not up to date",
    ),
    reply_rule(
        "content-refused",
        (),
        SENDER,
        r"5\.7\.1\b.*(?:spam|content|virus|malware|phish|policy)|spam|virus|malware|\b5\.7\.(?:0|28)\b|URL.*blocked",
        "{who} takes the message for spam, malware or against its policy.",
        "ask that server's administrator, with the time and our address; look at the content first",
    ),
    reply_rule(
        "their-local-error",
        (),
        FAR,
        r"\b451\b|4\.3\.[05]\b|local (?:error|problem)|internal (?:server )?error|temporary (?:local )?(?:problem"
        r"|failure|error)|4\.3\.2\b|service unavailable",
        "{who} has a fault of its own and asks to try later.",
        "wait; it is tried again by itself",
    ),
    reply_rule(
        "refused-by-policy",
        (),
        FAR,
        r"5\.7\.\d+|access denied|not authori[sz]ed|administratively|\bdenied\b|rejected|blocked",
        "{who} refuses the message by a policy of its own.",
        "ask that server's administrator, with the reply and the time",
    ),
]
