# SPDX-License-Identifier: MIT
"""Connectors and devices: which one a client meets, with which rights; audit, expectations, tests, access tokens."""
