# SPDX-License-Identifier: MIT
"""Checks of TLS: sessions, certificates, reports."""
