# SPDX-License-Identifier: MIT
"""Decisions about where mail goes: accepted domains, address spaces, connectors, next hops, MX. Floor 1, pure."""
