# SPDX-License-Identifier: MIT
"""Checks of receive and send connectors, and of what is configured beside them."""
