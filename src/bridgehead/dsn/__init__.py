# SPDX-License-Identifier: MIT
"""Delivery status notifications: who is told, and what the report says (RFC 3461-3464). Floor 1, pure."""
