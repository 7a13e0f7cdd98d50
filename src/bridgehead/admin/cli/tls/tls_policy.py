# SPDX-License-Identifier: MIT
"""`bridgehead tls-policy show|forget`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.output import AdminCommand, emit, json_option

if TYPE_CHECKING:
    from bridgehead.admin.tls.tls_policy import TlsPolicyView


@click.group("tls-policy")
def tls_policy() -> None:
    """See what TLS recipient domains ask for, and what they have shown."""


@tls_policy.command(cls=AdminCommand)
@click.argument("domain")
@json_option
@click.pass_context
def show(context: click.Context, domain: str, as_json: bool) -> None:
    """What would be demanded of a domain's mail hosts now, and why. Asks DNS and, where need be, its policy host.

    \b
    Examples:
      bridgehead tls-policy show contoso.com
    """
    from bridgehead.admin.tls.tls_policy import TlsPolicyView

    with context.obj.control() as control:
        view = control.call("tls_policy.show", {"domain": domain}, TlsPolicyView)
    emit(view, as_json, lambda: _text(view))


@tls_policy.command(cls=AdminCommand)
@click.argument("domain")
@json_option
@click.pass_context
def forget(context: click.Context, domain: str, as_json: bool) -> None:
    """Forget the best TLS that a domain has shown, as after a change that is meant; ends its alarm.

    \b
    Examples:
      bridgehead tls-policy forget contoso.com
    """
    from bridgehead.admin.tls.tls_policy import Forgotten

    with context.obj.control() as control:
        done = control.call("tls_policy.forget", {"domain": domain}, Forgotten)
    emit(done, as_json, lambda: f"What {done.domain} showed before is forgotten.")


def _text(view: "TlsPolicyView") -> str:
    lines = [f"Domain          {view.domain}"]
    if view.connector:
        modes = f"smtp_dane_mode {view.smtp_dane_mode}, mta_sts_mode {view.mta_sts_mode}"
        lines += [f"Send connector  {view.connector} ({view.routed_by}; {modes}, downgrade {view.tls_downgrade_mode})"]
        lines += [f"DNSSEC          {view.dnssec}"]
    if view.best_seen:
        lines.append(f"Best TLS seen   {view.best_seen}")
    if view.sts is not None:
        kept = f"{view.sts.mode}, id {view.sts.id}, mx {' '.join(view.sts.mx)}" if view.sts.mode else "none"
        lines.append(f"MTA-STS policy  {kept}" + (f"; {view.sts.problem}" if view.sts.problem else ""))
    if view.problem:
        lines.append(f"Problem         {view.problem}")
    for host in view.hosts:
        lines += ["", f"{host.host}", f"  demanded      {host.demands} ({host.policy})"]
        if host.refused:
            lines.append(f"  refused       {host.refused}")
        if host.best_seen:
            lines.append(f"  best seen     {host.best_seen}")
        lines += [f"  because       {one}" for one in host.evidence]
    return "\n".join(lines)
