"""The links in posts: the address alone is one, whatever stands around it."""

import re
import time
from html import unescape

import pytest

from shop.board.links import linked
from tests.actors import Browser


def addresses(text: str) -> list[str]:
    """Return the href of every link in a text; what is shown as a link is found in the text."""
    html = str(linked(text))
    made = re.findall(
        r'<a href="(mailto:[^"]*(?=">)|[^"]*(?=" rel="nofollow ugc noopener">))[^>]*>([^<]*)</a>',
        html,
    )
    assert html.count("<a ") == len(made)
    assert unescape(re.sub("<[^>]+>", "", html)) == text
    for href, shown in made:
        assert (
            href.removeprefix("mailto:")
            .removeprefix("https://")
            .endswith(shown.removeprefix("https://"))
        )
    return [unescape(href) for href, _ in made]


A = "https://example.com/a"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # In Japanese prose, which has no spaces.
        ("写真はhttps://example.com/aです", [A]),
        ("（https://example.com/a）", [A]),
        ("「https://example.com/a」『https://example.com/a』", [A, A]),
        ("https://example.com/mugs。とても良い", ["https://example.com/mugs"]),
        ("https://example.com/a、https://example.com/a", [A, A]),
        ("見てhttps://example.comとwww.b.exampleを！", ["https://example.com", "https://www.b.example"]),
        ("https://example.com/a　と https://example.com/a！", [A, A]),
        ("【https://example.com/a】〈https://example.com/a〉", [A, A]),
        ("https://example.com/a？本当", [A]),
        ("連絡はaya@example.comまで", ["mailto:aya@example.com"]),
        ("住所：www.example.comです", ["https://www.example.com"]),
        ("https://example.com/a…", [A]),
        # Quoted, in brackets.
        ('"https://example.com/a"', [A]),
        ("'https://example.com/a'", [A]),
        ("“https://example.com/a” «https://example.com/a»", [A, A]),
        ("<https://example.com/a>", [A]),
        ("[https://example.com/a]", [A]),
        ("[a cup](https://example.com/a)", [A]),
        ("{https://example.com/a}", [A]),
        ("**https://example.com/a** _https://example.com/a_ `https://example.com/a`", [A, A, A]),
        (
            "(see https://en.wikipedia.org/wiki/A_(b))",
            ["https://en.wikipedia.org/wiki/A_(b)"],
        ),
        ("(https://example.com/a).", [A]),
        ("https://example.com/a(とても)", [A]),
        ("https://example.com/((a)b), so", ["https://example.com/((a)b)"]),
        ('<a href="https://example.com/a">a</a>', [A]),
        # What ends a sentence.
        *[(f"Look: {A}{end} Ok", [A]) for end in (",", ".", "!", "?", ":", ";", "...", "?!", ".)")],
        (f"{A}.", [A]),
        (f"{A},{A};{A}", [A, A, A]),
        ("https://example.com, or https://example.com.", ["https://example.com"] * 2),
        (f"-{A}\n+{A}\nSee:{A}", [A, A, A]),
        # All parts of an address.
        ("http://example.com:8080/a/?b=c&d=e%20f#g-h", ["http://example.com:8080/a/?b=c&d=e%20f#g-h"]),
        ("https://example.com?a=1", ["https://example.com?a=1"]),
        ("https://example.com/a,b;c=1/it's/~x/@y/*", ["https://example.com/a,b;c=1/it's/~x/@y/"]),
        ("https://web.example/2020/https://example.com/a", ["https://web.example/2020/https://example.com/a"]),
        ("HTTPS://EXAMPLE.COM/A", ["HTTPS://EXAMPLE.COM/A"]),
        ("http://localhost:5000/ http://127.0.0.1/ http://[::1]:5000/", [
            "http://localhost:5000/", "http://127.0.0.1/", "http://[::1]:5000/"]),
        ("https://aya:b%20c@example.com/a", ["https://aya:b%20c@example.com/a"]),
        ("aya@例え.jpへ aya@b.xn--q9jyb4c", ["mailto:aya@例え.jp", "mailto:aya@b.xn--q9jyb4c"]),
        ("https://xn--r8jz45g.jp/a", ["https://xn--r8jz45g.jp/a"]),
        ("http://例え.jp/パス", ["http://例え.jp/"]),
        ("http://www.例え.jpです", ["http://www.例え.jp"]),
        ("https://bücher.example/a", ["https://bücher.example/a"]),
        ("www.example.com/a, example.org", ["https://www.example.com/a", "https://example.org"]),
        ("mailto:aya@example.com", ["mailto:aya@example.com"]),
        ("a..b.@docomo.example <aya+1@example.com>.", [
            "mailto:a..b.@docomo.example", "mailto:aya+1@example.com"]),
        # None of these is one.
        *[(text, []) for text in (
            "javascript:alert(1)", "JaVaScRiPt://%0aalert(1)", "data:text/html,x", "vbscript:x",
            "https://", "http://。", "https:///a", "www.", "www", "xhttps:/example", "a@b",
            "@aya@b.example",
            "1.5 e.g. this.that file.txt", "shttp://example", "httpſ://example", "example.com.au",
            "//a", "",
        )],
    ],
)  # fmt: skip
def test_the_address_alone_is_linked(text: str, found: list[str]) -> None:
    assert addresses(text) == found


def test_a_post_shows_its_links(browser: Browser) -> None:
    browser.submit("/", {"comment": '写真は"https://example.com/?a=1&b=<b>"です'})
    link = '<a href="https://example.com/?a=1&amp;b=" rel="nofollow ugc noopener">'
    assert f"写真は&#34;{link}https://example.com/?a=1&amp;b=</a>&lt;b&gt;" in browser.get("/").text


@pytest.mark.parametrize(
    "part",
    ["a", "a.", "(", "a(", "(a)", "https://", "https://a/(", "https://a/((b)", "www.", "a@", "[",
     ".", "https://a/,", "a:", "https://a@", "a.com", "例", "http://例", "a-"],
)  # fmt: skip
def test_no_text_takes_long(part: str) -> None:
    text = (part * 2000)[:2000]
    started = time.perf_counter()
    for one in (text, f"https://a.example/{text}", f"https://{text}"):
        linked(one)
    assert time.perf_counter() - started < 0.5
