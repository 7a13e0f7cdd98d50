# SPDX-License-Identifier: MIT
"""Directories that messages are picked up from: pickup and replay."""
