# SPDX-License-Identifier: MIT
"""`bridgehead test`, and how the result of a test in steps is shown."""
