"""Requests as nobody writes them, made by Hypothesis: what is real among what is broken."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

from hypothesis import strategies as st

from tests.actors import Answer
from tests.fuzz_world import API_KEY, WEBHOOK, Rule, World
from tests.oddities import (
    BROKEN_JSON,
    EVENT_TYPES,
    METHODS,
    MORE_FIELDS,
    NUMBERS,
    ODD_ENVIRON,
    ODD_HEADERS,
    QUERIES,
    RAW,
    SEED_NUMBERS,
    SEED_TEXTS,
    TEXTS,
    broken_cookies,
)
from tests.pages import send

T = TypeVar("T")
SAFE = ("GET", "HEAD", "OPTIONS")
LONG_FORM = 20
WEATHERS = ["refuse", "rate_limit", "error", "garbage", "lost"]


@dataclass
class Knock:
    """One request; `seal`: the age in seconds of Stripe's signature on it, None without one."""

    rule: Rule
    path: str
    method: str
    query: str = ""
    body: bytes = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)
    seal: int | None = None
    weather: str = "ok"

    def send(self, app: Any, secret: str) -> Answer:
        """Send it; `secret` is what Stripe signs with."""
        headers = dict(self.headers)
        if self.seal is not None:
            when = int(time.time()) - self.seal
            signed = hmac.new(secret.encode(), f"{when}.".encode() + self.body, hashlib.sha256)
            headers["stripe_signature"] = f"t={when},v1={signed.hexdigest()}"
        return send(
            app, self.path, method=self.method, query=self.query, body=self.body,
            environ=self.environ, **headers,
        )  # fmt: skip


@st.composite
def knocks(draw: st.DrawFn, world: World, rule: Rule) -> Knock:
    """Return a request for an address: mostly a good one with something odd about it."""
    methods = [method for method in ("POST", "GET", "POST") if method in rule.methods]
    knock = Knock(rule, _path(draw, world, rule), _pick(draw, methods or rule.methods))
    if _rarely(draw):
        knock.method = _pick(draw, METHODS)
    knock.query = _query(draw, world) if knock.method != "POST" or _rarely(draw) else ""
    cookie, token = _pick(draw, world.visitors)
    if _rarely(draw):
        token = _pick(draw, ["", "stale", token + "x", token[:-1], "\xe9"])
    knock.headers = {"cookie": cookie, "x_csrftoken": token}
    if _rarely(draw):
        knock.headers["cookie"] = _pick(draw, broken_cookies(cookie))
    if rule.address.startswith("/sandbox/v1"):
        knock.headers["authorization"] = API_KEY
    if knock.method not in SAFE:
        knock.body, knock.headers["content_type"] = _body(draw, world, rule, token)
    if draw(_below(3)) == 2:
        for name in _some(draw, sorted(ODD_HEADERS), 2):
            knock.headers[name] = _pick(draw, ODD_HEADERS[name])
    if _rarely(draw):
        knock.environ = dict(_pick(draw, ODD_ENVIRON))
    knock.weather = _weather(draw)
    return knock


def known_troubles(
    world: World, rule: Rule, troubles: Sequence[str] = (*SEED_TEXTS, *SEED_NUMBERS)
) -> Iterator[Knock]:
    """Yield what has broken shops before, in each place by itself: nothing is left to chance."""
    cookie, token = world.visitors[1]
    headers: dict[str, str | None] = {"cookie": cookie, "x_csrftoken": token}
    address = re.sub(r"<[^>]*?(\w+)>", lambda place: world.fitting(place[1])[0], rule.address)
    for trouble in troubles:
        text = quote(trouble, errors="surrogatepass")
        if "<" in rule.address:
            path = re.sub(r"<[^>]*>", lambda _, text=text: text, rule.address)
            for method in rule.methods:
                yield Knock(rule, path, method, headers=dict(headers))
        if "GET" in rule.methods and rule.is_of_shop:
            # None of these is refused before the next one is read, so one request tells of all.
            query = "&".join(f"{name}={text}" for name in dict.fromkeys(QUERIES))
            yield Knock(rule, address, "GET", query, headers=dict(headers))
        form = {"content_type": "application/x-www-form-urlencoded"}
        for field_ in rule.fields if "POST" in rule.methods else ():
            others = {name: quote(world.fitting(name)[0]) for name in rule.fields}
            # What a long form does not send stays as it is, so one field of it says enough.
            alone, whole = {field_: text}, others | {field_: text}
            for fields in (alone, whole) if len(rule.fields) < LONG_FORM else (alone,):
                pairs = [f"{quote(name)}={value}" for name, value in fields.items()]
                body = "&".join(pair for pair in pairs if not pair.startswith("csrf_token"))
                yield Knock(rule, address, "POST", "", body.encode(), headers | form)


@st.composite
def events(draw: st.DrawFn, world: World) -> Knock:
    """Return an event, mostly rightly signed, about something that is there, with odd fields."""
    about = dict(_pick(draw, world.objects))
    for name in _some(draw, sorted(about), 3):
        about[name] = draw(_JSON) if draw(_below(2)) else _text(draw, world, name)
    if _rarely(draw):
        about = {name: about[name] for name in _some(draw, sorted(about), 5)}
    event = {
        "id": f"evt_{draw(_below(10**9))}",
        "object": "event",
        "type": _pick(draw, EVENT_TYPES),
        "created": _pick(draw, [1_800_000_000, 0, 4_000_000_000]),
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "data": {"object": draw(_JSON) if _rarely(draw) else about},
    }
    if draw(_below(4)) == 3:
        event[_pick(draw, sorted(event))] = draw(_JSON)
    body = json.dumps(draw(_JSON) if _rarely(draw) else event)
    webhook = next(rule for rule in world.rules if rule.address == WEBHOOK)
    knock = Knock(webhook, WEBHOOK, "POST", headers={"content_type": "application/json"})
    knock.body = (_pick(draw, BROKEN_JSON) if _rarely(draw) else body).encode("utf-8", "replace")
    knock.seal = _pick(draw, [1000, -1000, 299]) if _rarely(draw) else 0
    knock.weather = _weather(draw)
    return knock


