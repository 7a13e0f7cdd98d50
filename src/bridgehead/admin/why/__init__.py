# SPDX-License-Identifier: MIT
"""Why mail does not move, or did not: verdicts about queues, messages, recipients, clients and pasted errors."""
