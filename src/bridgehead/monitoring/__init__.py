# SPDX-License-Identifier: MIT
"""Watches the server and tells people: rules, the book of alarms, and the channels they go out by. Floor 3."""
