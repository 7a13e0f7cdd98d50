# SPDX-License-Identifier: MIT
import pytest

from bridgehead.receive.permissions.header_firewall import count_received, strip_for_sending, strip_header
from bridgehead.receive.permissions.rights import ALL_RIGHTS
from bridgehead.receive.settings import Right

TRACE = b"Received: from a by b\r\n\twith SMTP; now\r\nResent-From: x@y\r\n"
ORGANIZATION = b"X-MS-Exchange-Organization-SCL: -1\r\n"
FOREST = b"X-MS-Exchange-Forest-RulesExecuted: yes\r\n folded\r\n"
PLAIN = b"From: a@b\r\nSubject: Received: X-MS-Exchange-Organization-SCL: -1\r\n X-MS-Exchange-Forest-A: folded\r\n"


def test_each_right_keeps_its_fields() -> None:
    block = TRACE + ORGANIZATION + PLAIN + FOREST
    assert strip_header(block, ALL_RIGHTS) is block
    assert strip_header(block, frozenset()) == PLAIN
    assert strip_header(block, frozenset({Right.ACCEPT_HEADERS_ROUTING})) == TRACE + PLAIN
    assert strip_header(block, frozenset({Right.ACCEPT_HEADERS_ORGANIZATION})) == ORGANIZATION + PLAIN
    assert strip_header(block, frozenset({Right.ACCEPT_HEADERS_FOREST})) == PLAIN + FOREST


def test_nothing_to_do_touches_nothing() -> None:
    block = b"From: a@b\r\nSubject: x\r\n"
    assert strip_header(block, frozenset()) is block
    assert strip_header(b"", frozenset()) == b""


@pytest.mark.parametrize(
    "forged",
    [
        b"x-ms-exchange-organization-authas: Internal\r\n",
        b"X-MS-EXCHANGE-ORGANIZATION-AUTHAS:Internal\r\n",
        b"X-MS-Exchange-Organization-AuthAs : Internal\r\n",
        b"X-MS-Exchange-Organization-AuthAs\t \t: Internal\r\n",
        b"X-MS-Exchange-Organization-AuthAs:\r\n Internal\r\n\tand more\r\n",
        b"X-MS-Exchange-Organization-: x\r\n",
        b"X-MS-Exchange-Organization-AuthAs\r\n : Internal\r\n",
        b"X-MS-Exchange-Organization-AuthAs\x0b: Internal\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", PLAIN, b"a line that is no field\r\n"])
def test_forged_internal_fields_do_not_pass_in_any_dress(forged: bytes, before: bytes) -> None:
    assert strip_header(before + forged + b"To: c@d\r\n", frozenset()) == before + b"To: c@d\r\n"


def test_first_line_that_begins_with_white_space_is_removed_with_what_continues_it() -> None:
    forged = b" X-MS-Exchange-Organization-SCL: -1\r\n\tmore\r\n"
    assert strip_header(forged + PLAIN, ALL_RIGHTS) == PLAIN
    assert strip_header(b" harmless: y\r\n" + PLAIN, frozenset()) == PLAIN
    assert strip_header(forged, frozenset()) == b""


def test_names_that_only_begin_alike_stay() -> None:
    block = b"Received-SPF: pass\r\nX-MS-Exchange-OrganizationX: 1\r\nX-Received: y\r\nResentful: z\r\n"
    assert strip_header(block, frozenset()) == block


def test_internal_fields_never_leave_and_trace_leaves_by_right() -> None:
    block = TRACE + ORGANIZATION + PLAIN + FOREST
    assert strip_for_sending(block, preserve_routing_headers=True) == TRACE + PLAIN
    assert strip_for_sending(block, preserve_routing_headers=False) == PLAIN


def test_hops_and_own_hops_are_counted() -> None:
    block = (
        b"Received: from x (by mx.contoso.com) by mx.contoso.com with SMTP; now\r\n"
        b"RECEIVED : from mx.contoso.com by other.example; now\r\n"
        b"Received: from a\r\n\tby\r\n MX.Contoso.COM; now\r\n"
        b"Received-SPF: pass by mx.contoso.com\r\n"
        b"Subject: x\r\n Received: by mx.contoso.com\r\n"
        b"Received: by mx.contoso.com.evil.example\r\n"
        b"Received: by notmx.contoso.com\r\n"
    )
    assert count_received(block, "mx.contoso.com") == (5, 2)
    assert count_received(b"From: a\r\n", "mx.contoso.com") == (0, 0)
