"""A unit of work that is driven step by step: what it asks, what it is told, and what ends it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from quickcommerce.kit.db import Duplicate, Lost, Repeatable, Tx, WaitedInTransaction, Work
from quickcommerce.kit.mariadb_errors import meaning
from quickcommerce.kit.mariadb_sql import INSERT_MAX_ROWS
from quickcommerce.kit.mariadb_tx import Answer, MariaDbTx, driven
from quickcommerce.kit.problem import Unavailable


class Asked:
    """Answers statements, or raises in the place of an answer."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.flights: list[list[str]] = []

    async def __call__(self, flight: Sequence[str]) -> list[Answer]:
        await asyncio.sleep(0)
        self.flights.append(list(flight))
        answers = []
        for _ in flight:
            answer = self.answers.pop(0) if self.answers else ([], 0)
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return answers

    @property
    def sent(self) -> list[str]:
        return [sql for flight in self.flights for sql in flight]


async def drive(work: Work[Any], ask: Asked) -> tuple[Any, BaseException | None]:
    tx = MariaDbTx(lambda: None, lambda: None, [])
    outcome = await driven(tx, work, ask)
    if not outcome[1] and (rest := tx.waiting()):
        await ask(rest)
    return outcome


async def test_each_statement_is_asked_once_and_its_answer_goes_to_who_asked() -> None:
    async def work(tx: Tx) -> Any:
        rows = await tx.all("SELECT a FROM b WHERE c = ?", (1,))
        return rows, await tx.one("SELECT d"), await tx.run("DELETE FROM b")

    ask = Asked(([(5,), (6,)], 2), ([], 0), ([], 7))
    assert await drive(work, ask) == (([(5,), (6,)], None, 7), None)
    assert ask.sent == ["SELECT a FROM b WHERE c = 1", "SELECT d", "DELETE FROM b"]


@pytest.mark.parametrize(
    "elsewhere", [lambda: asyncio.sleep(0), lambda: asyncio.sleep(1), lambda: asyncio.Event().wait()]
)
async def test_whatever_else_it_awaits_ends_it(elsewhere: Any) -> None:
    async def work(tx: Tx) -> None:
        await tx.one("SELECT 1")
        await elsewhere()

    result, failure = await drive(work, Asked())
    assert result is None
    assert isinstance(failure, WaitedInTransaction)


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_what_it_raises_is_told_as_it_is(failure: BaseException) -> None:
    async def work(tx: Tx) -> None:
        await tx.one("SELECT 1")
        raise failure

    assert await drive(work, Asked()) == (None, failure)


@pytest.mark.parametrize("undone", [Repeatable("deadlock"), Duplicate("key"), Lost("line"), Unavailable("down")])
async def test_a_transaction_that_was_undone_is_over_whatever_the_work_makes_of_it(undone: Exception) -> None:
    async def swallowing(tx: Tx) -> str:
        try:
            await tx.run("UPDATE a SET b = 1")
        except Exception:  # noqa: BLE001 - as a handler that treats each item alone
            return "as if nothing had been"
        return "done"

    async def renaming(tx: Tx) -> None:
        try:
            await tx.run("UPDATE a SET b = 1")
        except Exception as failure:
            raise ValueError from failure

    for work in (swallowing, renaming):
        assert await drive(work, Asked(undone)) == (None, undone)


async def test_a_statement_that_failed_alone_may_be_answered_otherwise() -> None:
    async def work(tx: Tx) -> str:
        try:
            await tx.all("SELECT name FROM nowhere")
        except LookupError:
            return "there is none"
        return "there is one"

    assert await drive(work, Asked(LookupError())) == ("there is none", None)


async def test_a_statement_that_failed_in_front_of_others_ends_the_work_whatever_it_makes_of_it() -> None:
    """Those behind it were not run, and nobody would send them again."""

    async def work(tx: Tx) -> str:
        await tx.insert("a", "n", [(1,)])
        await tx.insert("b", "n", [(2,)])
        try:
            await tx.run("UPDATE c SET n = 3")
        except LookupError:
            return "as if all had been stored"
        return "stored"

    failure = LookupError("no such table a")
    assert await drive(work, Asked(failure)) == (None, failure)


async def test_what_a_part_raises_ends_the_work_whatever_it_makes_of_it() -> None:
    """What the others had asked may be on no way to the server any more."""

    async def refusing() -> list[Any]:
        raise LookupError

    async def work(tx: Tx) -> str:
        await tx.insert("a", "n", [(1,)])
        with suppress(LookupError):
            await tx.gather([tx.all("SELECT 1"), refusing()])
        return "as if the row of a were stored"

    result, failure = await drive(work, Asked())
    assert result is None
    assert isinstance(failure, LookupError)


