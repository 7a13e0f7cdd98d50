# SPDX-License-Identifier: MIT
"""What a process must not import when it starts: what it may never need, and what has time until somebody asks."""

import subprocess
import sys
from pathlib import Path

import pytest

import bridgehead

SERVER = "import bridgehead.server.main, bridgehead.server.config.check, bridgehead.server.serving"
"""What `bridgehead run` imports before its sockets are open."""
COMMAND = "import bridgehead.server.main; from bridgehead.admin.cli import command; command('queue')"
INDEXER = "import bridgehead.tracking.trace.indexer_process"
NEVER = ["litestar", "uvicorn", "acme", "josepy", "gssapi", "prometheus_client", "fast_mail_parser"]
"""Other processes, or extras."""

CASES = [
    *((SERVER, name) for name in NEVER),
    (SERVER, "bridgehead.admin.methods.table"),
    (SERVER, "bridgehead.admin.why.answer"),
    (SERVER, "bridgehead.admin.cli.queue.queue"),
    (SERVER, "bridgehead.diagnosis.engine"),
    (SERVER, "dns.resolver"),
    *((COMMAND, name) for name in [*NEVER, "asyncio", "dns", "cryptography", "msgspec", "bridgehead.server.process"]),
    (COMMAND, "bridgehead.admin.cli.trace.trace"),
    *((INDEXER, name) for name in [*NEVER, "asyncio", "dns", "cryptography", "click", "bridgehead.server"]),
]


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Modules and packages that are there after each of the statements, in a process of its own."""

    def after(statement: str) -> set[str]:
        program = f"{statement}\nimport sys\nprint(*sys.modules)"
        return set(subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).split())

    return {statement: after(statement) for statement in (SERVER, COMMAND, INDEXER)}


def test_no_class_of_characters_names_all_of_unicode() -> None:
    """`re` takes milliseconds for one, at each start of each command; it takes none to say what does not belong to it."""
    source = Path(bridgehead.__file__).parent
    assert not [
        str(path) for path in source.rglob("*.py") if r"\U0010ffff" in path.read_text().lower().replace("u", "U")
    ]


@pytest.mark.parametrize(("statement", "name"), CASES)
def test_a_start_does_without(statement: str, name: str, imported: dict[str, set[str]]) -> None:
    assert "bridgehead" in imported[statement]
    assert name not in imported[statement]
