"""Disputes and inquiries: how they come, are answered and end."""

from typing import Any

import pytest
import stripe

from tests.sandbox.helpers import SandboxClient, charged

FRAUD, NOT_RECEIVED, INQUIRY = "4000000000000259", "4000000000002685", "4000000000001976"


def disputed(sandbox: SandboxClient, number: str = FRAUD) -> Any:
    """Return a dispute that has just come."""
    charge = charged(sandbox, number)
    sandbox.control("clock", advance=60)
    (dispute,) = sandbox.get("/disputes", charge=charge)["data"]
    sandbox.receiver.events.clear()
    return dispute


def answer(sandbox: SandboxClient, dispute: Any, text: str, **params: Any) -> Any:
    evidence = {"uncategorized_text": text}
    return sandbox.api("POST", f"/disputes/{dispute['id']}", {"evidence": evidence, **params}).json


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
    sandbox: SandboxClient,
    number: str,
    token: str,
    reason: str,
    status: str,
    case: str,
    withdrawn: bool,
) -> None:
    charged(sandbox, number)
    params = {"amount": 4000, "currency": "jpy", "source": f"tok_{token}"}
    assert sandbox.api("POST", "/charges", params).json["paid"] is True
    assert sandbox.get("/disputes")["data"] == []
    sandbox.control("clock", advance=60)
    found = sandbox.get("/disputes")["data"]
    assert len(found) == 2
    for dispute in found:
        assert (dispute["amount"], dispute["reason"]) == (4000, reason)
        assert (dispute["status"], dispute["is_charge_refundable"]) == (status, not withdrawn)
        assert dispute["payment_method_details"]["card"]["case_type"] == case
        assert sandbox.get(f"/charges/{dispute['charge']}")["disputed"] is True
    assert sandbox.receiver.types.count("charge.dispute.created") == 2
    assert sandbox.receiver.types.count("charge.dispute.funds_withdrawn") == (2 if withdrawn else 0)


def test_disputes_are_found_by_what_they_are_about(sandbox: SandboxClient) -> None:
    first, second = disputed(sandbox), disputed(sandbox, NOT_RECEIVED)
    for name in ("charge", "payment_intent"):
        assert [d["id"] for d in sandbox.get("/disputes", **{name: first[name]})["data"]] == [
            first["id"]
        ]
    assert len(sandbox.get("/disputes")["data"]) == 2
    assert sandbox.get(f"/disputes/{second['id']}", expand=["charge"])["charge"]["disputed"] is True


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
    sandbox: SandboxClient, number: str, text: str, status: str, told: list[str], refundable: bool
) -> None:
    dispute = disputed(sandbox, number)
    after = answer(sandbox, dispute, text, submit=True)
    assert (after["status"], after["is_charge_refundable"]) == (status, refundable)
    assert sandbox.get(f"/disputes/{dispute['id']}") == after
    assert sandbox.receiver.types == [f"charge.dispute.{name}" for name in ("updated", *told)]
    assert sandbox.receiver.events[-1]["data"]["object"]["status"] == status
    assert sandbox.get(f"/charges/{dispute['charge']}")["disputed"] is True
    refund = sandbox.api("POST", "/refunds", {"charge": dispute["charge"]}).json
    if refundable:
        assert refund["amount"] == 4000
    else:
        assert refund["error"]["code"] == "charge_disputed"


def test_an_update_says_what_it_changed(sandbox: SandboxClient) -> None:
    dispute = disputed(sandbox)
    staged = answer(sandbox, dispute, "draft", submit=False, metadata={"case": "7", "by": "Aya"})
    assert (staged["status"], staged["metadata"]) == ("needs_response", {"case": "7", "by": "Aya"})
    details = staged["evidence_details"]
    assert (details["has_evidence"], details["submission_count"]) == (True, 0)
    before = sandbox.receiver.events[-1]["data"]["previous_attributes"]
    assert before["evidence"] == {"uncategorized_text": None}
    assert before["evidence_details"] == {"has_evidence": False}
    assert "status" not in before
    noted = sandbox.api("POST", f"/disputes/{dispute['id']}", {"metadata": {"by": ""}}).json
    assert (noted["status"], noted["metadata"]) == ("needs_response", {"case": "7"})
    sent = sandbox.api("POST", f"/disputes/{dispute['id']}", {"submit": True}).json
    assert (sent["status"], sent["evidence"]["uncategorized_text"]) == ("under_review", "draft")
    assert sent["evidence_details"]["submission_count"] == 1
    assert sandbox.receiver.events[-1]["data"]["previous_attributes"]["status"] == "needs_response"


def test_late_evidence_is_called_late(sandbox: SandboxClient) -> None:
    dispute = disputed(sandbox)
    sandbox.control("clock", advance=8 * 86400)
    assert answer(sandbox, dispute, "at last")["evidence_details"]["past_due"] is True


