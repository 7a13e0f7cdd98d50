# SPDX-License-Identifier: MIT
"""Commands run in this process, with the configuration that a test gives them."""

from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from click.testing import CliRunner, Result

from bridgehead.admin.cli import COMMANDS, command
from bridgehead.admin.cli.context import CliContext
from bridgehead.server.config.schema import Configuration, ServerSettings


class Commands:
    """Runs commands of the admin room.

    Args:
        folder: the data directory.
        settings: tables of the configuration besides [server].
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.configuration = Configuration(server=ServerSettings(data_directory=str(folder)), **settings)
        self.control_socket = folder / self.configuration.server.control_socket
        self._group = click.Group("bridgehead", {name: command(name) for name in COMMANDS})

    def __call__(self, *arguments: str, given: str | None = None, code: int | None = 0) -> Result:
        """Run a command; `code` is the exit code that is expected, None for any. `given`: its standard input."""
        context = CliContext(lambda: self.configuration)
        result = CliRunner().invoke(self._group, arguments, obj=context, input=given, env={"COLUMNS": "80"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code is None or result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, given: str | None = None, code: int | None = 0) -> Any:
        """Run a command with --json and decode what it printed."""
        return msgspec.json.decode(self(*arguments, "--json", given=given, code=code).stdout)
