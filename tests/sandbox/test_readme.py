"""What the sandbox's README names is there."""

import re
from pathlib import Path

from shop import sandbox
from shop.sandbox import events, faults, promotions
from shop.sandbox.data import load
from tests.sandbox.helpers import SandboxClient

README = Path(sandbox.__file__).with_name("README.md").read_text()


def test_every_card_and_token_is_known() -> None:
    numbers = {
        number.replace(" ", "") for number in re.findall(r"(?:[0-9]{4} ){3}[0-9]{4}", README)
    }
    tokens = set(re.findall(r"`(tok_\w+)`", README))
    assert len(numbers) > 10
    assert numbers <= load("cards")["numbers"].keys()
    assert len(tokens) > 10
    assert tokens <= load("cards")["tokens"].keys()


def test_every_address_exists(sandbox: SandboxClient) -> None:
    rules = {re.sub(r"<\w+>", "ID", rule.rule) for rule in sandbox.app.url_map.iter_rules()}
    named = set(re.findall(r"`(?:GET |POST )?(/(?:v1|control)/[\w/]+)`", README))
    assert len(named) > 10
    assert named <= rules


def test_every_mode_and_code_is_named() -> None:
    for name in (*events.MODES, *faults.MODES, *promotions.CODES):
        assert f"`{name}`" in README
