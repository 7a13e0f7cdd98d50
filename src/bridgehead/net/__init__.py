# SPDX-License-Identifier: MIT
"""Sockets, TLS, name resolution and time: everything that touches the network. Floor 2."""
