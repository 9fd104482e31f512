"""The database's address: hosts hand it out for many programs, with the options of all of them.

Options of others are translated into those of our drivers, or left out where the shop decides
itself what they are about. An option that nobody knows stops the start.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
https://dev.mysql.com/doc/refman/8.4/en/connecting-using-uri-or-key-value-pairs.html
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from shop.parsers import ascii_domain, checked, whole_number

DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "pgsql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql2": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
}
# What the drivers understand.
KNOWN = {
    "postgresql": (
        "application_name channel_binding connect_timeout fallback_application_name gssdelegation "
        "gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle "
        "keepalives_interval krbsrvname load_balance_hosts max_protocol_version "
        "min_protocol_version options passfile require_auth requirepeer service "
        "ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression "
        "sslcrl sslcrldir sslkey sslnegotiation sslpassword sslrootcert sslsni "
        "target_session_attrs tcp_user_timeout"
    ).split(),
    "mysql": (
        "bind_address connect_timeout init_command program_name read_default_file "
        "read_default_group read_timeout ssl_ca ssl_capath ssl_cert ssl_cipher ssl_key unix_socket "
        "write_timeout"
    ).split(),
    "sqlite": "cache immutable mode modeof nolock psow uri vfs".split(),
}
# What others call them. Names are compared without their dashes, underscores and capitals.
RENAMED = {
    "postgresql": {
        "schema": "schema",
        "currentschema": "schema",
        "searchpath": "schema",
        "sslca": "sslrootcert",
    },
    "mysql": {
        "applicationname": "program_name",
        "socket": "unix_socket",
        "sslcert": "ssl_cert",
        "sslkey": "ssl_key",
        "sslrootcert": "ssl_ca",
    },
    "sqlite": {},
}
# Encodings, pools and prepared statements are the shop's own affair.
UNUSED = set(
    "advisorylocks allowpublickeyretrieval autocommit autoreconnect binary cacheprepstmts "
    "characterencoding charset clientencoding collation compress connectionlimit connhealthchecks "
    "connmaxage encoding idleintransactionsessiontimeout idletimeout localinfile locktimeout "
    "maxallowedpacket maxconnections maxoverflow maxpoolsize minpoolsize multistatements parsetime "
    "pgbouncer pool poolmaxconns poolmode poolpreping poolrecycle poolsize pooltimeout "
    "preparedstatementcachesize preparedstatements preparethreshold querytimeout reconnect "
    "serverversion sockettimeout sqlmode statementcachesize statementtimeout supa timeout "
    "useprepstmts uselibpqcompat useunicode workaround".split()
)
UNUSED_BY = {
    "postgresql": set(),
    "mysql": {"schema", "servertimezone", "timezone"},
    "sqlite": set("checksamethread cachedstatements connecttimeout detecttypes isolationlevel "
                  "schema timeout".split()),
}  # fmt: skip
# What may stand among the options instead of in its place.
PARTS = {
    "user": "username",
    "username": "username",
    "password": "password",
    "host": "host",
    "port": "port",
    "db": "database",
    "dbname": "database",
    "database": "database",
}
CONNECT_SECONDS = 10
LONGEST_CONNECT_SECONDS = 60
NUMBERS = ("connect_timeout", "read_timeout", "write_timeout")
FILES = ("ssl_ca", "ssl_cert", "ssl_key", "sslcert", "sslkey", "sslrootcert")
# How strictly the connection is encrypted, from the least up, and how programs say so.
ENCRYPTION = {
    "disable": "disable disabled false 0 off no none",
    "allow": "allow",
    "prefer": "prefer preferred accept_invalid_certs",
    "require": "require required true 1 on yes no_verify skip_verify {} "
    '{"rejectunauthorized":false}',
    "verify-ca": "verify_ca",
    "verify-full": 'verify_full verify_identity strict {"rejectunauthorized":true}',
}
ENCRYPTION_OPTIONS = set("encrypt requiressl ssl sslaccept sslmode sslrequire tls usessl".split())
VERIFYING = ("verify-ca", "verify-full")
# A switch that asks for more, or for less, than the usual.
ENCRYPTION_SWITCHES = {
    "ssldisabled": ("disable", None),
    "sslcheckhostname": ("verify-full", "require"),
    "sslverifycert": ("verify-ca", None),
    "sslverifyidentity": ("verify-full", None),
    "sslverifyservercert": ("verify-full", None),
    "verifyservercertificate": ("verify-full", None),
}


def read_database_url(raw: str) -> str:
    """Return the address as SQLAlchemy takes it; raise ValueError with the reason."""
    scheme, separator, rest = raw.partition("://")
    kind = scheme.lower().partition("+")[0]
    reason = "is not the address of an SQLite, PostgreSQL, MySQL or MariaDB database"
    driver = DRIVERS[checked(kind, separator and kind in DRIVERS, reason)]
    port_reason = "has a port that is no number from 1 to 65535"
    try:
        url = make_url(f"{driver}://{rest}")
    except ArgumentError:  # its text may have a part of the password in it
        raise ValueError("is not the address of a database") from None
    except ValueError:
        raise ValueError(port_reason) from None
    # What follows the first @ would be taken for the server's name, and shown in errors.
    after = re.sub(r"^[^:/]*(:[^@]*)?@", "", rest)
    reason = "has an @ too many: write %40 for one that is part of the password"
    checked(url, driver == "sqlite" or "@" not in after, reason)
    # int() takes full-width digits and underscores.
    checked(url, url.port is None or f":{url.port}" in after, port_reason)
    # SQLAlchemy forgets options without a value.
    url = _read_options(url, parse_qsl(after.partition("?")[2], keep_blank_values=True))
    parts = (url.username, url.password, url.host, url.database, *url.query.values())
    checked(url, all(str(part).isprintable() for part in parts), "has an invisible character")
    if driver == "sqlite":
        reason = "names a server: an SQLite file has three slashes before its name, four before /"
        return str(checked(url, not (url.host or url.username), reason))
    checked(url, url.port is None or 0 < url.port <= 65535, port_reason)
    url = url.set(database=(url.database or "").rstrip("/"), host=ascii_domain(url.host or ""))
    checked(url, url.database or "service" in url.query, "names no database after the server")
    return url.render_as_string(hide_password=False)


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return what a server's driver is told beside the address."""
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_SECONDS
    if url.get_backend_name() == "postgresql":
        # Statements prepared on the server outlive the transaction, and behind a pooler the next
        # transaction may meet another server process.
        return arguments | {"prepare_threshold": None, "client_encoding": "utf8"}
    # What does not fit is refused, not cut, whatever the server's settings.
    arguments["sql_mode"] = "TRADITIONAL"
    # PyMySQL itself would encode the password as Latin-1.
    return arguments | ({"password": url.password.encode()} if url.password else {})


