# SPDX-License-Identifier: MIT
"""The running server as it is measured and watched: numbers, resources, alarms and their ways out."""
