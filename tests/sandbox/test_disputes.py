"""Disputes and inquiries: how they come, are answered and end."""

from typing import Any

import pytest
import stripe

from tests.sandbox.helpers import Bench, charged

FRAUD, NOT_RECEIVED, INQUIRY = "4000000000000259", "4000000000002685", "4000000000001976"


def disputed(bench: Bench, number: str = FRAUD) -> Any:
    """Return a dispute that has just come."""
    charge = charged(bench, number)
    bench.control("clock", advance=60)
    (dispute,) = bench.get("/disputes", charge=charge)["data"]
    bench.receiver.events.clear()
    return dispute


def answer(bench: Bench, dispute: Any, text: str, **params: Any) -> Any:
    evidence = {"uncategorized_text": text}
    return bench.api("POST", f"/disputes/{dispute['id']}", {"evidence": evidence, **params}).json


@pytest.mark.parametrize(
    ("number", "token", "reason", "status", "case", "withdrawn"),
    [
        (FRAUD, "createDispute", "fraudulent", "needs_response", "chargeback", True),
        (NOT_RECEIVED, "createDisputeProductNotReceived", "product_not_received",
         "needs_response", "chargeback", True),
        (INQUIRY, "createDisputeInquiry", "fraudulent", "warning_needs_response", "inquiry", False),
    ],
)  # fmt: skip
def test_cards_that_are_disputed_later(
    bench: Bench, number: str, token: str, reason: str, status: str, case: str, withdrawn: bool
) -> None:
    charged(bench, number)
    params = {"amount": 4000, "currency": "jpy", "source": f"tok_{token}"}
    assert bench.api("POST", "/charges", params).json["paid"] is True
    assert bench.get("/disputes")["data"] == []
    bench.control("clock", advance=60)
    found = bench.get("/disputes")["data"]
    assert len(found) == 2
    for dispute in found:
        assert (dispute["amount"], dispute["reason"]) == (4000, reason)
        assert (dispute["status"], dispute["is_charge_refundable"]) == (status, not withdrawn)
        assert dispute["payment_method_details"]["card"]["case_type"] == case
        assert bench.get(f"/charges/{dispute['charge']}")["disputed"] is True
    assert bench.receiver.types.count("charge.dispute.created") == 2
    assert bench.receiver.types.count("charge.dispute.funds_withdrawn") == (2 if withdrawn else 0)


def test_disputes_are_found_by_what_they_are_about(bench: Bench) -> None:
    first, second = disputed(bench), disputed(bench, NOT_RECEIVED)
    for name in ("charge", "payment_intent"):
        assert [d["id"] for d in bench.get("/disputes", **{name: first[name]})["data"]] == [
            first["id"]
        ]
    assert len(bench.get("/disputes")["data"]) == 2
    assert bench.get(f"/disputes/{second['id']}", expand=["charge"])["charge"]["disputed"] is True


@pytest.mark.parametrize(
    ("number", "text", "status", "told", "refundable"),
    [
        (FRAUD, "winning_evidence", "won", ["closed", "funds_reinstated"], True),
        (FRAUD, "losing_evidence", "lost", ["closed"], False),
        (FRAUD, "the parcel's receipt", "under_review", [], False),
        (FRAUD, "escalate_inquiry_evidence", "under_review", [], False),
        (INQUIRY, "winning_evidence", "warning_closed", ["closed"], True),
        (INQUIRY, "losing_evidence", "warning_closed", ["closed"], True),
        (INQUIRY, "the parcel's receipt", "warning_under_review", [], True),
        (INQUIRY, "escalate_inquiry_evidence", "needs_response",
         ["updated", "funds_withdrawn"], False),
    ],
)  # fmt: skip
def test_evidence_decides(
    bench: Bench, number: str, text: str, status: str, told: list[str], refundable: bool
) -> None:
    dispute = disputed(bench, number)
    after = answer(bench, dispute, text, submit=True)
    assert (after["status"], after["is_charge_refundable"]) == (status, refundable)
    assert bench.get(f"/disputes/{dispute['id']}") == after
    assert bench.receiver.types == [f"charge.dispute.{name}" for name in ("updated", *told)]
    assert bench.receiver.events[-1]["data"]["object"]["status"] == status
    assert bench.get(f"/charges/{dispute['charge']}")["disputed"] is True
    refund = bench.api("POST", "/refunds", {"charge": dispute["charge"]}).json
    if refundable:
        assert refund["amount"] == 4000
    else:
        assert refund["error"]["code"] == "charge_disputed"


def test_an_update_says_what_it_changed(bench: Bench) -> None:
    dispute = disputed(bench)
    staged = answer(bench, dispute, "draft", submit=False, metadata={"case": "7", "by": "Aya"})
    assert (staged["status"], staged["metadata"]) == ("needs_response", {"case": "7", "by": "Aya"})
    details = staged["evidence_details"]
    assert (details["has_evidence"], details["submission_count"]) == (True, 0)
    before = bench.receiver.events[-1]["data"]["previous_attributes"]
    assert before["evidence"] == {"uncategorized_text": None}
    assert before["evidence_details"] == {"has_evidence": False}
    assert "status" not in before
    noted = bench.api("POST", f"/disputes/{dispute['id']}", {"metadata": {"by": ""}}).json
    assert (noted["status"], noted["metadata"]) == ("needs_response", {"case": "7"})
    sent = bench.api("POST", f"/disputes/{dispute['id']}", {"submit": True}).json
    assert (sent["status"], sent["evidence"]["uncategorized_text"]) == ("under_review", "draft")
    assert sent["evidence_details"]["submission_count"] == 1
    assert bench.receiver.events[-1]["data"]["previous_attributes"]["status"] == "needs_response"


