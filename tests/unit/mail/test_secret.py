# SPDX-License-Identifier: MIT
"""Secret shows itself to nobody who did not ask."""

import pickle

import pytest

from bridgehead.mail.secret import Secret


@pytest.mark.parametrize("shown", [repr, str, lambda s: f"{s}", lambda s: f"{s:>20}", lambda s: "%s" % s])  # noqa: UP031
def test_no_way_of_printing_shows_it(shown):
    assert "hunter2" not in shown(Secret("hunter2"))


def test_it_is_not_stored_by_accident():
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))


def test_code_that_needs_it_gets_it():
    assert Secret("hunter2").reveal() == "hunter2"
