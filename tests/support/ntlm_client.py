# SPDX-License-Identifier: MIT
"""A client of AUTH GSSAPI that logs in by NTLM within SPNEGO, on gss-ntlmssp."""

import os
import smtplib
from pathlib import Path

import gssapi
from gssapi.raw import ChannelBindings

from support import kerberos_client

NTLM = gssapi.OID.from_int_seq("1.3.6.1.4.1.311.2.2.10")


class Client(kerberos_client.Client):
    """One logon.

    Args:
        passwords: a file in which the first line is who logs in, "CONTOSO:ann:pencil".
        binding: channel binding with its type; b"": none.
        level: of LAN Manager compatibility: 5 is NTLMv2 alone, 1 NTLMv1.
    """

    def __init__(self, passwords: Path, *, binding: bytes = b"", level: int = 5, authorization: str = "") -> None:
        os.environ["NTLM_USER_FILE"], os.environ["LM_COMPAT_LEVEL"] = str(passwords), str(level)
        self._passwords, self._level = passwords, level
        credentials = gssapi.Credentials(usage="initiate", mechs=[NTLM, kerberos_client.SPNEGO])
        gssapi.raw.set_neg_mechs(credentials, [NTLM])
        self._context = gssapi.SecurityContext(
            name=gssapi.Name("smtp@mx.contoso.test", gssapi.NameType.hostbased_service), usage="initiate",
            mech=kerberos_client.SPNEGO, creds=credentials, flags=[gssapi.RequirementFlag.integrity],
            channel_bindings=ChannelBindings(application_data=binding) if binding else None,
        )  # fmt: skip
        self._layer, self._authorization = 1, authorization

    def log_in(self, client: smtplib.SMTP, first: bytes = b"") -> tuple[int, bytes]:
        """The last reply to a whole exchange."""
        os.environ["NTLM_USER_FILE"], os.environ["LM_COMPAT_LEVEL"] = str(self._passwords), str(self._level)
        return super().log_in(client, first)
