# SPDX-License-Identifier: MIT
"""Devices: clients that are known by their address alone; what they may send, and what is counted of them."""
