"""A shop in the middle of its life, and every address of it, for test_fuzz.py to knock at."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from shop.sandbox import create_sandbox
from tests.actors import Browser, Buyer, Switches
from tests.oddities import USUAL
from tests.pages import tags

SANDBOX = "http://127.0.0.1:5000/sandbox"
API_KEY = "Bearer sk_test_fuzz"
WEBHOOK = "/payments/webhook"
KINDS = ("sessions", "payment_intents", "charges", "refunds", "disputes", "events")


@dataclass(frozen=True)
class Rule:
    """An address of the shop or of its sandbox, its methods, and the fields of forms to it."""

    address: str
    methods: tuple[str, ...]
    fields: tuple[str, ...] = ()

    @property
    def is_of_shop(self) -> bool:
        return not self.address.startswith("/sandbox")

    @property
    def is_guarded(self) -> bool:
        """Whether forms that come here need a token."""
        return (
            self.is_of_shop and "POST" in self.methods and self.address not in (WEBHOOK, "/tasks")
        )


@dataclass(frozen=True)
class World:
    """What is there to be asked for; `usual`: what stands under a name that has this in it."""

    rules: list[Rule]
    visitors: list[tuple[str, str]]  # cookie and form token
    usual: dict[str, list[str]]
    objects: list[dict[str, Any]]

    def fitting(self, name: str) -> list[str]:
        """Return what usually stands in a field, or in the place of an address, of this name."""
        hints = [hint for hint, texts in self.usual.items() if texts and hint in name.lower()]
        return self.usual[max(hints, key=len, default="id")]


def live_in(app: Flask, folder: Path) -> World:
    """Buy, fail to buy, take back and dispute in a shop; return what there is then."""
    buyer, shopper, newcomer = Buyer(app), Browser(app), Browser(app)
    has_sandbox = app.config["SHOP_MODE"] == "sandbox"
    state: dict[str, Any] = {kind: [] for kind in KINDS}
    if has_sandbox:
        _trade(buyer)
        state = Switches(buyer, SANDBOX).state
        # Those that can still be paid have the forms.
        state["sessions"].sort(key=lambda session: str(session["status"]) != "open")
    for product, quantity in ((1, 2), (3, 1)):
        shopper.submit("/cart/items", {"product_id": product, "quantity": quantity})
    tokens = [who.token() for who in (newcomer, shopper, buyer)]
    visitors = list(zip(map(_cookie, (newcomer, shopper, buyer)), tokens, strict=True))
    objects = [thing for kind in KINDS for thing in state[kind]]
    usual = USUAL | {kind.removesuffix("s"): [t["id"] for t in state[kind]] for kind in KINDS}
    usual |= {"one": [t["id"] for t in objects], "slug": ["t-shirt", "last-mugs"]}
    usual |= {"order": _order_tokens(app), "token": _order_tokens(app)}
    world = World([], visitors, usual, objects)
    rules = rules_of(world, _maps(app, folder, has_sandbox), shopper)
    # An owner knocks at the back office: tests/owner/test_fuzz.py.
    world.rules.extend(rule for rule in rules if not rule.address.startswith("/owner/"))
    return world


def _trade(buyer: Buyer) -> None:
    for card in ("4242424242424242", "4000000000000259", "4000000000005126"):
        buyer.pay(buyer.order(2)["url"], card)
    buyer.post(buyer.order(1)["url"], {"email": "aya@example.com", "method": "konbini"})
    ended = buyer.order(4)["id"]
    api = {"Authorization": API_KEY}
    buyer.post(f"{SANDBOX}/v1/checkout/sessions/{ended}/expire", {}, **api)
    charged = buyer.order(2, 2)["order"]
    buyer.submit("/payments/charge", {"stripeToken": "tok_visa", "order": charged})
    for paid in Switches(buyer, SANDBOX).state["charges"]:
        buyer.post(f"{SANDBOX}/v1/refunds", {"charge": paid["id"], "amount": 100}, **api)
    buyer.pay(buyer.order(1, 2)["url"], "4000002500003155")
    buyer.order(1, 3)


def _order_tokens(app: Flask) -> list[str]:
    from shop.db import db
    from shop.orders.models import Order

    with app.app_context():
        return [order.token for order in db.session.query(Order).order_by(Order.id.desc())]


def _cookie(browser: Browser) -> str:
    client: Any = browser._client
    return f"session={client.get_cookie('session', domain='127.0.0.1').value}"


def _maps(app: Flask, folder: Path, has_sandbox: bool) -> dict[str, Map]:
    if not has_sandbox:
        return {"": app.url_map}
    sandbox = create_sandbox(folder / "never-opened.sqlite3", webhook_secret="whsec_unused")
    return {"": app.url_map, "/sandbox": sandbox.url_map}


def rules_of(world: World, maps: dict[str, Map], browser: Browser) -> Iterator[Rule]:
    methods: dict[str, set[str]] = {}
    for root, url_map in maps.items():
        for rule in url_map.iter_rules():
            methods.setdefault(root + rule.rule, set()).update(rule.methods or set())
    fields: dict[str, set[str]] = {address: set() for address in methods}
    for address in [address for address in methods if "GET" in methods[address]]:
        for filled in _filled(world, address):
            for action, names in _forms(browser.get(filled).text):
                fields.setdefault(_rule_of(maps, action or filled), set()).update(names)
    for address in sorted(methods):
        yield Rule(address, tuple(sorted(methods[address])), tuple(sorted(fields[address])))


def _filled(world: World, address: str) -> Iterator[str]:
    """Yield the address with the things that are there in its place."""
    place = re.search(r"<(?:.*:)?(\w+)>", address)
    for text in world.fitting(place[1])[:8] if place else [""]:
        yield re.sub(r"<.*>", text, address)


def _forms(html: str) -> Iterator[tuple[str, set[str]]]:
    """Yield where each form of a page leads, and the names of its fields."""
    forms: list[tuple[list[str], set[str]]] = [([""], set())]
    for tag, values in tags(html):
        if tag == "form":
            forms.append(([values.get("action") or ""], set()))
        if values.get("formaction"):
            forms[-1][0].append(values["formaction"] or "")
        if values.get("name") and len(forms) > 1:
            forms[-1][1].add(values["name"] or "")
    return ((action, names) for actions, names in forms for action in actions)


def _rule_of(maps: dict[str, Map], address: str) -> str:
    path = urlsplit(address).path
    root = "/sandbox" if "/sandbox" in maps and path.startswith("/sandbox") else ""
    try:
        rule, _ = maps[root].bind("").match(path.removeprefix(root), "POST", return_rule=True)
    except HTTPException:
        return ""
    return root + rule.rule
