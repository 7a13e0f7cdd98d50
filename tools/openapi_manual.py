#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/reference/openapi.json, the description of the management interface, from the table of methods."""

from pathlib import Path

from bridgehead.admin.api.openapi import description

MANUAL = Path(__file__).parent.parent / "docs" / "reference" / "openapi.json"

if __name__ == "__main__":
    MANUAL.write_bytes(description())
