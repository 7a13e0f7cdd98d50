# SPDX-License-Identifier: MIT
"""How a call of a method travels: from a command over HTTP and the internal channel to the process that moves mail."""
