# SPDX-License-Identifier: MIT
"""What operators do and see: a folder of use cases for each subject; thin CLI and HTTP interface on top. Floor 4."""
