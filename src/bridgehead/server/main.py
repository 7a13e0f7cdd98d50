# SPDX-License-Identifier: MIT
"""The command line: finds the configuration, runs and checks the server; the other commands are the admin room's.

What a command needs beyond its own options is imported when it runs, so that each starts quickly.
"""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from bridgehead import __version__
from bridgehead.admin.cli import COMMANDS, command
from bridgehead.admin.cli.output import HelpfulCommand

if TYPE_CHECKING:
    from bridgehead.server.config.load import Loaded
    from bridgehead.server.config.problem import Problem
    from bridgehead.server.config.schema import Configuration

CONFIG_VARIABLE: Final = "BRIDGEHEAD_CONFIG"
_SEARCHED: Final = (Path("bridgehead.toml"), Path("/etc/bridgehead/bridgehead.toml"))
_FAILED: Final = 1
_INVOCATION: Final = "bridgehead.invocation"
_EMBEDDED: Final = """\
No configuration file was found: running with the embedded default.
  127.0.0.1:2525  takes mail for bridgehead.test from anybody on this machine
  127.0.0.1:2587  takes mail for anywhere from users with a login (`bridgehead user add`)
  It relays for nobody else, and nothing leaves this machine. Data: {directory}"""


class Invocation:
    """Which configuration this command works with."""

    def __init__(self, config: Path | None) -> None:
        self.path = config if config is not None else find_configuration()

    def checked(self) -> "Loaded":
        """The configuration for a server to run with. Raises ConfigurationError."""
        from bridgehead.server.config.check import load_checked

        return load_checked(self.path)

    def configuration(self) -> "Configuration":
        """The configuration for a command to read; one that is malformed ends the command with its problems.

        What only the server can judge, such as secrets in its environment, is not looked at.
        """
        from bridgehead.server.config.default import default
        from bridgehead.server.config.load import load
        from bridgehead.server.config.problem import ConfigurationError

        try:
            return (default() if self.path is None else load(self.path)).configuration
        except ConfigurationError as error:
            _show(error.problems)
            sys.exit(_FAILED)


def find_configuration() -> Path | None:
    """`$BRIDGEHEAD_CONFIG`, else the first file that is there of those searched; None for the embedded default."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return next((path for path in _SEARCHED if path.is_file()), None)


class _Commands(click.RichGroup):
    """Our own commands and those of the admin room, of which each is imported when it is asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or (command(cmd_name) if cmd_name in COMMANDS else None)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted((*self.commands, *COMMANDS))


@click.group(
    cls=_Commands,
    name="bridgehead",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Configuration file. Default: ${CONFIG_VARIABLE}, ./bridgehead.toml, /etc/bridgehead/bridgehead.toml, else "
    "an embedded default that serves loopback and relays for nobody.",
)
@click.version_option(__version__, "-V", "--version", message="bridgehead %(version)s")
@click.pass_context
def bridgehead(context: click.Context, config: Path | None) -> None:
    """An open mail transport server: receive and send connectors, categorizer, durable queues, message tracking."""
    from bridgehead.admin.cli.context import CliContext

    invocation = context.meta[_INVOCATION] = Invocation(config)
    context.obj = CliContext(invocation.configuration)


@bridgehead.command(cls=HelpfulCommand)
@click.pass_context
def run(context: click.Context) -> None:
    """Run the server in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.

    \b
    Examples:
      bridgehead run
      bridgehead -c /etc/bridgehead/bridgehead.toml run
    """
    gc.disable()  # until the event loop runs: nothing that is imported is garbage, only looked through again and again
    from bridgehead.server.config.problem import ConfigurationError

    invocation: Invocation = context.meta[_INVOCATION]
    try:
        loaded = invocation.checked()
    except ConfigurationError as error:
        _show(error.problems)
        sys.exit(_FAILED)
    _show(loaded.warnings)
    if invocation.path is None:
        click.echo(_EMBEDDED.format(directory=loaded.data_directory), err=True)
    from bridgehead.server import serving

    sys.exit(serving.run(loaded, invocation.path))


@bridgehead.command(cls=HelpfulCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the configuration without using it: every error and warning, with file, line and remedy.

    Exit code 0 without errors (there may be warnings), 1 with errors.

    \b
    Examples:
      bridgehead check
      bridgehead -c new.toml check --json
    """
    from bridgehead.server.config.checks.recipients import check_recipients
    from bridgehead.server.config.problem import ConfigurationError

    invocation: Invocation = context.meta[_INVOCATION]
    try:
        loaded = invocation.checked()
        check_recipients(loaded)
        problems, files, failed = loaded.warnings, [str(file) for file in loaded.files], False
    except ConfigurationError as error:
        problems, files, failed = error.problems, [str(invocation.path or "")], True
    if as_json:
        import msgspec

        document = {"ok": not failed, "files": files, "problems": problems}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        _show(problems, err=False)
        _summarise(problems, files)
    sys.exit(_FAILED if failed else 0)


def _summarise(problems: "list[Problem]", files: list[str]) -> None:
    from bridgehead.server.config.problem import Severity

    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    what = ", ".join(files) or "the embedded default (no configuration file was found)"
    click.echo(f"{what}: {_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _show(problems: "list[Problem]", err: bool = True) -> None:
    from bridgehead.server.config.problem import Severity

    for problem in problems:
        color = "red" if problem.severity is Severity.ERROR else "yellow"
        click.secho(str(problem), fg=color, err=err)


def main() -> None:
    """Entry point of the command `bridgehead`."""
    bridgehead(prog_name="bridgehead")