def test_late_evidence_is_called_late(bench: Bench) -> None:
    dispute = disputed(bench)
    bench.control("clock", advance=8 * 86400)
    assert answer(bench, dispute, "at last")["evidence_details"]["past_due"] is True


def test_nothing_is_submitted_where_there_is_nothing(bench: Bench) -> None:
    dispute = disputed(bench)
    after = bench.api("POST", f"/disputes/{dispute['id']}", {"submit": True}).json
    assert (after["status"], after["evidence_details"]["submission_count"]) == ("needs_response", 0)


@pytest.mark.parametrize(
    ("number", "first", "status"),
    [
        (FRAUD, "close", "lost"),
        (FRAUD, "winning_evidence", "won"),
        (INQUIRY, "close", "warning_closed"),
    ],
)
def test_what_is_closed_stays_closed(bench: Bench, number: str, first: str, status: str) -> None:
    dispute = disputed(bench, number)
    url = f"/disputes/{dispute['id']}"
    if first == "close":
        assert bench.api("POST", f"{url}/close").json["status"] == status
        assert bench.receiver.types == ["charge.dispute.closed"]
    else:
        assert answer(bench, dispute, first)["status"] == status
    told = len(bench.receiver.events)
    for path, params in (
        (url, {"evidence": {"uncategorized_text": "losing_evidence"}}),
        (url, {"metadata": {"a": "b"}}),
        (f"{url}/close", {}),
    ):
        refused = bench.api("POST", path, params)
        assert refused.status_code == 400
        assert refused.json["error"]["type"] == "invalid_request_error"
        assert "already closed" in refused.json["error"]["message"]
    assert bench.get(url)["status"] == status
    assert len(bench.receiver.events) == told


@pytest.mark.parametrize(
    ("params", "param", "status"),
    [
        ({"evidence": {"uncategorised_text": "x"}}, "evidence[uncategorised_text]", 400),
        ({"evidence": "text"}, "evidence", 400),
        ({"submit": "perhaps"}, "submit", 400),
        ({"outcome": "won"}, "outcome", 400),
        ({"evidence": {"receipt": "file_1"}}, "evidence[receipt]", 404),
        ({"evidence": {"appeal": {"card": {"reason_for_filing": "x"}}}}, "evidence[appeal]", 400),
        ({"evidence": {"uncategorized_text": "x" * 150_001}}, "evidence", 400),
        ({"metadata": {"k" * 41: "v"}}, "metadata", 400),
    ],
)
def test_updates_that_are_refused(
    bench: Bench, params: dict[str, Any], param: str, status: int
) -> None:
    dispute = disputed(bench)
    refused = bench.api("POST", f"/disputes/{dispute['id']}", params)
    assert (refused.status_code, refused.json["error"]["param"]) == (status, param)
    assert bench.get(f"/disputes/{dispute['id']}") == dispute
    assert bench.receiver.events == []


def test_closing_takes_no_parameters_and_needs_a_dispute(bench: Bench) -> None:
    dispute = disputed(bench)
    refused = bench.api("POST", f"/disputes/{dispute['id']}/close", {"outcome": "won"})
    assert refused.json["error"]["code"] == "parameter_unknown"
    for path in ("/disputes/du_none", "/disputes/du_none/close"):
        refused = bench.api("POST", path)
        assert (refused.status_code, refused.json["error"]["code"]) == (404, "resource_missing")


def test_disputes_through_the_sdk(bench: Bench, sdk: stripe.StripeClient) -> None:
    won, lost = disputed(bench), disputed(bench)
    after = sdk.v1.disputes.update(
        won["id"], {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True}
    )
    assert after.status == "won"
    assert sdk.v1.refunds.create({"charge": won["charge"], "amount": 1}).status == "succeeded"
    assert sdk.v1.disputes.close(lost["id"]).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        sdk.v1.disputes.close(lost["id"])


def test_a_dispute_is_about_what_is_left(bench: Bench) -> None:
    part, all_of_it = charged(bench, FRAUD), charged(bench, FRAUD)
    bench.api("POST", "/refunds", {"charge": part, "amount": 1500})
    bench.api("POST", "/refunds", {"charge": all_of_it})
    bench.control("clock", advance=60)
    (dispute,) = bench.get("/disputes")["data"]
    assert (dispute["charge"], dispute["amount"]) == (part, 2500)


def test_a_refunded_inquiry_does_not_become_a_dispute(bench: Bench) -> None:
    dispute = disputed(bench, INQUIRY)
    bench.api("POST", "/refunds", {"charge": dispute["charge"]})
    after = answer(bench, dispute, "escalate_inquiry_evidence")
    assert after["status"] == "warning_closed"
    assert "charge.dispute.funds_withdrawn" not in bench.receiver.types
