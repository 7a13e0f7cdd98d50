# SPDX-License-Identifier: MIT
"""Commands that tell what became of mail and why: `bridgehead trace` and `bridgehead why`."""
