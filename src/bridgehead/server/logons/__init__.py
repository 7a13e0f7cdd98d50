# SPDX-License-Identifier: MIT
"""Logons of the running server: who judges them, and who is told when one of these cannot."""
