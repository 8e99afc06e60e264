"""A list of records on its way from the thread that read them to the loop that handles them, and back as done."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from confluent_kafka import Message

Record = Message
"""Where an event stands in a topic; `outbox.Message` is the event."""


def partition_of(record: Record) -> int:
    """Where a record stands; one that was consumed always stands somewhere."""
    return -1 if (partition := record.partition()) is None else partition


def offset_of(record: Record) -> int:
    """As `partition_of`."""
    return -1 if (offset := record.offset()) is None else offset


@dataclass(frozen=True)
class Listed:
    """Records in hand; `done` once they are handled, or with the failure that has them read again."""

    records: list[Record]
    done: Future[None] = field(default_factory=Future)

    def ahead(self) -> dict[int, int]:
        """By partition, the offset behind the last."""
        return {partition_of(record): offset_of(record) + 1 for record in self.records}

    def firsts(self) -> dict[int, int]:
        """By partition, the first offset."""
        return {partition_of(record): offset_of(record) for record in reversed(self.records)}

    def handled(self) -> bool:
        """Whether it is done and nothing went wrong."""
        return self.done.done() and not self.done.cancelled() and self.done.exception() is None
