# SPDX-License-Identifier: MIT
"""Questions to DNS: resolvers, what DNSSEC says of their answers, and looks for TLSA records."""
