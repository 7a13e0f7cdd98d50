# SPDX-License-Identifier: MIT
"""The tables of methods, one file for each subject; `table.py` joins them."""
