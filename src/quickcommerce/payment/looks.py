"""What many buyers look at in the same moment, as one question to store B."""

from dataclasses import dataclass

from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import OrderId, PaymentId
from quickcommerce.payment import store
from quickcommerce.payment.store import Payment, Whole


@dataclass(frozen=True)
class Looks:
    """Looks at payments, of lists.

    Under load a buyer's own look would wait for a connection among hundreds: one statement serves all who wait.
    """

    db: Database

    async def of_orders(self, order_ids: list[OrderId]) -> list[Payment | None]:
        """The payment of each of these orders, if there is one."""
        found = await self.db.look(lambda tx: store.of_orders(tx, set(order_ids)))
        return [found.get(order_id) for order_id in order_ids]

    async def whole(self, payment_ids: list[PaymentId]) -> list[Whole | Exception]:
        """Each of these payments, which are there, with its attempts in order."""
        found = await self.db.look(lambda tx: store.whole(tx, set(payment_ids)))
        return [found.get(each) or AssertionError(f"there is no {each}") for each in payment_ids]
