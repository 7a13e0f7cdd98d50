# SPDX-License-Identifier: MIT
"""`bridgehead tls-policy show|forget`."""

from typing import TYPE_CHECKING, Final

import rich_click as click

from bridgehead.admin.cli.output import AdminCommand, emit, json_option

if TYPE_CHECKING:
    from bridgehead.admin.tls.tls_policy import HostPolicyView, StsView, TlsPolicyView

_SEEN: Final = {
    "none": "no TLS",
    "encrypted": "TLS with a certificate that nobody vouches for",
    "verified": "TLS with a verified certificate",
    "policy": "TLS that DANE records or an MTA-STS policy vouch for",
}


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
        lines.append(f"Best TLS seen   {_SEEN.get(view.best_seen, view.best_seen)}")
    if view.sts is not None:
        lines += [f"MTA-STS policy  {one}" for one in _sts(view.sts)]
    if view.problem:
        lines.append(f"Problem         {view.problem}")
    for host in view.hosts:
        lines += ["", *_host(host)]
    return "\n".join(lines)


def _sts(sts: "StsView") -> list[str]:
    if not sts.mode:
        return [f"none; {sts.problem}"]
    lines = [", ".join((sts.mode, f"id {sts.id}", *([f"mx {' '.join(sts.mx)}"] if sts.mx else [])))]
    if sts.expires_at is not None and sts.fetched_at is not None:
        lines.append(f"fetched {sts.fetched_at:%Y-%m-%d %H:%M}Z, holds until {sts.expires_at:%Y-%m-%d %H:%M}Z")
    return [*lines, *([f"no newer one: {sts.problem}"] if sts.problem else [])]


def _host(host: "HostPolicyView") -> list[str]:
    tested = "; only tested, mail goes all the same" if host.only_tested else ""
    lines = [host.host, f"  demanded      {host.demands} ({host.policy}{'' if host.refused else tested})"]
    if host.refused:
        lines.append(f"  refused       {host.refused}{tested}")
    if host.best_seen:
        lines.append(f"  best seen     {_SEEN.get(host.best_seen, host.best_seen)}")
    return [*lines, *(f"  because       {one}" for one in host.evidence)]
