# SPDX-License-Identifier: MIT
"""What stands in for parts of `ssl` or of the event loop is run on both kinds of event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

_BOTH = ("test_stapling.py", "test_tls_stream.py")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    of_asyncio: dict[str, Any] = {"asyncio": asyncio.new_event_loop}
    return of_asyncio | {"uvloop": uvloop.new_event_loop} if item.path.name in _BOTH else of_asyncio
