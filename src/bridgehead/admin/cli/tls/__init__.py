# SPDX-License-Identifier: MIT
"""Commands about certificates, TLS policies and reports, and the DNS records of our domains."""
