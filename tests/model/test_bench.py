"""The bench is believed only as far as its own parts are: the plan, the percentiles and, above all, the checks."""

import base64
from collections import Counter
from datetime import UTC, datetime

import jwt
import msgspec
import pytest

from quickcommerce.bench import tokens
from quickcommerce.bench.answers import Line, Order, fault_of, problem
from quickcommerce.bench.checks import Counts, Stored, Told, check, drained
from quickcommerce.bench.plan import Basket, OrdersPlan, UsageError, baskets
from quickcommerce.bench.report import Report
from quickcommerce.bench.stats import percentile, summary
from quickcommerce.bench.tally import EXAMPLES, Tally

PRODUCTS = range(1, 201)
PLAN = OrdersPlan(url="http://shop", pg_url="http://shop/_toss", jwt_secret=tokens.LOCAL_SECRET, buyers=1_000)

# Before and after a run of 10 accepted orders of 30 units, 2 of them paid with 7 units, in a shop that had orders.
BEFORE = Counts(orders=5, order_events=9, outbox_pending=0, payments=5, documents=5, on_hand=1_000, reserved=4, sold=20)
AFTER = Counts(
    orders=15, order_events=23, outbox_pending=0, payments=15, documents=15, on_hand=1_000, reserved=27, sold=27
)
TOLD = Told(buyers=12, answered=12, accepted=10, units=30, wrong_bodies=0, paid={"a": 3, "b": 4})
PAID = {"a", "b"}


def broken(told: Told = TOLD, after: Counts = AFTER, paid: set[str] = PAID) -> set[str]:
    return {one.name for one in check(told, Stored(BEFORE, after, paid)) if not one.holds}


def told(**changes: object) -> Told:
    return Told(**{name: getattr(TOLD, name) for name in Told.__dataclass_fields__} | changes)


def after(**changes: int) -> Counts:
    return msgspec.structs.replace(AFTER, **changes)


def report(tally: Tally, *, counts: Counts = AFTER, drain_s: float | None = 1.0) -> Report:
    return Report(
        plan=PLAN,
        started_at=datetime(2026, 1, 31, tzinfo=UTC),
        products=200,
        sent_from=datetime(2026, 1, 31, 0, 0, 1, tzinfo=UTC),
        answered_by=datetime(2026, 1, 31, 0, 0, 17, tzinfo=UTC),
        tally=tally,
        client_cpu_s=1.5,
        drain_s=drain_s,
        before=BEFORE,
        after=counts,
        checks=check(TOLD, Stored(BEFORE, counts, PAID)),
    )


def test_same_seed_gives_the_same_baskets_and_another_seed_others() -> None:
    other = OrdersPlan(url="", pg_url="", jwt_secret="", buyers=1_000, seed=2)
    assert baskets(PLAN, PRODUCTS) == baskets(PLAN, PRODUCTS)
    assert baskets(PLAN, PRODUCTS) != baskets(other, PRODUCTS)


