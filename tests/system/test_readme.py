"""What the README tells a newcomer to type does what it says, word for word."""

import asyncio
import json
import re
from pathlib import Path

from quickcommerce.catalog.file import read_file
from system.shop import running

ROOT = Path(__file__).parents[2]
GOODS = read_file(ROOT / "src/quickcommerce/samples/catalog.csv")


def walk(shop_url: str) -> str:
    """The walk-through as it stands; only the shop's address is the test's own."""
    block = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block
    assert "SHOP=http://127.0.0.1:8080\n" in block[1]
    return block[1].replace("SHOP=http://127.0.0.1:8080", f"SHOP={shop_url}")


async def test_the_walk_through_ends_at_a_paid_order_in_the_history(tmp_path: Path) -> None:
    async with running(tmp_path, goods=GOODS) as shop:
        bash = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", walk(shop.url), cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, complained = await bash.communicate()
        assert bash.returncode == 0, complained.decode()
        payment, status, timeline, history = said.decode().splitlines()
        assert json.loads(payment)["status"] == "CAPTURED"
        assert status == "PAID"
        assert [entry["to"] for entry in json.loads(timeline)["items"]] == ["PLACED", "PAYING", "PAID"]
        found = json.loads(history)
        assert (found["total"], found["items"][0]["status"]) == (1, "PAID")
