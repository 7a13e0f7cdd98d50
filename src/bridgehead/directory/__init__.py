# SPDX-License-Identifier: MIT
"""Recipients, groups and logins, and how they are looked up. Floor 2."""
