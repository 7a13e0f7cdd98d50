# SPDX-License-Identifier: MIT
"""These tests run on the loop that the server runs on; those of LMTP, which share the code, on asyncio's own."""

import uvloop


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}
