"""Settings: what is refused and in which words, what wins, and which mode follows."""

import errno
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shop import create_app
from shop.config import SETTINGS, ConfigError, load, secret_key
from shop.parsers import is_mail_address
from tests.actors import Browser

ROOT = Path(__file__).resolve().parents[2]
KEY = "for tests only, 32 characters or more"
LIVE = {"STRIPE_SECRET_KEY": "sk_live_abc", "SHOP_PUBLIC_URL": "https://shop.example"}
TEST = {"STRIPE_SECRET_KEY": "sk_test_abc"}

REFUSED: list[tuple[str, str, dict[str, str]]] = [
    ("SECRET_KEY", "short", {}),
    ("SECRET_KEY", "64 random characters", {}),
    ("DATABASE_URL", "shop.sqlite3", {}),
    ("DATABASE_URL", "oracle://localhost/shop", {}),
    ("DATABASE_URL", "postgresql://localhost:port/shop", {}),
    ("SHOP_DATA_DIR", "data", {}),
    ("SHOP_PUBLIC_URL", "shop.example", {}),
    ("SHOP_PUBLIC_URL", "ftp://shop.example", {}),
    ("SHOP_PUBLIC_URL", "https://", {}),
    ("SHOP_PUBLIC_URL", "https://shop.example:port", {}),
    ("SHOP_PUBLIC_URL", "https://shop.example/?page=1", {}),
    ("SHOP_PUBLIC_URL", "https://me@shop.example", {}),
    ("SHOP_PUBLIC_URL", "https://shop.example/a b", {}),
    ("SHOP_PUBLIC_URL", "https://shop.example\n/", {}),
    ("SHOP_PUBLIC_URL", "https://shop;example", {}),
    ("SHOP_PUBLIC_URL", "https://☃.example", {}),
    ("SHOP_PUBLIC_URL", "https://a\u200db.example", {}),
    ("SHOP_PUBLIC_URL", f"https://{'x' * 64}.example", {}),
    ("SHOP_PUBLIC_URL", f"https://{'日' * 60}.example", {}),
    ("SHOP_PUBLIC_URL", "https://日..example", {}),
    ("SHOP_MAIL_FROM", "shop@☃.example", {}),
    ("MAIL_URL", "smtp://mail.☃.example", {}),
    ("SHOP_SANDBOX", "perhaps", {}),
    ("SHOP_SANDBOX", "on", TEST),
    ("SHOP_NAME", "Corner\nShop", {}),
    ("SHOP_CURRENCY", "bitcoin", {}),
    ("SHOP_CURRENCY", "kwd", {}),
    ("SHOP_TIMEZONE", "Mars/Olympus", {}),
    ("SHOP_TIMEZONE", "../../etc/passwd", {}),
    ("SHOP_LOCALE", "tlh", {}),
    ("STRIPE_SECRET_KEY", "pk_test_abc", {}),
    ("STRIPE_SECRET_KEY", "sk_test_", {}),
    ("STRIPE_SECRET_KEY", "sk_test_…", {}),
    ("STRIPE_SECRET_KEY", "sk_test_a b", {}),
    ("STRIPE_PUBLISHABLE_KEY", "sk_test_abc", {}),
    ("STRIPE_PUBLISHABLE_KEY", "pk_live_abc", TEST),
    ("STRIPE_PUBLISHABLE_KEY", "pk_test_abc", LIVE),
    ("STRIPE_SECRET_KEY", "sk_test_...", {}),
    ("STRIPE_SECRET_KEY", '"sk_test_abc"', {}),
    ("STRIPE_SECRET_KEY", "sk_test_abc sk_test_def", {}),
    ("STRIPE_SECRET_KEY", "sk_test_abcsk_test_def", {}),
    ("STRIPE_SECRET_KEY", "sk_test_a\u200bb", {}),
    ("STRIPE_PUBLISHABLE_KEY", "pk_test_a\tb", {}),
    ("STRIPE_PUBLISHABLE_KEY", "pk_test_ａ", {}),
    ("STRIPE_WEBHOOK_SECRET", "secret", {}),
    *[
        ("STRIPE_WEBHOOK_SECRET", text, {})
        for text in (
            "whsec_",
            "'whsec_a'",
            "whsec_a'",
            '"whsec_a whsec_b"',
            "whsec_a,whsec_b",
            "whsec_a;whsec_b",
            "whsec_a\nwhsec_b",
            "whsec_a\twhsec_b",
            "whsec_a\u3000whsec_b",
            "whsec_a b",
            "whsec_a sk_test_b",
            "whsec_awhsec_b",
            "whsec_a\0",
            "whsec_é",
            "whsec_…",
            "whsec_a whsec_",
            "WHSEC_a",
        )
    ],
    ("STRIPE_API_BASE", "localhost:5001", TEST),
    ("STRIPE_API_BASE", "http://127.0.0.1:5001", LIVE),
    ("STRIPE_CHECKOUT_ORIGINS", "https://pay.shop.example/path", {}),
    ("STRIPE_CHECKOUT_ORIGINS", "https://pay.example;script-src", {}),
    ("SHOP_LEGACY_CHARGE", "1", {}),
    ("MAIL_URL", "mail.example", {}),
    ("MAIL_URL", "smtp://mail.example:port", {}),
    ("SHOP_MAIL_FROM", "shop", {}),
    ("SHOP_OWNER_EMAIL", "me@shop.example, you@shop.example", {}),
    ("SHOP_OWNER_EMAIL", "me@shop.example\r\nBcc: you@shop.example", {}),
    ("SHOP_PROXY", "on", {}),
    ("SHOP_PROXY", "for=one", {}),
    ("SHOP_PROXY", "for=" + "9" * 5000, {}),
    ("SHOP_BOARD_HOLD", "some", {}),
    ("SHOP_TASK_TOKEN", "short", {}),
    ("SHOP_PUBLIC_URL", "http://shop.example", LIVE),
    ("SHOP_PUBLIC_URL", "", LIVE),
]


