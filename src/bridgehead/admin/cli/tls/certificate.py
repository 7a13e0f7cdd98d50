# SPDX-License-Identifier: MIT
"""`bridgehead certificate list|show|check|bind|roll-back|renew`."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import (
    NEGATIVE,
    AdminCommand,
    emit,
    facts,
    json_option,
    paint,
    say,
    table,
    when,
    wrapped,
)

if TYPE_CHECKING:
    from bridgehead.admin.tls.certificate_views import (
        CertificateBound,
        CertificateCheck,
        CertificateReport,
        CertificateView,
        RenewalView,
    )

_COLOURS = {"pass": "green", "note": "cyan", "warning": "yellow", "failure": "red"}
_POLL_SECONDS = 0.5
_files = click.Path(exists=True, dir_okay=False, path_type=Path)
_name = click.option("--name", default="", help="Keep it under this name; its first name where none is given.")
_force = click.option("--force", is_flag=True, help="Take it though the check fails.")


@click.group()
def certificate() -> None:
    """Certificates: which there are, who shows them, checks before a new one goes live, renewal by ACME."""


@certificate.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List every certificate, who shows it to whom, and what is the matter with it.

    Exit code 0 without warnings, 1 with.

    \b
    Examples:
      bridgehead certificate list
    """
    from bridgehead.admin.tls.certificate_views import CertificateReport

    cli: CliContext = context.obj
    with cli.control() as control:
        report = control.call("certificates.list", None, CertificateReport)
    emit(report, as_json, lambda: _report_text(report))
    context.exit(NEGATIVE if report.problems or any(one.warnings for one in report.certificates) else 0)


