"""Links in what visitors write."""

import re

from markupsafe import Markup, escape

# Both cases are spelt out: Python takes 30 ms to work IGNORECASE into ranges as wide as these.
# A part of a host is Latin and its like, or begins in a script that is written without spaces; the
# last part is ASCII. Nothing else would tell a host from the prose that goes on right behind it.
SPELT = r"A-Za-z0-9_\u00c0-\u1fff-"
UNSPACED = r"\u3005-\u3007\u3041-\ufaff"
PART = rf"(?:[{SPELT}]++|[{UNSPACED}][{UNSPACED}{SPELT}]*+)"
HOST = rf"(?:(?:{PART}\.)*[A-Za-z0-9-]*[A-Za-z0-9]|\[[0-9A-Fa-f:.]+\])"
# What may stand in a path; brackets may where they are closed, and no two addresses are one.
CHAR = r"(?![,;](?i:https?)://)[A-Za-z0-9._~:/?#@!$&'*+,;=%-]"
PATH = rf"[/?#](?:{CHAR}|\((?:{CHAR}|\({CHAR}*\))*\)|\[{CHAR}*\])*(?<![.,:;!?'*_~])"
# What is taken for a host without being named one.
KNOWN = r"(?:[A-Za-z0-9-]+\.)+(?i:com|net|org|edu|gov|info|int|mil)(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
MAIL = rf"[A-Za-z0-9_][A-Za-z0-9_.+-]{{0,63}}@(?:{PART}\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]"
ADDRESS = re.compile(
    rf"""
    (?<![A-Za-z0-9@]) (?P<mail> {MAIL} ) |
    (?:
        (?: (?<![A-Za-z0-9]) (?P<full> (?i:https?):// (?: [A-Za-z0-9._~%!$&*+;=:-]+ @ )? )
          | (?<![A-Za-z0-9@/._-]) (?i:www)\.
        ) {HOST}
      | (?<![A-Za-z0-9@/._-]) {KNOWN}
    )
    (?: :[0-9]{{1,5}} )? (?: {PATH} )?
    """,
    re.VERBOSE | re.ASCII,
)


def linked(text: str) -> Markup:
    """Return a visitor's text as HTML, with its web and mail addresses as links."""
    parts, end = [], 0
    for found in ADDRESS.finditer(text):
        href = found[0] if found["full"] else f"https://{found[0]}"
        link = Markup('<a href="{}" rel="nofollow ugc noopener">{}</a>').format(href, found[0])
        if found["mail"]:
            link = Markup('<a href="mailto:{0}">{0}</a>').format(found[0])
        parts += [escape(text[end : found.start()]), link]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
