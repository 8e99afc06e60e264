"""What time sales say of themselves, for those who hold it to the orders. Nothing here writes."""

from quickcommerce.kit.db import Tx


async def used(tx: Tx, since_us: int) -> dict[str, tuple[int, int]]:
    """(units used of the quota, when it begins) of each time sale that began at a time or later. Reads all sales."""
    rows = await tx.all("SELECT time_sale_id, used, starts_us FROM time_sale WHERE starts_us >= ?", (since_us,))
    return {time_sale_id: (units, starts_us) for time_sale_id, units, starts_us in rows}
