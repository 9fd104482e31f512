"""`flask shop mail …`: processes that send at once, a process that is killed, and the output."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine

from shop import mail
from shop.db import write
from shop.mail import outbox as shop_outbox
from tests.databases import SECRET, on_all
from tests.outbox import AYA, OWNER, Outbox, later
from tests.post_office import Gone, PostOffice

ROOT = Path(__file__).resolve().parents[2]
Worker = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path, office: PostOffice, database: str | None) -> Callable[..., Worker]:
    """Return a function that starts a process which sends this shop's mail."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ = kept | {
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": SECRET,
        "SHOP_DATA_DIR": str(tmp_path),
        "DATABASE_URL": database or "",
        "MAIL_URL": office.url,
    }

    def run(**streams: Any) -> Worker:
        command = [sys.executable, "-m", "flask", "--app", "shop", "shop", "mail", "send"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        return subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, **pipes)

    return run


@on_all
def test_a_process_that_is_killed_while_sending_is_replaced_after_its_lease(
    outbox: Outbox, office: PostOffice, start: Callable[..., Worker]
) -> None:
    hangs, killed = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        killed.wait(20)
        raise Gone

    office.before_taking = hang
    outbox.queue()
    with start() as process:
        assert hangs.wait(20)
        process.kill()
    killed.set()
    office.before_taking = lambda: None
    assert outbox.rows[0]["state"] == "waiting"
    with later(seconds=80):
        assert outbox.send() == 0
    with later(seconds=100):
        assert outbox.send() == 1
    assert len(office.received) == 1
    assert outbox.rows[0]["attempts"] == 2


@on_all
def test_processes_that_drain_at_once_send_each_message_once(
    outbox: Outbox, office: PostOffice, start: Callable[..., Worker]
) -> None:
    with outbox.app.app_context():
        paid_twice = partial(mail.staff_paid_twice, money_id="pi_2")
        for function in (mail.staff_new_order, mail.staff_needs_review, paid_twice):
            write(partial(function, outbox.order))
    outbox.queue()
    both = threading.Barrier(2, timeout=6)

    def hand_over_together() -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait()

    office.before_taking = hand_over_together
    with start() as one, start() as two:
        outcomes = [process.communicate(timeout=60)[0] for process in (one, two)]
    assert len(office.received) == 4
    assert len({message["Message-ID"] for message in office.received}) == 4
    assert sum(int(outcome.split()[0]) for outcome in outcomes) == 4
    assert [row["attempts"] for row in outbox.rows] == [1] * 4


# --- what the command prints and does -------------------------------------------------------


def test_the_command_line_sends_and_lists(outbox: Outbox, office: PostOffice) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    sent = outbox.command("send")
    assert sent == "2 sent, 0 failed.\n"
    assert len(office.received) == 2
    listed = json.loads(outbox.command("list", "--json"))
    assert [row["state"] for row in listed] == ["sent", "sent"]
    assert set(listed[0]) == {"order", "kind", "to", "state", "attempts", "error"}


def test_the_command_line_says_what_failed_and_when_it_is_tried_again(
    outbox: Outbox, office: PostOffice
) -> None:
    office.refuse_for[AYA] = "450 4.2.1 mailbox busy"
    outbox.queue()
    outbox.queue_for_staff()
    with time_machine.travel(datetime(2030, 1, 1, 23, 59, tzinfo=UTC), tick=False):
        said = outbox.command("send").splitlines()
    assert said[0] == "1 sent, 1 failed."
    assert "flask shop mail list" in said[1]
    header, first, second = outbox.command("list").splitlines()
    assert first.split()[:7] == ["waiting", "1x", "2030-01-02", "09:00", "customer_paid", "1", AYA]
    assert "450 4.2.1 mailbox busy" in first[header.index("Why it did not leave") :]
    assert second.split() == ["sent", "1x", "staff_new_order", "1", OWNER]


def test_the_command_line_puts_back_in_line_what_failed(outbox: Outbox, office: PostOffice) -> None:
    office.refuse_for = {AYA: "550 5.1.1 no such user", OWNER: "450 4.2.1 mailbox busy"}
    outbox.queue()
    outbox.queue_for_staff()
    assert outbox.send() == 0
    assert outbox.states == ["failed", "waiting"]
    office.refuse_for.clear()
    assert outbox.command("send") == "0 sent, 0 failed.\n"
    assert outbox.command("send", "--failed") == "2 sent, 0 failed.\n"
    assert [(row["state"], row["error"]) for row in outbox.rows] == [("sent", "")] * 2
    assert outbox.command("send", "--failed") == "0 sent, 0 failed.\n"
    assert len(office.received) == 2


def test_what_was_put_back_has_all_its_tries_again(outbox: Outbox, office: PostOffice) -> None:
    outbox.queue()
    office.refuse["RCPT"] = "450 4.2.1 mailbox busy"
    for day in range(shop_outbox.MOST_TRIES):
        with later(days=day):
            outbox.send()
    assert outbox.states == ["failed"]
    outbox.command("send", "--failed")
    assert (outbox.states, outbox.rows[0]["attempts"]) == (["waiting"], 1)


def test_putting_back_leaves_alone_what_somebody_sends_just_now(
    outbox: Outbox, office: PostOffice
) -> None:
    office.before_taking = lambda: outbox.command("send", "--failed") and None
    outbox.queue()
    assert outbox.send() == 1
    assert len(office.received) == 1


def test_the_command_line_shows_on_a_terminal_how_far_it_is(
    outbox: Outbox, office: PostOffice, start: Callable[..., Worker]
) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    ours, theirs = pty.openpty()
    with start(stderr=theirs) as process:
        assert process.communicate(timeout=60)[0] == "2 sent, 0 failed.\n"
    os.close(theirs)
    assert os.read(ours, 1000) == b"\r1 of 2\r2 of 2\r\n"
    os.close(ours)
