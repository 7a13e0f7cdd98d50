# SPDX-License-Identifier: MIT
"""How servers are trusted that we ask over HTTPS or LDAP, or tell alarms: alike with every version of Python.

Connections that carry mail have contexts of their own (`tls.py`), by the policy of their connector.
"""

import ssl


def verifying_context(ca_file: str = "") -> ssl.SSLContext:
    """TLS 1.2 or later, with a certificate that is valid for the host's name. Raises OSError, ssl.SSLError.

    Args:
        ca_file: PEM, "" for the system's trust anchors. It may hold a server's own certificate, too.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # From Python 3.13 on a certificate without its issuer's key id and the like is refused by default. Private
    # authorities often leave that out; an update of Python must not part us from a provider or a webhook.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