def test_nothing_is_submitted_where_there_is_nothing(sandbox: SandboxClient) -> None:
    dispute = disputed(sandbox)
    after = sandbox.api("POST", f"/disputes/{dispute['id']}", {"submit": True}).json
    assert (after["status"], after["evidence_details"]["submission_count"]) == ("needs_response", 0)


@pytest.mark.parametrize(
    ("number", "first", "status"),
    [
        (FRAUD, "close", "lost"),
        (FRAUD, "winning_evidence", "won"),
        (INQUIRY, "close", "warning_closed"),
    ],
)
def test_what_is_closed_stays_closed(
    sandbox: SandboxClient, number: str, first: str, status: str
) -> None:
    dispute = disputed(sandbox, number)
    url = f"/disputes/{dispute['id']}"
    if first == "close":
        assert sandbox.api("POST", f"{url}/close").json["status"] == status
        assert sandbox.receiver.types == ["charge.dispute.closed"]
    else:
        assert answer(sandbox, dispute, first)["status"] == status
    told = len(sandbox.receiver.events)
    for path, params in (
        (url, {"evidence": {"uncategorized_text": "losing_evidence"}}),
        (url, {"metadata": {"a": "b"}}),
        (f"{url}/close", {}),
    ):
        refused = sandbox.api("POST", path, params)
        assert refused.status_code == 400
        assert refused.json["error"]["type"] == "invalid_request_error"
        assert "already closed" in refused.json["error"]["message"]
    assert sandbox.get(url)["status"] == status
    assert len(sandbox.receiver.events) == told


@pytest.mark.parametrize(
    ("params", "param", "status"),
    [
        ({"evidence": {"uncategorised_text": "x"}}, "evidence[uncategorised_text]", 400),
        ({"evidence": "text"}, "evidence", 400),
        ({"submit": "perhaps"}, "submit", 400),
        ({"outcome": "won"}, "outcome", 400),
        ({"evidence": {"receipt": "file_1"}}, "evidence[receipt]", 400),
        (
            {"evidence": {"enhanced_evidence": ""}},
            "evidence[enhanced_evidence]",
            400,
        ),
        ({"evidence": {"uncategorized_text": "x" * 150_001}}, "evidence", 400),
        ({"metadata": {"k" * 41: "v"}}, "metadata", 400),
    ],
)
def test_updates_that_are_refused(
    sandbox: SandboxClient, params: dict[str, Any], param: str, status: int
) -> None:
    dispute = disputed(sandbox)
    refused = sandbox.api("POST", f"/disputes/{dispute['id']}", params)
    assert (refused.status_code, refused.json["error"]["param"]) == (status, param)
    assert sandbox.get(f"/disputes/{dispute['id']}") == dispute
    assert sandbox.receiver.events == []


def test_closing_takes_no_parameters_and_needs_a_dispute(sandbox: SandboxClient) -> None:
    dispute = disputed(sandbox)
    refused = sandbox.api("POST", f"/disputes/{dispute['id']}/close", {"outcome": "won"})
    assert refused.json["error"]["code"] == "parameter_unknown"
    for path in ("/disputes/du_none", "/disputes/du_none/close"):
        refused = sandbox.api("POST", path)
        assert (refused.status_code, refused.json["error"]["code"]) == (404, "resource_missing")


def test_disputes_through_the_sdk(sandbox: SandboxClient, sdk: stripe.StripeClient) -> None:
    won, lost = disputed(sandbox), disputed(sandbox)
    after = sdk.v1.disputes.update(
        won["id"], {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True}
    )
    assert after.status == "won"
    assert sdk.v1.refunds.create({"charge": won["charge"], "amount": 1}).status == "succeeded"
    assert sdk.v1.disputes.close(lost["id"]).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        sdk.v1.disputes.close(lost["id"])


def test_a_dispute_is_about_what_is_left(sandbox: SandboxClient) -> None:
    part, all_of_it = charged(sandbox, FRAUD), charged(sandbox, FRAUD)
    sandbox.api("POST", "/refunds", {"charge": part, "amount": 1500})
    sandbox.api("POST", "/refunds", {"charge": all_of_it})
    sandbox.control("clock", advance=60)
    (dispute,) = sandbox.get("/disputes")["data"]
    assert (dispute["charge"], dispute["amount"]) == (part, 2500)


def test_a_refunded_inquiry_does_not_become_a_dispute(sandbox: SandboxClient) -> None:
    dispute = disputed(sandbox, INQUIRY)
    sandbox.api("POST", "/refunds", {"charge": dispute["charge"]})
    after = answer(sandbox, dispute, "escalate_inquiry_evidence")
    assert after["status"] == "warning_closed"
    assert "charge.dispute.funds_withdrawn" not in sandbox.receiver.types
