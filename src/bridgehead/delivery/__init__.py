# SPDX-License-Identifier: MIT
"""Delivery queues at work: attempts, outcomes, notifications, and each kind of next hop. Floor 3."""
