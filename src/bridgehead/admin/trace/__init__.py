# SPDX-License-Identifier: MIT
"""What became of messages: search in the tracking log, and the story of one."""
