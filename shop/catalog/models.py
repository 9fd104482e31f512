"""What the shop sells."""

from flask import current_app
from sqlalchemy import BigInteger, CheckConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import Base, Key, RowId
from shop.money import Money

LOW_STOCK = 5


class Product(Base):
    """A product. `unit_amount` is in minor units; `stock` can still be sold, None: no limit."""

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("unit_amount > 0", name="unit_amount_positive"),
        CheckConstraint("stock >= 0", name="stock_not_negative"),
        {"info": {"stamp": "goods"}},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    slug: Mapped[str] = mapped_column(Key, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    unit_amount: Mapped[int] = mapped_column(BigInteger)
    stock: Mapped[int | None]
    # Whether it is shown and sold. A product that was ever ordered is hidden, never deleted.
    active: Mapped[bool] = mapped_column(default=True)

    @property
    def price(self) -> Money:
        """The price of one, in the shop's currency."""
        return Money(self.unit_amount, current_app.config["SHOP_CURRENCY"])

    @property
    def sold_out(self) -> bool:
        """Whether none is left."""
        return self.stock == 0

    @property
    def is_low(self) -> bool:
        """Whether so few are left that the visitor should know."""
        return self.stock is not None and 0 < self.stock <= LOW_STOCK
