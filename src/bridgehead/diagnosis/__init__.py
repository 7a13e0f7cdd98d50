# SPDX-License-Identifier: MIT
"""Why mail does not move: from recorded facts to a cause, its owner and the one command that helps. Pure."""
