# SPDX-License-Identifier: MIT
"""TLS of the running server: certificates and their renewal, policies of others and our own, reports."""
