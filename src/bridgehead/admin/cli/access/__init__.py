# SPDX-License-Identifier: MIT
"""Commands about who there is: administrators, logins, lock-outs, recipients, and the record of changes."""
