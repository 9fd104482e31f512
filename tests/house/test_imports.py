"""Who may import whom, and what a process that only shows the board has loaded."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "shop"
PACKAGES = {path.parent.name for path in SHOP.glob("*/__init__.py")} - {"migrations"}
# Which packages each package may import: wsgi → shop → cli, owner → payments → orders →
# catalog, mail → the files beside them.
ALLOWED = {
    "board": set(),
    "catalog": set(),
    "doctor": {"catalog", "mail", "orders", "payments"},
    "mail": set(),
    "orders": {"catalog", "mail"},
    "payments": {"catalog", "mail", "orders"},
    "sandbox": set(),
}
# The files beside the packages, from the lowest up; each imports only from those before it.
LAYERS = (
    {"accent", "config", "database_url", "logs", "money", "parsers", "spreadsheet", "sqlite"},
    {"errors", "extensions", "i18n", "security"},
    {"db"},
    {"details", "migrations", "stamps", "throttle"},
    {"pages"},
)
REQUEST_NAMES = {"request", "session", "flash", "abort"}
# What stands between HTTP and the packages; everything else gets what it needs as arguments.
NEAR_HTTP = {
    "security.py", "errors.py", "i18n.py", "pages.py", "throttle.py", "mail/__init__.py",
    "migrations/__init__.py",
}  # fmt: skip
VIEWS = {
    "payments/card.py", "owner/access.py", "owner/account.py", "owner/books.py",
    "owner/check.py", "owner/connect.py", "owner/data.py", "owner/delivery.py",
    "owner/details.py", "owner/goods.py", "owner/goods_import.py",
    "owner/mail.py", "owner/orders.py", "owner/today.py", "owner/tracking.py",
}  # fmt: skip
STRIPE_FILES = {
    "payments/gateway/__init__.py", "payments/gateway/client.py", "payments/gateway/probe.py",
    "sandbox/contract.py",
}  # fmt: skip


def sources(*, under: str = "") -> Iterator[tuple[str, ast.Module]]:
    """Yield every file of the shop by its path, parsed."""
    for path in sorted((SHOP / under).rglob("*.py")):
        yield path.relative_to(SHOP).as_posix(), ast.parse(path.read_text())


def imported(path: str, tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the full name of every module, and every name in it, that a file imports."""
    package = ["shop", *Path(path).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module, node
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def shop_parts(path: str, tree: ast.AST) -> set[str]:
    """Return which packages and modules of the shop a file imports."""
    names = (name.split(".") for name, _ in imported(path, tree))
    return {parts[1] for parts in names if parts[0] == "shop" and len(parts) > 1}


def test_the_packages_are_those_of_the_design() -> None:
    assert not PACKAGES - {*ALLOWED, "owner"}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_those_below_it(package: str) -> None:
    others = PACKAGES - {package} - ALLOWED[package]
    for path, tree in sources(under=package):
        assert not shop_parts(path, tree) & others, path


def test_nobody_imports_the_owners_pages() -> None:
    for path, tree in sources():
        if not path.startswith("owner/") and path != "__init__.py":
            assert "owner" not in shop_parts(path, tree), path


def test_the_sandbox_knows_nothing_of_the_shop() -> None:
    for path, tree in sources(under="sandbox"):
        assert shop_parts(path, tree) <= {"sandbox"}, path


def test_only_the_factory_and_the_command_line_know_the_sandbox() -> None:
    for path, tree in sources():
        if not path.startswith("sandbox/") and path not in ("__init__.py", "cli.py"):
            assert "sandbox" not in shop_parts(path, tree), path


def test_services_and_models_import_no_views() -> None:
    for path, tree in sources():
        if not path.endswith(("views.py", "__init__.py")):
            assert not [name for name, _ in imported(path, tree) if name.endswith("views")], path


def test_the_files_beside_the_packages_import_only_from_below() -> None:
    above = {
        "__init__", "archive", "backup", "cli", "demo", "demo_pictures", "privacy", "restore",
        "terminal",
    }  # fmt: skip
    files = {path.removesuffix(".py") for path, _ in sources() if "/" not in path} - above
    assert files <= set().union(*LAYERS)
    for number, layer in enumerate(LAYERS):
        below = set().union(*LAYERS[: number + 1])
        for name in layer - {"migrations"}:
            tree = ast.parse((SHOP / f"{name}.py").read_text())
            assert shop_parts(f"{name}.py", tree) <= below, name


# --- Stripe ---------------------------------------------------------------------------------


def deferred(tree: ast.Module) -> set[ast.AST]:
    """Return what does not run when a module is imported: functions and `if TYPE_CHECKING`."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if checking or isinstance(node, ast.FunctionDef):
            found |= set(ast.walk(node))
    return found


def test_stripe_is_imported_in_two_files_when_first_needed() -> None:
    for path, tree in sources():
        found = [node for name, node in imported(path, tree) if name.split(".")[0] == "stripe"]
        assert path in STRIPE_FILES or not found, path
        assert set(found) <= deferred(tree), path


def test_mail_servers_are_talked_to_in_one_file() -> None:
    for path, tree in sources():
        found = {name.split(".")[0] for name, _ in imported(path, tree)}
        assert path == "mail/smtp.py" or "smtplib" not in found, path


@pytest.mark.parametrize("heavy", ["alembic", "flask_migrate", "PIL", "requests", "babel.numbers"])
def test_heavy_modules_are_imported_when_first_needed(heavy: str) -> None:
    for path, tree in sources():
        if not path.startswith(("migrations/env.py", "migrations/versions/")):
            found = {node for name, node in imported(path, tree) if name.startswith(heavy)}
            assert found <= deferred(tree), path


# --- who touches what -----------------------------------------------------------------------


def test_the_request_is_read_near_http_only() -> None:
    for path, tree in sources():
        if path.startswith("sandbox/") or path in NEAR_HTTP | VIEWS:
            continue
        if path.endswith("views.py") or Path(path).name in ("cart.py", "access.py"):
            continue
        names = {name for name, _ in imported(path, tree)}
        assert not names & {f"flask.{name}" for name in REQUEST_NAMES}, path
        attributes = {
            ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        }
        assert not attributes & {f"flask.{name}" for name in REQUEST_NAMES}, path


def assigned(tree: ast.Module) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node


def test_the_state_of_an_order_is_written_in_one_file() -> None:
    for path, tree in sources():
        if path.startswith("sandbox/") or path == "orders/states.py":
            continue
        assert "state" not in {node.attr for node in assigned(tree)}, path
        if not path.startswith("orders/"):
            assert "update(Order)" not in ast.unparse(tree), path
        elif "update(Order)" in ast.unparse(tree):
            assert "state=" not in ast.unparse(tree), path


def test_one_function_commits() -> None:
    for path, tree in sources():
        if path.startswith(("sandbox/", "migrations/")):
            continue
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        commits = [call for call in calls if ast.unparse(call.func).endswith(".commit")]
        assert len(commits) == (1 if path == "db.py" else 0), path


def test_no_row_is_locked_by_select() -> None:
    for path, tree in sources():
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"with_for_update", "paginate"}, path


# --- a fresh process ------------------------------------------------------------------------


def run(code: str, folder: Path) -> str:
    """Run code in a fresh process that can see nothing of ours but the shop."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=folder, env=environ,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = """
import sys
from shop import create_app
app = create_app({"SECRET_KEY": "for tests only, 32 characters or more", "SHOP_DATA_DIR": FOLDER})
client = app.test_client()
assert client.get("/", base_url="http://127.0.0.1").status_code == 200
assert client.get("/topics/1", base_url="http://127.0.0.1").status_code == 200
print(*sys.modules)
"""


def test_a_process_that_shows_the_board_has_loaded_nothing_heavy(filled_database: Path) -> None:
    folder = filled_database.parent
    modules = run(LOADED.replace("FOLDER", repr(str(folder))), folder).split()
    tops = {name.split(".")[0] for name in modules}
    assert "shop" in tops
    heavy = {"stripe", "requests", "urllib3", "alembic", "flask_migrate", "PIL", "aiohttp", "httpx"}
    assert not tops & (heavy | {"psycopg", "pymysql", "pytest", "dotenv"})


def test_importing_the_shop_does_nothing(tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ROOT.glob("instance/*")}
    code = """
import pkgutil, importlib, logging, socket, threading
def refuse(*_, **__): raise AssertionError("asked")
socket.socket.connect = refuse
import shop
for module in pkgutil.walk_packages(shop.__path__, "shop."):
    if not module.name.startswith("shop.migrations."):
        importlib.import_module(module.name)
assert threading.active_count() == 1
assert not logging.getLogger().handlers
assert not logging.getLogger("shop").handlers
"""
    run(code, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in ROOT.glob("instance/*")} == before
