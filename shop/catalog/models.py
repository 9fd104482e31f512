"""What the shop sells."""

from flask import current_app
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, true
from sqlalchemy.dialects.mysql import MEDIUMBLOB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shop.db import Base, Key, RowId
from shop.money import Money

LOW_STOCK = 5
# In pixels, of the files of a picture, where it is not narrower itself.
PICTURE_WIDTHS = (320, 800, 1600)
GOODS = {"info": {"stamp": "goods"}}


class Product(Base):
    """A product, or a variant of one: size M of a hoodie.

    `unit_amount` is in minor units, `stock` can still be sold, None: no limit, and `tax_rate` in
    hundredths of a percent is included in the price. A variant has its parent's price where its own
    is None, and always its parent's tax, sending and pictures.
    """

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("unit_amount > 0", name="unit_amount_positive"),
        CheckConstraint("stock >= 0", name="stock_not_negative"),
        Index("ix_products_parent_id_position", "parent_id", "position"),
        GOODS,
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("products.id"))
    # Variants have none.
    slug: Mapped[str | None] = mapped_column(Key, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    unit_amount: Mapped[int | None] = mapped_column(BigInteger)
    stock: Mapped[int | None]
    tax_rate: Mapped[int] = mapped_column(default=0, server_default="0")
    needs_shipping: Mapped[bool] = mapped_column(default=True, server_default=true())
    # Whether it is shown and sold. A product that was ever ordered is hidden, never deleted.
    active: Mapped[bool] = mapped_column(default=True)
    # Among the products, or among the variants of one product.
    position: Mapped[int] = mapped_column(default=0, server_default="0")
    # Grows with every edit, so that of two owners at once the second is told.
    version: Mapped[int] = mapped_column(default=1, server_default="1")

    parent: Mapped["Product | None"] = relationship(
        remote_side="Product.id", back_populates="all_variants"
    )
    # Hidden ones too.
    all_variants: Mapped[list["Product"]] = relationship(
        back_populates="parent", order_by="Product.position, Product.id"
    )
    pictures: Mapped[list["Picture"]] = relationship(order_by="Picture.position, Picture.id")

    @property
    def whole(self) -> "Product":
        """The product itself, of a variant its parent: what has page, text, tax and pictures."""
        return self.parent or self

    @property
    def title(self) -> str:
        """The name on cart, order and mails: “Hoodie, M”."""
        return f"{self.parent.name}, {self.name}" if self.parent else self.name

    @property
    def variants(self) -> list["Product"]:
        """The variants that are shown.

        A product that has any, shown or hidden, is not sold itself: nobody has said which is meant.
        """
        return [variant for variant in self.all_variants if variant.active]

    @property
    def price(self) -> Money:
        """The price of one, in the shop's currency."""
        amount = self.unit_amount if self.unit_amount is not None else self.whole.unit_amount
        return Money(amount or 0, current_app.config["SHOP_CURRENCY"])

    @property
    def lowest_price(self) -> Money:
        """The price of the cheapest variant, of a product without variants its own."""
        return min((one.price for one in self.variants or [self]), key=lambda price: price.amount)

    @property
    def has_one_price(self) -> bool:
        """Whether all variants cost the same."""
        return len({variant.price for variant in self.variants}) < 2

    @property
    def is_on_sale(self) -> bool:
        """Whether it is shown, and of a variant its parent too."""
        return self.active and self.whole.active

    @property
    def sold_out(self) -> bool:
        """Whether none is left, of no variant that is shown."""
        return all(one.stock == 0 for one in (self.variants if self.all_variants else [self]))

    @property
    def is_low(self) -> bool:
        """Whether so few are left that the visitor should know."""
        return self.stock is not None and 0 < self.stock <= LOW_STOCK and not self.all_variants


class Picture(Base):
    """A picture of a product. Its files are found by `hash`, in the sizes that it has."""

    __tablename__ = "pictures"
    __table_args__ = (Index("ix_pictures_product_id_position", "product_id", "position"), GOODS)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    hash: Mapped[str] = mapped_column(Key)
    # What is to be seen, for those who cannot see it.
    alt: Mapped[str] = mapped_column(Text, default="")
    position: Mapped[int] = mapped_column(default=0)
    # Of the largest file, in pixels.
    width: Mapped[int]
    height: Mapped[int]

    def jpeg(self, width: int) -> str:
        """Return the name of its JPEG of one of the widths."""
        return f"{self.hash}-{width}.jpg"

    @property
    def files(self) -> dict[int, str]:
        """The names of the files without their endings, by their width in pixels."""
        return {min(wide, self.width): f"{self.hash}-{wide}" for wide in reversed(PICTURE_WIDTHS)}


class Delivery(Base):
    """A way for goods to come to the customer; the tax (hundredths of a percent) is in its price.

    It costs `amount` (minor units), and nothing where the goods cost `free_from_amount` or more.
    """

    __tablename__ = "deliveries"
    # An order knows the id of its delivery: that of one that is gone must not be given again.
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        GOODS | {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    free_from_amount: Mapped[int | None] = mapped_column(BigInteger)
    # Stripe's codes of the countries it goes to, with spaces between; none where it is fetched.
    countries: Mapped[str] = mapped_column(Text, default="")
    tax_rate: Mapped[int] = mapped_column(default=0)
    position: Mapped[int] = mapped_column(default=0)

    @property
    def is_pickup(self) -> bool:
        """Whether the customer comes for the goods, so that no address is asked for."""
        return not self.countries

    @property
    def free_from(self) -> Money | None:
        """From what price of the goods on it costs nothing, None where it always costs the same."""
        if not self.amount or self.free_from_amount is None:
            return None
        return Money(self.free_from_amount, current_app.config["SHOP_CURRENCY"])

    def price_for(self, goods: Money) -> Money:
        """Return what it costs where the goods cost this."""
        is_free = self.free_from is not None and goods.amount >= self.free_from.amount
        return Money(0 if is_free else self.amount, goods.currency)


class PictureFile(Base):
    """A file of a picture, by its name in the address. In a table of its own: lists read none."""

    __tablename__ = "picture_files"

    name: Mapped[str] = mapped_column(Key, primary_key=True)
    # The usual BLOB of MySQL and MariaDB holds 64 KiB.
    data: Mapped[bytes] = mapped_column(
        LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")
    )
