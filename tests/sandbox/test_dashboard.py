"""What the owner does in Stripe's dashboard, by the control page and its addresses."""

from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.helpers import Bench, charged

JSON = {"Accept": "application/json"}


def test_the_owner_refunds(bench: Bench) -> None:
    charge = charged(bench)
    refund = bench.control(f"charges/{charge}/refund", amount=1500)
    assert (refund["object"], refund["amount"], refund["metadata"]) == ("refund", 1500, {})
    assert bench.receiver.types == ["refund.created", "charge.refunded"]
    asked = [event["request"] for event in bench.receiver.events]
    assert asked == [{"id": None, "idempotency_key": None}] * 2
    assert bench.control(f"charges/{charge}/refund")["amount"] == 2500
    assert bench.get(f"/charges/{charge}")["refunded"] is True


def test_a_refund_comes_back_once(bench: Bench) -> None:
    charge = charged(bench, "4000000000005126")
    first, second = (bench.control(f"charges/{charge}/refund", amount=n) for n in (500, 700))
    bench.receiver.events.clear()
    failed = bench.control(f"refunds/{first['id']}/fail")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "unknown")
    assert "refund.failed" in bench.receiver.types
    assert bench.get(f"/charges/{charge}")["amount_refunded"] == 700
    again = bench.http.post(f"/control/refunds/{first['id']}/fail", headers=JSON)
    assert (again.status_code, again.json["error"]["message"]) == (
        409,
        "This refund has come back already.",
    )
    # The card would have both come back by itself by now.
    bench.control("clock", advance=60)
    assert bench.get(f"/refunds/{second['id']}")["status"] == "failed"
    assert bench.get(f"/charges/{charge}")["amount_refunded"] == 0
    assert bench.receiver.types.count("refund.failed") == 2


def test_a_pending_refund_that_came_back_stays_so(bench: Bench) -> None:
    refund = bench.control(f"charges/{charged(bench, '4000000000007726')}/refund")
    assert refund["status"] == "pending"
    bench.control(f"refunds/{refund['id']}/fail")
    bench.control("clock", advance=60)
    assert bench.get(f"/refunds/{refund['id']}")["status"] == "failed"


@pytest.mark.parametrize(
    ("outcome", "status", "events"),
    [
        ("won", "won", ["created", "funds_withdrawn", "closed", "funds_reinstated"]),
        ("lost", "lost", ["created", "funds_withdrawn", "closed"]),
    ],
)
def test_the_bank_takes_the_money_and_decides(
    bench: Bench, outcome: str, status: str, events: list[str]
) -> None:
    charge = charged(bench)
    dispute = bench.control(f"charges/{charge}/dispute")
    assert (dispute["charge"], dispute["status"]) == (charge, "needs_response")
    again = bench.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
    assert again.status_code == 409
    refused = bench.http.post(f"/control/charges/{charge}/refund", headers=JSON)
    assert refused.status_code == 409
    assert "charged back" in refused.json["error"]["message"]
    answer = bench.control(f"disputes/{dispute['id']}/close", outcome=outcome)
    assert answer["status"] == status
    assert bench.receiver.types == [f"charge.dispute.{name}" for name in events]
    url = f"/control/disputes/{dispute['id']}/close"
    assert bench.http.post(url, data={"outcome": "won"}, headers=JSON).status_code == 409
    disputed_again = bench.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
    assert disputed_again.status_code == (200 if outcome == "won" else 409)


def test_what_cannot_be_disputed(bench: Bench) -> None:
    slip = {"method": "konbini", "email": "succeed_immediately@example.com"}
    bench.pay(bench.create(), "", **slip)
    bench.control("clock", advance=0)
    konbini = bench.state()["charges"][0]["id"]
    bench.pay(bench.create(), "4000000000000002")
    failed = bench.state()["charges"][0]["id"]
    refunded = charged(bench)
    bench.control(f"charges/{refunded}/refund")
    for charge, words in (
        (konbini, "Only card payments"),
        (failed, "did not succeed"),
        (refunded, "has been refunded"),
    ):
        refused = bench.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
        assert refused.status_code == 409
        assert words in refused.json["error"]["message"]
    assert bench.get("/disputes")["data"] == []


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"amount": 4001}, 422),
        ({"amount": 0}, 422),
        ({"amount": "-5"}, 422),
        ({"amount": "ten"}, 422),
        ({"amount": "9" * 30}, 422),
        ({"amount": ""}, 200),
        ({"amount": 4000}, 200),
    ],
)
def test_amounts_of_the_dashboard(bench: Bench, values: dict[str, Any], status: int) -> None:
    url = f"/control/charges/{charged(bench)}/refund"
    assert bench.http.post(url, json=values).status_code == status
    assert bench.http.post(url, data=values, headers=JSON).status_code == (
        409 if status == 200 else status
    )


def test_the_dashboard_answers_programs_in_json_and_people_in_pages(bench: Bench) -> None:
    charge = charged(bench)
    unknown = ("charges/ch_none/refund", "charges/ch_none/dispute", "refunds/re_none/fail",
               "disputes/du_none/close", f"refunds/{charge}/fail")  # fmt: skip
    for url in unknown:
        answer = bench.http.post(f"/control/{url}", json={"outcome": "won"})
        assert answer.status_code == 404
        assert "There is no such" in answer.json["error"]["message"]
    assert bench.http.post(f"/control/charges/{charge}/refund", json=None).status_code == 303
    people = bench.http.post(f"/control/charges/{charge}/refund", data={})
    assert people.status_code == 409
    assert "already been refunded" in people.text
    assert "<h1>" in people.text
    dispute = bench.control(f"charges/{charged(bench)}/dispute")
    for given in ({}, {"outcome": "drawn"}):
        refused = bench.http.post(f"/control/disputes/{dispute['id']}/close", json=given)
        assert (refused.status_code, "won, lost" in refused.text) == (422, True)


def test_the_dashboard_is_the_owners(tmp_path: Path) -> None:
    bench = Bench(tmp_path, control_allowed=lambda environ: "HTTP_X_OWNER" in environ)
    bench.pay(bench.create())
    charge = bench.get("/charges")["data"][0]["id"]
    assert bench.http.post(f"/control/charges/{charge}/refund").status_code == 403
    assert bench.http.post(f"/control/charges/{charge}/dispute").status_code == 403
    forged = {"X-Owner": "1", "Sec-Fetch-Site": "cross-site"}
    assert bench.http.post(f"/control/charges/{charge}/refund", headers=forged).status_code == 403
    assert bench.get("/refunds")["data"] == []


def test_the_page_offers_what_is_possible(bench: Bench) -> None:
    charge = charged(bench)
    page = bench.http.get("/").text
    assert f"/control/charges/{charge}/refund" in page
    assert f"/control/charges/{charge}/dispute" in page
    dispute = bench.control(f"charges/{charge}/dispute")
    page = bench.http.get("/").text
    assert f"/control/charges/{charge}" not in page
    assert page.count('name="outcome"') == 2
    bench.control(f"disputes/{dispute['id']}/close", outcome="won")
    refund = bench.control(f"charges/{charge}/refund", amount=1000)
    page = bench.http.get("/").text
    assert 'name="outcome"' not in page
    for text in ("¥1,000", "won", "fraudulent", f"/control/refunds/{refund['id']}/fail"):
        assert text in page
    for mode in ("drop: they are lost", "lost: it happens, but the answer does not arrive"):
        assert mode in page
