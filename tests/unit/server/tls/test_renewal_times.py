# SPDX-License-Identifier: MIT
"""When certificates are renewed."""

from pathlib import Path

import pytest

from bridgehead.net.certificates.chain import read_chain_file
from bridgehead.server.tls.renewal_times import delay_after, renewal_time
from support.certificates import Authority

DAY = 86400.0


@pytest.mark.parametrize(("days", "before"), [(90.0, 30.0), (6.0, 2.0), (400.0, 30.0)])
def test_short_lived_certificates_are_renewed_in_the_last_third_of_their_life(
    tmp_path: Path, days: float, before: float
) -> None:
    facts = read_chain_file(Authority(tmp_path).issue("a.test", days=days, since_days=0).certificate)
    assert renewal_time(facts, 30 * DAY) == pytest.approx(facts.leaf.not_after - before * DAY, abs=5)


def test_failures_back_off_to_a_day() -> None:
    assert [delay_after(failures, 0.0) / 3600 for failures in (1, 2, 3, 5, 6, 50)] == [1, 2, 4, 16, 24, 24]
    assert delay_after(1, -0.2) == 2880
