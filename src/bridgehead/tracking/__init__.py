# SPDX-License-Identifier: MIT
"""What happened: tracking events, the log files made from them, and their search. Floor 2."""
