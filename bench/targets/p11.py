"""P11: from nothing to the first order."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench import counts, http, processes
from bench.figures import Count, Figure, Run
from bench.front import free_port
from bench.processes import QC, Failed
from bench.room import Room
from bench.shapes import EVERYWHERE
from quickcommerce.bench import tokens
from quickcommerce.bench.wire import NoAnswerError, Wire

name = "P11"
what = "from `qc run --sample` to the first accepted order, embedded: with an empty folder, and once more with its data"
target = "at most 1.5 s"

WITHIN_S = 60.0
ASK_AGAIN_S = 0.005


async def run(room: Room) -> AsyncIterator[Run]:
    """See `targets.table`."""
    for number in range(1, room.runs + 1):
        room.tell(f"{name} run {number} of {room.runs}")
        folder = room.folder / f"start-{room.next_shop()}"
        folder.mkdir()
        first_s, first = await _first_order(folder, user_id=1)
        again_s, again = await _first_order(folder, user_id=2)
        figures = [
            Figure("empty folder", first_s, "s", most=1.5),
            Figure("folder with data", again_s, "s", most=1.5),
        ]
        stored = [Count("orders stored after the first start", 1, first), Count("and after the second", 2, again)]
        yield Run(figures, stored, [], [])


async def _first_order(folder: Path, user_id: int) -> tuple[float, int]:
    """Start a shop and order at once. Gives the seconds until the order was accepted, and how many are stored."""
    secret = tokens.secret_bytes(tokens.LOCAL_SECRET)
    token = tokens.mint(secret, user_id=user_id, role="ROLE_USER", now_s=int(time.time()), ttl_s=600)
    port = free_port()
    command = [QC, "run", "--sample", "--port", str(port), "--data-dir", str(folder / "data")]
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": f"first-{user_id}",
    }
    url = f"http://127.0.0.1:{port}"
    with (folder / "shop.log").open("wb") as out:
        start_s = time.perf_counter()
        process = await processes.spawn(command, out, settings=EVERYWHERE)
    try:
        async with Wire(1) as wire:
            while not await _accepted(wire, url, headers):
                if process.returncode is not None or time.perf_counter() - start_s > WITHIN_S:
                    raise Failed(f"no order was accepted: {(folder / 'shop.log').read_text()[-1000:]}")
                await asyncio.sleep(ASK_AGAIN_S)
        took_s = time.perf_counter() - start_s
        await http.until_ready([url])
        return took_s, (await counts.now(url)).orders
    finally:
        await processes.end(process)


async def _accepted(wire: Wire, url: str, headers: dict[str, str]) -> bool:
    body = b'{"lines":[{"product_id":1,"quantity":1}]}'
    try:
        answer = await wire.ask("POST", f"{url}/v1/orders", headers, body, retry_waits_s=())
    except NoAnswerError:
        return False
    return answer.status == 201
