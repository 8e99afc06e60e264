"""A consumer group's member as a process of its own: `member.py FOLDER TOPIC GROUP BURN_US`.

It keeps its effects in FOLDER (see `stores.Group`) and works BURN_US microseconds for each event. It prints a line of
JSON when it has joined, and one when it was asked to stop (SIGTERM).
"""

import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path

import streams
from quickcommerce.kit.db import Tx
from quickcommerce.kit.inbox import Inbox
from quickcommerce.kit.kafka_reader import Reader
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.telemetry import configure_logs
from stores import metric, post, until


async def main(folder: Path, topic: str, group_id: str, burn_us: int) -> None:
    configure_logs("ERROR", machine=True)
    async with post("sqlite", folder) as wire:
        group = wire.group()
        handled = 0

        async def handle(tx: Tx, messages: list[Message]) -> None:
            nonlocal handled
            if burn_us:
                # On the event loop, without an await: as a busy process does.
                until = time.process_time_ns() + burn_us * 1_000 * len(messages)
                while time.process_time_ns() < until:
                    pass
            else:
                await group.inbox.handlers["Counted"](tx, messages)
            handled += len(messages)

        inbox = Inbox("group", wire.target.db, {"Counted": handle}, wire.letters, wire.clock, random.Random())
        reader = Reader(streams.servers(), topic, inbox, group=group_id, list_max=256)
        supervisor = Supervisor([Loop("events-group", reader.step, 0)], rng=random.Random())
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        supervisor.start()
        await until(lambda: metric("qc_bus_rebalances_total", group=group_id) > 0)
        tell({"joined": True})
        await stop.wait()
        counted = {name: metric(f"qc_bus_{name}_total", group=group_id) for name in ("rebalances", "evictions")}
        await supervisor.stop(drain_s=5)
        await reader.close()
        tell({"handled": handled, **counted})


def tell(facts: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
