# SPDX-License-Identifier: MIT
"""Certificates from an ACME authority (RFC 8555): the order, its proofs, and their settings."""
