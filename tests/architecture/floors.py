# SPDX-License-Identifier: MIT
"""Who may import whom, as data. ARCHITECTURE.md draws it; `test_floors.py` guards it."""

FLOORS: dict[str, int] = {
    "mail": 0,
    "smtp": 1,
    "msgauth": 1,
    "ldap": 1,
    "dsn": 1,
    "routing": 1,
    "diagnosis": 1,
    "queues": 2,
    "directory": 2,
    "tracking": 2,
    "net": 2,
    "receive": 3,
    "categorizer": 3,
    "delivery": 3,
    "monitoring": 3,
    "admin": 4,
    "server": 5,
}

TOP_FLOOR = max(FLOORS.values())
PURE_FLOOR = 1
"""Rooms up to this floor are pure."""

PURE_FILES = frozenset(
    {
        "admin/queue/filter.py",
        "admin/queue/filter_match.py",
        "categorizer/bifurcate.py",
        "categorizer/expand.py",
        "categorizer/resolve.py",
        "categorizer/restrict.py",
        "categorizer/route.py",
        "delivery/outcome.py",
        "delivery/smtp_send/downgrade.py",
        "delivery/smtp_send/error_policy.py",
        "net/ip_range.py",
        "net/proxy_protocol.py",
        "queues/changes.py",
        "queues/filtering.py",
        "queues/pressure.py",
        "queues/retry.py",
        "queues/states.py",
        "receive/connectors/selection.py",
        "receive/connectors/check.py",
        "receive/devices/check.py",
        "receive/devices/policy.py",
        "receive/permissions/header_firewall.py",
        "receive/logons/lockout.py",
        "receive/permissions/rights.py",
    }
)
"""Files on upper floors that decide without effects."""

PURE_LIBRARIES = frozenset({"msgspec", "idna"})
"""Third-party packages that pure code may use."""

EFFECTS = frozenset(
    {
        "aiodns", "asyncio", "concurrent", "cryptography", "dns", "fcntl", "glob", "http", "logging",
        "multiprocessing", "os", "pathlib", "pycares", "random", "secrets", "select", "selectors", "shutil",
        "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
        "urllib", "uuid", "uvloop",
    }
)  # fmt: skip
"""Modules that reach files, sockets, clocks, randomness or logs: never in pure code."""

EFFECT_CALLS = frozenset({"open", "print", "input", "now", "today", "utcnow"})
"""Calls of these names (`open(…)`, `datetime.now(…)`) have effects without an import of their own."""

BANNED_MODULE_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "core", "misc", "base"})
