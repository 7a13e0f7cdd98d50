# SPDX-License-Identifier: MIT
"""SMTP and LMTP without input or output, in both roles (RFC 5321, RFC 2033). Floor 1, pure."""
