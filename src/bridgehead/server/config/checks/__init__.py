# SPDX-License-Identifier: MIT
"""What one setting demands of another, or of a file that it names: a function for each subject, called by `check`.
What a room can tell of its own settings alone stands in that room.
"""
