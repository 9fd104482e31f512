"""The documents say what is true."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from shop.cli import shop
from shop.orders.states import TRANSITIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_are_documented(generate: ModuleType) -> None:
    assert generate.readme(README) == README, "run `make docs`"
    assert generate.env_example() == (ROOT / ".env.example").read_text(), "run `make docs`"


def test_the_example_file_is_one_that_the_shop_takes(generate: ModuleType) -> None:
    from shop.config import SETTINGS, load

    for setting in SETTINGS:
        example = setting.example
        if "…" in example or "characters" in example:
            continue
        assert load({setting.name: example} | _what_it_needs(setting.name))


@pytest.mark.usefixtures("app")  # the factory adds some
def test_every_command_of_the_readme_exists() -> None:
    for name in re.findall(r"`flask shop ([a-z]+)", README):
        assert name in shop.commands, name


def test_the_table_of_states_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "payments.md").read_text()
    for state, targets in TRANSITIONS.items():
        assert f"`{state}`" in text
        for target in targets:
            assert f"`{target}`" in text


def test_what_the_documents_link_to_is_there() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def _what_it_needs(name: str) -> dict[str, str]:
    return {"STRIPE_SECRET_KEY": "sk_test_x"} if name == "STRIPE_API_BASE" else {}