# --- drawing: the first of several is the plainest --------------------------------------------


@cache
def _below(number: int) -> st.SearchStrategy[int]:
    return st.integers(0, number - 1)


def _pick(draw: st.DrawFn, options: Sequence[T]) -> T:
    return options[draw(_below(len(options)))]


def _rarely(draw: st.DrawFn) -> bool:
    return draw(_below(10)) == 9


def _some(draw: st.DrawFn, options: Sequence[T], most: int) -> list[T]:
    return [_pick(draw, options) for _ in range(draw(_below(most + 1)))]


def _weather(draw: st.DrawFn) -> str:
    return _pick(draw, WEATHERS) if draw(_below(30)) == 29 else "ok"


_TEXT = st.text(st.characters(), max_size=20)


def _odd(draw: st.DrawFn, is_number: bool = False) -> str:
    kind = draw(_below(5))
    if kind == 4:
        return draw(_TEXT)
    lists = (SEED_NUMBERS, NUMBERS) if is_number == (kind < 3) else (SEED_TEXTS, TEXTS)
    return _pick(draw, lists[kind % 2])


def _text(draw: st.DrawFn, world: World, name: str) -> str:
    fitting = world.fitting(name)
    kind = draw(_below(9))
    if kind < 5:
        return _pick(draw, fitting)
    if kind == 5:
        return _pick(draw, world.fitting(_pick(draw, MORE_FIELDS)))
    return _odd(draw, is_number=fitting[0].isdigit())


_JSON = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 2000, 1.5, 1e308, float("nan"), 2**63, 10**40, *TEXTS, *NUMBERS[:12]]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


# --- parts of a request -----------------------------------------------------------------------


def _path(draw: st.DrawFn, world: World, rule: Rule) -> str:
    path = ""
    for before, name in re.findall(r"([^<]*)(?:<(?:[^>]*?:)?(\w+)>)?", rule.address):
        path += quote(before)
        if name and _rarely(draw):
            path += _pick(draw, RAW)
        elif name:
            path += quote(_text(draw, world, name), errors="surrogatepass", safe="/")
    return path + (_pick(draw, [*RAW, "/", "//", "/.."]) if draw(_below(20)) == 19 else "")


def _query(draw: st.DrawFn, world: World) -> str:
    pairs = []
    for name in _some(draw, QUERIES, 3):
        value = quote(_text(draw, world, name), errors="surrogatepass")
        pairs.append(f"{name}={_pick(draw, RAW) if _rarely(draw) else value}")
    return "&".join(pairs)


def _body(draw: st.DrawFn, world: World, rule: Rule, token: str) -> tuple[bytes, str | None]:
    """Return a body and its content type: mostly the form that leads here, filled in."""
    kind = draw(_below(10))
    if kind == 9:
        return draw(st.binary(max_size=60)), _pick(draw, ODD_HEADERS["content_type"])
    fields = _fields(draw, world, rule)
    if kind >= 7:
        return _json_body(draw, fields).encode(), "application/json"
    if kind >= 5:
        fields.append(("csrf_token", token.encode()))
    if kind == 6:
        return _multipart(draw, fields), "multipart/form-data; boundary=cut"
    body = "&".join(f"{quote(n, errors='surrogatepass')}={quote(v)}" for n, v in fields)
    return body.encode(), "application/x-www-form-urlencoded"


def _fields(draw: st.DrawFn, world: World, rule: Rule) -> list[tuple[str, bytes]]:
    names = [name for name in rule.fields if name != "csrf_token" and draw(_below(4))]
    if not names or draw(_below(3)) == 2:
        names += _some(draw, MORE_FIELDS, 8 if "/v1/" in rule.address else 2)
    values = [_text(draw, world, name).encode("utf-8", "surrogatepass") for name in names]
    return [
        (name, _pick(draw, [b"\xff\xfe", b"\xed\xa0\x80"]) if draw(_below(20)) == 19 else value)
        for name, value in zip(names, values, strict=True)
    ]


def _json_body(draw: st.DrawFn, fields: list[tuple[str, bytes]]) -> str:
    if _rarely(draw):
        return _pick(draw, BROKEN_JSON)
    if _rarely(draw):
        return json.dumps(draw(_JSON))
    texts = {name: value.decode("utf-8", "replace") for name, value in fields}
    return json.dumps({n: draw(_JSON) if draw(_below(4)) == 3 else t for n, t in texts.items()})


def _multipart(draw: st.DrawFn, fields: list[tuple[str, bytes]]) -> bytes:
    extras = [b'; filename="a.txt"', b"; filename*=utf-8''%ff", b'; x="', b"; filename*=x"]
    charsets = [b"utf-16", b"\xe9", b"x", b"idna"]
    parts = []
    for name, value in fields:
        head = b'Content-Disposition: form-data; name="' + name.encode(errors="replace") + b'"'
        head += _pick(draw, extras) if _rarely(draw) else b""
        if _rarely(draw):
            head += b"\r\nContent-Type: text/plain; charset=" + _pick(draw, charsets)
        parts.append(b"--cut\r\n" + head + b"\r\n\r\n" + value + b"\r\n")
    return b"".join(parts) + (b"" if _rarely(draw) else b"--cut--\r\n")
