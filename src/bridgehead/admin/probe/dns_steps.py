# SPDX-License-Identifier: MIT
"""The DNS part of a test: every configured server over UDP and TCP, for MX, A, AAAA and DS (RFC 5321 §5.1, RFC 7505).

A server that fails while another answers is a warning: delivery asks the next. What delivery itself then finds is
asked through its own code by the caller.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence

from bridgehead.admin.probe.dns_query import DnsReply, ask, exchangers
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.mail.limits import PROBE_HOSTS

_PORT_REMEDY = "see that it runs and that a firewall lets UDP and TCP port 53 through, or remove it from dns_servers"


class DnsProbe:
    """Asks all servers about one name.

    Args:
        servers: as `dns_servers` has them.
        seconds: for one answer.
        time: monotonic seconds.
    """

    def __init__(self, servers: Sequence[str], *, seconds: float, time: Callable[[], float]) -> None:
        self._servers = list(servers)
        self._seconds = seconds
        self._time = time

    async def run(self, above: StepBuilder, name: str) -> bool:
        """The steps about a mail domain or smart host; whether any server gave a usable answer."""
        with above.step(f"Asking {_counted(len(self._servers))} about {name}") as step:
            asked = await asyncio.gather(*(self._server(step, server, name) for server in self._servers))
            usable = [mx for mx in asked if mx is not None]
            if usable and len(usable) < len(asked):
                step.only_warn()
            if not usable:
                step.say(f"No DNS server says where mail for {name} goes")
                return False
            if any(mx != usable[0] for mx in usable):
                step.warned(
                    f"The DNS servers name different mail hosts for {name}",
                    "wait until the change has reached all of them, or remove the one that is wrong from dns_servers",
                )
            else:
                step.say(f"{_counted(len(usable))} of {len(asked)} can say where mail for {name} goes")
        return True

    async def _server(self, above: StepBuilder, server: str, name: str) -> tuple[tuple[int, str], ...] | None:
        """One server: its mail hosts, None where it is of no use."""
        with above.step(f"Asking DNS server {server}") as step:
            udp, tcp = await asyncio.gather(self._ask(server, name, "MX", False), self._ask(server, name, "MX", True))
            step.add(
                f"UDP MX {name}: {udp} ({udp.milliseconds:g} ms)", f"TCP MX {name}: {tcp} ({tcp.milliseconds:g} ms)"
            )
            answer = tcp if not udp.answered or udp.truncated else udp
            if not self._transports(step, server, udp, tcp) or not _mx(step, server, name, answer):
                return None
            hosts = [host for _, host in exchangers(answer)] or [name]
            await self._signed(step, server, name)
            usable = [await self._host(step, server, host, exchangers(answer)) for host in hosts[:PROBE_HOSTS]]
            if not any(usable):
                step.say(f"DNS server {server} knows no address of any mail host of {name}")
                return None
            step.say(f"DNS server {server} names {', '.join(hosts[:PROBE_HOSTS])}")
            step.only_warn()
            return tuple(exchangers(answer))

    def _transports(self, above: StepBuilder, server: str, udp: DnsReply, tcp: DnsReply) -> bool:
        """Both ways to the server work."""
        if not udp.answered and not tcp.answered:
            how = "does not answer" if udp.error == "timeout" else f"cannot be asked ({udp.error})"
            above.failed(f"DNS server {server} {how}, neither over UDP nor over TCP", _PORT_REMEDY)
            return False
        for name, one, other in (("UDP", udp, "TCP"), ("TCP", tcp, "UDP")):
            if not one.answered:
                with above.step("") as step:
                    lost = "large answers cannot be had" if name == "TCP" else "each question costs a time-out"
                    step.warned(f"DNS server {server} answers over {other} and not over {name}: {lost}", _PORT_REMEDY)
        return True

    async def _signed(self, above: StepBuilder, server: str, name: str) -> None:
        reply = await self._ask(server, name, "DS", False)
        with above.step("") as step:
            if reply.records:
                step.noted(f"{name} is signed (DNSSEC): its parent has {len(reply.records)} DS records")
            elif reply.rcode in ("NOERROR", "NXDOMAIN"):
                step.noted(f"{name} has no DS record: its answers are not signed")
            else:
                step.warned(f"DNS server {server} gives no answer about DS of {name}: {reply}")
            step.add(f"DS {name}: {reply} ({reply.milliseconds:g} ms)")

    async def _host(
        self, above: StepBuilder, server: str, host: str, records: Sequence[tuple[int, str]]
    ) -> bool:  # fmt: skip
        """Both families of one host; whether there is an address."""
        with above.step(f"Looking up the addresses of {host}") as step:
            four, six = await asyncio.gather(
                self._ask(server, host, "A", False), self._ask(server, host, "AAAA", False)
            )
            step.add(f"A {host}: {four} ({four.milliseconds:g} ms)", f"AAAA {host}: {six} ({six.milliseconds:g} ms)")
            found = [*four.records, *six.records]
            alias = four.alias or six.alias
            silent = [
                kind for kind, reply in (("A", four), ("AAAA", six)) if reply.rcode not in ("NOERROR", "NXDOMAIN")
            ]
            if not found:
                _no_address(step, host, four, silent)
            elif silent:
                lost, kept, reply = ("AAAA", "IPv4", six) if silent == ["AAAA"] else ("A", "IPv6", four)
                how = "no answer" if reply.error == "timeout" else str(reply)
                step.warned(
                    f"Asked for {lost} of {host}, its name servers give {how}; mail goes over {kept}, after a delay",
                    f"the fault is with the name servers of {host}; tell their administrator",
                )
            elif alias and records:
                step.warned(
                    f"The MX names {host}, which is only an alias of {alias}; some servers refuse such mail hosts",
                    f"let the MX name {alias} itself (RFC 5321 §5.1)",
                )
            else:
                missing = "" if six.records else ", no IPv6 address"
                step.passed(f"{host} has {', '.join(found)}{missing}")
        return bool(found)

    async def _ask(self, server: str, name: str, kind: str, tcp: bool) -> DnsReply:
        return await ask(server, name, kind, tcp=tcp, seconds=self._seconds, time=self._time)


def _mx(step: StepBuilder, server: str, name: str, answer: DnsReply) -> bool:
    """Whether the MX answer leads on."""
    if answer.rcode == "NXDOMAIN":
        step.failed(f"{name} does not exist, says DNS server {server}", "look for a typing error in the domain")
    elif answer.rcode == "REFUSED":
        step.failed(
            f"DNS server {server} refuses to look up {name} for us",
            "allow recursion for this server there, or name another in dns_servers",
        )
    elif answer.rcode != "NOERROR":
        step.failed(
            f"DNS server {server} cannot find out the MX of {name}: {answer}",
            f"the name servers of {name} do not answer, or its DNSSEC is broken; compare with another resolver",
        )
    elif [host for _, host in exchangers(answer)] == [""]:
        step.failed(
            f"{name} takes no mail: it publishes a null MX (RFC 7505)", "there is nothing to repair on our side"
        )
    else:
        _unusual(step, name, answer)
        return True
    return False


def _unusual(above: StepBuilder, name: str, answer: DnsReply) -> None:
    if answer.alias:
        with above.step("") as step:
            step.noted(f"{name} is an alias of {answer.alias}, whose mail hosts take its mail")
    if not answer.records:
        with above.step("") as step:
            step.noted(f"{name} has no MX: its own address takes its mail (RFC 5321 §5.1)")
    for _, host in exchangers(answer):
        if _is_address(host):
            with above.step("") as step:
                step.warned(f"The MX of {name} names the address {host} where a host name must stand (RFC 5321 §5.1)")


def _no_address(step: StepBuilder, host: str, four: DnsReply, silent: list[str]) -> None:
    if four.rcode == "NXDOMAIN":
        step.failed(
            f"{host} does not exist", "whoever publishes this name must give it an address or name another host"
        )
    elif silent:
        step.failed(
            f"There is no answer about {' and '.join(silent)} of {host}, and no address otherwise",
            f"the name servers of {host} do not answer; try again later, tell their administrator",
        )
    else:
        step.failed(f"{host} has no address, neither IPv4 nor IPv6", "whoever publishes this name must give it one")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _counted(number: int) -> str:
    return f"{number} DNS server{'' if number == 1 else 's'}"
