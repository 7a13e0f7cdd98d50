# SPDX-License-Identifier: MIT
"""Finding messages in the tracking logs: criteria, the search, the index that proposes, and what a story is made of."""
