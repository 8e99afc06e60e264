"""The original's consumer, in Python: `python -m bench.starved.theirs`.

Its design: events are acknowledged when they are handed out, not when they are handled; up to 256 handlers run at once
on the one event loop, each with a transaction of its own; and the first of them that raises ends the stream, of which
nobody hears: HTTP goes on answering. The client is aiokafka, which lives on the loop as well. The original's has a
thread for its heartbeat, and that the loop starves it is what its authors suspected.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition  # type: ignore[import-untyped]
from fastapi import FastAPI
from sqlalchemy import BigInteger, String
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.starved.terms import HEARTBEAT_MS, SESSION_MS
from bench.yardstick.server import serve

AT_ONCE = 256
"""What `flatMap` has at once unless told otherwise."""
COMMIT_MS = 1_000
POOL_SIZE = 10


class Base(DeclarativeBase):
    """What SQLAlchemy asks for."""


class PaymentRow(Base):
    """A payment of an order; as in the original, nothing keeps an order from having two."""

    __tablename__ = "their_payment"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    order_id: Mapped[str] = mapped_column(String(30))
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20))


def tell(what: str, **more: object) -> None:
    """A line for whoever watches: what happened to this member, and when by the machine's monotonic clock."""
    sys.stdout.write(json.dumps({"at": time.monotonic(), "what": what, **more}) + "\n")
    sys.stdout.flush()


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells of partitions given and taken."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """See aiokafka."""
        tell("given", partitions=len(list(assigned)))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """See aiokafka."""
        tell("taken", partitions=len(list(revoked)))


class Warnings(logging.Handler):
    """Tells what the client warns of, such as a heartbeat that came too late."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        tell("warning", text=record.getMessage()[:200])


async def consume(consumer: AIOKafkaConsumer, sessions: async_sessionmaker[AsyncSession], work_s: float) -> None:
    """Hand out events until a handler raises. `work_s` is the CPU of each beside its transaction, in seconds."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def handle(value: bytes) -> None:
        try:
            order = json.loads(value)["order"]
            until = time.thread_time() + work_s
            while time.thread_time() < until:
                pass
            async with sessions() as session:
                session.add(PaymentRow(order_id=order["order_id"], amount=order["payable"], status="READY"))
                await session.commit()
        finally:
            turns.release()

    async with asyncio.TaskGroup() as handlers:
        async for message in consumer:
            await turns.acquire()
            handlers.create_task(handle(message.value))


async def live(consumer: AIOKafkaConsumer, sessions: async_sessionmaker[AsyncSession], work_s: float) -> None:
    """The stream from its beginning to its end, at which its consumer leaves the group; nobody begins another."""
    try:
        await consume(consumer, sessions, work_s)
    except Exception as end:  # noqa: BLE001 - as in the original, whatever it is
        tell("ended", why=repr(end)[:200])
    finally:
        await consumer.stop()


def build(given: argparse.Namespace) -> FastAPI:
    """The service: a consumer in the background, and an address that says that all is well."""
    logging.getLogger("aiokafka").addHandler(Warnings(logging.WARNING))

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        engine = create_async_engine(given.database, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=600)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=given.kafka, group_id=given.group, auto_offset_reset="earliest", enable_auto_commit=True,
            auto_commit_interval_ms=COMMIT_MS, session_timeout_ms=SESSION_MS, heartbeat_interval_ms=HEARTBEAT_MS,
        )  # fmt: skip
        consumer.subscribe([given.topic], listener=Listener())
        await consumer.start()
        stream = asyncio.create_task(live(consumer, async_sessionmaker(engine), given.work_ms / 1_000))
        yield
        stream.cancel()
        await asyncio.wait([stream])
        await engine.dispose()

    app = FastAPI(lifespan=life)
    app.get("/healthz")(lambda: {"status": "UP"})
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.starved.theirs")
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--database", required=True, help="as SQLAlchemy takes it")
    parser.add_argument("--work-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    serve(build(given), given.port)


if __name__ == "__main__":
    main()
