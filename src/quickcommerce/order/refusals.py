"""Why a basket is no order, as its buyer is told."""

from quickcommerce.kit.problem import CouponNotUsable, NotFound, OutOfStock, PriceChanged, Problem
from quickcommerce.order import pricing
from quickcommerce.order.model import Basket
from quickcommerce.order.pricing import Refusal


def problem(basket: Basket, refusal: Refusal) -> Problem:
    """What the buyer is told of each line that is wrong."""
    match refusal:
        case pricing.Unknown(lines):
            return NotFound(
                "a product of the basket does not exist",
                errors=[{"pointer": f"/lines/{at}/product_id", "detail": "no such product"} for at in lines],
            )
        case pricing.Moved(lines):
            return PriceChanged(
                "a price is not the one expected",
                errors=[
                    {
                        "pointer": f"/lines/{at}/expected_price",
                        "detail": "the price has changed",
                        "product_id": basket.lines[at].product_id,
                        "expected_price": basket.lines[at].expected_price,
                        "price": price,
                    }
                    for at, price in lines
                ],
            )
        case pricing.Short(lines):
            return OutOfStock(
                "there is not enough stock for the basket",
                errors=[
                    {
                        "pointer": f"/lines/{at}/quantity",
                        "detail": "not enough stock",
                        "product_id": basket.lines[at].product_id,
                        "requested": basket.lines[at].quantity,
                        "available": available,
                    }
                    for at, available in lines
                ],
            )
        case pricing.Unusable(line, reason):
            errors = [] if line is None else [{"pointer": f"/lines/{line}/coupon_id", "detail": reason}]
            return CouponNotUsable(reason, errors=errors)
