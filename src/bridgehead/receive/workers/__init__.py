# SPDX-License-Identifier: MIT
"""Processes that receive mail side by side: who takes the next connection, what they know of each other's clients."""
