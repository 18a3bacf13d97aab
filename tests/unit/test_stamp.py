"""When what was read of a file may be remembered."""

import pytest

from deployer.adapters.stamp import TICK_SECONDS, is_settled, unsettled_seconds

NOW = 1_795_608_000.0


@pytest.mark.parametrize(
    ("changed", "seconds"),
    [
        (NOW - 3600, 0.0),
        (NOW - TICK_SECONDS, 0.0),
        (NOW - TICK_SECONDS / 2, TICK_SECONDS / 2),
        (NOW, TICK_SECONDS),
        (NOW + 86_400, TICK_SECONDS),  # the clock was set back by a day since
    ],
)
def test_a_tick_is_waited_for_and_never_more(changed: float, seconds: float) -> None:
    assert unsettled_seconds(int(changed * 1e9), NOW) == pytest.approx(seconds, abs=1e-6)


def test_a_file_that_changed_just_now_is_not_settled() -> None:
    assert not is_settled(1_000_000_000_000, now=1000.01)
    assert is_settled(1_000_000_000_000, now=1000.2)
