"""Orders and everything that happened to their money. Nothing of it is ever deleted."""

import secrets
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from shop.catalog import products
from shop.catalog.models import Picture
from shop.db import Base, Key, RowId, UtcDateTime, now
from shop.money import Money

ADDRESS_FIELDS = (
    "name", "line1", "line2", "city", "state", "postal_code", "country", "phone",
)  # fmt: skip
# Where the parcels of the large carriers are followed; the number goes behind it.
TRACKING = {
    "ヤマト運輸": "https://member.kms.kuronekoyamato.co.jp/parcel/detail?pno=",
    "佐川急便": "https://k2k.sagawa-exp.co.jp/p/web/okurijosearch.do?okurijoNo=",
    "日本郵便": "https://trackings.post.japanpost.jp/services/srv/search/direct?reqCodeNo1=",
    "DHL": "https://www.dhl.com/global-en/home/tracking.html?tracking-id=",
    "FedEx": "https://www.fedex.com/fedextrack/?trknbr=",
    "UPS": "https://www.ups.com/track?tracknum=",
    "USPS": "https://tools.usps.com/go/TrackConfirmAction?tLabels=",
}
# A refund in one of these states is money that the customer has or gets.
REFUND_COUNTS = ("pending", "succeeded")


def email_key(email: str) -> str:
    """Return an address as it is searched for."""
    return email.strip().lower()[:255]


def new_token() -> str:
    """Return 128 bits that nobody can guess, fit for an address."""
    return secrets.token_urlsafe(16)


