import math
import random
import statistics
from bisect import bisect_right

import pytest

from bench.scale.model import BUSY, Lists, Part, Simulated, Used, fitted, parts, shops, simulate

ONE_BY_ONE = Lists(a_s=0.001, b_s=0.0, runners=1, list_max=1)


def erlang_c(servers: int, load: float) -> float:
    """The chance that all servers of M/M/c are busy; `load` is arrivals x service time."""
    busy = load**servers / math.factorial(servers) * servers / (servers - load)
    return busy / (sum(load**k / math.factorial(k) for k in range(servers)) + busy)


def m_m_c(servers: int, per_s: float, *, orders: int = 200_000) -> Simulated:
    """A queue of single orders, each of which takes a millisecond on average, exponentially distributed."""
    service = random.Random(99)
    lists = Lists(0.001, 0.0, servers, 1)
    return simulate(lists, per_s, orders=orders, seed=1, takes_s=lambda _: service.expovariate(1_000))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (2, 1.4), (4, 3.2)])
def test_single_orders_with_exponential_service_wait_as_in_m_m_c(servers: int, load: float) -> None:
    run = m_m_c(servers, load * 1_000)
    expected_s = erlang_c(servers, load) / (servers - load) / 1_000
    assert statistics.fmean(run.waits_s) == pytest.approx(expected_s, rel=0.08)


def test_p99_of_m_m_1_is_that_of_an_exponential_distribution() -> None:
    # The time in M/M/1 is exponential with the rate that is left, here 500 a second.
    assert m_m_c(1, 500).p99_answer_s == pytest.approx(math.log(100) / 500, rel=0.08)


def test_single_orders_with_constant_service_wait_half_as_long_as_in_m_m_1() -> None:
    run = simulate(ONE_BY_ONE, 700, orders=200_000, seed=2)
    assert statistics.fmean(run.waits_s) == pytest.approx(0.7 / (2 * 0.3) / 1_000, rel=0.08)


def test_as_many_wait_as_littles_law_says() -> None:
    run = simulate(Lists(0.002, 0.0002, 2, 8), 4_000, orders=100_000, seed=3)
    looked = random.Random(4)
    last_s = run.came_s[-1]
    seen = [
        bisect_right(run.came_s, at_s) - bisect_right(run.begun_s, at_s)
        for at_s in (looked.uniform(0, last_s) for _ in range(50_000))
    ]
    assert statistics.fmean(seen) == pytest.approx(100_000 / last_s * statistics.fmean(run.waits_s), rel=0.03)


def test_below_what_lists_take_at_most_the_queue_holds_and_above_it_does_not() -> None:
    lists = Lists(a_s=0.002, b_s=0.0001, runners=2, list_max=64)
    assert lists.most_per_s == pytest.approx(2 * 64 / 0.0084)
    below = simulate(lists, 0.95 * lists.most_per_s, orders=50_000, seed=5)
    above = simulate(lists, 1.2 * lists.most_per_s, orders=50_000, seed=5)
    assert below.ended_s[-1] - below.came_s[-1] < 0.05
    assert 50_000 / above.ended_s[-1] == pytest.approx(lists.most_per_s, rel=0.01)
    assert above.mean_size == pytest.approx(64, rel=0.02)
    assert max(above.sizes) == 64


def test_lists_grow_with_the_load_and_an_idle_queue_takes_each_order_at_once() -> None:
    lists = Lists(a_s=0.002, b_s=0.0001, runners=2, list_max=256)
    idle, busy = (simulate(lists, share * lists.most_per_s, orders=20_000, seed=6) for share in (0.001, 0.9))
    assert idle.mean_size < 1.05
    assert idle.mean_answer_s == pytest.approx(0.0021, rel=0.05)
    assert busy.mean_size > 20


def test_few_orders_gather_behind_a_list_and_are_fewer_larger_ones_that_wait_longer() -> None:
    gathering = Lists(a_s=0.002, b_s=0.0001, runners=2, list_max=256, enough=16, gather_lists=2, gather_max_s=0.005)
    at_once = Lists(a_s=0.002, b_s=0.0001, runners=2, list_max=256)
    run, before = (simulate(lists, 600, orders=20_000, seed=6) for lists in (gathering, at_once))
    assert run.mean_size > 2 * before.mean_size
    assert run.mean_answer_s < before.mean_answer_s + 0.005
    alone = simulate(gathering, 1, orders=5_000, seed=6)
    assert alone.mean_answer_s == pytest.approx(0.0021, rel=0.01)
    full = simulate(gathering, 0.9 * gathering.most_per_s, orders=50_000, seed=6)
    assert full.mean_answer_s == pytest.approx(
        simulate(at_once, 0.9 * gathering.most_per_s, orders=50_000, seed=6).mean_answer_s, rel=0.05
    )


