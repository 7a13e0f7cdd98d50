# SPDX-License-Identifier: MIT
"""How the server is: status, readiness, back pressure, alarms and metrics."""
