# SPDX-License-Identifier: MIT
"""These tests run on the loop that the server runs on, and on asyncio's own: their transports differ."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