def test_orders_are_taken_in_turn_by_as_many_runners_as_there_are() -> None:
    run = simulate(Lists(0.003, 0.0001, 3, 5), 4_000, orders=5_000, seed=7)
    assert list(run.begun_s) == sorted(run.begun_s)
    assert sum(run.sizes) == len(run.came_s) == len(run.ended_s)
    lists = sorted(set(zip(run.begun_s, run.ended_s, strict=True)))
    assert max(sum(begun <= at < ended for begun, ended in lists) for at, _ in lists[:500]) == 3


def test_orders_that_come_evenly_wait_for_nobody_below_the_limit() -> None:
    run = simulate(Lists(0.001, 0.0, 1, 1), 900, orders=1_000, seed=1, evenly=True)
    assert run.mean_answer_s == pytest.approx(0.001)
    assert run.came_s[-1] == pytest.approx(1_000 / 900)


def test_the_same_seed_gives_the_same_run() -> None:
    first, again, other = (simulate(ONE_BY_ONE, 500, orders=100, seed=seed) for seed in (8, 8, 9))
    assert first == again != other


def test_what_a_list_costs_is_found_from_two_sizes_of_it() -> None:
    lists = Lists(0.0015, 0.00006, 2, 256)
    assert fitted(lists.takes_s(1), lists.takes_s(128), 128) == pytest.approx((0.0015, 0.00006))


@pytest.mark.parametrize(
    ("list_s", "size", "found"), [(0.0009, 10, (0.001, 0)), (0.1, 10, (0, 0.001)), (1, 1, (0.001, 0))]
)
def test_noise_makes_neither_half_of_a_list_negative(list_s: float, size: float, found: tuple[float, float]) -> None:
    assert fitted(0.001, list_s, size) == pytest.approx(found)


def test_a_parts_share_is_what_it_used_beyond_its_rest_for_an_order_and_more_for_its_payment() -> None:
    unpaid = Used({"api": 3.0, "kafka": 0.9}, took_s=40, orders=1_000, payments=0)
    paid = Used({"api": 6.0, "kafka": 1.0}, took_s=40, orders=1_000, payments=500)
    api, kafka = parts({"api": 0.025, "kafka": 0.025}, unpaid, paid)
    assert (api.us_per_order, api.us_per_payment, api.idle_cores) == pytest.approx((2_000, 6_000, 0.025))
    assert (kafka.us_per_order, kafka.us_per_payment) == (0, 0)


def test_cores_follow_the_rate_and_what_a_part_needs_for_itself_is_counted_in_each_shop() -> None:
    part = Part("api", us_per_order=200, us_per_payment=100, idle_cores=0.0)
    assert part.cores(16_667) == pytest.approx(16_667 * 300e-6 / BUSY)
    assert part.cores(16_667, paid=0) == pytest.approx(16_667 * 200e-6 / BUSY)
    assert part.most_per_s(1) == pytest.approx(BUSY / 300e-6)
    assert part.processes(BUSY / 300e-6 * 3.5) == 4
    resting = Part("api", 200, 100, idle_cores=BUSY / 2)
    assert resting.most_per_s(1) == pytest.approx(part.most_per_s(1) / 2)
    assert resting.cores(16_667, shops=3) == pytest.approx(part.cores(16_667) + 3 / 2)
    assert resting.cores(resting.most_per_s(1)) == pytest.approx(1)


def test_each_shop_has_processes_of_its_own() -> None:
    part = Part("sweeper", 100, 0)
    assert part.processes(1_000, shops=8) == 8
    assert part.processes(100_000, shops=8) == 8 * math.ceil(100_000 / 8 / 6_000)


def test_the_stock_is_split_by_the_first_part_of_which_a_shop_has_only_one() -> None:
    every = [Part("api", 900, 0), Part("mariadb", 100, 100), Part("relay", 60, 60), Part("redis-1", 0, 0)]
    single = {"mariadb": 16.0, "relay": 1.0, "redis-1": 1.0}
    assert shops(every, single, 1_000_000 / 60) == math.ceil(1_000_000 / 60 / (BUSY / 120e-6))
    assert shops(every, single, 100) == 1


def test_a_part_that_is_busy_with_nothing_to_do_is_told() -> None:
    with pytest.raises(ValueError, match="with nothing to do"):
        shops([Part("relay", 60, 60, idle_cores=0.7)], {"relay": 1.0}, 100)
