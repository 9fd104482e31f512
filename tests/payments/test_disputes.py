"""Disputes come in, are told to the owner, and end; the order's money state is not theirs."""

import json

import pytest
from flask import Flask

from shop.db import db
from shop.payments.models import Dispute
from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, on_sqlite, on_two
from tests.payments.test_refunds import command, forget_inbox, kinds
from tests.post_office import PostOffice
from tests.wire import Wire

pytestmark = on_two


def buy(till: Till) -> str:
    till.buyer().buy()
    return str(till.sandbox.state["charges"][0]["id"])


def disputes(app: Flask) -> list[tuple[str, int, str, bool]]:
    with app.app_context():
        return [
            (found.state, found.amount, found.reason, found.closed_at is not None)
            for found in db.session.query(Dispute).order_by(Dispute.id)
        ]


@pytest.mark.parametrize(("outcome", "said"), [("won", "won"), ("lost", "lost")])
def test_a_dispute_is_told_and_ends(till: Till, outcome: str, said: str) -> None:
    charge = buy(till)
    till.sandbox.press(f"charges/{charge}/dispute")
    assert disputes(till.app) == [("needs_response", 2000, "fraudulent", False)]
    assert kinds(till)[2:] == ["staff_dispute"]
    dispute = till.sandbox.state["disputes"][0]["id"]
    till.sandbox.press(f"disputes/{dispute}/close", outcome=outcome)
    assert disputes(till.app) == [(said, 2000, "fraudulent", True)]
    assert kinds(till)[2:] == ["staff_dispute", "staff_dispute_closed"]
    assert till.orders()[0]["state"] == "paid"


def test_a_card_is_disputed_later(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], "4000000000000259")
    till.sandbox.clock(120)
    assert len(disputes(till.app)) == 1


@each_row_both_ways
@pytest.mark.parametrize("mode", ["duplicate", "reorder", "delay"])
def test_events_in_any_number_and_order_tell_once(till: Till, mode: str) -> None:
    charge = buy(till)
    till.sandbox.webhooks(mode)
    till.sandbox.press(f"charges/{charge}/dispute")
    dispute = till.sandbox.state["disputes"][0]["id"]
    till.sandbox.press(f"disputes/{dispute}/close", outcome="won")
    till.sandbox.webhooks("deliver")
    till.sandbox.clock(3600)
    forget_inbox(till.app)
    for event in till.sandbox.state["events"]:
        till.sandbox.resend(event["id"])
    assert disputes(till.app) == [("won", 2000, "fraudulent", True)]
    assert sorted(kinds(till)[2:]) == ["staff_dispute", "staff_dispute_closed"]


def test_a_shop_without_events_hears_of_disputes_all_the_same(till: Till) -> None:
    till.sandbox.webhooks("drop")
    charge = buy(till)
    till.sandbox.press(f"charges/{charge}/dispute")
    report = json.loads(command(till.app, "reconcile", "--json").output)
    assert (report["settled"], report["mismatches"]) == (1, [])
    assert disputes(till.app) == [("needs_response", 2000, "fraudulent", False)]
    dispute = till.sandbox.state["disputes"][0]["id"]
    till.sandbox.press(f"disputes/{dispute}/close", outcome="lost")
    command(till.app, "reconcile")
    assert disputes(till.app) == [("lost", 2000, "fraudulent", True)]
    report = json.loads(command(till.app, "reconcile", "--json").output)
    assert (report["settled"], report["mismatches"]) == (0, [])


def test_a_dispute_that_no_event_tells_of_is_followed_to_its_end(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.buy()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    Wire(app).change = lambda found: (
        found | {"data": []} if found.get("url") == "/v1/events" else found
    )
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/dispute", {})
    dry = json.loads(command(app, "reconcile", "--json", "--dry-run").output)
    assert [(row["kind"], row["stripe"]) for row in dry["mismatches"]] == [("dispute", "disputed")]
    command(app, "reconcile")
    assert disputes(app) == [("needs_response", 2000, "fraudulent", False)]
    dispute = buyer.get("/sandbox/control/state").json["disputes"][0]["id"]
    buyer.post(f"/sandbox/control/disputes/{dispute}/close", {"outcome": "won"})
    report = json.loads(command(app, "reconcile", "--json").output)
    assert (report["settled"], report["mismatches"]) == (1, [])
    assert disputes(app) == [("won", 2000, "fraudulent", True)]


@pytest.mark.parametrize("webhooks", ["deliver", "drop"])
def test_an_inquiry_that_becomes_a_dispute_is_told_by_a_mail_of_its_own(
    till: Till, webhooks: str
) -> None:
    till.sandbox.webhooks(webhooks)
    buyer = till.buyer()
    buyer.pay(buyer.order()["url"], "4000000000001976")
    till.sandbox.clock(120)
    command(till.app, "reconcile")
    assert [found[0] for found in disputes(till.app)] == ["warning_needs_response"]
    assert kinds(till).count("staff_dispute") == 1
    dispute = till.sandbox.state["disputes"][0]["id"]
    text = {"evidence[uncategorized_text]": "escalate_inquiry_evidence"}
    till.sandbox.call(f"disputes/{dispute}", **text)
    command(till.app, "reconcile")
    command(till.app, "reconcile")
    assert [found[0] for found in disputes(till.app)] == ["needs_response"]
    assert kinds(till).count("staff_dispute") == 2


def test_an_inquiry_that_ends_is_told_once(till: Till) -> None:
    buyer = till.buyer()
    buyer.pay(buyer.order()["url"], "4000000000001976")
    till.sandbox.clock(120)
    dispute = till.sandbox.state["disputes"][0]["id"]
    till.sandbox.press(f"disputes/{dispute}/close", outcome="won")
    command(till.app, "reconcile")
    assert [found[0] for found in disputes(till.app)] == ["warning_closed"]
    assert kinds(till)[2:] == ["staff_dispute", "staff_dispute_closed"]


def test_a_dispute_is_heard_of_before_its_payment(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    charge = till.sandbox.state["charges"][0]["id"]
    till.sandbox.press(f"charges/{charge}/dispute")
    till.sandbox.resend(till.sandbox.events("charge.dispute.created")[0]["id"])
    assert till.orders()[0]["state"] == "paid"
    assert len(disputes(till.app)) == 1


def test_a_disputed_payment_is_not_refunded_as_well(app: Flask) -> None:
    till = Till.mounted(app)
    buyer = Buyer(app)
    buyer.buy()
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/dispute", {})
    refused = command(app, "refund", "1", "--yes")
    assert (refused.exit_code, "No money has moved" in refused.output) == (1, True)
    assert till.orders()[0]["state"] == "paid"


@on_sqlite
@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [(1398, "usd", "$13.98"), (12500, "kwd", "KWD\xa012.500"), (1398, "xyz", "1398/XYZ")],
)
def test_a_dispute_is_told_in_its_own_currency(
    mailing: Flask, office: PostOffice, amount: int, currency: str, said: str
) -> None:
    buyer = Buyer(mailing)
    buyer.buy()
    Wire(mailing).change = lambda found: (
        found | {"amount": amount, "currency": currency} if found["object"] == "dispute" else found
    )
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/dispute", {})
    dispute = buyer.get("/sandbox/control/state").json["disputes"][0]["id"]
    buyer.post(f"/sandbox/control/disputes/{dispute}/close", {"outcome": "lost"})
    command(mailing, "mail", "send")
    letters = [mail for mail in office.received if "disput" in str(mail["Subject"])]
    assert len(letters) == 2
    for letter in letters:
        for part in letter.iter_parts():
            assert said in part.get_content()
