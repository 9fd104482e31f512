"""Reading pages as a browser does: their forms, their links; and requests that no browser sends."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

from werkzeug.test import run_wsgi_app

from tests.actors import Answer


@dataclass
class Form:
    """A form of a page: where it goes and what is filled in."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self.links += [
            value
            for name, value in attrs
            if value and name in ("href", "src", "action", "formaction")
        ]
        if tag == "form":
            self.forms.append(Form(values.get("action") or "", values.get("method") or "get"))
        elif tag in ("input", "textarea") and self.forms and values.get("name"):
            self.forms[-1].fields[values["name"] or ""] = values.get("value") or ""
            self._open = values["name"] if tag == "textarea" else None

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._open:
            # As in a browser, the line break that follows the tag is not part of the text.
            fields = self.forms[-1].fields
            fields[self._open] = fields[self._open].removeprefix("\r").removeprefix("\n")
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.forms[-1].fields[self._open] += data


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    return reader


def forms(html: str) -> list[Form]:
    """Return the forms of a page."""
    return _read(html).forms


def form_to(html: str, action: str) -> Form | None:
    """Return the page's form that goes to this address, None where there is none."""
    return next((form for form in forms(html) if form.action == action), None)


def links(html: str) -> list[str]:
    """Return every address in a page."""
    return _read(html).links


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return every tag of a page with its attributes."""
    return _read(html).tags


def send(
    app: Any,
    path: str = "/",
    *,
    method: str = "GET",
    query: str = "",
    body: bytes = b"",
    form: dict[str, str] | None = None,
    environ: dict[str, Any] | None = None,
    **headers: str | None,
) -> Answer:
    """Send a request exactly so; `path` is percent-encoded, a header that is None is absent."""
    if form is not None:
        body = urlencode(form).encode()
        headers = {"Content_Type": "application/x-www-form-urlencoded", **headers}
    asked: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:5000",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        asked[key] = value
    asked = {key: value for key, value in (asked | (environ or {})).items() if value is not None}
    chunks, status, answered = run_wsgi_app(app, asked, buffered=True)
    text = b"".join(chunks).decode("utf-8", "replace")
    return Answer(int(status.split()[0]), answered, text)