def test_arrivals_are_evenly_spaced_from_zero_and_fixed_before_the_run() -> None:
    plan = OrdersPlan(url="", pg_url="", jwt_secret="", buyers=8, ramp_up_s=2.0)
    assert [basket.at_s for basket in baskets(plan, PRODUCTS)] == [0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert plan.intended_per_s == 4.0


def test_without_a_ramp_up_all_arrive_at_once() -> None:
    plan = OrdersPlan(url="", pg_url="", jwt_secret="", buyers=8, ramp_up_s=0)
    assert {basket.at_s for basket in baskets(plan, PRODUCTS)} == {0.0}


def test_baskets_have_one_to_five_different_products_and_one_to_five_of_each() -> None:
    planned = baskets(PLAN, PRODUCTS)
    assert {len(basket.lines) for basket in planned} == {1, 2, 3, 4, 5}
    assert {quantity for basket in planned for _, quantity in basket.lines} == {1, 2, 3, 4, 5}
    assert {product_id for basket in planned for product_id, _ in basket.lines} == set(PRODUCTS)
    assert all(len({product_id for product_id, _ in basket.lines}) == len(basket.lines) for basket in planned)


def test_a_shop_with_few_products_gets_smaller_baskets() -> None:
    assert {len(basket.lines) for basket in baskets(PLAN, [7, 8])} == {1, 2}


@pytest.mark.parametrize(("share", "payers"), [(0, 0), (0.2, 200), (1, 1_000)])
def test_exactly_the_asked_share_pays(share: float, payers: int) -> None:
    plan = OrdersPlan(url="", pg_url="", jwt_secret="", buyers=1_000, pay_share=share)
    assert sum(basket.pays for basket in baskets(plan, PRODUCTS)) == payers


def test_percentiles_are_the_nearest_rank_of_known_samples() -> None:
    samples = list(range(1, 101))
    assert [percentile(samples, percent) for percent in (0, 1, 50, 95, 99, 99.1, 100)] == [1, 1, 50, 95, 99, 100, 100]
    assert [percentile([10, 20, 30], percent) for percent in (33, 34, 66, 67)] == [10, 20, 20, 30]
    assert percentile([], 99) == 0


def test_a_summary_is_in_milliseconds_and_does_not_need_sorted_samples() -> None:
    latency = summary([4_000, 1_000, 2_500, 500])
    assert (latency.count, latency.mean_ms, latency.p50_ms, latency.max_ms) == (4, 2.0, 1.0, 4.0)
    assert summary([]).mean_ms == 0.0


def test_a_run_that_adds_up_breaks_no_check() -> None:
    assert broken() == set()


def test_a_lost_or_a_foreign_order_is_found() -> None:
    assert broken(after=after(orders=14)) == broken(after=after(orders=16)) == {"orders stored"}


def test_a_missing_or_a_second_payment_is_found() -> None:
    assert broken(after=after(payments=14)) == broken(after=after(payments=16)) == {"payments made"}


def test_a_missing_or_a_doubled_document_is_found() -> None:
    assert broken(after=after(documents=14)) == broken(after=after(documents=16)) == {"history documents"}


def test_a_lost_or_a_doubled_event_is_found() -> None:
    assert broken(after=after(order_events=22)) == broken(after=after(order_events=24)) == {"order events"}


def test_an_event_left_in_the_outbox_is_found() -> None:
    assert broken(after=after(outbox_pending=1)) == {"events still in the outbox"}


def test_leaked_and_oversold_stock_is_found() -> None:
    assert broken(after=after(reserved=28)) == broken(after=after(reserved=26)) == {"units taken from stock"}
    assert broken(after=after(on_hand=1_001)) == {"units taken from stock"}


def test_units_that_are_held_but_not_sold_are_found() -> None:
    assert broken(after=after(reserved=28, sold=26)) == {"units sold"}


def test_a_paid_order_that_is_not_paid_in_the_history_is_found() -> None:
    assert broken(paid={"a"}) == {"paid orders PAID in the history"}


def test_a_paid_order_that_nobody_paid_is_found_even_when_the_number_is_right() -> None:
    assert broken(paid={"a", "b", "x"}) == {"PAID orders that nobody here paid"}
    assert broken(paid={"a", "x"}) == {"paid orders PAID in the history", "PAID orders that nobody here paid"}


def test_a_buyer_without_an_answer_and_a_wrong_body_are_found() -> None:
    assert broken(told=told(answered=11)) == {"buyers answered"}
    assert broken(told=told(wrong_bodies=1)) == {"accepted answers with a wrong body"}


def test_more_accepted_answers_than_stored_orders_break_every_count_of_them() -> None:
    assert broken(told=told(accepted=11)) == {"orders stored", "payments made", "history documents", "order events"}


def test_the_loop_is_drained_only_when_nothing_is_left_to_do() -> None:
    assert drained(TOLD, BEFORE, AFTER)
    assert not drained(TOLD, BEFORE, after(outbox_pending=1))
    assert not drained(TOLD, BEFORE, after(payments=14))
    assert not drained(TOLD, BEFORE, after(documents=14))


def test_the_failure_names_each_reason_in_one_line() -> None:
    tally = Tally()
    assert report(tally).failure is None
    tally.fail("order 503 unavailable", "busy")
    failure = report(tally, counts=after(orders=14), drain_s=None).failure
    assert failure is not None
    assert "\n" not in failure
    assert "order 503 unavailable (1)" in failure
    assert "not drained 30 s" in failure
    assert "orders stored 9, not 10" in failure
    assert "other traffic" in failure


def test_an_error_alone_fails_a_run_that_adds_up() -> None:
    tally = Tally(errors=Counter({"confirm 402 payment-declined": 2}))
    assert report(tally).failure == "2 answers were errors: confirm 402 payment-declined (2)"


def test_the_written_result_holds_the_figures_and_not_the_secret() -> None:
    result = report(Tally(order_us=[1_000, 3_000], order_at_s=[0.0, 0.1], accepted=2, span_s=0.5)).json()
    assert tokens.LOCAL_SECRET.encode() not in result
    read = msgspec.json.decode(result)
    assert read["orders_per_s"] == 4.0
    assert read["latencies"]["order"]["mean_ms"] == 2.0
    assert all(one["holds"] for one in read["checks"])


def test_the_tally_keeps_the_earliest_time_and_a_few_examples() -> None:
    tally = Tally()
    tally.accept("2026-01-31T09:00:00.000002Z", 3, retried=True)
    tally.accept("2026-01-31T09:00:00.000001Z", 4, retried=False)
    tally.answer(1.0, 500_000)
    tally.answer(0.5, 100_000)
    for _ in range(EXAMPLES + 1):
        tally.fail("order ServerDisconnectedError", "")
    assert (tally.accepted, tally.units, tally.retried) == (2, 7, 1)
    assert tally.first_placed_at == "2026-01-31T09:00:00.000001Z"
    assert tally.span_s == 1.5
    assert tally.examples == ["order ServerDisconnectedError"] * EXAMPLES


BASKET = Basket(at_s=0.0, lines=((11, 2), (12, 1)), pays=False)
PRICES = {11: 3_900, 12: 1_500}


def answer(total: int = 9_300, status: str = "PLACED", quantity: int = 2, unit_price: int = 3_900) -> Order:
    lines = [Line(12, 1, 1_500, 1_500), Line(11, quantity, unit_price, unit_price * quantity)]
    return Order("ord_1", status, lines, total, total, "2026-01-31T09:00:00.000000Z", "2026-01-31T09:10:00.000000Z")


def test_an_answer_at_the_catalog_price_is_accepted_in_any_line_order() -> None:
    assert fault_of(answer(), BASKET, PRICES) is None


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (answer(total=9_310), "total 9310"),
        (answer(status="PAYING"), "status is PAYING"),
        (answer(quantity=3), "lines are"),
        (answer(unit_price=3_800), "product 11 at 3800"),
    ],
)
def test_an_answer_that_says_something_else_is_wrong(wrong: Order, fault: str) -> None:
    assert fault in (fault_of(wrong, BASKET, PRICES) or "")


