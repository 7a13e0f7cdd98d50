# SPDX-License-Identifier: MIT
"""LDAP as far as logins need it (RFC 4511 to RFC 4515): messages, filters, names. Sans I/O."""
