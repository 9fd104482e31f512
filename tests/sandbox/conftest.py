"""A sandbox of each test's own, and Stripe's SDK for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.helpers import SandboxClient


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxClient:
    return SandboxClient(tmp_path)


@pytest.fixture
def sdk(sandbox: SandboxClient) -> Iterator[stripe.StripeClient]:
    with sandbox.serve() as served:
        yield served
