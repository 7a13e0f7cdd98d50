# SPDX-License-Identifier: MIT
"""SMTP Receive: connectors, sessions, acceptance, and the pickup and replay directories. Floor 3."""
