"""Buyers and posters who go on while the shop is being killed, and remember what they were told."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.actors import CARD, DECLINED, Answer, Browser
from tests.deep.torture.world import World

# The goods by id, as `flask shop demo` makes them: two without a limit, and more often the mugs.
GOODS = (1, 3, 3, 3, 4)
MOST_TRIES = 6
MOST_SECONDS = 120
POSTS_PER_VISIT = 5


class Diary:
    """What all visitors did and were told."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.posted: list[str] = []  # answered with 303
        self.paid: list[str] = []  # orders that their buyers saw paid
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.faults: list[str] = []
        self._changed = threading.Condition()

    def note(self, what: str, answer: Answer) -> None:
        """Write an answer down; one that must never come is a fault."""
        with self._changed:
            self.statuses[answer.status] += 1
            if answer.status >= 500 and answer.status != 503:
                self.faults.append(f"{what} was answered with {answer.status}: {answer.words}")
            self._changed.notify_all()

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many more answers came: a shop that does nothing is not worth killing."""
        with self._changed:
            goal = self.statuses.total() + count
            if not self._changed.wait_for(lambda: self.statuses.total() >= goal, MOST_SECONDS):
                raise RuntimeError(f"the shop does not answer any more: {self.statuses}")


class Gone(Exception):
    """The shop did not answer, however often it was asked."""


class Visitor:
    """A browser at an address of its own that reloads what did not come through."""

    def __init__(self, world: World, diary: Diary, rng: random.Random) -> None:
        self._browser = Browser(base=world.shop_url)
        self._diary = diary
        self._address = ".".join(str(rng.randint(1, 254)) for _ in range(4))
        self._token = ""

    def get(self, url: str, **headers: str) -> Answer:
        return self._again(lambda: self._once("GET", url, None, headers))

    def post(self, url: str, fields: dict[str, Any], **headers: str) -> Answer:
        """Send a form, again where the answer was lost or the shop asked for patience."""
        return self._again(lambda: self.post_once(url, fields, **headers))

    def post_once(self, url: str, fields: dict[str, Any], **headers: str) -> Answer:
        """Send a form; raises RequestException where the answer was lost."""
        if not self._token:
            self._token = self._browser.token()
        return self._once("POST", url, fields | {"csrf_token": self._token}, headers)

    def _once(self, method: str, url: str, fields: Any, headers: dict[str, str]) -> Answer:
        sent = headers | {"X_Forwarded_For": self._address}
        if method == "GET":
            answer = self._browser.get(url, **sent)
        else:
            answer = self._browser.post(url, fields, **sent)
        self._diary.note(f"{method} {urlsplit(url).path}", answer)
        return answer

    def _again(self, step: Callable[[], Answer]) -> Answer:
        for _ in range(MOST_TRIES):
            try:
                answer = step()
            except requests.RequestException:
                self._diary.broken += 1
                continue
            if answer.status != 503:
                return answer
        raise Gone


class Load:
    """Threads of buyers and posters; they begin at once and end with the visits they are at."""

    def __init__(self, world: World, seed: str, buyers: int, posters: int) -> None:
        self.diary = Diary()
        self._world = world
        self._stop = threading.Event()
        visits = [(self._buy, f"buyer {n}") for n in range(buyers)]
        visits += [(self._write, f"poster {n}") for n in range(posters)]
        self._threads = [
            threading.Thread(target=self._go_on, args=(visit, name, f"{seed} {name}"))
            for visit, name in visits
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(
        self, visit: Callable[[Visitor, random.Random, str], None], name: str, seed: str
    ) -> None:
        rng = random.Random(seed)
        number = 0
        while not self._stop.is_set():
            number += 1
            visitor = Visitor(self._world, self.diary, rng)
            try:
                visit(visitor, rng, f"{name.replace(' ', '')}.{number}")
            except (Gone, requests.RequestException):
                self.diary.broken += 1
            except Exception as error:  # an answer that is not what it should be
                self.diary.faults.append(f"{name}, visit {number}: {error!r}")

    def _write(self, visitor: Visitor, rng: random.Random, name: str) -> None:
        """Write some lines on the board; none of them twice."""
        for number in range(POSTS_PER_VISIT):
            text = f"{name}.{number} was here"
            address = rng.choice(["/", "/topics/1/replies"])
            self.diary.tried.append(text)
            try:
                answer = visitor.post_once(address, {"comment": text})
            except requests.RequestException:
                self.diary.broken += 1
                continue
            if answer.status == 303:
                self.diary.posted.append(text)

    def _buy(self, visitor: Visitor, rng: random.Random, name: str) -> None:
        goods = {"product_id": rng.choice(GOODS), "quantity": rng.randint(1, 2)}
        way = rng.choices(["checkout", "cart", "charge"], [5, 2, 3])[0]
        if way != "checkout":
            assert visitor.post("/cart/items", goods).status == 303
            goods = {}
        if way == "charge":
            token = _charge(visitor, rng, f"{name}@buyer.example")
        else:
            token = _check_out(visitor, rng, goods, f"@{name}.example")
        if token and rng.random() < 0.8:
            order = visitor.get(f"/orders/{token}", Accept="application/json")
            assert order.status == 200, order.words
            if order.json["state"] == "paid":
                self.diary.paid.append(token)


def _check_out(visitor: Visitor, rng: random.Random, goods: dict[str, Any], domain: str) -> str:
    """Order, pay on the sandbox's page (or leave), come back (or never); return the token."""
    started = visitor.post("/payments/session", goods, Accept="application/json")
    assert started.status == 201, (started.status, started.words)
    session = started.json
    if rng.random() < 0.3:
        return ""
    card = {"method": "card", "expiry": "12/40", "cvc": "123", "email": f"aya{domain}"}
    if rng.random() < 0.2:
        assert visitor.post(session["url"], card | {"number": DECLINED}).status == 402
    if rng.random() < 0.2:
        slip = {"method": "konbini", "email": f"succeed_immediately{domain}"}
        paid = visitor.post(session["url"], slip)
    else:
        paid = visitor.post(session["url"], card | {"number": CARD})
    assert paid.status == 303, (paid.status, paid.words)
    if rng.random() < 0.6:
        assert visitor.get(paid.location).status in (200, 303)
    return str(session["order"])


def _charge(visitor: Visitor, rng: random.Random, email: str) -> str:
    """Pay the cart on the legacy card page; return the token of the order."""
    if rng.random() < 0.2:
        declined = {"stripeToken": "tok_chargeDeclined", "email": email}
        assert visitor.post("/payments/charge", declined).status in (402, 429)
    answer = visitor.post("/payments/charge", {"stripeToken": "tok_visa", "email": email})
    if answer.status == 429:
        return ""
    assert answer.status == 303, (answer.status, answer.words)
    return urlsplit(answer.location).path.rpartition("/")[2]
