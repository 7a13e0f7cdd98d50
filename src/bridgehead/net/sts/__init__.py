# SPDX-License-Identifier: MIT
"""MTA-STS policies (RFC 8461): fetched from others and kept, and our own as they are served."""
