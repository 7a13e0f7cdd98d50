# SPDX-License-Identifier: MIT
"""The tables of methods, one file for each subject; `table.py` joins them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridgehead.admin.method import Method


def every_method() -> "dict[str, Method]":
    """Every method by name. The first call imports all that can be asked, which takes a while: mail is taken before
    anything is asked."""
    from bridgehead.admin.methods.table import METHODS

    return METHODS
