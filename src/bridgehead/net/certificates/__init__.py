# SPDX-License-Identifier: MIT
"""Certificates: ours as files, which is shown to whom, and whether those of others are to be believed."""
