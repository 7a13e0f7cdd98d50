# SPDX-License-Identifier: MIT
"""Queues and the messages in them: views, filters, actions, standing rules, the Safety Net."""
