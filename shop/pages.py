"""Pages and parts of pages that are kept until what they show changes.

What is kept is the same for everybody. A form's token has a place in it, which is filled when the
page goes out.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial, wraps
from hashlib import blake2b
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any

from flask import Flask, Response, current_app, g, request, session
from flask_wtf.csrf import generate_csrf
from jinja2.bccache import Bucket, FileSystemBytecodeCache
from markupsafe import Markup

from shop import details, stamps
from shop.i18n import current_language, visitor_language

# Nobody outside this process knows it, so nobody can write it into a post.
TOKEN_PLACE = secrets.token_hex(16)
MOST_ENTRIES = 1000
MOST_CHARACTERS = 4_000_000


class Kept:
    """Texts by key; what nobody asked for longest goes when they are too many or too long."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Any, str] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def get(self, key: Any) -> str | None:
        """Return the text, None where it is not kept."""
        with self._lock:
            text = self._texts.get(key)
            if text is not None:
                self._texts.move_to_end(key)
            return text

    def put(self, key: Any, text: str) -> None:
        """Keep the text."""
        with self._lock:
            self._characters += len(text) - len(self._texts.pop(key, ""))
            self._texts[key] = text
            while len(self._texts) > MOST_ENTRIES or self._characters > MOST_CHARACTERS:
                self._characters -= len(self._texts.popitem(last=False)[1])


class CompiledTemplates(FileSystemBytecodeCache):
    """Templates that were compiled once, in a folder; without one each process compiles its own."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take a template from the folder unless it is not there, changed or broken."""
        with suppress(OSError, EOFError, UnpicklingError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Put a template into the folder if it can be written to."""
        with suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)


class Page(str):
    """A page that is kept. Its digest tells it from others, also in other processes."""

    @cached_property
    def digest(self) -> bytes:
        """The page in 16 bytes."""
        return blake2b(self.encode(), digest_size=16).digest()


def init_pages(app: Flask) -> None:
    """Give the templates kept parts, and every page its form token; comes after Flask-WTF."""
    if app.jinja_env.bytecode_cache is None:
        folder = app.config["SHOP_DATA_DIR"] / "templates"
        app.jinja_env.bytecode_cache = CompiledTemplates(str(folder))
    app.extensions["kept"] = Kept()
    place = {"csrf_token": lambda: TOKEN_PLACE}
    app.jinja_env.globals.update(kept=_kept_part, stamp=_stamp, **place)
    app.context_processor(lambda: place)
    app.after_request(_fill_in_token)


def kept_page(view: Callable[..., str]) -> Callable[..., Response]:
    """Keep a GET page for all who would see the same; answer 304 to who has it already.

    Who has a message waiting, or a form refused, gets a page of their own.
    """

    @wraps(view)
    def page(**values: Any) -> Response:
        if "_flashes" in session:
            return current_app.make_response(view(**values))
        # Before any row is read: a page may be newer than its stamp says, never older.
        g.stamps = stamps.read()
        pieces = current_app.jinja_env.globals["cart_count"]()  # type: ignore[operator]
        address = request.host, request.script_root, request.full_path
        closed = details.current().is_closed  # ends with a day, and not with a stamp
        key = (*address, visitor_language(), pieces, closed, *sorted(g.stamps.items()))
        kept = current_app.extensions["kept"]
        html = kept.get(key)
        if html is None:
            html = Page(view(**values))
            kept.put(key, html)
        return _conditional(html)

    return page


def _conditional(html: Page) -> Response:
    """Return the page, or 304 to the browser that was sent it in this session."""
    if "csrf_token" not in session:
        generate_csrf()
    own = session["csrf_token"].encode()[:64]
    tag = blake2b(html.digest, key=own, digest_size=16).hexdigest()
    known = tag in request.if_none_match
    response = Response(status=304) if known else current_app.make_response(html)
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Language"
    return response


def _kept_part(*key: Any, caller: Callable[[], str]) -> str:
    """Return what the block renders, kept by `key`; a None in it says that nothing may be kept."""
    if None in key:
        return caller()
    keep: Callable[..., str] | None = g.get("keep")
    if keep is None:
        # Looked up once for the many parts of a page.
        place = current_language(), request.script_root
        keep = g.keep = partial(_kept_in, current_app.extensions["kept"], place)
    return keep(key, caller)


def _kept_in(
    kept: Kept, place: tuple[str, ...], key: tuple[Any, ...], make: Callable[[], str]
) -> str:
    html = kept.get((place, key))
    if html is None:
        html = Markup(make())  # noqa: S704 — the template has escaped it
        kept.put((place, key), html)
    return html


def _stamp(name: str) -> int | None:
    """Return a stamp that was read before the rows of this page were, None where none was."""
    stamp: int | None = g.get("stamps", {}).get(name)
    return stamp


def _fill_in_token(response: Response) -> Response:
    if response.mimetype == "text/html" and response.is_sequence:
        html = response.get_data()
        if TOKEN_PLACE.encode() in html:
            response.set_data(html.replace(TOKEN_PLACE.encode(), generate_csrf().encode()))
    return response
