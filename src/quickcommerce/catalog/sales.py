"""Time sales. None are held yet."""

from collections.abc import Mapping

from quickcommerce.kit.db import Tx


class TimeSales:
    """The time sales of store A."""

    async def take(self, _tx: Tx, units: Mapping[int, int]) -> bool:
        """Use up quota."""
        return not units

    async def give_back(self, _tx: Tx, units: Mapping[int, int]) -> None:
        """Let others have it."""
