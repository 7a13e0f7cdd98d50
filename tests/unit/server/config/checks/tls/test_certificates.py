# SPDX-License-Identifier: MIT
"""What the checks of [acme] and [mta_sts] say no to, and where."""

from pathlib import Path

import pytest

from support.checked import CONNECTOR, Found, found

AGREED = "[acme]\nterms_of_service_agreed = true\n"
ONE = '[[acme.certificates]]\nname = "mx.contoso.test"\n'
DNS = AGREED + 'challenge = "dns-01"\n'


def findings(folder: Path, text: str) -> Found:
    return found(folder, text + CONNECTOR)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (ONE, "acme.terms_of_service_agreed", "before you accept"),
        (AGREED + 'directory_url = "http://ca.test/dir"\n' + ONE, "acme.directory_url", "no https"),
        (AGREED + 'contact = ["me"]\n' + ONE, "acme.contact[0]", '"me"'),
        (AGREED + 'external_account_key_id = "k"\n' + ONE, "acme.external_account_key_id", "an id and a secret"),
        (AGREED + 'http_binding = "nowhere"\n' + ONE, "acme.http_binding", "nowhere"),
        (DNS + ONE, "acme.dns_server", "takes updates"),
        (DNS + 'dns_server = "ns.test"\n' + ONE, "acme.dns_server", "no address"),
        (DNS + 'dns_server = "192.0.2.1"\ndns_key_name = "k"\n' + ONE, "acme.dns_key_name", "a name and a secret"),
        (
            DNS + 'dns_server = "192.0.2.1"\ndns_key_name = "k"\ndns_key_secret = "s3cret"\n' + ONE,
            "acme.dns_key_secret", "does not stand in the configuration",
        ),
        (DNS + 'dns_server = "192.0.2.1"\ndns_key_algorithm = "md5"\n' + ONE, "acme.dns_key_algorithm", "TSIG"),
        (AGREED + ONE + ONE, "acme.certificates[1].name", "twice"),
        (AGREED + '[[acme.certificates]]\nname = "*.contoso.test"\n', "acme.certificates[0]", "by DNS only"),
        (AGREED + '[[acme.certificates]]\nname = "a b"\n', "acme.certificates[0].name", "no host name"),
        (
            AGREED + 'challenge = "tls-alpn-01"\n' + ONE + '[mta_sts]\nbinding = "0.0.0.0:443"\n',
            "acme.tls_alpn_binding", "served there",
        ),
        ('[mta_sts]\nbinding = "443"\n', "mta_sts.binding", "443"),
        ('[mta_sts]\ndomains = ["*.contoso.test"]\n', "mta_sts.domains[0]", "no host name"),
    ],
)  # fmt: skip
def test_the_check_says_no(tmp_path: Path, text: str, path: str, message: str) -> None:
    assert [one for one in findings(tmp_path, text) if one[0] == path and message in one[1] and one[2]], findings(
        tmp_path, text
    )


def test_what_is_right_passes(tmp_path: Path) -> None:
    assert not [one for one in findings(tmp_path, AGREED + ONE + '[mta_sts]\nbinding = "0.0.0.0:443"\n') if one[2]]
