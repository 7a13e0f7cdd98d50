# SPDX-License-Identifier: MIT
"""Logins from an LDAP directory, Active Directory among them."""
