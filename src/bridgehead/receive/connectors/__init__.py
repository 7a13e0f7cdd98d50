# SPDX-License-Identifier: MIT
"""Receive connectors: which one takes a client, whether a set of them is sound, how much each takes."""
