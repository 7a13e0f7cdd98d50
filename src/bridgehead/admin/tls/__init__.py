# SPDX-License-Identifier: MIT
"""Certificates, TLS policies and reports, and the DNS records that tell others of them."""
