# SPDX-License-Identifier: MIT
"""Groups, forwarding and contacts: following every recipient through the directory until it is a place for mail.

Each place gets one copy, however many ways lead to it. Loops do no harm as long as somebody in them gets the message;
a loop of mailboxes that only forward is reported (5.4.6). What RFC 3461 §5.2.7 asks of lists and aliases, and who
hears of failures behind a group (report_to_originator, report_to_manager), is decided here too.

A group may have a hundred thousand members, and each costs a look-up. So the way is a generator that pauses after each:
whoever drives it sees to other things in between, or does not.
"""

from collections.abc import Iterator, Sequence

import msgspec

from bridgehead.categorizer import refusals
from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.resolution import Copy, Resolution
from bridgehead.categorizer.restrict import listed_refusal, refusal
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem, Source
from bridgehead.mail.limits import ALIAS_STEPS, EXPANDED_RECIPIENTS, GROUP_DEPTH
from bridgehead.tracking.events import COPIED, EventId, event_for

POSTMASTER = "postmaster"
"""Always deliverable in our domains (RFC 5321 §4.5.1); compared without case."""


class Step(msgspec.Struct, frozen=True):
    """How a recipient was reached.

    Attributes:
        copy: the copy that it belongs to.
        found: the directory object passed last, None at the start.
        before: the step before that.
        delivers: `found` keeps a copy of its own.
        groups: groups passed so far; `aliases`: forwards and contacts passed so far.
        by_client: the recipient, perhaps renamed since, is one that the client gave; it must come to a stated end.
    """

    copy: Copy
    found: Recipient | None = None
    before: "Step | None" = None
    delivers: bool = False
    groups: int = 0
    aliases: int = 0
    by_client: bool = True


