"""The closed loop: wrk sends prepared orders of different users as fast as they are answered, and counts by status."""

import asyncio
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import msgspec

from bench.processes import Failed, end
from quickcommerce.bench import tokens

SCRIPT = Path(__file__).with_name("orders.lua")
TOKENS_GOOD_S = 4 * 3600
ANSWER_WITHIN_S = 30
"""wrk counts an answer that takes longer as an error."""
BUCKET_S = 0.2
"""As in `orders.lua`: the grain of the rate over time."""
KEYS = ("thread", "status", "bucket", "errors", "latency_us", "mean_us")
"""How the lines begin that `orders.lua` prints."""
GIVE_UP_AFTER_S = 60.0
LEAST_PER_S = 100
"""Where a number of orders is to be sent, nobody waits for a shop that is slower."""
ENDLESS_S = 86_400.0


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders sent over `connections`, each of which sends the next one when it has its answer.

    It ends after `seconds`, or when all `orders` are sent; at least one of them is given. Without `orders`,
    `per_s_max` says how many are prepared for each second. `lines` are different goods in a basket, `quantity` pieces
    of each.
    """

    connections: int = 256
    threads: int = 1
    seconds: float = ENDLESS_S
    orders: int = 0
    per_s_max: int = 20_000
    lines: int = 3
    quantity: int = 1
    overflows: bool = False
    """More come at once than may wait (`QC_ORDER_QUEUE_MAX`): to be told to come again is an answer, and no error."""

    @property
    def units(self) -> int:
        """Pieces of goods in each order."""
        return self.lines * self.quantity

    @property
    def over_within_s(self) -> float:
        """When the run is given up: an answer was lost, and would be waited for without end."""
        return min(self.seconds, self.orders / LEAST_PER_S if self.orders else self.seconds) + GIVE_UP_AFTER_S

    @property
    def prepared(self) -> int:
        """How many orders are made ready before the start."""
        return self.orders or round(self.seconds * self.per_s_max)


@dataclass(frozen=True)
class Answers:
    """What wrk counted. `statuses` are answers by HTTP status; `lost` are connections that broke and timeouts.

    `span_s` is the time from the first request to the last answer; `percentiles_ms` pairs a percentage with the
    latency that so many answers did not exceed; `per_s` is the rate in each `BUCKET_S`, errors left out. `overflows`
    see `Load`.
    """

    sent: int
    answered: int
    statuses: dict[int, int]
    lost: int
    span_s: float
    mean_ms: float
    percentiles_ms: list[tuple[float, float]]
    per_s: list[float]
    overflows: bool = False

    @property
    def accepted(self) -> int:
        """Orders answered with 201."""
        return self.statuses.get(201, 0)

    @property
    def accepted_per_s(self) -> float:
        """Orders answered with 201 per second of the span."""
        return self.accepted / self.span_s if self.span_s else 0.0

    @property
    def come_again(self) -> int:
        """Orders answered with 503."""
        return self.statuses.get(503, 0)

    @property
    def errors(self) -> int:
        """Orders that were neither accepted nor refused as out of stock, and connections that broke."""
        answered = self.accepted + self.statuses.get(409, 0) + (self.come_again if self.overflows else 0)
        return self.sent - answered + self.lost

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many per cent of the answers did not exceed."""
        return dict(self.percentiles_ms)[percent]


