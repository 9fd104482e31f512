"""Links in what visitors write."""

import re

from markupsafe import Markup, escape

# A part of a host is Latin and its like, or begins in a script that is written without spaces; the
# last part is ASCII. Nothing else would tell a host from the prose that goes on right behind it.
SPELT = r"a-z0-9_\u00c0-\u1fff-"
UNSPACED = r"\u3005-\u3007\u3041-\ufaff"
PART = rf"(?:[{SPELT}]++|[{UNSPACED}][{UNSPACED}{SPELT}]*+)"
HOST = rf"(?:(?:{PART}\.)*[a-z0-9-]*[a-z0-9]|\[[0-9a-f:.]+\])"
# What may stand in a path; brackets may where they are closed, and no two addresses are one.
CHAR = r"(?![,;]https?://)[a-z0-9._~:/?#@!$&'*+,;=%-]"
PATH = rf"[/?#](?:{CHAR}|\((?:{CHAR}|\({CHAR}*\))*\)|\[{CHAR}*\])*(?<![.,:;!?'*_~])"
# What is taken for a host without being named one.
KNOWN = r"(?:[a-z0-9-]+\.)+(?:com|net|org|edu|gov|info|int|mil)(?![a-z0-9_-]|\.[a-z0-9])"
MAIL = rf"[a-z0-9_][a-z0-9_.+-]{{0,63}}@(?:{PART}\.)+[a-z][a-z0-9-]*[a-z0-9]"
ADDRESS = re.compile(
    rf"""
    (?<![a-z0-9@]) (?P<mail> {MAIL} ) |
    (?: (?<![a-z0-9]) (?P<full> https?:// (?: [a-z0-9._~%!$&*+;=:-]+ @ )? {HOST} )
      | (?<![a-z0-9@/._-]) (?: www\. {HOST} | {KNOWN} )
    )
    (?: :[0-9]{{1,5}} )? (?: {PATH} )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
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
