# SPDX-License-Identifier: MIT
"""Tests of connectors and hosts: what delivery or a client would do, step by step, up to the first real cause."""
