# SPDX-License-Identifier: MIT
"""Several processes that move mail, each with its own queue, and the supervisor that starts, asks and ends them."""
