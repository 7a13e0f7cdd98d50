# SPDX-License-Identifier: MIT
"""Every method of the table with every role: who may less is refused before anything is touched."""

from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from bridgehead.admin.access.concealment import MASKED
from bridgehead.admin.faults import FORBIDDEN, AdminFault
from bridgehead.admin.method import Caller, Method, Role, perform
from bridgehead.admin.methods.table import METHODS


class Touched(Exception):
    """A method reached the server."""


class Untouchable:
    """A server that tells when it is asked anything."""

    def __getattr__(self, name: str) -> Any:
        raise Touched(name)


def some(kind: Any) -> Any:
    """A value of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if NoneType in arguments else some(arguments[0])
    if origin in (list, tuple, frozenset, dict):
        return origin()
    if origin is Annotated:
        return some(arguments[0])
    if origin is Literal:
        return arguments[0]
    if issubclass(kind, msgspec.Struct):
        return some_of(kind)
    return next(iter(kind)) if issubclass(kind, Enum) else kind(1)


def some_of(params: type[msgspec.Struct]) -> msgspec.Struct:
    """Parameters with what is required."""
    return params(**{field.name: some(field.type) for field in msgspec.structs.fields(params) if field.required})


@pytest.mark.parametrize("role", Role, ids=lambda role: role.name)
@pytest.mark.parametrize("name", METHODS)
async def test_a_role_is_enough_or_the_server_is_not_touched(name: str, role: Role) -> None:
    method, server = METHODS[name], Untouchable()
    call = perform(method, server, some_of(method.params), Caller("eve", role))  # type: ignore[arg-type]
    if role >= method.role:
        try:
            await call
        except (Touched, AdminFault) as raised:
            assert not (isinstance(raised, AdminFault) and raised.code == FORBIDDEN)  # noqa: PT017
    else:
        with pytest.raises(AdminFault, match="this takes the role") as caught:
            await call
        assert caught.value.code == FORBIDDEN


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.changes])
def test_whoever_only_looks_changes_nothing(name: str) -> None:
    assert METHODS[name].role >= Role.OPERATOR


class Asked(msgspec.Struct):
    subject: str = ""
    filter: str = ""
    sender: str = ""


class Shown(msgspec.Struct):
    subject: str
    message_subject: str | None
    header: str
    rows: list[dict[str, Any]]
    sender: str


async def show(_: Any, __: Asked, ___: Caller) -> Shown:
    rows = [{"Subject": "Dismissal", "Message-ID": "<1@a>"}, {"inner": {"subjects": ["Dismissal", ""]}}]
    return Shown("Dismissal", "Dismissal", "Subject: Dismissal\n", rows, "ann@contoso.com")


METHOD = Method(params=Asked, result=Shown, answer=show, role=Role.HELP_DESK, route="GET /shown")
NO_SERVER: Any = None


async def test_the_help_desk_sees_everything_but_subjects() -> None:
    shown = await perform(METHOD, NO_SERVER, Asked(), Caller("hugo", Role.HELP_DESK))
    assert shown == {
        "subject": MASKED,
        "message_subject": MASKED,
        "header": MASKED,
        "rows": [{"Subject": MASKED, "Message-ID": "<1@a>"}, {"inner": {"subjects": [MASKED, ""]}}],
        "sender": "ann@contoso.com",
    }
    assert msgspec.convert(shown, Shown)  # whoever decodes it as what it was can


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR])
async def test_others_see_subjects(role: Role) -> None:
    shown = await perform(METHOD, NO_SERVER, Asked(), Caller("vera", role))
    assert shown.subject == "Dismissal"


@pytest.mark.parametrize("params", [Asked(subject="Dis*"), Asked(filter='SUBJECT -like "Dis*"')])
async def test_the_help_desk_cannot_find_subjects_out_by_asking(params: Asked) -> None:
    with pytest.raises(AdminFault, match="may not ask about subjects") as caught:
        await perform(METHOD, NO_SERVER, params, Caller("hugo", Role.HELP_DESK))
    assert caught.value.code == FORBIDDEN


async def test_the_word_in_an_address_is_no_question_about_subjects() -> None:
    assert await perform(METHOD, NO_SERVER, Asked(sender="subject@contoso.com"), Caller("hugo", Role.HELP_DESK))
