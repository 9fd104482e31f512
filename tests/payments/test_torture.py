"""Workers and masters die at random moments; nothing paid, written or promised is lost or doubled.

`make deep` does the same at length, `make torture` for hours.
"""

import random
from pathlib import Path

import pytest

from tests.deep.torture.run import torture

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 5), ("postgresql", 3)])
def test_a_shop_that_is_killed_keeps_its_books(
    kind: str, kills: int, tmp_path: Path, worker: str
) -> None:
    outcome = torture(kind, tmp_path, kills=kills, seed=random.randrange(10**9), name=worker)
    assert not outcome.differences, "\n".join([str(outcome), *outcome.differences])
    assert outcome.kills.total() == kills
    assert outcome.orders["paid"] > 0
    assert outcome.posts > 0