def test_a_refusal_is_read_by_its_code_whatever_its_body_is() -> None:
    assert problem(b'{"code": "out-of-stock", "status": 409, "errors": []}').code == "out-of-stock"
    assert problem(b"<h1>Bad gateway</h1>").detail == "<h1>Bad gateway</h1>"
    assert problem(b"\xff").code == "no-code"


def test_a_minted_token_is_one_that_pyjwt_believes() -> None:
    secret = tokens.secret_bytes(tokens.LOCAL_SECRET)
    now_s = int(datetime.now(UTC).timestamp())
    token = tokens.mint(secret, user_id=2**53 - 1, role="ROLE_USER", now_s=now_s, ttl_s=60)
    claims = jwt.decode(token, secret, algorithms=["HS256"], options={"require": ["sub", "id", "role", "iat", "exp"]})
    assert (claims["id"], claims["role"], claims["exp"] - claims["iat"]) == (2**53 - 1, "ROLE_USER", 60)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, b"another secret that is long enough", algorithms=["HS256"])


def test_a_base64_secret_is_decoded_and_a_bad_one_refused() -> None:
    assert tokens.secret_bytes("base64:" + base64.b64encode(b"\x00key").decode()) == b"\x00key"
    with pytest.raises(UsageError, match="Base64"):
        tokens.secret_bytes("base64:no!")
