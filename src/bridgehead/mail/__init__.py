# SPDX-License-Identifier: MIT
"""The words every room shares: addresses, envelopes, content, replies, statuses, units and limits. Floor 0, pure."""
