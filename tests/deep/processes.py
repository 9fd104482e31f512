"""Shops in processes of their own, which a test asks as if they were in its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from flask import Flask

from tests.canaries import SECRET_KEY

ROOT = Path(__file__).resolve().parents[2]
OURS = ("SHOP_", "STRIPE_", "FLASK_", "DATABASE_URL", "SECRET_KEY", "MAIL_URL", "GUNICORN_")


@contextmanager
def behind(app: Flask, folder: Path, database: str | None) -> Iterator[Flask]:
    """Start a process of the shop over this database, and let it answer what `app` is asked."""
    told = {"SHOP_DATA_DIR": str(folder), "SECRET_KEY": SECRET_KEY, "PYTHONPATH": str(ROOT)}
    told |= {"DATABASE_URL": database} if database else {}
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, handle = listening.getsockname()[1], listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-w", "1", "-b", f"fd://{handle}",
             "--no-control-socket", "--log-level", "warning", "shop:create_app()"],
            cwd=ROOT, env=environ | told | {"FLASK_SKIP_DOTENV": "1"}, pass_fds=[handle],
        )  # fmt: skip
    app.wsgi_app = _asked_at(port)  # type: ignore[method-assign]
    try:
        while app.test_client().get("/healthz").status_code != 200:
            assert process.poll() is None
            time.sleep(0.05)
        yield app
    finally:
        process.terminate()
        process.wait(20)


def _asked_at(port: int) -> Callable[..., Iterable[bytes]]:
    """Return a WSGI app that hands each request to the process at a port."""

    def ask(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            name[5:].replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers["Content-Type"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(environ["REQUEST_METHOD"], path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        of_the_wire = ("Connection", "Transfer-Encoding")
        told = [(name, value) for name, value in answer.getheaders() if name not in of_the_wire]
        start_response(f"{answer.status} {answer.reason}", told)
        return [text]

    return ask
