"""What the shop costs beside a bare Flask route and the Django tutorial: `make bench`.

Each stands in turn behind one gunicorn worker with one thread, in fresh processes, several rounds
in one run. CPU is the worker's own, as Linux counts it. Only the ratios mean anything elsewhere.
"""

import itertools
import json
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- made by make bench -->", "<!-- end -->"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PAGES = 200
MANY = 1_000_000
POSTS = 60
TOPICS = [
    f"Topic {number}: do the mugs survive a dishwasher? Mine looks fine after a year, see "
    f"https://example.com/mugs/{number}"
    for number in range(20)
]
FILL = {
    "shop": """
from shop import create_app
from shop.board.models import Topic
from shop.db import db, write
from shop.demo import fill
from shop.migrations import upgrade
app = create_app()
def unit():
    db.session.query(Topic).delete()
    db.session.add_all([Topic(comment=text) for text in topics])
with app.app_context():
    upgrade()
    fill()
    write(unit)
""",
    "tutorial": "from docs.bench.tutorial import fill; fill(topics)",
    "bare": "",
}
APPS = {
    "shop": "shop:create_app()",
    "tutorial": "docs.bench.tutorial:app",
    "bare": "docs.bench.bare:app",
}


class Answer:
    """What came back over the socket."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = [line.partition(": ")[::2] for line in lines[1:]]
        self.cookie = "; ".join(v.split(";")[0] for k, v in self.headers if k == "Set-Cookie")

    def header(self, name: str) -> str:
        """Return a header's value, empty where it is not there."""
        return dict(self.headers).get(name, "")

    def token(self, name: str) -> str:
        """Return the token of the first form."""
        found = re.search(rf'name="{name}" value="([^"]+)"', self.body.decode())
        if not found:
            raise RuntimeError(f"a page without a form: {self.body!r}")
        return found[1]


class Server:
    """One of the three behind gunicorn."""

    def __init__(self, name: str, folder: Path, **environ: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
            began = time.perf_counter()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-w", "1", "--threads", "1", "-b",
                 f"fd://{server.fileno()}", "--no-control-socket", "--log-level", "warning",
                 APPS[name]],
                cwd=ROOT, env=environment(folder) | environ, pass_fds=[server.fileno()],
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            self.ask()
            self.start_ms = (time.perf_counter() - began) * 1000
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.worker = Path("/proc") / children.read_text().split()[0]
        # Python and gunicorn, which the first process loads, and the app, which its worker loads.
        self.cold_cpu = self.cpu() + used(Path("/proc") / str(self.process.pid))

    def ask(self, path: str = "/", form: dict[str, Any] | None = None, **headers: str) -> Answer:
        """Send a request and return the answer; a form makes it a POST."""
        body = urlencode(form or {}).encode()
        lines = [f"{'POST' if form else 'GET'} {path} HTTP/1.0", f"Host: 127.0.0.1:{self.port}"]
        if form:
            lines.append("Content-Type: application/x-www-form-urlencoded")
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            return Answer(b"".join(iter(lambda: connection.recv(65536), b"")))

    def cpu(self) -> float:
        """Return the worker's CPU time in milliseconds."""
        return used(self.worker)

    def memory(self) -> float:
        """Return the worker's resident memory in MiB."""
        pages = int((self.worker / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cost(self, request: Callable[[], object], times: int = PAGES) -> float:
        """Return the CPU time of a request in milliseconds."""
        request()
        before = self.cpu()
        for _ in range(times):
            request()
        return (self.cpu() - before) / times

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def used(process: Path) -> float:
    """Return the CPU time of a process in milliseconds."""
    return int((process / "schedstat").read_text().split()[0]) / 1e6


def environment(folder: Path) -> dict[str, str]:
    ours = ("SHOP_", "STRIPE_", "FLASK_", "DATABASE_URL", "SECRET_KEY", "MAIL_URL", "GUNICORN_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {
        "SHOP_DATA_DIR": str(folder),
        "BENCH_FOLDER": str(folder),
        "FLASK_SKIP_DOTENV": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / ".venv/bench")]),
    }


@contextmanager
def served(name: str, folder: Path, **environ: str) -> Iterator[Server]:
    server = Server(name, folder, **environ)
    try:
        yield server
    finally:
        server.close()


def filled(name: str, folder: Path) -> Path:
    """Return the folder, with the database of this app in it."""
    folder.mkdir()
    program = f"topics = {TOPICS!r}\n{FILL[name]}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment(folder), check=True)
    return folder


def post(server: Server, token_name: str) -> tuple[float, float]:
    """Return CPU milliseconds of a post, and posts a second of one client in sequence."""
    pages = [server.ask() for _ in range(POSTS)]
    before, began = server.cpu(), time.perf_counter()
    for number, page in enumerate(pages):
        form = {token_name: page.token(token_name), "comment": f"A new topic, number {number}"}
        answer = server.ask("/", form, Cookie=page.cookie)
        if answer.status not in (302, 303):
            raise RuntimeError(f"a post that failed: {answer.body!r}")
    seconds = time.perf_counter() - began
    return (server.cpu() - before) / POSTS, POSTS / seconds