def _read_options(url: URL, pairs: list[tuple[str, str]]) -> URL:
    """Return the address with the options of our driver in place of `pairs`."""
    backend = url.get_backend_name()
    known = {_squeezed(name): name for name in KNOWN[backend]} | RENAMED[backend]
    options: dict[str, str] = {}
    wishes: list[str] = []
    for name, value in pairs:
        key = _squeezed(name)
        if key in ENCRYPTION_OPTIONS or key in ENCRYPTION_SWITCHES:
            wishes += _read_encryption(name, key, value)
        elif key in known:
            options[known[key]] = value
        elif key in PARTS and backend != "sqlite":
            part: Any = whole_number(value, 0) if key == "port" else value
            url = url.set(**{PARTS[key]: part})
        elif key not in UNUSED and key not in UNUSED_BY[backend]:
            shown = repr(name) if re.fullmatch(r"[\w.-]{1,40}", name) else "that cannot be read"
            raise ValueError(f"has an option {shown}, which the shop does not know: leave it out")
    for name in NUMBERS:
        seconds = whole_number(options.get(name) or "0", None)
        checked(seconds, seconds is not None, f"has an option {name!r} that is no whole number")
        if not seconds:  # 0 is the wish to wait for ever
            options.pop(name, None)
        elif name == "connect_timeout":  # of some programs in milliseconds
            options[name] = str(min(seconds, LONGEST_CONNECT_SECONDS))
    for name in FILES:
        missing = options.get(name, "system") != "system" and not Path(options[name]).is_file()
        checked(name, not missing, f"has an option {name!r} that names no file")
    level = max(wishes, key=list(ENCRYPTION).index, default="")
    complete = {
        "postgresql": _complete_postgresql,
        "mysql": _complete_mysql,
        "sqlite": _complete_sqlite,
    }[backend]
    is_native = ("sslmode", level) in pairs
    return url.set(query=complete({k: v for k, v in options.items() if v}, level, is_native))


def _squeezed(name: str) -> str:
    return re.sub("[-_]", "", name.lower())


def _read_encryption(name: str, key: str, value: str) -> list[str]:
    """Return the level that an option asks for, in a list that is empty where it asks for none."""
    word = re.sub("[- ]", lambda found: "_" if found[0] == "-" else "", value.lower())
    found = [level for level, words in ENCRYPTION.items() if word in words.split()]
    reason = f"has an option {name!r} with a value that the shop does not know"
    checked(found, found or not word, reason)
    if key not in ENCRYPTION_SWITCHES or not word:
        return found
    checked(found, found in (["disable"], ["require"]), reason)
    level = ENCRYPTION_SWITCHES[key][found == ["disable"]]
    return [level] if level else []


def _complete_postgresql(options: dict[str, str], level: str, is_native: bool) -> dict[str, str]:
    schema = options.pop("schema", "public")
    if schema != "public":
        options["options"] = f"{options.get('options', '')} -csearch_path={schema}".lstrip()
    if level:
        options["sslmode"] = level
    if level in VERIFYING and not is_native:
        options.setdefault("sslrootcert", _authorities())
    return options


def _complete_mysql(options: dict[str, str], level: str, _is_native: bool) -> dict[str, str]:
    if level == "disable":
        options = {k: v for k, v in options.items() if not k.startswith("ssl_")}
        options["ssl_disabled"] = "true"
    elif level == "require" or level in VERIFYING:
        options["ssl_check_hostname"] = "true" if level == "verify-full" else "false"
    if level in VERIFYING and "ssl_capath" not in options:
        options.setdefault("ssl_ca", _authorities())
    return options | {"charset": "utf8mb4"}


def _authorities() -> str:
    """Return the file of the certificates that the web trusts."""
    import certifi  # few addresses need it, and every start would pay for it

    return certifi.where()


def _complete_sqlite(options: dict[str, str], _level: str, _is_native: bool) -> dict[str, str]:
    if options.get("uri") in ("true", "True", "1"):
        return options
    # Without `uri` none has an effect; to make a missing file is the usual way.
    good = set(options) <= {"mode", "uri"} and options.get("mode", "rwc") in ("rw", "rwc")
    return checked({}, good, "has options that need uri=true beside them")
