# SPDX-License-Identifier: MIT
"""Builds and runs the house: configuration, composition, lifecycle. Floor 5."""