@certificate.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one certificate, by name, file or the beginning of its fingerprint.

    \b
    Examples:
      bridgehead certificate show mail.contoso.com
    """
    from bridgehead.admin.methods.certificates import CertificateWanted
    from bridgehead.admin.tls.certificate_views import CertificateView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("certificates.show", CertificateWanted(name), CertificateView)
    emit(found, as_json, lambda: _view_text(found))


@certificate.command(cls=AdminCommand)
@click.argument("file", type=_files)
@click.argument("key", type=_files)
@_name
@json_option
@click.pass_context
def check(context: click.Context, file: Path, key: Path, name: str, as_json: bool) -> None:
    """Check a new certificate against everybody who would show it; changes nothing.

    Key, dates, names, chain, usages, a handshake with each connector's versions and ciphers, pins, and the TLSA
    records that DNS has for the old key. Exit code 0 when it may be bound, 1 otherwise.

    \b
    Examples:
      bridgehead certificate check fullchain.pem privkey.pem
    """
    from bridgehead.admin.methods.certificates import NewCertificate
    from bridgehead.admin.tls.certificate_views import CertificateCheck

    cli: CliContext = context.obj
    pair = NewCertificate(certificate=_pem(file), private_key=_pem(key), name=name)
    with cli.control() as control:
        found = control.call("certificates.check", pair, CertificateCheck)
    emit(found, as_json, lambda: _check_text(found))
    context.exit(NEGATIVE if found.verdict == "failure" else 0)


@certificate.command(cls=AdminCommand)
@click.argument("file", type=_files)
@click.argument("key", type=_files)
@_name
@_force
@json_option
@click.pass_context
def bind(context: click.Context, file: Path, key: Path, name: str, force: bool, as_json: bool) -> None:
    """Check a new certificate and put it in force at once, for new sessions; the one before is kept.

    The server copies both files into its data directory. One that fails the check changes nothing.

    \b
    Examples:
      bridgehead certificate bind fullchain.pem privkey.pem
      bridgehead certificate bind new.pem new.key --name mail.contoso.com
    """
    from bridgehead.admin.methods.certificates import CertificateOrder
    from bridgehead.admin.tls.certificate_views import CertificateBound

    cli: CliContext = context.obj
    order = CertificateOrder(certificate=_pem(file), private_key=_pem(key), name=name, force=force)
    with cli.control() as control:
        done = control.call("certificates.bind", order, CertificateBound)
    emit(done, as_json, lambda: _bound_text(done))


@certificate.command("roll-back", cls=AdminCommand)
@click.argument("name")
@_force
@json_option
@click.pass_context
def roll_back(context: click.Context, name: str, force: bool, as_json: bool) -> None:
    """Bring back the certificate that was in force before under this name, after the same check.

    \b
    Examples:
      bridgehead certificate roll-back mail.contoso.com
    """
    from bridgehead.admin.methods.certificates import RollBackOrder
    from bridgehead.admin.tls.certificate_views import CertificateBound

    cli: CliContext = context.obj
    with cli.control() as control:
        done = control.call("certificates.roll_back", RollBackOrder(name, force), CertificateBound)
    emit(done, as_json, lambda: _bound_text(done))


@certificate.command(cls=AdminCommand)
@click.argument("name", default="")
@json_option
@click.pass_context
def renew(context: click.Context, name: str, as_json: bool) -> None:
    """Renew a certificate of [[acme.certificates]] now and show how it goes; without a name, list them.

    Exit code 0 when the new one is in force, 1 when it is not.

    \b
    Examples:
      bridgehead certificate renew
      bridgehead certificate renew mail.contoso.com
    """
    import time

    from bridgehead.admin.methods.certificates import RenewalOrder
    from bridgehead.admin.tls.certificate_views import RenewalView

    cli: CliContext = context.obj
    with cli.control() as control:
        if not name:
            views = control.call("certificates.renewals", None, list[RenewalView])
            emit(views, as_json, lambda: _renewals_text(views))
            context.exit(NEGATIVE if any(one.state == "failed" for one in views) else 0)
        view = control.call("certificates.renew", RenewalOrder(name), RenewalView)
        told = 0
        while True:
            for step in view.steps[told:]:
                if not as_json:
                    say(step)
            told = len(view.steps)
            if view.state != "running":
                break
            time.sleep(_POLL_SECONDS)
            views = control.call("certificates.renewals", None, list[RenewalView])
            view = next((one for one in views if one.name == view.name), view)
    emit(view, as_json, lambda: _renewed_text(view))
    context.exit(0 if view.state == "done" else NEGATIVE)


def _pem(file: Path) -> str:
    """Read as whoever runs the command, who may read keys that the server may not."""
    from bridgehead.admin.faults import INVALID, AdminFault
    from bridgehead.mail.limits import CERTIFICATE_FILE_BYTES

    try:
        with file.open("rb") as opened:
            data = opened.read(CERTIFICATE_FILE_BYTES + 1)
        if len(data) > CERTIFICATE_FILE_BYTES:
            raise AdminFault(INVALID, f"{file} is too large for a certificate", "give a PEM file")
        return data.decode("ascii")
    except OSError as error:
        raise AdminFault(INVALID, f"{file} cannot be read: {error.strerror}", "run this as who may read it") from None
    except UnicodeDecodeError:
        raise AdminFault(INVALID, f"{file} is no PEM", "convert it: openssl x509 -inform der") from None


def _report_text(report: "CertificateReport") -> str:
    rows = [
        (one.name, f"{one.not_after:%Y-%m-%d}", one.days_left, one.key_type, one.issuer, len(one.uses))
        for one in report.certificates
    ]
    lines = [table(("Name", "Until", "Days", "Key", "Issuer", "Shown by"), rows, flexible=(0, 4))]
    for one in report.certificates:
        if one.warnings or one.uses:
            lines += ["", one.name]
            lines += [f"  {use.by}: {use.how}" for use in one.uses]
            lines += [f"  {paint('warning', 'yellow')}  {wrapped(text, 11)}" for text in one.warnings]
    lines += [f"{paint('problem', 'red')}  {wrapped(text, 9)}" for text in report.problems]
    return "\n".join(lines)


def _view_text(one: "CertificateView") -> str:
    if one.self_signed:
        chain = "self-signed"
    elif one.missing_issuer:
        chain = f"{one.chain_length}, incomplete: {one.missing_issuer} is missing"
    else:
        chain = f"{one.chain_length}, leads to {'a trust anchor of this system' if one.trusted else 'its own root'}"
    usages = [word for word, has in (("server", one.server_use), ("client", one.client_use)) if has]
    lines = [
        one.name,
        facts(
            [
                ("names", ", ".join(one.names)),
                ("subject", one.subject),
                ("issuer", one.issuer),
                ("serial", one.serial),
                ("valid from", when(one.not_before)),
                ("valid until", when(one.not_after)),
                ("key", one.key_type),
                ("chain", chain),
                ("usage", " and ".join(usages)),
                ("fingerprint", one.fingerprint),
                ("file", one.certificate_file),
                ("key file", one.key_file),
                ("renewed by", "ACME" if one.acme else "bind" if one.kept else ""),
            ]
        ),
    ]
    lines += [f"  {use.by}: {use.how}" for use in one.uses]
    lines += [f"  {paint('warning', 'yellow')}  {wrapped(text, 11)}" for text in one.warnings]
    return "\n".join(lines)


def _check_text(found: "CertificateCheck", *, forced: bool = False) -> str:
    until = f", valid until {found.not_after:%Y-%m-%d}" if found.not_after else ""
    lines = [f"{', '.join(found.names)}{until}", f"to be kept as {found.name}"]
    for one in found.findings:
        lines.append(f"  {paint(one.verdict.value.ljust(7), _COLOURS[one.verdict])}  {one.subject}: {one.sentence}")
        if one.remedy:
            lines.append(f"           {wrapped(one.remedy, 11)}")
    refused = paint("Overruled by --force.", "yellow") if forced else paint("Refused.", "red")
    lines.append(paint("It may be bound.", "green") if found.verdict != "failure" else refused)
    return "\n".join(lines)


def _bound_text(done: "CertificateBound") -> str:
    how = paint(" (forced)", "yellow") if done.forced else ""
    return f"{_check_text(done.check, forced=done.forced)}\n{done.name} is in force{how}: SHA-256 {done.fingerprint}"


def _renewals_text(views: "list[RenewalView]") -> str:
    if not views:
        return "No certificate is renewed by ACME: see [acme]."
    rows = [(one.name, one.challenge, one.state, when(one.next_at), one.reason) for one in views]
    return table(("Name", "Challenge", "State", "Next", "Reason"), rows, flexible=(4, 0))


def _renewed_text(view: "RenewalView") -> str:
    if view.state == "done":
        return f"{view.name} was renewed; next look {when(view.next_at)}"
    return f"{paint('Not renewed:', 'red')} {wrapped(view.reason, 13)}"