async def test_an_insert_travels_with_the_next_statement_that_has_an_answer() -> None:
    async def work(tx: Tx) -> Any:
        await tx.insert("a", "n", [(1,)])
        await tx.insert("b", "n", [(2,)])
        changed = await tx.run("UPDATE c SET n = 3")
        await tx.insert("d", "n", [(4,)])
        return changed

    ask = Asked(([], 1), ([], 1), ([], 5))
    assert await drive(work, ask) == (5, None)
    assert ask.flights == [
        ["INSERT INTO a (n) VALUES (1)", "INSERT INTO b (n) VALUES (2)", "UPDATE c SET n = 3"],
        ["INSERT INTO d (n) VALUES (4)"],
    ]


async def test_no_more_travels_at_once_than_a_server_takes() -> None:
    async def work(tx: Tx) -> None:
        await tx.insert("a", "b", ((b"x" * 400_000,) for _ in range(9)))

    ask = Asked()
    await drive(work, ask)
    assert [len(flight) for flight in ask.flights] == [2, 2, 2, 2, 1]


async def test_parts_of_the_work_run_in_step_and_each_gets_its_own_answers() -> None:
    async def part(tx: Tx, name: str, statements: int) -> list[Any]:
        await tx.insert(name, "n", [(0,)])
        return [await tx.one(f"SELECT {name}{n}") for n in range(statements)]

    async def work(tx: Tx) -> Any:
        return await tx.gather([part(tx, "a", 1), part(tx, "b", 3), part(tx, "c", 0), part(tx, "d", 2)])

    def row(value: str) -> Answer:
        return [(value,)], 1

    done: Answer = ([], 1)
    ask = Asked(done, row("a0"), done, row("b0"), done, done, row("d0"), row("b1"), row("d1"), row("b2"))
    assert await drive(work, ask) == ([[("a0",)], [("b0",), ("b1",), ("b2",)], [], [("d0",), ("d1",)]], None)
    selects = [[sql.removeprefix("SELECT ") for sql in flight if sql.startswith("SELECT")] for flight in ask.flights]
    assert selects == [["a0", "b0", "d0"], ["b1", "d1"], ["b2"]]


async def test_what_fails_among_parts_in_step_ends_all_of_them() -> None:
    ended: list[str] = []

    async def part(tx: Tx, name: str) -> None:
        try:
            await tx.one(f"SELECT {name}")
            await tx.one(f"SELECT {name} again")
        finally:
            ended.append(name)

    async def work(tx: Tx) -> Any:
        return await tx.gather([part(tx, "a"), part(tx, "b")])

    undone = Repeatable("1213")
    assert await drive(work, Asked(([], 0), undone)) == (None, undone)
    assert sorted(ended) == ["a", "b"]


async def test_parts_in_step_may_await_nothing_but_their_transaction_either() -> None:
    async def work(tx: Tx) -> Any:
        return await tx.gather([tx.all("SELECT 1"), asyncio.sleep(0, [])])

    _, raised = await drive(work, Asked())
    assert isinstance(raised, WaitedInTransaction)


async def test_a_large_insert_is_cut_by_its_rows_and_by_its_length() -> None:
    async def many(tx: Tx) -> None:
        await tx.insert("a", "n, b", ((n, "x") for n in range(INSERT_MAX_ROWS + 1)))

    async def large(tx: Tx) -> None:
        await tx.insert("a", "n, b", ((n, b"x" * 200_000) for n in range(5)))

    async def none(tx: Tx) -> None:
        await tx.insert("a", "n, b", [])

    sizes = []
    for work in (many, large, none):
        ask = Asked()
        await drive(work, ask)
        sizes.append([sql.count("(") - 1 for sql in ask.sent])
    assert sizes == [[INSERT_MAX_ROWS, 1], [2, 2, 1], []]


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (1020, Repeatable, "1020"),
        (1205, Repeatable, "1205"),
        (1213, Repeatable, "1213"),
        (1062, Duplicate, "Duplicate entry"),
        (2006, Lost, "2006"),
        (2013, Lost, "2013"),
        (1927, Lost, "1927"),
        (2003, Unavailable, "cannot be reached"),
        (1045, Unavailable, "does not let us in"),
        (1049, Unavailable, "does not let us in"),
        (1040, Unavailable, "no connection left"),
        (1114, Unavailable, "no space"),
        (1021, Unavailable, "no space"),
        (1290, Unavailable, "read-only"),
        (1969, Unavailable, "too long"),
    ],
)
def test_an_error_of_the_server_is_told_as_what_it_means(code: int, kind: type[Exception], says: str) -> None:
    meant = meaning("shop", Exception(code, "Duplicate entry '7:tap' of 'user'@'host'"))
    assert type(meant) is kind
    assert says in str(meant)
    assert isinstance(meant, Duplicate) or "host" not in str(meant)


@pytest.mark.parametrize("code", [1064, 1146, 1406, 1264, 1048, 4025, 1792])
def test_a_defect_of_ours_is_not_tried_again(code: int) -> None:
    failure = Exception(code, "as the server says")
    assert meaning("shop", failure) is failure


def test_an_answer_to_another_question_ends_the_connection() -> None:
    assert isinstance(meaning("shop", Exception("Packet sequence number wrong - got 5 expected 1")), Lost)
