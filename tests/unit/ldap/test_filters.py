# SPDX-License-Identifier: MIT
"""D5: LDAP filters and names by construction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.ldap import ber
from bridgehead.ldap.filters import all_of, any_of, equals, is_attribute, parse, present
from bridgehead.ldap.names import bind_name, escaped_value

EVIL = [
    "*", "a*", "*)(uid=*", "ann)(|(uid=*", "a\\2a", "a\0b", "x)(&", "\n", "ä", "(", ")", "=", "&", "|", "!", "\\", "${jndi}",
    "ann,ou=admins", "ann+uid=bob", '"ann"', "<x>", ";", "#", " ann", "ann ",
]  # fmt: skip


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_whatever_a_client_says_is_the_value_of_one_comparison(value: str) -> None:
    tag, content = ber.Reader(equals("uid", value).encoded).read()
    reader = ber.Reader(content)
    assert (tag, reader.text(), reader.expect(ber.OCTET_STRING)) == (0xA3, "uid", value.encode())
    assert not reader.more


def test_parts_are_joined() -> None:
    """Octets by RFC 4511 §4.5.1.7: [0] and, [1] or, [3] equalityMatch, [7] present."""
    one, two = equals("a", "1"), equals("b", "2")
    assert one.encoded == bytes.fromhex("a306040161040131")
    assert any_of(one) == all_of(one) == one
    assert any_of(one, two).encoded == b"\xa1\x10" + one.encoded + two.encoded
    assert all_of(one, two).encoded == b"\xa0\x10" + one.encoded + two.encoded
    assert present("objectClass").encoded == b"\x87\x0bobjectClass"


def test_an_administrators_filter_is_parsed() -> None:
    """RFC 4515 §4 has most of them."""
    assert parse("(uid=ann)") == equals("uid", "ann")
    assert parse("(objectClass=*)") == present("objectClass")
    assert parse("(&(a=1)(|(b=2)(c=3)))") == all_of(equals("a", "1"), any_of(equals("b", "2"), equals("c", "3")))
    assert parse("(!(a=1))").encoded == b"\xa2\x08" + equals("a", "1").encoded
    assert parse(r"(o=Parens R Us \28for all\29)") == equals("o", "Parens R Us (for all)")
    assert parse(r"(sn=Lu\c4\8di\c4\87)") == equals("sn", "Lučić")
    assert parse("(cn=*)").encoded == b"\x87\x02cn"
    assert parse("(n>=5)").encoded == bytes.fromhex("a506 04016e 040135".replace(" ", ""))
    assert parse("(n<=5)").encoded[0] == 0xA6
    assert parse("(n~=5)").encoded[0] == 0xA8
    assert parse("(o=univ*of*mich*)").encoded == (
        b"\xa4\x15" + b"\x04\x01o" + b"\x30\x10" + b"\x80\x04univ" + b"\x81\x02of" + b"\x81\x04mich"
    )
    assert parse("(cn:caseExactMatch:=Fred)").encoded == (b"\xa9\x1a\x81\x0ecaseExactMatch\x82\x02cn\x83\x04Fred")
    assert parse("(cn:dn:2.4.6:=B)").encoded == b"\xa9\x11\x81\x052.4.6\x82\x02cn\x83\x01B\x84\x01\xff"
    assert parse("(memberOf:1.2.840.113556.1.4.1941:=CN=a,DC=b)").encoded.endswith(b"\x83\x09CN=a,DC=b")


@pytest.mark.parametrize(
    "text",
    ["", "x", "(a=b", "(a=b)(c=d)", "(a=b))", ")(", "(=b)", "(a)", "(&)", "(&a=b)", "(!)", "(a=b\\)", "(a=\\2)", "(1a=b)",
     "(a=**)", "(a>=*)", "(:=x)", "(a:b c:=x)", "(a=(b))", "(" * 50, "(!" * 50 + "(a=b)" + ")" * 50],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text(alphabet="()&|!=*:\\2aé<>~ -.;", max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        encoded = parse(text).encoded
    except ValueError:
        return
    reader = ber.Reader(encoded)
    reader.read()
    assert not reader.more


@pytest.mark.parametrize("name", ["", "uid=*)(x", "uid)", "1uid", "u id", "uid ", "ü"])
def test_attributes_are_names(name: str) -> None:
    assert not is_attribute(name)
    assert is_attribute("proxyAddresses")
    assert is_attribute("1.2.840.113556.1.2.210")


def test_names_to_bind_as() -> None:
    template = "uid={name},ou=people,dc=contoso,dc=com"
    assert bind_name(template, "ann") == "uid=ann,ou=people,dc=contoso,dc=com"
    assert bind_name(template, "ann,ou=x") == "uid=ann\\2cou\\3dx,ou=people,dc=contoso,dc=com"
    assert bind_name("{name}@contoso.com", "ann") == "ann@contoso.com"
    assert bind_name("{name}@contoso.com", "ann@Contoso.com") == "ann@contoso.com"
    assert bind_name("CONTOSO\\{name}", "ann") == "CONTOSO\\ann"
    for name in ("ann@fabrikam.com", "FABRIKAM\\ann", "cn=admin,dc=x", "a b", "@contoso.com", "a/b", "a;b"):
        assert bind_name("{name}@contoso.com", name) == ""
    for value in EVIL:
        assert not set(escaped_value(value)) & set(',+"<>;#= \0\n')
