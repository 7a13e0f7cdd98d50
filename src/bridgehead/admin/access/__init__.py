# SPDX-License-Identifier: MIT
"""Who may do what: administrators and their tokens, logins, recipients, lock-outs; and the record of what was done."""
