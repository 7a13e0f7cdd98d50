# SPDX-License-Identifier: MIT
"""`bridgehead message export`: queued messages as files that the replay directory takes back."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import SCAN_SECONDS, CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, counted, emit, json_option

if TYPE_CHECKING:
    from bridgehead.admin.calls.client import ControlClient


@click.command(cls=AdminCommand)
@click.argument("messages", nargs=-1)
@click.option("--queue", default="", help="All messages of one queue: identity or next hop domain.")
@click.option("--filter", "filter_", default="", help="Messages that fit, such as {Size -gt 1MB}.")
@click.option("--limit", default=1000, show_default=True, help="Most messages exported.")
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False), help="Folder for the files.")
@json_option
@click.pass_context
def export(
    context: click.Context, messages: tuple[str, ...], queue: str, filter_: str, limit: int, folder: str, as_json: bool
) -> None:  # fmt: skip
    """Write queued messages to files, each with its envelope on top, as the replay directory takes them.

    Nothing changes in the queues: suspend or remove what is not to be delivered as well. Files are named by the
    internal message id, readable for you alone, and never overwritten.

    \b
    Examples:
      bridgehead message export 4711 --to /root/mail
      bridgehead message export --queue Poison --to /root/poison
    """
    from bridgehead.admin.methods.messages import MessageListParameters, MessageParameters
    from bridgehead.admin.queue.messages import MessageDetail, MessageView

    if bool(messages) == bool(queue or filter_):
        raise click.UsageError("Name messages, or give --queue or --filter.", context)
    target = Path(folder)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    cli: CliContext = context.obj
    with cli.control(SCAN_SECONDS) as control:
        if messages:
            details = [control.call("messages.show", MessageParameters(name), list[MessageDetail]) for name in messages]
            numbers = [one.message.id for detail in details for one in detail]
        else:
            chosen = MessageListParameters(queue=queue, filter=filter_, limit=limit)
            numbers = [one.id for one in control.call("messages.list", chosen, list[MessageView])]
        written = [str(_export(control, number, target)) for number in dict.fromkeys(numbers)]
    emit(written, as_json, lambda: f"{counted(len(written), 'message')} written to {target}")
    context.exit(0 if written else NEGATIVE)


def _export(control: "ControlClient", number: int, folder: Path) -> Path:
    """Write one message; the file appears only when it is whole. Raises AdminFault."""
    from bridgehead.admin.faults import FAILED, AdminFault
    from bridgehead.admin.methods.messages import ContentParameters
    from bridgehead.admin.queue.messages import ContentPart

    path, partial = folder / f"{number}.eml", folder / f"{number}.part"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            offset = 0
            while True:
                part = control.call("messages.export", ContentParameters(number, offset), ContentPart)
                output.write(part.data)
                offset += len(part.data)
                if offset >= part.total or not part.data:
                    break
            output.flush()
            os.fsync(output.fileno())
        os.link(partial, path)
    except FileExistsError:
        raise AdminFault(FAILED, f"{path} is there already", "give another folder, or move it away") from None
    except OSError as error:
        raise AdminFault(FAILED, f"{path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return path
