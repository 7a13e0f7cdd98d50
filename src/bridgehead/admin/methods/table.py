# SPDX-License-Identifier: MIT
"""Every method by name."""

from typing import Final

from bridgehead.admin.method import Method
from bridgehead.admin.methods import messages, pressure, queues, server

METHODS: Final[dict[str, Method]] = {**server.METHODS, **pressure.METHODS, **queues.METHODS, **messages.METHODS}
