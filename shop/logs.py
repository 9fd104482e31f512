"""The log: what happened, without secrets and without what visitors typed."""

import logging
import re

from flask import Flask

SECRETS = re.compile(r"\b(sk|rk|whsec|tok)_(?:test_|live_)?[A-Za-z0-9_]{4,}")
# The password in an address, up to the last @: a password may have one that should be %40.
PASSWORDS = re.compile(r"(\w://[^\s:/@]*):[^\s/]\S*@")
# Where database errors repeat what a visitor typed.
TYPED = re.compile(
    r"(DETAIL:|CONTEXT:|Duplicate entry|Incorrect [\w ]*value:|syntax to use near) "
    r".*?(?= for (?:key|column) | at line \d|\n\[SQL|\n\n|\Z)",
    re.DOTALL,
)
# At debug level the SDK logs what it posts and is answered, and the engine the rows it reads: names
# and addresses of customers.
WITH_ADDRESSES = ("stripe", "sqlalchemy.engine.Engine")
LOGGERS = ("shop", "shop.sandbox", *WITH_ADDRESSES)


def init_logging(app: Flask) -> None:
    """Redact in the loggers, because the handlers are the host's choice."""
    app.logger.setLevel(logging.INFO)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(redact)


def redact(record: logging.LogRecord) -> bool:
    """Cut every secret in the record to its kind, traceback included. True: the record is kept."""
    if record.levelno < logging.INFO and record.name in WITH_ADDRESSES:
        return False
    record.msg, record.args = _redacted(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        # Every formatter takes the text that is there already.
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    if record.exc_text:
        record.exc_text = _redacted(record.exc_text)
    return True


def _redacted(text: str) -> str:
    text = SECRETS.sub(r"\1_[hidden]", text)
    return TYPED.sub(r"\1 [hidden]", PASSWORDS.sub(r"\1:[hidden]@", text))
