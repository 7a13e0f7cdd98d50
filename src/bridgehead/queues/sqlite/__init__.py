# SPDX-License-Identifier: MIT
"""The durable queue: `SqliteQueueStore`, how its commits are grouped and synced, what it does when the disk fails."""
