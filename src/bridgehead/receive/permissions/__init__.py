# SPDX-License-Identifier: MIT
"""What a session may do and bring: rights by permission group, the addresses and authors it may use, the fields of its
header.
"""
