# SPDX-License-Identifier: MIT
"""The configuration files: schema, loading with exact error positions, and all-or-nothing reload."""
