"""A sandbox of each test's own, and Stripe's SDK for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.helpers import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def sdk(bench: Bench) -> Iterator[stripe.StripeClient]:
    with bench.serve() as served:
        yield served
