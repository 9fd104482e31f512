"""What the owner does in Stripe's dashboard, by the control page and its addresses."""

from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.helpers import SandboxClient, charged

JSON = {"Accept": "application/json"}


def test_the_owner_refunds(sandbox: SandboxClient) -> None:
    charge = charged(sandbox)
    refund = sandbox.control(f"charges/{charge}/refund", amount=1500)
    assert (refund["object"], refund["amount"], refund["metadata"]) == ("refund", 1500, {})
    assert sandbox.receiver.types == ["refund.created", "charge.refunded"]
    asked = [event["request"] for event in sandbox.receiver.events]
    assert asked == [{"id": None, "idempotency_key": None}] * 2
    assert sandbox.control(f"charges/{charge}/refund")["amount"] == 2500
    assert sandbox.get(f"/charges/{charge}")["refunded"] is True


def test_a_refund_comes_back_once(sandbox: SandboxClient) -> None:
    charge = charged(sandbox, "4000000000005126")
    first, second = (sandbox.control(f"charges/{charge}/refund", amount=n) for n in (500, 700))
    sandbox.receiver.events.clear()
    failed = sandbox.control(f"refunds/{first['id']}/fail")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "unknown")
    assert "refund.failed" in sandbox.receiver.types
    assert sandbox.get(f"/charges/{charge}")["amount_refunded"] == 700
    again = sandbox.http.post(f"/control/refunds/{first['id']}/fail", headers=JSON)
    assert (again.status_code, again.json["error"]["message"]) == (
        409,
        "This refund has come back already.",
    )
    # The card would have both come back by itself by now.
    sandbox.control("clock", advance=60)
    assert sandbox.get(f"/refunds/{second['id']}")["status"] == "failed"
    assert sandbox.get(f"/charges/{charge}")["amount_refunded"] == 0
    assert sandbox.receiver.types.count("refund.failed") == 2


def test_a_pending_refund_that_came_back_stays_so(sandbox: SandboxClient) -> None:
    refund = sandbox.control(f"charges/{charged(sandbox, '4000000000007726')}/refund")
    assert refund["status"] == "pending"
    sandbox.control(f"refunds/{refund['id']}/fail")
    sandbox.control("clock", advance=60)
    assert sandbox.get(f"/refunds/{refund['id']}")["status"] == "failed"


@pytest.mark.parametrize(
    ("outcome", "status", "events"),
    [
        ("won", "won", ["created", "funds_withdrawn", "closed", "funds_reinstated"]),
        ("lost", "lost", ["created", "funds_withdrawn", "closed"]),
    ],
)
def test_the_bank_takes_the_money_and_decides(
    sandbox: SandboxClient, outcome: str, status: str, events: list[str]
) -> None:
    charge = charged(sandbox)
    dispute = sandbox.control(f"charges/{charge}/dispute")
    assert (dispute["charge"], dispute["status"]) == (charge, "needs_response")
    again = sandbox.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
    assert again.status_code == 409
    refused = sandbox.http.post(f"/control/charges/{charge}/refund", headers=JSON)
    assert refused.status_code == 409
    assert "charged back" in refused.json["error"]["message"]
    answer = sandbox.control(f"disputes/{dispute['id']}/close", outcome=outcome)
    assert answer["status"] == status
    assert sandbox.receiver.types == [f"charge.dispute.{name}" for name in events]
    url = f"/control/disputes/{dispute['id']}/close"
    assert sandbox.http.post(url, data={"outcome": "won"}, headers=JSON).status_code == 409
    disputed_again = sandbox.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
    assert disputed_again.status_code == (200 if outcome == "won" else 409)