def refusal(settings: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(settings)
    return str(caught.value)


@pytest.mark.parametrize(("name", "value", "others"), REFUSED)
def test_a_refusal_is_one_line_with_the_name_the_fault_and_what_is_right(
    name: str, value: str, others: dict[str, str]
) -> None:
    text = refusal(others | {name: value})
    assert re.fullmatch(rf"{name}: .+\. Right: .+", text), text


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_example_is_right_where_it_is_no_placeholder(setting: Any) -> None:
    if not setting.example.endswith(("…", "random characters")):
        assert setting.parse(setting.example) is not None


@given(name=st.sampled_from([setting.name for setting in SETTINGS]), value=st.text(max_size=60))
@example(name="DATABASE_URL", value="sqlite://[")
@example(name="SHOP_PUBLIC_URL", value="https://[::1")
@example(name="SHOP_PUBLIC_URL", value="https://a..b")
@example(name="MAIL_URL", value="smtp://[")
@example(name="SHOP_DATA_DIR", value="~nobody-here/shop")
def test_no_value_breaks_the_start_with_anything_but_a_refusal(name: str, value: str) -> None:
    with suppress(ConfigError):
        load({name: value})


@pytest.mark.parametrize(
    ("settings", "leak"),
    [
        ({"MAIL_URL": "http://user:hunter22@mail.example"}, "hunter22"),
        ({"DATABASE_URL": "oracle://user:hunter22@db/shop"}, "hunter22"),
        ({"STRIPE_SECRET_KEY": "hunter22"}, "hunter22"),
        ({"SHOP_PUBLIC_URL": "ftp://user:hunter22@shop.example"}, "hunter22"),
        ({"SECRET_KEY": "hunter22"}, "hunter22"),
    ],
)
def test_a_refusal_tells_no_secret(settings: dict[str, str], leak: str) -> None:
    assert leak not in refusal(settings)


@pytest.mark.parametrize("text", ["whsec_a whsec_b", "  whsec_a   whsec_b "])
def test_signing_secrets_may_be_several(text: str) -> None:
    assert load({"STRIPE_WEBHOOK_SECRET": text})["STRIPE_WEBHOOK_SECRET"] == "whsec_a whsec_b"


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://Shop.Example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80/corner/", "http://shop.example/corner"),
        ("HTTPS://shop.example:8443", "https://shop.example:8443"),
        ("https://例え.example", "https://xn--r8jz45g.example"),
        ("https://faß.example/corner", "https://xn--fa-hia.example/corner"),
        ("https://xn--fa-hia.example", "https://xn--fa-hia.example"),
        ("https://βόλος.example", "https://xn--nxasmm1c.example"),
        ("https://ΒΌΛΟΣ.example", "https://xn--nxasmq6b.example"),
        ("https://ＳＨＯＰ。example:8443", "https://shop.example:8443"),
        ("https://my_shop.例え.example", "https://my_shop.xn--r8jz45g.example"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_the_public_address_is_kept_as_browsers_say_it(given_url: str, kept: str) -> None:
    assert load({"SHOP_PUBLIC_URL": given_url})["SHOP_PUBLIC_URL"] == kept


def test_a_missing_database_driver_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match=r"^DATABASE_URL: .*pymysql.* Right: pip install [^\n]+$"):
        create_app({"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path, "DATABASE_URL": "mysql://h/shop"})


PUBLIC = {
    "none": {},
    "loopback": {"SHOP_PUBLIC_URL": "http://127.0.0.1:5000"},
    "localhost": {"SHOP_PUBLIC_URL": "http://localhost"},
    "ipv6": {"SHOP_PUBLIC_URL": "http://[::1]:5000"},
    "web": {"SHOP_PUBLIC_URL": "https://shop.example"},
}


@pytest.mark.parametrize("public", PUBLIC)
@pytest.mark.parametrize("sandbox", [None, "on", "off"])
def test_without_a_key_a_shop_on_the_web_pays_with_play_money_only_if_told(
    public: str, sandbox: str | None
) -> None:
    settings = PUBLIC[public] | ({"SHOP_SANDBOX": sandbox} if sandbox else {})
    expected = "sandbox" if sandbox == "on" or (not sandbox and public != "web") else "off"
    assert load(settings)["SHOP_MODE"] == expected


@pytest.mark.parametrize("public", PUBLIC)
@pytest.mark.parametrize("sandbox", [None, "off"])
@pytest.mark.parametrize("prefix", ["sk_test_", "rk_test_"])
def test_a_test_key_is_test_mode_wherever_the_shop_is(
    public: str, sandbox: str | None, prefix: str
) -> None:
    settings = PUBLIC[public] | {"STRIPE_SECRET_KEY": f"{prefix}abc_live_x"}
    assert load(settings | ({"SHOP_SANDBOX": sandbox} if sandbox else {}))["SHOP_MODE"] == "test"


@pytest.mark.parametrize("prefix", ["sk_live_", "rk_live_"])
def test_a_live_key_is_live_mode(prefix: str) -> None:
    assert load(LIVE | {"STRIPE_SECRET_KEY": f"{prefix}x_test_y"})["SHOP_MODE"] == "live"


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_emptied_key_never_makes_a_real_shop_a_playground(blank: str) -> None:
    assert load(LIVE | {"STRIPE_SECRET_KEY": blank})["SHOP_MODE"] == "off"


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({}, True),
        (TEST, False),
        (LIVE, False),
        ({"SHOP_SANDBOX": "off"}, False),
        (TEST | {"SHOP_LEGACY_CHARGE": "on"}, True),
        ({"SHOP_LEGACY_CHARGE": "off"}, False),
    ],
)
def test_the_legacy_card_page_is_by_itself_on_in_the_sandbox_only(
    settings: dict[str, str], on: bool
) -> None:
    assert load(settings)["SHOP_LEGACY_CHARGE"] is on


def test_a_blank_setting_is_an_unset_one() -> None:
    assert load({name.name: " " for name in SETTINGS}) == load({})


def test_settings_can_be_given_in_their_own_types(tmp_path: Path) -> None:
    values = load({"SHOP_DATA_DIR": tmp_path, "SHOP_SANDBOX": True, "SHOP_LEGACY_CHARGE": False})
    assert values["SHOP_DATA_DIR"] == tmp_path
    assert values["SHOP_SANDBOX"] is True
    assert values["SHOP_LEGACY_CHARGE"] is False


# --- the secret key -------------------------------------------------------------------------


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    first = create_app({"SHOP_DATA_DIR": folder}).config["SECRET_KEY"]
    assert create_app({"SHOP_DATA_DIR": folder}).config["SECRET_KEY"] == first
    assert len(first) >= 64
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_processes_that_start_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        for round_ in range(5):
            keys = list(pool.map(secret_key, [tmp_path / str(round_)] * 8))
            assert len(set(keys)) == 1


NO_LINKS = ("EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EMLINK", "EXDEV")


def without_links(folder: Path, name: str = "EPERM") -> str:
    """Return the secret as a process makes it on a disk without hard links."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse)
        return secret_key(folder)


@pytest.mark.parametrize("name", NO_LINKS)
def test_a_disk_without_hard_links_keeps_the_secret_too(tmp_path: Path, name: str) -> None:
    made = without_links(tmp_path, name)
    assert len(made) >= 64
    assert without_links(tmp_path, name) == secret_key(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_processes_that_start_at_once_without_hard_links_agree_too(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        for round_ in range(20):
            keys = list(pool.map(without_links, [tmp_path / str(round_)] * 8))
            assert len(set(keys)) == 1
            assert len(keys[0]) == 64


def test_who_finds_the_secret_being_written_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.touch()
    later = threading.Timer(0.2, path.write_text, ["s" * 64])
    later.start()
    assert secret_key(tmp_path) == "s" * 64
    later.join()


def test_a_disk_that_takes_no_file_at_all_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(ConfigError, match=r"^SHOP_DATA_DIR: .*No space left.*for example[^\n]*$"):
        create_app({"SHOP_DATA_DIR": tmp_path})


def test_a_given_secret_leaves_no_file(tmp_path: Path) -> None:
    create_app({"SHOP_DATA_DIR": tmp_path, "SECRET_KEY": KEY})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe"])
def test_a_damaged_secret_is_refused_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_key").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^SECRET_KEY: .*Delete it[^\n]*$"):
        create_app({"SHOP_DATA_DIR": tmp_path})


def test_a_data_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^SHOP_DATA_DIR: .*for example[^\n]*$"):
        create_app({"SHOP_DATA_DIR": tmp_path / "file"})


# --- the factory ----------------------------------------------------------------------------


def test_a_given_config_takes_the_place_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NAME", "From outside")
    monkeypatch.setenv("STRIPE_SECRET_KEY", "nonsense")
    monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path / "outside"))
    app = create_app({"SHOP_DATA_DIR": tmp_path / "inside"})
    assert app.config["SHOP_NAME"] == "Corner Shop"
    assert app.config["SHOP_MODE"] == "sandbox"
    assert not (tmp_path / "outside").exists()


def test_without_config_the_environment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NAME", "From outside")
    monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path))
    assert create_app().config["SHOP_NAME"] == "From outside"


def test_flasks_own_settings_pass_through(make_app: Any) -> None:
    assert make_app(TEMPLATES_AUTO_RELOAD=True).config["TEMPLATES_AUTO_RELOAD"] is True


@pytest.mark.parametrize("more", [{}, TEST, LIVE, {"SHOP_SANDBOX": "off"}])
def test_making_a_shop_asks_no_network_and_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr("sqlite3.connect", refuse)
    monkeypatch.setattr("sqlite3.dbapi2.connect", refuse)
    create_app({"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path / "data"} | more)
    assert list(tmp_path.iterdir()) == []


def test_a_shop_over_a_server_that_is_away_is_made_all_the_same(tmp_path: Path) -> None:
    app = create_app(
        {"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path, "DATABASE_URL": "postgres://h.invalid/shop"}
    )
    assert app.config["SQLALCHEMY_DATABASE_URI"].drivername == "postgresql+psycopg"


def test_the_folder_one_stands_in_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".env").write_text("SHOP_NAME=Wrong\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(os, "getcwd", lambda: pytest.fail("asked for the current folder"))
    app = create_app(
        {"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path / "data", "DATABASE_URL": "sqlite:///own.db"}
    )
    assert app.config["SHOP_NAME"] == "Corner Shop"
    assert Browser(app).get("/").status == 200
    assert (tmp_path / "data" / "own.db").exists()
    assert [path.name for path in elsewhere.iterdir()] == [".env"]


@pytest.mark.parametrize("name", ["data", "da ta", "da?ta#1", "日本"])
def test_the_data_folder_may_have_any_name_and_is_made(tmp_path: Path, name: str) -> None:
    app = create_app({"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path / name / "deep"})
    assert Browser(app).get("/").status == 200
    assert (tmp_path / name / "deep" / "shop.sqlite3").exists()


def test_an_unknown_name_of_ours_in_the_environment_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SHOP_NAM", "Corner Shop")
    monkeypatch.setenv("STRIPE_KEY", "sk_test_1234567")
    monkeypatch.setenv("EDITOR", "ed")
    create_app()
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split()[0] for text in warned] == ["SHOP_NAM", "STRIPE_KEY"]
    assert "sk_test" not in caplog.text


# --- wsgi.py and .env -----------------------------------------------------------------------


class Checkout:
    """A copy of wsgi.py with a `.env` of its own beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        (self.folder / "wsgi.py").write_text((ROOT / "wsgi.py").read_text())

    def env_file(self, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (self.folder / ".env").write_bytes(raw)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {"PYTHONPATH": str(ROOT), "SHOP_DATA_DIR": str(self.folder / "data")}
        return subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=kept | own | environ,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def show(self, name: str, **environ: str) -> str:
        """Start the shop and return one of its settings."""
        done = self.run("-c", f"import wsgi; print(wsgi.application.config[{name!r}])", **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_settings_come_from_the_file_beside_wsgi(checkout: Checkout) -> None:
    checkout.env_file("\ufeffSHOP_NAME='Café 日本'\n# a comment\n\nFLASK_DEBUG=0\nSANDBOX_X=1\n")
    assert checkout.show("SHOP_NAME") == "Café 日本"


def test_the_real_environment_wins_over_the_file(checkout: Checkout) -> None:
    checkout.env_file("SHOP_NAME=From the file\nSHOP_CURRENCY=usd\n")
    assert checkout.show("SHOP_NAME", SHOP_NAME="From outside") == "From outside"
    assert checkout.show("SHOP_CURRENCY", SHOP_NAME="From outside") == "usd"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("SHOP_NAM=Corner\n", ["SHOP_NAM:", ".env.example"]),
        ("EDITOR=ed\n", ["EDITOR:", "Right: "]),
        (b"SHOP_NAME=Caf\xe9\n", [".env", "UTF-8"]),
        ("SHOP_CURRENCY=kwd\n", ["SHOP_CURRENCY", "Right: jpy"]),
        ("STRIPE_SECRET_KEY=sk_live_a\n", ["SHOP_PUBLIC_URL", "https://shop.example"]),
    ],
)
def test_a_wrong_file_stops_the_server_with_one_line(
    checkout: Checkout, content: str | bytes, names: list[str]
) -> None:
    checkout.env_file(content)
    done = checkout.run("wsgi.py")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("shop: ")
    assert all(name in done.stderr for name in names), done.stderr


@pytest.mark.parametrize("broken", ["SHOP_NAME Corner", "SHOP_NAME='Corner"])
def test_a_line_that_is_no_setting_is_left_out_with_a_warning(
    checkout: Checkout, broken: str
) -> None:
    checkout.env_file(f"SHOP_CURRENCY=usd\n{broken}\n")
    assert checkout.show("SHOP_CURRENCY") == "usd"
    assert "line 2" in checkout.run("wsgi.py").stderr


def test_a_wrong_environment_stops_the_flask_command_with_one_line(checkout: Checkout) -> None:
    done = checkout.run("-m", "flask", "--app", "wsgi.py", "shop", "init", SHOP_CURRENCY="kwd")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("shop: SHOP_CURRENCY: ")


def test_init_makes_everything_and_can_be_repeated(checkout: Checkout) -> None:
    command = ("-m", "flask", "--app", "wsgi.py", "shop", "init")
    for _ in range(2):
        done = checkout.run(*command)
        assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (checkout.folder / "data").iterdir())
    assert made == ["secret_key", "shop.sqlite3"]


