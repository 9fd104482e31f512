"""Amounts in minor units: which can be charged, and how they are written."""

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
SYMBOLS = {"jpy": "¥", "usd": "$", "eur": "€", "gbp": "£"}
# Stripe takes eight digits in most currencies.
MAXIMUM_AMOUNT = 99_999_999


def minimum_amount(currency: str) -> int:
    """Return the least amount (minor units) that can be charged."""
    return {"gbp": 30}.get(currency, 50)


def format_amount(amount: int, currency: str) -> str:
    """Return the amount (minor units) for a reader, such as ¥2,000 or $12.50."""
    text = f"{amount:,}" if currency in ZERO_DECIMAL else f"{amount / 100:,.2f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{text}" if symbol else f"{currency.upper()} {text}"
