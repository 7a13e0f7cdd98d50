# SPDX-License-Identifier: MIT
"""The numbers of the server sent to an OpenTelemetry collector (OTLP over HTTP), by a process of its own.

    orders      what that process is told, and what it tells; all that its parent imports
    conversion  a snapshot as OpenTelemetry's data
    process     the process: asks for a snapshot, sends it, tells whether that worked

The libraries are an extra (`bridgehead[opentelemetry]`); only that process imports them.
"""
