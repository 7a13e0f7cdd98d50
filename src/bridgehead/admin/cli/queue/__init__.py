# SPDX-License-Identifier: MIT
"""Commands about queues and the messages in them: look, act, export, standing rules, the Safety Net."""
