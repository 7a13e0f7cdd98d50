# SPDX-License-Identifier: MIT
"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463)."""
