# SPDX-License-Identifier: MIT
"""What operators do and see: one file of use cases for each subject; thin CLI and control socket on top. Floor 4."""
