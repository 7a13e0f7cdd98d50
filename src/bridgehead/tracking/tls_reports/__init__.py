# SPDX-License-Identifier: MIT
"""TLS reports (RFC 8460): what was counted, the report made of it, its document, and the mail that carries it."""
