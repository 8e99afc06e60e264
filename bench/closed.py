"""The closed loop: wrk sends prepared orders of different users as fast as they are answered, and counts by status."""

import asyncio
import os
import random
import resource
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.processes import Failed, end
from quickcommerce.bench import tokens

SCRIPT = Path(__file__).with_name("orders.lua")
TOKENS_GOOD_S = 4 * 3600
USERS = range(1, 2**52)
ANSWER_WITHIN_S = 120
"""wrk counts an answer that takes longer as an error."""
BUCKET_S = 0.2
"""As in `orders.lua`: the grain of the rate over time."""
KEYS = ("orders", "status", "bucket", "errors", "latency_us")
"""How the lines begin that `orders.lua` prints."""
GIVE_UP_AFTER_S = 130.0
LEAST_PER_S = 100
"""Where a number of orders is to be sent, nobody waits for a shop that is slower."""
ENDLESS_S = 86_400.0
OTHER_FILES = 64
"""Of wrk itself."""


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders sent over `connections`, each of which sends the next one when it has its answer.

    It ends after `seconds`, or when all `orders` are sent; at least one of them is given. Without `orders`,
    `per_s_max` says how many are prepared for each second. `lines` are different goods in a basket, `quantity` pieces
    of each.
    """

    connections: int = 256
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
    """Write the orders of new users into a file. They come in no order: their rows are put between those of others."""
    rng = random.Random(1)  # noqa: S311 - a load must repeat, not surprise
    users = random.Random(secrets.randbits(64)).sample(USERS, load.prepared)  # noqa: S311 - new, but no secret
    secret, now_s = tokens.secret_bytes(tokens.LOCAL_SECRET), int(time.time())
    path = folder / f"orders-{secrets.token_hex(8)}"
    with path.open("w", encoding="ascii") as file:
        for user_id in users:
            token = tokens.mint(secret, user_id=user_id, role="ROLE_USER", now_s=now_s, ttl_s=TOKENS_GOOD_S)
            chosen = rng.sample(product_ids, load.lines)
            lines = ",".join(f'{{"product_id":{each},"quantity":{load.quantity}}}' for each in chosen)
            file.write(f'{token} bench-{user_id} {{"lines":[{lines}]}}\n')
        # It is as large as all that the database will write, and must not be written beside the first commits.
        file.flush()
        os.fsync(file.fileno())
    return path


async def send(url: str, load: Load, orders: Path) -> Answers:
    """Send a load that `prepare` has written, once.

    Raises Failed when wrk cannot run, may not open as many connections, or does not come to an end.
    """
    try:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if resource.RLIM_INFINITY != most < load.connections + OTHER_FILES:
            raise Failed(f"{load.connections:,} connections are wanted, and {most:,} files may be open (`ulimit -n`)")
        return replace(parse(await _wrk(url, load, orders)), overflows=load.overflows)
    finally:
        orders.unlink()


def parse(printed: str) -> Answers:
    """Read what `orders.lua` prints at the end. Raises Failed when it is not all there."""
    found = {key: [line.split()[1:] for line in printed.splitlines() if line.split()[:1] == [key]] for key in KEYS}
    if not all(found[key] for key in ("orders", "errors", "latency_us")):
        raise Failed(f"wrk printed no result: {printed[-1000:]}")
    (words,) = found["orders"]
    orders = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    buckets = {int(bucket): int(count) for bucket, count in found["bucket"]}
    return Answers(
        sent=orders["sent"],
        answered=orders["answered"],
        statuses={int(status): int(count) for status, count in found["status"]},
        lost=sum(map(int, found["errors"][0])),
        span_s=(orders["last_us"] - orders["first_us"]) / 1e6,
        percentiles_ms=[(float(percent), float(us) / 1e3) for percent, us in found["latency_us"]],
        per_s=[buckets.get(at, 0) / BUCKET_S for at in range(max(buckets, default=-1) + 1)],
    )


async def _wrk(url: str, load: Load, orders: Path) -> str:
    """Run wrk until it has all its answers, or nothing more comes."""
    command = [
        "wrk",
        "-t1",
        f"-c{load.connections}",
        f"-d{round(load.over_within_s)}s",
        f"--timeout={ANSWER_WITHIN_S}s",
    ]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, "-s", str(SCRIPT), url, "--", str(orders), str(load.seconds),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed("wrk is not installed (on Debian: apt-get install wrk)") from None
    try:
        reading = asyncio.create_task(_read(process))
        done, said = await _done(process)
        if done:
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


async def _done(process: asyncio.subprocess.Process) -> tuple[bool, str]:
    """Wait until `orders.lua` says that it is done, or wrk has ended; gives whether it was said, and what else was.

    One that ends by itself must not be signalled: asyncio loses the status of a process that ends just then.
    """
    assert process.stderr  # noqa: S101 - it was asked for
    said = b""
    while line := await process.stderr.readline():
        if line == b"done\n":
            return True, said.decode()
        said += line
    return False, said.decode()
