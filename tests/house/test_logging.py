"""The log tells what happened and no secret, whichever handler writes it."""

import io
import logging
from collections.abc import Iterator

import pytest
from flask import Flask

SECRETS = (
    "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "rk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "whsec_4eC39HqLyjWDarjtT1zdp7dc",
    "tok_1NxYZ2eZvKYlo2C",
    "tok_visa",
)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler of the host's own writes, set up without asking us."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_cut_in_messages_arguments_and_tracebacks(
    app: Flask, written: io.StringIO, secret: str
) -> None:
    canary = secret.rpartition("_")[2]
    app.logger.warning("key=%s", secret)
    app.logger.warning(f"{{'source': '{secret}'}}")
    app.logger.warning("%(key)s", {"key": secret})
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"no such key: {secret}") from error
    except ValueError:
        app.logger.exception("failed with %r", secret)
    logging.getLogger("stripe").warning("post_data=source=%s", secret)
    log = written.getvalue()
    assert canary not in log
    assert log.count("_[hidden]") >= 7
    assert "Traceback" in log


def test_a_crash_with_a_secret_in_it_is_logged_without(app: Flask, written: io.StringIO) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("sk_live_4eC39HqLyjWDarjtT1zdp7dc was refused")

    assert app.test_client().get("/broken").status_code == 500
    assert "RuntimeError: sk_[hidden] was refused" in written.getvalue()
    assert "4eC39" not in written.getvalue()


def test_other_words_stay_as_they_are(app: Flask, written: io.StringIO) -> None:
    text = "order 12: task_list, risk_free, tok, sk_, cs_test_a1b2c3 100% %s"
    app.logger.warning(text)
    assert text in written.getvalue()


def test_several_shops_in_one_process_write_each_line_once(
    app: Flask, make_app: object, written: io.StringIO
) -> None:
    make_app()  # type: ignore[operator]
    app.logger.warning("once")
    assert written.getvalue() == "once\n"
