"""What programs trip over: texts, numbers, headers, and what usually stands in a field."""

METHODS = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "B"]
# What has broken shops before: NUL, half a character, more than a column or Python takes.
SEED_TEXTS = ["a\x00b", "\x00", "1\x00", "\ud800", "x" * 3000]
SEED_NUMBERS = ["9" * 4301, str(2**63), "9" * 30, "-1", "١٢"]
TEXTS = [
    "", " ", "Hello", "\x00", "a\x00b", "\ud800", "a\udfffb", "x" * 3000, "x" * 256, "💥" * 50,
    "日本語", "\u202e", "\r\n\t", "<script>alert(1)</script>", "' OR 1=1 --", "{{ 7 * 7 }}",
    "%s%n%(x)s", "../../etc/passwd", "\ufffe", "//evil.example", "True", "None", "a@b@c.d",
    "@\x00.example", "tok_" + "x" * 300, "cs_test_\x00",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "-1", "+1", "1.0", "1e9", "٣", "１２", "²", "0x10", " 1 ", "1_000", "NaN",
    "9" * 11, "9" * 18, str(2**31), str(2**63 - 1), str(2**63), "9" * 19, "9" * 30, "Infinity",
    "-" + "9" * 30,
]  # fmt: skip
RAW = [
    "%00", "%FF", "%ED%A0%80", "%C3%28", "%F8%88", "%", "%zz", "%252e", "..%2f..", "%0d%0aX: y",
    "%2f%2fevil.example", "%5cevil.example", ";x=y", "?", "#",
]  # fmt: skip
# What stands under a name that has this in it; a longer one is looked for first.
USUAL = {
    "id": ["1", "2", "3", "4", "5"],
    "before": ["1", "3"],
    "after": ["1", "3"],
    "quantity": ["1", "2", "0", "5", "99", "100"],
    "stripetoken": [
        "tok_visa", "tok_visa", "tok_chargeDeclined", "tok_threeDSecure2Required",
        "tok_chargeDeclinedExpiredCard", "tok_createDispute", "tok_unknown", "",
    ],
    "email": ["aya@example.com", "", "ａ@example.com", "aya@例え.example", "x" * 65 + "@a.b"],
    "comment": ["Hello", "日本語 💥", "x" * 2000],
    "name": ["Aya", "", "x" * 40],
    "lang": ["ja", "en", "fr"],
    "method": ["card", "konbini"],
    "number": ["4242424242424242", "4000000000000002", "4000002500003155", "1", "2", "3"],
    "expiry": ["12/40", "1/1", "00/00"],
    "cvc": ["123"],
    "result": ["complete", "fail"],
    "outcome": ["paid", "refunded"],
    "amount": ["100", "1", "2000", "99999999"],
    "currency": ["jpy", "usd", "xxx"],
    # "slow" is not among them: it sleeps.
    "mode": ["deliver", "drop", "duplicate", "delay", "reorder", "ok", "error", "lost", "payment"],
    "seconds": ["0", "1"],
    "times": ["1", "0"],
    "advance": ["0", "1", "60"],
    "filename": ["shop.css", "css/bootstrap.min.css", "nothing"],
    "expand": ["payment_intent", "data.payment_intent", "a.b.c.d.e.f"],
    "limit": ["1", "100"],
    "url": ["https://shop.test/done?id={CHECKOUT_SESSION_ID}", "https://shop.test/"],
}  # fmt: skip
MORE_FIELDS = [
    "stripeToken", "order", "product_id", "quantity", "email", "comment", "name", "password",
    "amount", "currency", "mode", "success_url", "cancel_url", "expires_at", "source", "charge",
    "payment_intent", "client_reference_id", "metadata[order]", "expand[]", "limit", "created[gte]",
    "line_items[0][quantity]", "line_items[0][price_data][currency]", "metadata[", "[]", "a[b][c]",
    "x\x00", "line_items[0][price_data][unit_amount]", "payment_method_types[]", "starting_after",
    "line_items[0][price_data][product_data][name]", "[" * 20, "lang", "\ud800", "",
]  # fmt: skip
QUERIES = [
    "before", "session_id", "order", "lang", "session_id", "order", "before", "after", "q", "next",
    "limit", "expand[]", "",
]  # fmt: skip
ODD_HEADERS = {
    "accept": [
        "application/json", "application/json", "*/*;q=x", "a/b/c", "text/html;q=-1", "\x80\xff",
        ";;;,,,", "application/json;q=1e400", "x" * 5000,
    ],
    "accept_language": ["ja", "ja-JP;q=0.8", "x" * 500, "-", "\xe9", ";q=1,,", "en_US@x"],
    "host": [
        "evil.example", "127.0.0.1@evil.example", "evil.example:x", "", "[::1", "\xe9.example",
        "localhost:8080", "[::1]:5000", "127.0.0.1:99999", "127.0.0.1:0", "LOCALHOST", None,
    ],
    "origin": ["http://127.0.0.1:5000", "null", "https://evil.example", "\xe9", "http://[", ""],
    "sec_fetch_site": ["same-origin", "none", "cross-site", "\xff", ""],
    "referer": ["https://evil.example/", "\xe9", "http://["],
    "content_length": ["-1", "x", "99999999999", "0", "", "1", "9" * 5000, "１"],
    "content_encoding": ["gzip", "x"],
    "transfer_encoding": ["chunked", "x"],
    "if_none_match": ['"x"', "\xe9", "*", "W/"],
    "if_modified_since": ["x", "Sun, 99 Nov 9999 99:99:99 GMT", "Mon, 01 Jan 0001 00:00:00 +9999"],
    "range": ["bytes=0-1", "bytes=9-1", "x", "bytes=" + "9" * 30 + "-"],
    "if_range": ["x", '"x"', "\xe9"],
    "authorization": [
        "Basic =", "Basic \xff", "Basic 6Q==", "Bearer", "Bearer \xe9", "x", "Digest a=b,,=",
    ],
    "idempotency_key": ["a", "a", "\xe9", "x" * 300],
    "x_forwarded_for": ["1.2.3.4", "\xe9", "x" * 500, "1.2.3.4, [::1", "::1"],
    "x_forwarded_host": ["evil.example"],
    "x_forwarded_proto": ["https", "x"],
    "x_forwarded_prefix": ["//evil.example", "/x"],
    "forwarded": ["for=1.2.3.4;host=evil.example"],
    "x_http_method_override": ["DELETE"],
    "x_task_token": ["x", "\xe9"],
    "stripe_signature": ["t=1,v1=\xe9", "t=x", "", "v1=,t=", ",=,=,", "t=" + "9" * 5000 + ",v1=0"],
    "content_type": [
        "application/json", "application/json; charset=x", "text/plain", "\xe9/\xe9", "x", "",
        "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300,
        "application/x-www-form-urlencoded; charset=utf-16", "multipart/form-data; boundary=\xe9",
    ],
}  # fmt: skip
ODD_ENVIRON = [
    {"REMOTE_ADDR": "\xe9"}, {"REMOTE_ADDR": None}, {"REMOTE_ADDR": "2001:db8::1"},
    {"REMOTE_ADDR": "x" * 300}, {"SCRIPT_NAME": "/corner"}, {"SCRIPT_NAME": "/\xff\x00"},
    {"SERVER_PROTOCOL": "HTTP/0.9"}, {"wsgi.url_scheme": "https"}, {"CONTENT_LENGTH": None},
]  # fmt: skip
BROKEN_JSON = [
    "{",
    "[" * 5000,
    '{"a":' * 3000,
    "\ufeff{}",
    "NaN",
    "",
    "9" * 5000,
    "\x00",
    '"\\ud8"',
]
EVENT_TYPES = [
    *(f"checkout.session.{what}" for what in (
        "completed", "async_payment_succeeded", "async_payment_failed", "expired", "x")),
    *(f"charge.{what}" for what in (
        "succeeded", "failed", "refunded", "captured", "expired", "pending", "updated", "x")),
    *(f"charge.dispute.{what}" for what in (
        "created", "updated", "closed", "funds_withdrawn", "funds_reinstated")),
    "charge.refund.updated", "refund.created", "refund.updated", "refund.failed",
    *(f"payment_intent.{what}" for what in ("succeeded", "canceled", "payment_failed")),
    "v2.core.event", "x" * 300, "", "\x00", "checkout.session." + "x" * 300, "charge.succeeded\x00",
    "checkout.session.\x00",
]  # fmt: skip


def broken_cookies(cookie: str) -> list[str]:
    """Return what a cookie may look like after somebody's hands were on it."""
    name, _, value = cookie.partition("=")
    head, *rest = value.split(".")
    return [
        "", "session", "session=\xff", "session=a.b.c", "=;=;", f"{name}={'x' * 5000}",
        f"{name}=.{value}", f"{name}={value[:-1]}", f"{name}={head}x.{'.'.join(rest)}",
        f"{cookie}; {name}=x", f"{cookie}; \x00=\xe9", f"{name}={'.'.join([*rest, head])}",
    ]  # fmt: skip
