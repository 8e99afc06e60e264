"""Short questions to a shop beside the load."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.processes import OPEN_WITHIN_S, Failed
from quickcommerce.bench import tokens
from quickcommerce.bench.reads import Reads
from quickcommerce.bench.wire import NoAnswerError, Wire

LOOK_S = 0.05
TOKEN_GOOD_S = 4 * 3600


@asynccontextmanager
async def reads(url: str) -> AsyncIterator[Reads]:
    """What a master of the shop may read."""
    secret, now_s = tokens.secret_bytes(tokens.LOCAL_SECRET), int(time.time())
    token = tokens.mint(secret, user_id=1, role="ROLE_MASTER", now_s=now_s, ttl_s=TOKEN_GOOD_S)
    async with Wire(2) as wire:
        yield Reads(wire, url, token)


async def text(url: str) -> str:
    """A page. Raises Failed when there is none."""
    async with Wire(1) as wire:
        try:
            answer = await wire.ask("GET", url, {}, retry_waits_s=())
        except NoAnswerError as error:
            raise Failed(f"GET {url}: {error}") from None
    if answer.status != 200:
        raise Failed(f"GET {url}: {answer.status}")
    return answer.body.decode()


def metric(page: str, name: str, **labels: str) -> float:
    """A counter of a page of metrics, over all its labels but those that are given."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for labelled, value in found if all(each in labelled for each in wanted))


async def until_ready(urls: Sequence[str]) -> None:
    """Wait until every process says that it is ready. Raises Failed when one takes too long."""
    until_s = time.monotonic() + OPEN_WITHIN_S
    for url in urls:
        while True:
            try:
                await text(f"{url}/readyz")
                break
            except Failed as failed:
                if time.monotonic() > until_s:
                    raise Failed(f"not ready: {failed}") from None
            await asyncio.sleep(LOOK_S)