class Expansion:
    """The way of one message's recipients through the directory.

    Args:
        too_large: the organisation's limit that the message exceeds, which mail between our own users need not keep.
    """

    def __init__(
        self, item: MailItem, mail_flow: MailFlow, resolution: Resolution, too_large: DeliveryStatus | None, now: float,
    ) -> None:  # fmt: skip
        self._item = item
        self._directory = mail_flow.directory
        self._accepted_domains = mail_flow.accepted_domains
        self._resolution = resolution
        self._too_large = too_large
        self._now = now
        self._restricted = True
        self._places: dict[str, Mailbox] = {}
        """Keys of the places that get a copy, each with the address that brought it."""
        self._ends: dict[str, DeliveryStatus | None] = {}
        """Directory objects passed, by name, with the reason where they do not take the message."""
        self._open: list[Iterator[None]] = []
        """What is under way, the innermost group last."""

    def steps(self, recipients: Sequence[EnvelopeRecipient], *, restricted: bool) -> Iterator[None]:
        """Follow all recipients, groups last: who is named and a member too keeps what the client asked for. Pauses
        after each step. Raises DirectoryUnavailable.

        `restricted`: who may write to a recipient is asked when a message is new, not when it is resubmitted.
        """
        self._restricted = restricted
        start = Step(self._resolution.main)
        groups = []
        for recipient in recipients:
            if recipient.state:
                continue
            found = self._directory.find(recipient.forward_path)
            if found is not None and found.type is RecipientType.GROUP:
                groups.append((recipient, found))
            else:
                self._follow(recipient, found, start)
                yield from self._opened()
            yield
        for recipient, group in groups:
            self._follow(recipient, group, start)
            yield from self._opened()

    def _opened(self) -> Iterator[None]:
        """Work off what following a recipient has opened, innermost first."""
        under_way = self._open
        while under_way:
            innermost = under_way[-1]
            for _ in innermost:
                yield
                if under_way[-1] is not innermost:
                    break
            else:
                under_way.remove(innermost)

    def _follow(self, recipient: EnvelopeRecipient, found: Recipient | None, step: Step) -> None:
        if found is None:
            self._outside(recipient, step)
            return
        if found.name in self._ends:
            self._again(recipient, found, step)
            return
        if self._restricted and (found.accept_messages_only_from or found.reject_messages_from):
            self._open.append(self._restricted_one(recipient, found, step))
        else:
            self._judged(recipient, found, step, refusal(found, self._item) if self._restricted else None)

    def _restricted_one(self, recipient: EnvelopeRecipient, found: Recipient, step: Step) -> Iterator[None]:
        """One who takes mail from some only: the groups in its lists may be large."""
        reason = yield from listed_refusal(found, self._item, self._directory)
        self._judged(recipient, found, step, reason)

    def _judged(
        self, recipient: EnvelopeRecipient, found: Recipient, step: Step, reason: DeliveryStatus | None
    ) -> None:  # fmt: skip
        self._ends[found.name] = reason
        if reason is not None:
            self._fail(recipient, reason, step)
        elif found.type is RecipientType.GROUP:
            self._group(recipient, found, step)
        else:
            self._individual(recipient, found, step)

    # --- one recipient ---------------------------------------------------------------------------------------------

    def _outside(self, recipient: EnvelopeRecipient, step: Step) -> None:
        """An address that the directory does not know: elsewhere, or nowhere."""
        address = recipient.forward_path
        domain = address.domain_key or self._accepted_domains.default_name
        if not address.domain or self._accepted_domains.is_authoritative(domain):
            if address.local_part.lower() == POSTMASTER:
                self._postmaster(recipient, step)
            else:
                self._fail(recipient, refusals.RECIPIENT_NOT_FOUND, step)
        else:
            self._elsewhere(recipient, f"{address.local_part}@{domain}", step)

    def _postmaster(self, recipient: EnvelopeRecipient, step: Step) -> None:
        """The domain has no postmaster of its own: the default domain's, else the mailbox of that name."""
        address = Mailbox(POSTMASTER, self._accepted_domains.default_name)
        if address.domain and (found := self._directory.find(address)) is not None:
            self._follow(recipient, found, step)
            return
        local = self._renamed(recipient, address if address.domain else recipient.forward_path)
        local.mailbox = POSTMASTER
        self._place(local, f"{POSTMASTER}@", step)

    def _individual(self, recipient: EnvelopeRecipient, found: Recipient, step: Step) -> None:
        """A mailbox, mail user or contact."""
        if found.forwarding_address is None or found.deliver_to_mailbox_and_forward:
            self._own_copy(recipient, found, step)
        if found.forwarding_address is not None:
            self._forward(recipient, found, found.forwarding_address, step)

    def _own_copy(self, recipient: EnvelopeRecipient, found: Recipient, step: Step) -> None:
        """The copy for the recipient itself: in its mailbox here, or at its external address."""
        target = found.external_email_address
        if found.type is RecipientType.MAILBOX or target is None:
            if found.type is not RecipientType.MAILBOX:
                self._fail(recipient, refusals.INVALID_ADDRESS, step)
                return
            local = self._renamed(recipient, found.primary_smtp_address)
            local.mailbox = found.mailbox or found.name
            self._place(local, found.primary_smtp_address.key, step)
            return
        renamed = self._renamed(recipient, target)
        behind = self._directory.find(target)
        if behind is None:
            self._outside(renamed, step)
        elif behind.name == found.name:  # an address of ours that is served elsewhere, which a connector knows
            self._elsewhere(renamed, target.key, step)
        elif step.aliases >= ALIAS_STEPS:
            self._fail(renamed, refusals.FORWARDING_TOO_LONG, step)
        else:
            self._follow(renamed, behind, self._onward(step, found))

    def _elsewhere(self, recipient: EnvelopeRecipient, key: str, step: Step) -> None:
        """Out of the house, where the organisation's limit on size holds for everybody."""
        if self._too_large is not None:
            self._fail(recipient, self._too_large, step)
        else:
            recipient.mailbox = ""
            self._place(recipient, key, step)

    def _forward(self, recipient: EnvelopeRecipient, found: Recipient, target: Mailbox, step: Step) -> None:
        """On to the forwarding address. The client's recipient goes with it unless it stays with the local copy."""
        copied = found.deliver_to_mailbox_and_forward
        if step.aliases >= ALIAS_STEPS:
            self._fail(recipient, refusals.FORWARDING_TOO_LONG, step)
            return
        forwarded = EnvelopeRecipient(
            target, _without_success(recipient.notify) if copied else recipient.notify, _original(recipient),
        )  # fmt: skip
        self._track(EventId.REDIRECT, [target], recipient.forward_path, COPIED if copied else "")
        onward = self._onward(step, found, delivers=copied)
        self._follow(forwarded, self._directory.find(target), onward)

    # --- groups ----------------------------------------------------------------------------------------------------

    def _group(self, recipient: EnvelopeRecipient, group: Recipient, step: Step) -> None:
        if self._item.is_dsn or step.copy.reverse_path.is_null:
            self._report_to_group(recipient, group, step)
            return
        if step.groups >= GROUP_DEPTH:
            self._fail(recipient, refusals.GROUP_TOO_DEEP, step)
            return
        if len(self._places) + len(group.members) > EXPANDED_RECIPIENTS:
            self._fail(recipient, refusals.GROUP_TOO_LARGE, step)
            return
        self._open.append(self._expanded(recipient, group, step))

    def _expanded(self, recipient: EnvelopeRecipient, group: Recipient, step: Step) -> Iterator[None]:
        """All members, one after the other."""
        members: list[tuple[Mailbox, Recipient | None]] = []
        addresses: list[str] = []
        for name in group.members:
            if (member := self._member(group, name)) is not None:
                members.append(member)
                addresses.append(str(member[0]))
            yield
        if recipient.forward_path != group.primary_smtp_address:
            self._track(EventId.RESOLVE, [group.primary_smtp_address], recipient.forward_path)
        self._track(EventId.EXPAND, addresses, group.primary_smtp_address)
        if recipient.notify & Notify.SUCCESS:
            step.copy.results.append((recipient, refusals.EXPANDED))
        copy, notify, original = self._reports_of(group, recipient, step)
        onward = Step(copy, group, step, False, step.groups + 1, step.aliases, False)
        for address, found in members:
            self._follow(EnvelopeRecipient(address, notify, original), found, onward)
            yield

    def _member(self, group: Recipient, name: str) -> tuple[Mailbox, Recipient | None] | None:
        """A member with its address. A name that the directory does not hold is dropped by name."""
        found = self._directory.find_by_name(name)
        if found is not None:
            return found.primary_smtp_address, found
        try:
            return parse_mailbox(name.strip()), None
        except AddressError:
            self._track(EventId.DROP, [name], group.primary_smtp_address, "the group's member does not exist")
            return None

    def _reports_of(
        self, group: Recipient, recipient: EnvelopeRecipient, step: Step,
    ) -> tuple[Copy, Notify, str]:  # fmt: skip
        """Who hears of the members: the copy (which is to say: reverse-path), their NOTIFY and original recipient."""
        if group.report_to_manager and (manager := self._address_of(group.managed_by)):
            return self._resolution.copy_for(manager), Notify.FAILURE, ""
        if not group.report_to_originator and not group.report_to_manager:
            return step.copy, Notify.NEVER, ""
        return step.copy, _without_success(recipient.notify), _original(recipient)

    def _report_to_group(self, recipient: EnvelopeRecipient, group: Recipient, step: Step) -> None:
        """Reports never reach a group's members: its manager gets them where reports are the manager's, else nobody."""
        manager = self._address_of(group.managed_by) if group.report_to_manager else None
        if manager is None:
            self._track(EventId.DROP, [recipient.forward_path], group.primary_smtp_address, "a report to a group")
            return
        self._track(EventId.REDIRECT, [manager], recipient.forward_path)
        redirected = EnvelopeRecipient(manager, Notify.NEVER, _original(recipient))
        onward = Step(step.copy, group, step, False, step.groups + 1, step.aliases, False)
        self._follow(redirected, self._directory.find(manager), onward)

    def _address_of(self, name: str) -> Mailbox | None:
        found = self._directory.find_by_name(name) if name else None
        if found is not None:
            return found.primary_smtp_address
        try:
            return parse_mailbox(name.strip())
        except AddressError:
            return None

    # --- ends ------------------------------------------------------------------------------------------------------

    def _again(self, recipient: EnvelopeRecipient, found: Recipient, step: Step) -> None:
        """An object that was passed before: in this very chain (a loop), or on another way to it."""
        passed: Step | None = step
        broken = False
        while passed is not None and passed.found is not None:
            if passed.found.type is not RecipientType.GROUP:
                if passed.delivers:
                    broken = False
                    break
                broken = True
            if passed.found.name == found.name:
                break
            passed = passed.before
        else:
            broken = False
        if broken:
            self._ends[found.name] = refusals.FORWARDING_LOOP
            self._fail(recipient, refusals.FORWARDING_LOOP, step)
        elif step.by_client and (reason := self._ends[found.name]) is not None:
            self._fail(recipient, reason, step)
        else:
            self._duplicate(recipient, found.primary_smtp_address)

    def _place(self, recipient: EnvelopeRecipient, key: str, step: Step) -> None:
        if (served := self._places.get(key)) is not None:
            self._duplicate(recipient, served)
        else:
            self._places[key] = recipient.forward_path
            step.copy.pending.append(recipient)

    def _fail(self, recipient: EnvelopeRecipient, reason: DeliveryStatus, step: Step) -> None:
        """Settle a recipient; every forwarder on the way to it counts as failed from now on."""
        step.copy.results.append((recipient, reason))
        passed: Step | None = step
        while passed is not None and passed.found is not None and passed.found.type is not RecipientType.GROUP:
            if not passed.delivers:
                self._ends[passed.found.name] = reason
            passed = passed.before

    def _duplicate(self, recipient: EnvelopeRecipient, address: Mailbox) -> None:
        """Track that a recipient is served already, as `address`."""
        alias = recipient.forward_path if recipient.forward_path != address else None
        self._track(EventId.DUPLICATEEXPAND, [address], alias)

    def _onward(self, step: Step, found: Recipient, *, delivers: bool = False) -> Step:
        """The step past a forwarder or contact."""
        return Step(step.copy, found, step, delivers, step.groups, step.aliases + 1, step.by_client and not delivers)

    def _renamed(self, recipient: EnvelopeRecipient, address: Mailbox) -> EnvelopeRecipient:
        """The recipient under another address, the former one kept as ORCPT; tracked, be it only spelt otherwise,
        since each address that the client named must be seen to end."""
        if recipient.forward_path == address:
            return msgspec.structs.replace(recipient)
        self._track(EventId.RESOLVE, [address], recipient.forward_path)
        if recipient.forward_path.key == address.key:
            return msgspec.structs.replace(recipient, forward_path=address)
        return msgspec.structs.replace(recipient, forward_path=address, original_recipient=_original(recipient))

    def _track(
        self, event_id: EventId, recipients: Sequence[Mailbox | str], related: Mailbox | None, why: str = "",
    ) -> None:  # fmt: skip
        event = event_for(self._item, event_id, Source.ROUTING, self._now, [str(address) for address in recipients])
        event.related_recipient_address = str(related or "")
        event.source_context = why
        if event_id is EventId.EXPAND:
            event.reference = event.related_recipient_address
        self._resolution.events.append(event)


def _without_success(notify: Notify) -> Notify:
    """NOTIFY for those behind a group or a copy: success was told, or is told, for the recipient that was named."""
    if not notify & Notify.SUCCESS:
        return notify
    return Notify(notify & ~Notify.SUCCESS) or Notify.NEVER


def _original(recipient: EnvelopeRecipient) -> str:
    """ORCPT: as the client gave it, else the address as it was first (RFC 3461 §4.2, RFC 6533 §3)."""
    if recipient.original_recipient:
        return recipient.original_recipient
    address = recipient.forward_path
    return f"{'rfc822' if address.is_ascii else 'utf-8'};{address}"
