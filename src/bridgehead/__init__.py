# SPDX-License-Identifier: MIT
"""Bridgehead: an open mail transport server. The rooms and floors are described in ARCHITECTURE.md."""

__version__ = "0.1.0"
