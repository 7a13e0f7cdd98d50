# SPDX-License-Identifier: MIT
"""Lines of keys: every form in which TOML lets them be written."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from bridgehead.server.config.positions import key_lines, shown

DOCUMENT = '''# comment with [brackets] and "quotes"
title = "a # b"            # 2
owner.name = 'lit\\eral'   # 3
"quoted key" . sub = 1     # 4

[a.b]
text = """
x = 1
[no.table]
\\""" still """
after = true               # 11
multi = [
  "one",                   # 13
  [1, 2],                  # 14
  { k = "v", deep.er = 2 },# 15
]
raw = \'\'\'
]]\'\'\'
date = 1979-05-27T07:32:00Z # 19

[[list]]
x = 1
[[list]]
[list.sub]
y = 2                      # 25
[[list.inner]]
z = 3                      # 27
[[list.inner]]
z = 4                      # 29
'''


def test_every_form_of_key_is_found() -> None:
    tomllib.loads(DOCUMENT)
    lines = key_lines(DOCUMENT)
    expected = {
        ("title",): 2,
        ("owner", "name"): 3,
        ("quoted key", "sub"): 4,
        ("a", "b"): 6,
        ("a", "b", "text"): 7,
        ("a", "b", "after"): 11,
        ("a", "b", "multi"): 12,
        ("a", "b", "multi", 0): 13,
        ("a", "b", "multi", 1, 1): 14,
        ("a", "b", "multi", 2, "k"): 15,
        ("a", "b", "multi", 2, "deep", "er"): 15,
        ("a", "b", "raw"): 17,
        ("a", "b", "date"): 19,
        ("list", 0): 21,
        ("list", 0, "x"): 22,
        ("list", 1): 23,
        ("list", 1, "sub", "y"): 25,
        ("list", 1, "inner", 0, "z"): 27,
        ("list", 1, "inner", 1, "z"): 29,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_windows_line_ends_count_as_one() -> None:
    assert key_lines('a = 1\r\nb = """x\r\ny"""\r\nc = 2\r\n')[("c",)] == 4


def test_paths_are_shown_as_people_write_them() -> None:
    assert shown(("receive_connectors", 1, "bindings", 0)) == "receive_connectors[1].bindings[0]"


_KEYS = st.sampled_from(["a", "b", "c-d", "e_f"])
_VALUES = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[\n" + ",\n".join(_written(element) for element in value) + "\n]"
    return str(value)


@given(st.lists(st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=4))
def test_every_key_is_on_the_line_that_begins_with_it(tables: list[dict[str, object]]) -> None:
    text = "".join(
        "[[t]]\n" + "".join(f"{key} = {_written(value)}\n" for key, value in table.items()) for table in tables
    )
    tomllib.loads(text)
    lines = key_lines(text)
    source = text.split("\n")
    for index, table in enumerate(tables):
        assert source[lines["t", index] - 1] == "[[t]]"
        for key in table:
            assert source[lines["t", index, key] - 1].startswith(f"{key} = ")