def test_an_unknown_name_in_the_environment_does_not_stop_the_start(checkout: Checkout) -> None:
    done = checkout.run("wsgi.py", SHOP_NAM="Corner Shop")
    assert done.returncode == 0
    assert "SHOP_NAM" in done.stderr


# --- mail addresses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["a..b.@docomo.ne.jp", ".a@ezweb.ne.jp", "a+b/c=d@example.com", "綾@例え.jp"]
)
def test_a_mail_address_is_one_for_settings_and_customers(address: str) -> None:
    assert is_mail_address(address)
    assert load({"SHOP_OWNER_EMAIL": address})["SHOP_OWNER_EMAIL"] == address


@pytest.mark.parametrize(
    "text",
    ["aya", "aya@", "@example.com", "a b@example.com", "a@b@example.com", "aya@example.com.",
     "<aya@example.com>", "aya@example.com,ben@example.com", '"a,b"@example.com', "a\0@b.example",
     "x" * 65 + "@example.com"],
)  # fmt: skip
def test_what_no_mail_can_be_sent_to_is_none(text: str) -> None:
    assert not is_mail_address(text)
    assert "is no mail address" in refusal({"SHOP_OWNER_EMAIL": text})


def test_only_a_setting_names_a_mailbox_of_this_machine() -> None:
    assert not is_mail_address("shop@localhost")
    assert load({"SHOP_MAIL_FROM": "shop@localhost"})["SHOP_MAIL_FROM"] == "shop@localhost"
