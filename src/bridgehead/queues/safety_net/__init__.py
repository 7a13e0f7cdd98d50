# SPDX-License-Identifier: MIT
"""The Safety Net: delivered mail that is kept for a while."""
