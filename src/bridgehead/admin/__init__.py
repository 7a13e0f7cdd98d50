# SPDX-License-Identifier: MIT
"""What operators do and see: one file of use cases for each subject; thin CLI and HTTP interface on top. Floor 4."""