class Order(Base):
    """An order. `amount` is in minor units; `states` alone writes `state`."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        # The mode is not first: SQLite would take it for selective and read every order of it.
        Index("ix_orders_holds_stock_mode", "holds_stock", "mode"),
        Index("ix_orders_state_created_at", "state", "created_at"),
        # The owner's lists, the newest first.
        Index("ix_orders_state_id", "state", "id"),
        # What is paid and not sent yet, among all that was ever sent.
        Index("ix_orders_shipped_at_state", "shipped_at", "state"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # In the customer's links. Whoever has it sees the order.
    token: Mapped[str] = mapped_column(Key, unique=True, default=new_token)
    # In what Stripe is sent: it gives away neither the link nor how many orders there are.
    client_reference: Mapped[str] = mapped_column(Key, unique=True, default=new_token)
    mode: Mapped[str] = mapped_column(Key)
    state: Mapped[str] = mapped_column(Key, default="pending")
    currency: Mapped[str] = mapped_column(Key)
    amount: Mapped[int] = mapped_column(BigInteger)
    visitor: Mapped[str] = mapped_column(Key, index=True)
    cart_id: Mapped[str | None] = mapped_column(Key, index=True)
    # An HMAC of visitor, cart and lines: a second click finds this order. None once it is closed.
    dedup_key: Mapped[str | None] = mapped_column(Key, unique=True)
    # Whether the goods of this order are off the shelf.
    holds_stock: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str] = mapped_column(Key)
    email: Mapped[str | None] = mapped_column(Text)
    # The address in lower case, by which lost links are found.
    email_key: Mapped[str | None] = mapped_column(Key, index=True)
    # The delivery as it was when the goods were ordered; `amount` has its price in it.
    delivery_id: Mapped[int | None] = mapped_column(RowId)
    delivery_name: Mapped[str | None] = mapped_column(Text)
    delivery_amount: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    delivery_tax_rate: Mapped[int] = mapped_column(default=0, server_default="0")
    # Where it may be sent to, as Delivery has it; none where nothing is sent.
    delivery_countries: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    paid_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    packed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    shipped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Who brings it, and the number by which it is followed there.
    carrier: Mapped[str | None] = mapped_column(Text)
    tracking: Mapped[str | None] = mapped_column(Text)
    # When its person was erased: nothing is written down of them any more, whatever Stripe says.
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    lines: Mapped[list["OrderLine"]] = relationship(order_by="OrderLine.id", lazy="selectin")
    ledger: Mapped[list["LedgerEntry"]] = relationship(order_by="LedgerEntry.id")
    timeline: Mapped[list["TimelineEntry"]] = relationship(order_by="TimelineEntry.id")
    address: Mapped["Address | None"] = relationship()

    @validates("email")
    def _keep_email_key(self, _name: str, email: str | None) -> str | None:
        email = None if self.erased_at else email
        self.email_key = email_key(email) if email else None
        return email

    @property
    def number(self) -> int:
        """The number that people say."""
        return self.id

    @property
    def total(self) -> Money:
        """What the order costs."""
        return Money(self.amount, self.currency)

    @property
    def delivery(self) -> Money | None:
        """What the delivery costs, None where the order has none."""
        if self.delivery_name is None:
            return None
        return Money(self.delivery_amount, self.currency)

    @property
    def is_sent(self) -> bool:
        """Whether the goods are sent to an address."""
        return bool(self.delivery_countries)

    @property
    def tracking_url(self) -> str | None:
        """Where the parcel is followed, None where that is not known."""
        pattern = TRACKING.get(self.carrier or "")
        return pattern + quote(self.tracking, safe="") if pattern and self.tracking else None

    @property
    def lacks_address(self) -> bool:
        """Whether the goods are to be sent, but it is not known where to, or not quite."""
        if not self.is_sent:
            return False
        address, allowed = self.address, (self.delivery_countries or "").split()
        return address is None or not address.is_complete or address.country not in allowed

    @property
    def pictures(self) -> dict[int, Picture]:
        """The first picture of each product in the order that has one, by the product's id."""
        return products.first_pictures(line.product_id for line in self.lines)

    @property
    def awaited_from(self) -> str:
        """Where the money of an unpaid order is to come from; see CheckoutSession."""
        awaiting = [entry.detail for entry in self.timeline if entry.kind == "awaiting_payment"]
        return awaiting[-1] if awaiting else ""

    @property
    def refunded(self) -> list[Money]:
        """What went back to the customer, or is on its way: a sum for each currency."""
        went = [entry.money for entry in self.ledger if entry.is_refund]
        return [
            Money(sum(money.amount for money in went if money.currency == currency), currency)
            for currency in dict.fromkeys(money.currency for money in went)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the order as outside programs and mails read it; amounts in minor units."""
        return {
            "order": self.token,
            "number": self.number,
            "state": self.state,
            "amount": self.amount,
            "refunded": sum(m.amount for m in self.refunded if m.currency == self.currency),
            "currency": self.currency,
            "mode": self.mode,
            "delivery": {"name": self.delivery_name, "amount": self.delivery_amount}
            if self.delivery
            else None,
            "lines": [
                {
                    "name": line.name,
                    "quantity": line.quantity,
                    "unit_amount": line.unit_amount,
                    "amount": line.unit_amount * line.quantity,
                }
                for line in self.lines
            ],
        }


class OrderLine(Base):
    """So many of one product, with name, price (minor units) and tax of the moment of ordering.

    `tax_rate` is in hundredths of a percent and included in the price.
    """

    __tablename__ = "order_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity_positive"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int]
    unit_amount: Mapped[int] = mapped_column(BigInteger)
    tax_rate: Mapped[int] = mapped_column(default=0, server_default="0")


class Address(Base):
    """Where the goods of an order go, as the customer wrote it. Erased with the person.

    The link to an order shows town and postcode of it, and no page that a stranger may see more.
    """

    __tablename__ = "addresses"

    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(Text, default="")
    line1: Mapped[str] = mapped_column(Text, default="")
    line2: Mapped[str] = mapped_column(Text, default="")
    city: Mapped[str] = mapped_column(Text, default="")
    # A prefecture, in Japan.
    state: Mapped[str] = mapped_column(Text, default="")
    postal_code: Mapped[str] = mapped_column(Text, default="")
    # Two letters, as Stripe has them.
    country: Mapped[str] = mapped_column(Text, default="")
    phone: Mapped[str] = mapped_column(Text, default="")

    @property
    def is_complete(self) -> bool:
        """Whether a parcel with it may arrive."""
        return bool(self.name and self.line1 and self.country)

    @property
    def lines(self) -> list[str]:
        """The address as it stands on a parcel, in the order of its country."""
        if self.country == "JP":
            post = f"〒{self.postal_code}" if self.postal_code else ""
            found = [post, f"{self.state}{self.city}{self.line1}", self.line2, self.name]
        else:
            from babel import Locale

            town = " ".join(filter(None, (self.postal_code, self.city, self.state)))
            country = Locale("en").territories.get(self.country, self.country)
            found = [self.name, self.line1, self.line2, town, country.upper()]
        return [line for line in (*found, self.phone) if line]

    def to_dict(self) -> dict[str, str]:
        """Return the fields by their names."""
        return {name: getattr(self, name) for name in ADDRESS_FIELDS}

    @property
    def place(self) -> str:
        """Town and postcode, in the order of the country."""
        if self.country == "JP":
            parts = f"〒{self.postal_code}" if self.postal_code else "", self.state, self.city
        else:
            parts = self.postal_code, self.city, self.state
        return " ".join(filter(None, parts))


class LedgerEntry(Base):
    """Money that moved at Stripe: a payment or a refund, in minor units of its own currency.

    A refund is written down before Stripe is asked for it: its state is `asked` until the answer,
    then Stripe's (`pending`, `succeeded`, `failed`, `canceled`), or `refused`.
    """

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    kind: Mapped[str] = mapped_column(Key)
    # None while it is not known whether Stripe has the refund.
    stripe_id: Mapped[str | None] = mapped_column(Key, unique=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Key)
    state: Mapped[str] = mapped_column(Key, default="succeeded")
    # A refund asked for here: Stripe's idempotency key. Those of Stripe's dashboard have none.
    key: Mapped[str | None] = mapped_column(Key, unique=True)
    # The payment that a refund gives back.
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("ledger.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)

    @property
    def money(self) -> Money:
        """The amount in its own currency."""
        return Money(self.amount, self.currency)

    @property
    def is_refund(self) -> bool:
        """Whether this money went back to the customer, or is on its way."""
        return self.kind == "refund" and self.state in REFUND_COUNTS

    @property
    def is_asked(self) -> bool:
        """Whether Stripe was asked for this refund, and nobody knows the answer yet."""
        return self.kind == "refund" and self.state == "asked"


class TimelineEntry(Base):
    """What happened to an order, in the order it happened; `kind` is said in words by the page."""

    __tablename__ = "timeline"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    kind: Mapped[str] = mapped_column(Key)
    detail: Mapped[str] = mapped_column(Text, default="")
    # The owner who did it, None for customers, Stripe and the shop itself.
    who: Mapped[str | None] = mapped_column(Text)
    # How it was told: webhook, visit, reconcile, office, command. None in older rows.
    way: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
