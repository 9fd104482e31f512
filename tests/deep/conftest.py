"""The long proofs show how far they are: they take hours, and somebody may look on."""

import sys
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def progress(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Return a function that shows a line on the terminal, over the one before."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled():
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\033[K{request.node.name}: {line}" if line else "\r\033[K")
                sys.stderr.flush()

    yield show
    show("")
