"""A shop under gunicorn and a sandbox beside it, each in processes of its own."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import text

from shop import create_app
from shop.db import changed_rows, db, write
from shop.demo import fill
from shop.migrations import upgrade
from tests import databases
from tests.deep.torture.sink import Sink

ROOT = Path(__file__).resolve().parents[3]
WEBHOOK_SECRET = "whsec_for_torture_only"
SECRET_KEY = "sk_test_for_torture_only"
OURS = ("SHOP_", "STRIPE_", "SANDBOX_", "FLASK_", "GUNICORN_", "DATABASE_", "MAIL_", "SECRET_")
MUGS = "last-mugs"
STOCK = 100_000
BOOTED = re.compile(r"Booting worker with pid: (\d+)")
HURRY_SECONDS = 60
# Far enough for sessions to end and for every wait between two deliveries.
FAR_SECONDS = 4000
MOST_MOVES = 100


class World:
    """The two servers and the database. `name` keeps worlds apart that run at the same time."""

    def __init__(self, kind: str, folder: Path, name: str, workers: int) -> None:
        self._folder, self._workers = folder, workers
        address = None if kind == "sqlite" else databases.empty(kind, f"torture_{name}")
        # Bound once and handed on: no other process gets the port while the shop is dead.
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        shop, sandbox = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in self._sockets)
        self.shop_url, self.sandbox_url = shop, sandbox
        self.mail = Sink()
        self.settings = {
            "SECRET_KEY": databases.SECRET,
            "SHOP_DATA_DIR": str(folder),
            "SHOP_PUBLIC_URL": shop,
            "SHOP_LEGACY_CHARGE": "on",
            "SHOP_PROXY": "for=1",
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_PUBLISHABLE_KEY": "pk_test_for_torture_only",
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": sandbox,
            "MAIL_URL": self.mail.url,
        } | ({"DATABASE_URL": address} if address else {})
        self._app = create_app(self.settings)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._killed: set[int] = set()

    def __enter__(self) -> "World":
        self.mail.start()
        with self._app.app_context():
            upgrade()
            fill()
            write(lambda: changed_rows(_stocked()))
            db.engine.dispose()
        self._start_sandbox()
        self.start_shop()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            _end(process)
        for listening in self._sockets:
            listening.close()
        self.mail.stop()
        with self._app.app_context():
            db.engine.dispose()

    def start_shop(self) -> None:
        """Start gunicorn and wait until the shop answers."""
        options = ["--workers", str(self._workers), "--preload", "--timeout", "120"]
        self._start("shop", "shop:create_app()", self._sockets[0], options, self.settings)
        answer = requests.get(f"{self.shop_url}/healthz", timeout=HURRY_SECONDS)
        assert answer.status_code == 200, answer.text

    def kill_worker(self, rng: random.Random) -> bool:
        """Kill one of the shop's workers, whose master starts another; False: there was none."""
        master = self._processes["shop"].pid
        booted = {int(pid) for pid in BOOTED.findall(self.log("shop"))} - self._killed
        alive = sorted(pid for pid in booted if _group(pid) == master)
        if not alive:
            return False
        victim = rng.choice(alive)
        os.kill(victim, signal.SIGKILL)
        self._killed.add(victim)
        return True

    def kill_shop(self) -> None:
        """Kill the master and all of its workers at one blow."""
        master = self._processes["shop"]
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()

    def flask(self, *command: str) -> str:
        """Run `flask shop …` and return what it printed; raises RuntimeError where it fails."""
        call = [sys.executable, "-m", "flask", "--app", "shop", "shop", *command]
        done = subprocess.run(
            call, cwd=self._folder, env=_environment(self.settings), capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"flask shop {' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def rows(self, query: str) -> list[Any]:
        """Return what a query finds in the shop's database."""
        with self._app.app_context(), db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def switch(self, name: str, **fields: Any) -> None:
        """Move a switch of the sandbox."""
        address = f"{self.sandbox_url}/control/{name}"
        json_please = {"Accept": "application/json"}
        answer = requests.post(address, fields, headers=json_please, timeout=HURRY_SECONDS)
        assert answer.status_code < 400, answer.text

    def stripe(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind at Stripe, newest first, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            asked = {"limit": 100} | ({"starting_after": found[-1]["id"]} if found else {})
            page = requests.get(
                f"{self.sandbox_url}/v1/{kind}", asked, auth=(SECRET_KEY, ""), timeout=HURRY_SECONDS
            ).json()
            found += page["data"]
            if not page["has_more"]:
                return found

    def redeliver(self) -> None:
        """Let the sandbox deliver all that waits, and end every session that nobody paid."""
        self.switch("webhooks", mode="deliver")
        for _ in range(MOST_MOVES):
            self.switch("clock", advance=FAR_SECONDS)
            if all(row["status"] != "pending" for row in self.deliveries()):
                return
        raise RuntimeError("the sandbox does not come to an end of its deliveries")

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the newest thousand deliveries of events."""
        state = requests.get(f"{self.sandbox_url}/control/state", timeout=HURRY_SECONDS)
        return list(state.json()["deliveries"])

    def log(self, name: str) -> str:
        """Return what a server has printed."""
        return (self._folder / f"{name}.log").read_text()

    def _start_sandbox(self) -> None:
        told = {
            "SANDBOX_WEBHOOK_URL": f"{self.shop_url}/payments/webhook",
            "SANDBOX_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "SANDBOX_DATABASE": str(self._folder / "sandbox.sqlite3"),
        }
        options = ["--worker-class", "gthread", "--threads", "24"]
        self._start("sandbox", "shop.sandbox:create_app()", self._sockets[1], options, told)

    def _start(
        self, name: str, app: str, listening: socket.socket, options: list[str], told: Any
    ) -> None:
        handle = listening.fileno()
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{handle}"]
        command += ["--no-control-socket", *options, app]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, cwd=self._folder, env=_environment(told), stdout=log, stderr=log,
                pass_fds=[handle], start_new_session=True,
            )  # fmt: skip


def _stocked() -> Any:
    return text(f"UPDATE products SET stock = {STOCK} WHERE slug = '{MUGS}'")


def _environment(told: Any) -> dict[str, str]:
    """Return this process's environment without anybody's own settings of a shop."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"PYTHONPATH": str(ROOT), "FLASK_SKIP_DOTENV": "1"} | told


def _group(pid: int) -> int | None:
    """Return the group of a process, None where it is gone: its number may be another's by now."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
