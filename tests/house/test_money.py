"""Money: whole minor units of one currency, written as its reader writes them."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop import money
from shop.money import Money, is_supported

CURRENCIES = sorted(money.ZERO_DECIMAL | money.WHOLE_HUNDREDS | money.TWO_DECIMAL)
amounts = st.integers(min_value=-(2**63), max_value=2**63 - 1)
currencies = st.sampled_from(CURRENCIES)


@pytest.mark.parametrize("amount", [1.0, True, False, "100", None, 10**400 / 10**398])
def test_an_amount_is_a_whole_number_and_nothing_like_one(amount: Any) -> None:
    with pytest.raises(TypeError):
        Money(amount, "jpy")


@given(st.floats(), currencies)
def test_no_float_becomes_money(amount: float, currency: str) -> None:
    with pytest.raises(TypeError):
        Money(amount, currency)  # type: ignore[arg-type]


@pytest.mark.parametrize("currency", ["", "JPY", "xxx", "kwd", "bhd", "jod", "omr", "tnd", "yen"])
def test_a_currency_that_the_shop_cannot_count_in_is_refused(currency: str) -> None:
    assert not is_supported(currency)


@given(amounts, amounts, currencies)
def test_sums_are_exact(a: int, b: int, currency: str) -> None:
    assert Money(a, currency) + Money(b, currency) == Money(a + b, currency)


@given(amounts, currencies, currencies)
def test_currencies_never_mix(amount: int, one: str, other: str) -> None:
    if one != other:
        assert Money(amount, one) != Money(amount, other)
        with pytest.raises(TypeError):
            Money(amount, one) + Money(amount, other)


@pytest.mark.parametrize("other", [1, 0, 1.5, "1", None])
def test_a_bare_number_is_not_added_to_money(other: Any) -> None:
    with pytest.raises(TypeError):
        Money(1, "jpy") + other
    with pytest.raises(TypeError):
        other + Money(1, "jpy")


@given(amounts, st.integers(0, 10_000), currencies)
def test_so_many_pieces_cost_so_many_times_as_much(amount: int, count: int, currency: str) -> None:
    assert Money(amount, currency) * count == Money(amount * count, currency)


@pytest.mark.parametrize("count", [1.0, True, "2", None, Money(1, "jpy")])
def test_pieces_are_whole(count: Any) -> None:
    with pytest.raises(TypeError):
        Money(1, "jpy") * count


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "text"),
    [
        (2000, "jpy", "en", "¥2,000"),
        (2000, "jpy", "ja", "¥2,000"),
        (1, "jpy", "ja", "¥1"),
        (0, "jpy", "en", "¥0"),
        (-500, "jpy", "en", "-¥500"),
        (1999, "usd", "en", "$19.99"),
        (2000, "usd", "en", "$20.00"),
        (5, "usd", "en", "$0.05"),
        (1999, "usd", "ja", "$19.99"),
        (1999, "kwd", "en", "KWD 1.999"),
        (1999, "xyz", "en", "1999/XYZ"),
        (123456789, "eur", "en", "€1,234,567.89"),
        (500000, "isk", "en", "ISK 5,000"),
        (500000, "ugx", "en", "UGX 5,000"),
        (1500, "krw", "en", "₩1,500"),
    ],
)
def test_it_is_written_as_its_reader_writes_it(
    amount: int, currency: str, locale: str, text: str
) -> None:
    assert Money(amount, currency).format(locale).replace("\xa0", " ") == text


@given(st.integers(0, 2**63 - 1), currencies, st.sampled_from(["en", "ja"]))
def test_what_is_written_is_the_amount_to_the_last_digit(
    amount: int, currency: str, locale: str
) -> None:
    digits = re.sub(r"[^\d.]", "", Money(amount, currency).format(locale)).strip(".")
    whole, _, part = digits.partition(".")
    if currency in money.ZERO_DECIMAL:
        assert (int(whole), part) == (amount, "")
    else:
        assert int(whole) * 100 + int(part.ljust(2, "0")) == amount


def test_the_currency_table_names_each_currency_once() -> None:
    tables = (money.ZERO_DECIMAL, money.WHOLE_HUNDREDS, money.TWO_DECIMAL)
    assert sum(map(len, tables)) == len(frozenset().union(*tables)) == len(CURRENCIES)
    assert all(re.fullmatch("[a-z]{3}", currency) for currency in CURRENCIES)
