# SPDX-License-Identifier: MIT
"""Checks of logins: mechanisms, LDAP directories, Kerberos."""