def test_what_cannot_be_disputed(sandbox: SandboxClient) -> None:
    slip = {"method": "konbini", "email": "succeed_immediately@example.com"}
    sandbox.pay(sandbox.create(), "", **slip)
    sandbox.control("clock", advance=0)
    konbini = sandbox.snapshot()["charges"][0]["id"]
    sandbox.pay(sandbox.create(), "4000000000000002")
    failed = sandbox.snapshot()["charges"][0]["id"]
    refunded = charged(sandbox)
    sandbox.control(f"charges/{refunded}/refund")
    for charge, words in (
        (konbini, "Only card payments"),
        (failed, "did not succeed"),
        (refunded, "has been refunded"),
    ):
        refused = sandbox.http.post(f"/control/charges/{charge}/dispute", headers=JSON)
        assert refused.status_code == 409
        assert words in refused.json["error"]["message"]
    assert sandbox.get("/disputes")["data"] == []


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
def test_amounts_of_the_dashboard(
    sandbox: SandboxClient, values: dict[str, Any], status: int
) -> None:
    url = f"/control/charges/{charged(sandbox)}/refund"
    assert sandbox.http.post(url, json=values).status_code == status
    assert sandbox.http.post(url, data=values, headers=JSON).status_code == (
        409 if status == 200 else status
    )


def test_the_dashboard_answers_programs_in_json_and_people_in_pages(sandbox: SandboxClient) -> None:
    charge = charged(sandbox)
    unknown = ("charges/ch_none/refund", "charges/ch_none/dispute", "refunds/re_none/fail",
               "disputes/du_none/close", f"refunds/{charge}/fail")  # fmt: skip
    for url in unknown:
        answer = sandbox.http.post(f"/control/{url}", json={"outcome": "won"})
        assert answer.status_code == 404
        assert "There is no such" in answer.json["error"]["message"]
    assert sandbox.http.post(f"/control/charges/{charge}/refund", json=None).status_code == 303
    people = sandbox.http.post(f"/control/charges/{charge}/refund", data={})
    assert people.status_code == 409
    assert "already been refunded" in people.text
    assert "<h1>" in people.text
    dispute = sandbox.control(f"charges/{charged(sandbox)}/dispute")
    for given in ({}, {"outcome": "drawn"}):
        refused = sandbox.http.post(f"/control/disputes/{dispute['id']}/close", json=given)
        assert (refused.status_code, "won, lost" in refused.text) == (422, True)


def test_the_dashboard_is_the_owners(tmp_path: Path) -> None:
    sandbox = SandboxClient(tmp_path, control_allowed=lambda environ: "HTTP_X_OWNER" in environ)
    sandbox.pay(sandbox.create())
    charge = sandbox.get("/charges")["data"][0]["id"]
    assert sandbox.http.post(f"/control/charges/{charge}/refund").status_code == 403
    assert sandbox.http.post(f"/control/charges/{charge}/dispute").status_code == 403
    forged = {"X-Owner": "1", "Sec-Fetch-Site": "cross-site"}
    assert sandbox.http.post(f"/control/charges/{charge}/refund", headers=forged).status_code == 403
    assert sandbox.get("/refunds")["data"] == []


def test_the_page_offers_what_is_possible(sandbox: SandboxClient) -> None:
    charge = charged(sandbox)
    page = sandbox.http.get("/").text
    assert f"/control/charges/{charge}/refund" in page
    assert f"/control/charges/{charge}/dispute" in page
    dispute = sandbox.control(f"charges/{charge}/dispute")
    page = sandbox.http.get("/").text
    assert f"/control/charges/{charge}" not in page
    assert page.count('name="outcome"') == 2
    sandbox.control(f"disputes/{dispute['id']}/close", outcome="won")
    refund = sandbox.control(f"charges/{charge}/refund", amount=1000)
    page = sandbox.http.get("/").text
    assert 'name="outcome"' not in page
    for text in ("¥1,000", "won", "fraudulent", f"/control/refunds/{refund['id']}/fail"):
        assert text in page
    for mode in ("drop: they are lost", "lost: it happens, but the answer does not arrive"):
        assert mode in page
