# SPDX-License-Identifier: MIT
"""Message authentication: SPF, DKIM and how far they vouch for the author's domain (DMARC). Pure. Floor 1."""
