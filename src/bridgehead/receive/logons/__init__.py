# SPDX-License-Identifier: MIT
"""Logging on: what a session is asked, and who knows passwords, tokens and tickets."""
