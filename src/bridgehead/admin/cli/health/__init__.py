# SPDX-License-Identifier: MIT
"""Commands about the state of the server: status, alarms, monitoring plugin, back pressure."""
