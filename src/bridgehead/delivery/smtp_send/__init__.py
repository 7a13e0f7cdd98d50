# SPDX-License-Identifier: MIT
"""Delivery by SMTP: destinations, connections, TLS security and the sending session."""
