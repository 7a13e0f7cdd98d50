# SPDX-License-Identifier: MIT
"""The management interface: HTTP and JSON, in a process of its own (ADR 7).

`bridgehead run` starts that process (`server/api_process.py`) with its sockets and `orders.Orders`. It logs callers
on, and asks the process that moves mail everything else over the internal channel (`admin/calls/control.py`): roles
and the audit log are on that side. A thread of mail never waits for a client of HTTP, and a fault here stops no mail.

    process     orders from the parent, servers on the sockets, end with the parent
    http        uvicorn's protocol with time limits, and who is at the other end of a Unix socket
    app         the Litestar application
    table_routes every `Method` of `admin/methods/table.py` as a route below /v1
    extra_routes routes that are no methods: plain text such as metrics and health. Add them there.
    authentication, logons   who asks: accounts of this machine, logins and tokens; back-off after failures
    channel_client the connections to the process that moves mail
    problems    errors as application/problem+json (RFC 9457)
    openapi     the description (OpenAPI 3.1), made from the table

Nothing outside this package imports more of it than `orders`; the process that moves mail never loads Litestar.
"""
