"""The database's address: what hosts hand out is understood, or refused in one line."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from shop import create_app
from shop.config import ConfigError, load
from shop.db import db
from tests import databases

CA = str(Path(__file__).resolve())
LOCAL = "u:p@h/shop"


def read(given: str) -> str:
    return str(load({"DATABASE_URL": given})["DATABASE_URL"])


def refusal(given: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load({"DATABASE_URL": given})
    line = str(refused.value)
    assert line.startswith("DATABASE_URL: ")
    assert line.endswith(". Right: postgresql://user:password@localhost/shop")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgres://u:p@h/shop", "postgresql+psycopg://u:p@h/shop"),
        ("postgresql+psycopg://h/shop", "postgresql+psycopg://h/shop"),
        ("postgresql+asyncpg://h/shop", "postgresql+psycopg://h/shop"),
        ("POSTGRES://h:6432/shop/", "postgresql+psycopg://h:6432/shop"),
        (
            "postgres://u:p@db.faß.example/shop",
            "postgresql+psycopg://u:p@db.xn--fa-hia.example/shop",
        ),
        ("postgres://[::1]:6432/shop", "postgresql+psycopg://[::1]:6432/shop"),
        ("mysql://u:p@h/shop", "mysql+pymysql://u:p@h/shop?charset=utf8mb4"),
        ("mysql2://u:p@h/shop", "mysql+pymysql://u:p@h/shop?charset=utf8mb4"),
        ("mysql+pymysql://h/shop?charset=utf8", "mysql+pymysql://h/shop?charset=utf8mb4"),
        ("sqlite:////data/shop.sqlite3", "sqlite:////data/shop.sqlite3"),
        ("sqlite3:///shop.db?mode=rwc&connection_limit=1", "sqlite:///shop.db"),
        ("sqlite:///file:x?mode=ro&uri=true", "sqlite:///file%3Ax?mode=ro&uri=true"),
        ("sqlite:////home/me@host/shop.db", "sqlite:////home/me%40host/shop.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_the_address_names_its_driver(given: str, kept: str) -> None:
    assert read(given) == kept


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("sslmode=require", {"sslmode": "require"}),
        ("ssl-mode=REQUIRED", {"sslmode": "require"}),
        ("ssl_mode=DISABLED", {"sslmode": "disable"}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        ("ssl=true", {"sslmode": "require"}),
        ("sslaccept=accept_invalid_certs&sslmode=require", {"sslmode": "require"}),
        ("sslmode=verify-full", {"sslmode": "verify-full"}),
        ("sslmode=require&sslmode=verify-ca", {"sslmode": "verify-ca"}),
        (f"sslMode=verify-ca&ssl-ca={CA}", {"sslmode": "verify-ca", "sslrootcert": CA}),
        (f"sslaccept=strict&sslrootcert={CA}", {"sslmode": "verify-full", "sslrootcert": CA}),
        ("connect_timeout=15&connection_limit=1&pool_timeout=0", {"connect_timeout": "15"}),
        ("connectTimeout=5000", {"connect_timeout": "60"}),
        ("pgbouncer=true&statement_cache_size=0&supa=base-pooler.x", {}),
        ("reconnect=true&charset=utf8&serverVersion=16&pool=5&encoding=utf8", {}),
        ("application_name=My%20shop", {"application_name": "My shop"}),
        ("ApplicationName=shop&channel_binding=require",
         {"application_name": "shop", "channel_binding": "require"}),
        ("options=endpoint%3Dx", {"options": "endpoint=x"}),
        ("schema=public", {}),
        ("schema=mine", {"options": "-csearch_path=mine"}),
        ("connect_timeout=0&sslmode=&application_name=", {}),
        ("prepare_threshold=5&autocommit=true&client_encoding=latin1", {}),
    ],
)  # fmt: skip
def test_options_become_those_of_postgresqls_driver(given: str, options: dict[str, str]) -> None:
    assert make_url(read(f"postgres://{LOCAL}?{given}")).query == options


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("ssl-mode=REQUIRED", {"ssl_check_hostname": "false"}),
        (f"sslmode=require&ssl-ca={CA}", {"ssl_check_hostname": "false", "ssl_ca": CA}),
        (f"ssl_mode=VERIFY_IDENTITY&ssl_ca={CA}", {"ssl_check_hostname": "true", "ssl_ca": CA}),
        ("useSSL=true", {"ssl_check_hostname": "false"}),
        ("ssl={%22rejectUnauthorized%22:false}", {"ssl_check_hostname": "false"}),
        (f"ssl-mode=DISABLED&ssl_ca={CA}", {"ssl_disabled": "true"}),
        ("ssl-mode=PREFERRED", {}),
        ("ssl_disabled=false&ssl_verify_cert=false", {}),
        (f"ssl_check_hostname=false&ssl_ca={CA}", {"ssl_check_hostname": "false", "ssl_ca": CA}),
        ("reconnect=true&connection_limit=5&socket_timeout=3&schema=x&serverTimezone=UTC", {}),
        ("connect_timeout=5&application_name=shop",
         {"connect_timeout": "5", "program_name": "shop"}),
        ("unix_socket=/run/my.sock&collation=latin1_bin", {"unix_socket": "/run/my.sock"}),
    ],
)  # fmt: skip
def test_options_become_those_of_mysqls_driver(given: str, options: dict[str, str]) -> None:
    assert make_url(read(f"mysql://{LOCAL}?{given}")).query == options | {"charset": "utf8mb4"}


@pytest.mark.parametrize("option", ["sslaccept=strict", 'ssl={"rejectUnauthorized":true}'])
@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_server_is_verified_though_no_certificates_are_named(scheme: str, option: str) -> None:
    query = make_url(read(f"{scheme}://{LOCAL}?{option}")).query
    name = {"postgres": "sslrootcert", "mysql": "ssl_ca"}[scheme]
    assert "BEGIN CERTIFICATE" in Path(str(query[name])).read_text()


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("bogus=1", "bogus"),
        ("bogus", "bogus"),
        ("bogus=", "bogus"),
        ("sslmode=require&row_factory=x", "row_factory"),
        ("sslmode=banana", "sslmode"),
        ("ssl-mode=maybe", "ssl-mode"),
        ("ssl_disabled=perhaps", "ssl_disabled"),
        ("connect_timeout=soon", "connect_timeout"),
        ("connect_timeout=1.5", "connect_timeout"),
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_an_option_that_is_not_understood_stops_the_start(
    scheme: str, given: str, option: str
) -> None:
    assert f"option {option!r}" in refusal(f"{scheme}://{LOCAL}?{given}")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("postgres://u:p@h", "no database"),
        ("postgres://u:p@h/", "no database"),
        ("mysql://u:p@h?ssl-mode=REQUIRED", "no database"),
        *[(f"postgres://u:p@h:{port}/shop", "port") for port in (
            "port", "0", "65536", "-1", "5_4", "５４", "", "1:2", "5432,h2:5432",
        )],
        ("postgres://u:p@h/shop?port=x", "port"),
        ("postgres://u:p@ss@h/shop", "%40"),
        ("postgres://u/x:p@h/shop", "%40"),
        ("mysql://u:p%00@h/shop", "invisible"),
        ("sqlite://shop.sqlite3", "three slashes"),
        ("postgres://h/shop?sslrootcert=/no/such/file", "no file"),
        ("mysql://h/shop?ssl-ca=/no/such/file", "no file"),
        ("sqlite:///shop.sqlite3?mode=ro", "uri=true"),
        ("sqlite:///shop.sqlite3?bogus=1", "'bogus'"),
        ("jdbc:postgresql://h/shop", "address of an SQLite"),
        ("mssql://h/shop", "address of an SQLite"),
        ("://", "address of an SQLite"),
    ],
)  # fmt: skip
def test_what_no_driver_could_use_stops_the_start(given: str, reason: str) -> None:
    assert reason in refusal(given)


@pytest.mark.parametrize(
    "given",
    ["postgres://u:pa@hunter22?x=1@h/shop", "postgres://u:pa@h?hunter22@h/shop",
     "postgres://u:hunter22@h:port/shop", "postgres://h/shop?password=hunter22&bogus=1",
     "mysql://u:hunter22@h/", "postgres://u:p@h/shop?bogus=hunter22"],
)  # fmt: skip
def test_a_refusal_tells_no_password(given: str) -> None:
    assert "hunter22" not in refusal(given)


@pytest.mark.parametrize("password", ["/?#[]:;+&= '\"\\", "日本é", "%", "p%40%zz"])
@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_password_may_have_any_letters(scheme: str, password: str) -> None:
    raw = password.replace("%", "%25").replace("@", "%40")
    url = make_url(read(f"{scheme}://user@name:{raw}@h/shop"))
    assert (url.username, url.password, url.host, url.database) == (
        "user@name",
        password,
        "h",
        "shop",
    )


def test_parts_of_the_address_may_stand_among_the_options() -> None:
    url = make_url(read("mysql:///?user=u&password=p&host=h&port=3307&dbname=shop"))
    assert (url.username, url.password, url.host, url.port) == ("u", "p", "h", 3307)
    assert url.database == "shop"


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_the_drivers_take_what_is_left_of_the_options(
    kind: str, tmp_path: Path, worker: str
) -> None:
    given = "?sslmode=prefer&connect_timeout=5&application_name=shop&pgbouncer=true&reconnect=true"
    url = databases.empty(kind, worker) + given
    app = shop_over(url, tmp_path)
    with app.app_context():
        assert db.session.scalar(text("SELECT 1")) == 1
        db.session.remove()
        db.engine.dispose()


def shop_over(url: str, folder: Path, **settings: Any) -> Flask:
    given = {"SECRET_KEY": databases.SECRET, "SHOP_DATA_DIR": folder, "DATABASE_URL": url}
    return create_app(given | settings)
