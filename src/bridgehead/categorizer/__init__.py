# SPDX-License-Identifier: MIT
"""The categorizer: resolves, expands, restricts, routes and splits submitted messages. Floor 3."""