def buy(server: Server) -> str:
    """Buy a T-shirt; return the order's address."""
    page = server.ask()
    form = {"csrf_token": page.token("csrf_token"), "product_id": 1, "quantity": 1}
    order = json.loads(
        server.ask("/payments/session", form, Cookie=page.cookie, Accept="application/json").body
    )
    card = {"email": "aya@example.com", "method": "card", "number": "4242424242424242",
            "expiry": "12/40", "cvc": "123"}  # fmt: skip
    back = server.ask("/" + order["url"].split("/", 3)[3], card).header("Location")
    server.ask("/" + back.split("/", 3)[3], Cookie=page.cookie)
    return f"/orders/{order['order']}"


def measure_shop(folder: Path) -> dict[str, float]:
    with served("shop", folder) as server:
        found = {"start, wall ms": server.start_ms, "start, CPU ms": server.cold_cpu}
        found["memory, MiB"] = server.memory()
        first = server.ask()
        own = {"Cookie": first.cookie}
        tag = server.ask(**own).header("ETag")
        found["board, new visitor"] = server.cost(server.ask)
        found["board, seen before"] = server.cost(lambda: server.ask(**own))
        found["board, 304"] = server.cost(lambda: server.ask(**own, If_None_Match=tag))
        found["posting, CPU ms"], found["posts a second"] = post(server, "csrf_token")
        fresh = 0.0
        for number in range(10):
            page = server.ask()
            form = {"csrf_token": page.token("csrf_token"), "comment": f"Fresh {number}"}
            server.ask("/", form, Cookie=page.cookie)
            before = server.cpu()
            server.ask(**own)
            fresh += server.cpu() - before
        found["board, first view after a post"] = fresh / 10
        found["topic"] = server.cost(lambda: server.ask("/topics/1", **own))
        found["catalogue"] = server.cost(lambda: server.ask("/shop/", **own))
        found["product"] = server.cost(lambda: server.ask("/shop/t-shirt", **own))
        order = buy(server)
        found["memory after a purchase, MiB"] = server.memory()
        form = {"csrf_token": first.token("csrf_token"), "product_id": 2, "quantity": 1}
        own = {"Cookie": server.ask("/cart/items", form, **own).cookie}
        found["cart"] = server.cost(lambda: server.ask("/cart", **own))
        found["order"] = server.cost(lambda: server.ask(order, **own))
    return found


def measure_growth(folder: Path) -> dict[str, float]:
    """Return the cost of pages of which nothing is kept, on a board of 100 topics and of many."""
    found = {}
    for topics in (100, MANY):
        with sqlite3.connect(folder / "shop.sqlite3") as board:
            board.execute("DELETE FROM topics")
            board.executemany(
                "INSERT INTO topics (id, name, comment, created_at, reply_count) "
                "VALUES (?, '', 'Grown', '2026-01-01 00:00:00', 0)",
                ((number,) for number in range(1, topics + 1)),
            )
        board.close()
        deep = itertools.count(topics // 2)
        with served("shop", folder) as server:
            for _ in range(100):
                server.ask(f"/?before={next(deep)}")
            # The same hundred topics, each time from another one on.
            other = itertools.cycle(range(topics // 2, topics // 2 + 100))
            found[f"board of {topics:,} topics, deep"] = server.cost(
                lambda: server.ask(f"/?before={next(other)}&again={next(deep)}")  # noqa: B023
            )
            found[f"board of {topics:,} topics, newest"] = server.cost(
                lambda: server.ask(f"/?again={next(deep)}")  # noqa: B023
            )
    return found


def measure_tutorial(folder: Path) -> dict[str, float]:
    with served("tutorial", folder) as server:
        found = {"start, CPU ms": server.cold_cpu, "memory, MiB": server.memory()}
        found["board, new visitor"] = server.cost(server.ask)
        found["posting, CPU ms"], found["posts a second"] = post(server, "csrfmiddlewaretoken")
    return found


def measure_bare(folder: Path, size: int) -> dict[str, float]:
    with served("bare", folder, BENCH_BYTES=str(size)) as server:
        return {
            "start, wall ms": server.start_ms,
            "start, CPU ms": server.cold_cpu,
            "memory, MiB": server.memory(),
            "page": server.cost(server.ask),
        }


def table(rounds: list[tuple[dict[str, float], ...]], grown: dict[str, float]) -> str:
    """Return the medians, the medians of the ratios within each round, and growth."""
    lines = ["| | shop | to a bare route | to the tutorial |", "|---|---|---|---|"]
    for row in rounds[0][0]:
        ours = [shop[row] for shop, _, _ in rounds]
        beside = {"memory after a purchase, MiB": "memory, MiB"}.get(row, row)
        cells = []
        for peer in (1, 2):
            name = beside if beside in rounds[0][peer] else "page" if peer == 1 else ""
            has = name in rounds[0][peer] and not row.startswith("post")
            has = has or (peer == 2 and row in rounds[0][2])
            ratios = [r[0][row] / r[peer][name or row] for r in rounds] if has else []
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
        lines.append(f"| {row} | {statistics.median(ours):.2f} | {' | '.join(cells)} |")
    lines += [f"| {row} | {cost:.2f} | | |" for row, cost in grown.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure all three in turn and write the table into docs/benchmarks.md."""
    rounds = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shop, tutorial = filled("shop", folder / "shop"), filled("tutorial", folder / "tutorial")
        with served("shop", shop) as server:
            size = len(server.ask().body)
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
            rounds.append(
                (measure_shop(shop), measure_bare(folder, size), measure_tutorial(tutorial))
            )
        grown = measure_growth(shop)
    made = f"{BEGIN}\n{table(rounds, grown)}\n{END}"
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, text, flags=re.DOTALL))
    print(made)


if __name__ == "__main__":
    main()
