# SPDX-License-Identifier: MIT
"""A real OpenLDAP server on loopback: TLS, some people and a group, an account that may search."""

import socket
import subprocess
from pathlib import Path

from support.certificates import Authority
from support.ports import free_port, wait_until
from support.programs import end

SUFFIX = "dc=contoso,dc=test"
BASE = f"ou=people,{SUFFIX}"
GROUP = f"cn=mail,{SUFFIX}"
LOOKUP = f"cn=bridgehead,{SUFFIX}"
PASSWORD = "lookup-secret"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' EQUALITY caseExactMatch
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.4203.666.100 NAME 'mailUser' AUXILIARY MAY ( proxyAddresses $ sAMAccountName ) )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {root}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
allow bind_anon_cred bind_anon_dn
security simple_bind={strength}
database mdb
suffix "dc=contoso,dc=test"
rootdn "cn=admin,dc=contoso,dc=test"
directory {folder}/data
maxsize 10485760
access to attrs=userPassword by anonymous auth by * none
access to dn.base="cn=mail,dc=contoso,dc=test" by users read by * none
access to * by dn.exact="cn=bridgehead,dc=contoso,dc=test" read by self read by * none
"""

_ENTRIES = """\
dn: dc=contoso,dc=test
objectClass: dcObject
objectClass: organization
dc: contoso
o: Contoso

dn: cn=bridgehead,dc=contoso,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: bridgehead
userPassword: lookup-secret

dn: ou=people,dc=contoso,dc=test
objectClass: organizationalUnit
ou: people

"""

_PERSON = """\
dn: uid={uid},ou=people,dc=contoso,dc=test
objectClass: inetOrgPerson
objectClass: mailUser
uid: {uid}
cn: {uid}
sn: {uid}
userPassword: {password}
{addresses}

"""


class OpenLdap:
    """slapd with `people`: uid → (password, ["mail: …", "proxyAddresses: …"]). Unless `clear`, simple binds are refused
    without TLS; and, as a wrong setting of some servers has it, binds with a name and no password succeed.

    Args:
        members: uids in the group.
        name: for which its certificate is.
    """

    def __init__(
        self, folder: Path, authority: Authority, people: dict[str, tuple[str, list[str]]], *,
        members: tuple[str, ...] = (), clear: bool = False, name: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        self.folder, self.ca_file = folder, str(authority.root)
        (folder / "data").mkdir(parents=True)
        pair = authority.issue(name)
        self.configuration = folder / "slapd.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                folder=folder, root=authority.root, certificate=pair.certificate, key=pair.key,
                strength=0 if clear else 128,
            )
        )  # fmt: skip
        group = ""
        if members:
            listed = "".join(f"member: uid={uid},{BASE}\n" for uid in members)
            group = f"dn: {GROUP}\nobjectClass: groupOfNames\ncn: mail\n{listed}\n"
        entries = folder / "entries.ldif"
        entries.write_text(_ENTRIES + group + "".join(
            _PERSON.format(uid=uid, password=password, addresses="\n".join(addresses))
            for uid, (password, addresses) in people.items()
        ))  # fmt: skip
        subprocess.run(
            ["/usr/sbin/slapadd", "-f", str(self.configuration), "-l", str(entries)], check=True, capture_output=True
        )
        self.port, self.tls_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def plain(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def secure(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def start(self) -> None:
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/slapd", "-d", "stats", "-f", str(self.configuration), "-h", urls],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        # It says that it starts before it listens.
        wait_until(lambda: all(map(_accepts, (self.port, self.tls_port))), 15, "slapd listens")

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, 10)
        (self.folder / "log").write_bytes(b"")

    @property
    def log(self) -> str:
        """What it was asked, and what it answered."""
        return (self.folder / "log").read_text(errors="replace")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