def prepare(load: Load, product_ids: Sequence[int], folder: Path) -> Path:
    """Write the orders of new users, a file for each thread; gives the name that the files begin with."""
    rng = random.Random(1)  # noqa: S311 - a load must repeat, not surprise
    first_user = 1 + secrets.randbelow(2**52)
    secret, now_s = tokens.secret_bytes(tokens.LOCAL_SECRET), int(time.time())
    base = folder / f"orders-{first_user}"
    files = [Path(f"{base}.{thread}").open("w", encoding="ascii") for thread in range(1, load.threads + 1)]  # noqa: SIM115
    try:
        for user_id, file in zip(range(first_user, first_user + load.prepared), cycle(files), strict=False):
            token = tokens.mint(secret, user_id=user_id, role="ROLE_USER", now_s=now_s, ttl_s=TOKENS_GOOD_S)
            chosen = rng.sample(product_ids, load.lines)
            lines = ",".join(f'{{"product_id":{each},"quantity":{load.quantity}}}' for each in chosen)
            file.write(f'{token} bench-{user_id} {{"lines":[{lines}]}}\n')
    finally:
        for file in files:
            file.close()
    return base


async def run(url: str, load: Load, product_ids: Sequence[int], folder: Path) -> Answers:
    """Prepare a load and send it to a shop. Raises as `send`."""
    return await send(url, load, await asyncio.to_thread(prepare, load, product_ids, folder))


async def send(url: str, load: Load, base: Path) -> Answers:
    """Send a load that `prepare` has written, once. Raises Failed when wrk cannot run or does not come to an end."""
    try:
        return replace(parse(await _wrk(url, load, base)), overflows=load.overflows)
    finally:
        for thread in range(1, load.threads + 1):
            Path(f"{base}.{thread}").unlink()


def parse(printed: str) -> Answers:
    """Read what `orders.lua` prints at the end. Raises Failed when it is not all there."""
    found = {key: [line.split()[1:] for line in printed.splitlines() if line.split()[:1] == [key]] for key in KEYS}
    if not all(found[key] for key in ("thread", "errors", "latency_us", "mean_us")):
        raise Failed(f"wrk printed no result: {printed[-1000:]}")
    threads = [dict(zip(words[1::2], map(float, words[2::2]), strict=True)) for words in found["thread"]]
    statuses, buckets = Counter[int](), Counter[int]()
    for _, status, count in found["status"]:
        statuses[int(status)] += int(count)
    for _, bucket, count in found["bucket"]:
        buckets[int(bucket)] += int(count)
    return Answers(
        sent=round(sum(thread["sent"] for thread in threads)),
        answered=round(sum(thread["answered"] for thread in threads)),
        statuses=dict(statuses),
        lost=sum(map(int, found["errors"][0])),
        span_s=(max(thread["last_us"] for thread in threads) - min(thread["first_us"] for thread in threads)) / 1e6,
        mean_ms=float(found["mean_us"][0][0]) / 1e3,
        percentiles_ms=[(float(percent), float(us) / 1e3) for percent, us in found["latency_us"]],
        per_s=[buckets[at] / BUCKET_S for at in range(max(buckets, default=-1) + 1)],
    )


async def _wrk(url: str, load: Load, base: Path) -> str:
    """Run wrk until all its threads are done, or nothing more comes."""
    command = [
        "wrk",
        f"-t{load.threads}",
        f"-c{load.connections}",
        f"-d{round(load.over_within_s)}s",
        f"--timeout={ANSWER_WITHIN_S}s",
    ]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, "-s", str(SCRIPT), url, "--", str(base), str(load.seconds),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed("wrk is not installed (on Debian: apt-get install wrk)") from None
    try:
        reading = asyncio.create_task(_read(process))
        said = await _done(process, load.threads)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        printed = await reading
        if await process.wait():
            raise Failed(f"wrk ended with {process.returncode}: {printed[-1000:]} {said[-1000:]}")
        return printed
    finally:
        await end(process)


async def _read(process: asyncio.subprocess.Process) -> str:
    assert process.stdout  # noqa: S101 - it was asked for
    return (await process.stdout.read()).decode()


async def _done(process: asyncio.subprocess.Process, threads: int) -> str:
    """Wait until so many threads have said that they are done, or wrk has ended; gives what else was said."""
    assert process.stderr  # noqa: S101 - it was asked for
    said = b""
    while threads and (line := await process.stderr.readline()):
        threads -= line == b"done\n"
        said += line
    return said.decode()
