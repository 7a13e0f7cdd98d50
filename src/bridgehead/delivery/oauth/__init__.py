# SPDX-License-Identifier: MIT
"""Access tokens for smart hosts (OAuth 2.0, RFC 6749): acquired, kept, renewed, and their refresh tokens stored."""
