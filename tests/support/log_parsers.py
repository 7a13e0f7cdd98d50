# SPDX-License-Identifier: MIT
"""How well-known programs read Exchange's logs: their field lists as data, and their steps.

Sources, all public:

* Elastic: github.com/elastic/integrations, packages/microsoft_exchange_server, the ingest pipelines of the data streams
  messagetracking and smtp: lines that do not begin with a digit are dropped, the others are split as CSV onto the
  fields below by position, recipients are split at ";", two fields become numbers; the SMTP stream tells sent from
  received by SmtpSend or SmtpReceive in the path.
* Splunk: docs.splunk.com, Splunk App for Microsoft Exchange, MSExchange_Messaging data model; its add-on names fields by
  the #Fields line, and Splunk writes _ for every character of a name that is neither letter nor digit.
* Devo: docs.devo.com, table mail.exchange.messagetracking.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ELASTIC_MESSAGE_TRACKING: Final = (
    "@timestamp", "client.ip", "client.domain", "server.ip", "server.domain", "microsoft.exchange.sourcecontext",
    "microsoft.exchange.connectorid", "microsoft.exchange.source", "microsoft.exchange.eventid",
    "microsoft.exchange.internalmessageid", "email.message_id", "microsoft.exchange.networkmessageid",
    "email.to.address", "microsoft.exchange.recipientstatus", "network.bytes", "microsoft.exchange.recipientcount",
    "microsoft.exchange.relatedrecipientaddress", "microsoft.exchange.reference", "email.subject",
    "microsoft.exchange.senderaddress", "microsoft.exchange.returnpath", "microsoft.exchange.messageinfo",
    "email.direction", "microsoft.exchange.tenantid", "microsoft.exchange.originalclientip",
    "microsoft.exchange.originalserverip", "microsoft.exchange.customdata", "microsoft.exchange.transporttraffictype",
    "microsoft.exchange.logid", "microsoft.exchange.schemaversion",
)  # fmt: skip
ELASTIC_SMTP: Final = (
    "@timestamp", "microsoft.exchange.connectorid", "microsoft.exchange.sessionid",
    "microsoft.exchange.sequencenumber", "microsoft.exchange.localendpoint", "microsoft.exchange.remoteendpoint",
    "microsoft.exchange.event", "microsoft.exchange.data", "microsoft.exchange.context",
)  # fmt: skip
SPLUNK_MESSAGING: Final = {
    # field of the data model: field of the event
    "message_id": "message_id",
    "recipient": "recipient_address",
    "sender": "sender_address",
    "total_bytes": "total_bytes",
    "event_id": "event_id",
}
DEVO_MESSAGE_TRACKING: Final = (
    "date_time", "client_ip", "client_hostname", "server_ip", "server_hostname", "source_context", "connector_id",
    "source", "event_id", "internal_message_id", "message_id", "network_message_id", "recipient_address",
    "recipient_status", "total_bytes", "recipient_count", "related_recipient_address", "reference", "message_subject",
    "sender_address", "return_path", "message_info", "directionality", "tenant_id", "original_client_ip",
)  # fmt: skip


def elastic(path: Path) -> Iterator[dict[str, object]]:
    """What Elastic's pipelines make of a file."""
    is_smtp = "SmtpSend" in str(path) or "SmtpReceive" in str(path)
    fields = ELASTIC_SMTP if is_smtp else ELASTIC_MESSAGE_TRACKING
    for line in path.read_bytes().decode("utf-8").splitlines():
        if not re.match("[0-9]", line):
            continue
        (cells,) = csv.reader([line])
        assert len(cells) == len(fields), (path, line)
        event: dict[str, object] = dict(zip(fields, cells, strict=True))
        if is_smtp:
            event["microsoft.exchange.logtype"] = "smtpsend" if "SmtpSend" in str(path) else "smtpreceive"
            event["microsoft.exchange.sequencenumber"] = int(str(event["microsoft.exchange.sequencenumber"]))
        else:
            event["email.to.address"] = str(event["email.to.address"]).split(";")
            for name in ("microsoft.exchange.recipientcount", "network.bytes"):
                event[name] = int(str(event[name]))
        yield event


def by_header(path: Path) -> Iterator[dict[str, str]]:
    """What a reader that goes by the #Fields line makes of a file, as Splunk's add-on and NXLog do."""
    names: list[str] = []
    for line in path.read_bytes().decode("utf-8-sig").split("\r\n"):
        if line.startswith("#Fields: "):
            names = [re.sub("[^A-Za-z0-9]", "_", name) for name in line.removeprefix("#Fields: ").split(",")]
        elif line and not line.startswith("#"):
            (cells,) = csv.reader([line])
            yield dict(zip(names, cells, strict=True))
