# SPDX-License-Identifier: MIT
"""Durable messages: the queue store, its implementations, life cycle and retry times. Floor 2."""
