"""The matrix: every route, everybody who may come, every problem of the contract. A cell names the test that shows it,
or says in a sentence why it cannot happen; the first rule that fits decides. A new route has no cells until it is
named here, and `test_matrix.py` fails until then.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from quickcommerce.kit.auth import Role

from .routes import BUYERS, NOBODY, OWNERS, PEOPLE, STRANGERS, Route, find

PLACE = "POST /v1/orders"
CANCEL = "POST /v1/orders/{order_id}/cancel"
CONFIRM = "POST /v1/payments/{payment_id}/confirm"
REFUND = "POST /v1/payments/{payment_id}/refunds"
HEAR = "POST /webhooks/toss"
REPLAY = "POST /v1/ops/dead-letters/{letter_id}/replay"
READS = ("GET /v1/orders/{order_id}", "GET /v1/orders/{order_id}/timeline", "GET /v1/orders/{order_id}/payment")
COUPONS = ("GET /v1/coupons", "GET /v1/coupon-policies")
PUT_UP, CHANGE = "POST /v1/products", "PATCH /v1/products/{product_id}"
RESTOCK, STOCK = "POST /v1/products/{product_id}/restock", "GET /v1/products/{product_id}/stock"
ANNOUNCE, SALES, CATEGORIES = "POST /v1/time-sales", "GET /v1/time-sales", "GET /v1/categories"
SHOPKEEPING = (PUT_UP, CHANGE, RESTOCK, ANNOUNCE)
POLICY, ISSUE = "POST /v1/coupons", "POST /v1/coupons/{policy_id}/issue"
LISTS = (
    "GET /v1/orders", "GET /v1/products", "GET /v1/history/orders", "GET /v1/ops/dead-letters", "GET /v1/ops/attention",
    SALES, *COUPONS,
)  # fmt: skip
CONSOLE, REPLAY_FORM = "GET /console", "POST /console/replay"
PRODUCT = "GET /v1/products/{product_id}"
COUNTS = ("GET /v1/ops/counts", "GET /v1/ops/invariants")
READY = "GET /readyz"
STILL = (
    "GET /healthz", "GET /metrics", "GET /openapi.json", "GET /asyncapi.json", "GET /docs", "GET /static/docs.css",
    "GET /static/console.css", "GET /static/console.js", "GET /basket", "GET /coupons",
)  # fmt: skip
PAY, SUCCESS, FAIL = "GET /pay/{order_id}", "GET /pay/success", "GET /pay/fail"
ASSET, GOODS, ASK, SIGN_IN, SIGN_OUT = "GET /static/{name}", "GET /", "GET /sign-in", "POST /sign-in", "POST /sign-out"
MINE, ONE, EVENTS = "GET /orders", "GET /orders/{order_id}", "GET /orders/{order_id}/events"
PAGES = (ASSET, GOODS, ASK, SIGN_IN, SIGN_OUT, MINE, ONE, EVENTS)
"""Those of the shop, without what is still."""
ALL = (
    PLACE, CANCEL, CONFIRM, REFUND, REPLAY, *READS, *LISTS, PRODUCT, *COUNTS, READY, *STILL, PAY, SUCCESS, FAIL, *PAGES,
    POLICY, ISSUE, *SHOPKEEPING, STOCK, CATEGORIES, CONSOLE, REPLAY_FORM, HEAR,
)  # fmt: skip
TAKING = (PLACE, CANCEL, CONFIRM, REFUND, REPLAY, POLICY, ISSUE, *SHOPKEEPING)
OWNED = (CANCEL, CONFIRM, REFUND, *READS, PAY, ONE, EVENTS)
PROTECTED = tuple(name for name in ALL if find(name).roles)
PUBLIC = tuple(name for name in ALL if not find(name).roles)
OPERATIONS = tuple(name for name in PROTECTED if find(name).roles == (Role.MASTER,))
SELLING = tuple(name for name in PROTECTED if find(name).roles == (Role.SELLER, Role.MASTER))

KEYED = (PLACE, REFUND, RESTOCK)
"""Those that read an Idempotency-Key."""

LESS = ("user", "seller")
STAFF = ("seller", "master")
ANYBODY = tuple(PEOPLE)
LIMITED = tuple(who for who in PEOPLE if who not in ("nobody", "master"))


@dataclass(frozen=True)
class Rule:
    """For these routes and people: a test, as `file.function`, or a sentence."""

    routes: tuple[str, ...]
    people: tuple[str, ...]
    by: str

    @property
    def test(self) -> str | None:
        """The test that is named, if one is."""
        return None if " " in self.by else self.by


FIRST = (
    Rule(PROTECTED, NOBODY, "Who is nobody is told 401 before."),
    Rule(OPERATIONS, LESS, "Who may not do this is told 403 before."),
    Rule(SELLING, ("user",), "Who may not do this is told 403 before."),
    Rule((ISSUE,), STAFF, "Who may not do this is told 403 before."),
)
"""What decides before the body, the query and the state are looked at."""
FOREIGN = Rule(OWNED, STRANGERS, "To a stranger it is not there: 404 before.")


def placing(test: str) -> list[Rule]:
    """A problem of baskets."""
    rest = tuple(name for name in ALL if name != PLACE)
    return [Rule((PLACE,), BUYERS, test), *FIRST, Rule(rest, ANYBODY, "It places no order.")]


def taking(test: str, form: str, replay: str) -> list[Rule]:
    """A problem of bodies, and of the two forms."""
    rest = tuple(name for name in ALL if name not in (*TAKING, HEAR, SIGN_IN, REPLAY_FORM))
    return [
        *FIRST,
        Rule((*TAKING, HEAR), ANYBODY, test),
        Rule((SIGN_IN,), ANYBODY, form),
        Rule((REPLAY_FORM,), ("master",), replay),
        Rule(rest, ANYBODY, "It reads no body."),
    ]


MATRIX: dict[str, list[Rule]] = {
    "method-not-allowed": [Rule(ALL, ANYBODY, "test_precedence.test_a_method_that_a_path_does_not_have_is_told_first")],
    "unauthorized": [
        Rule(PROTECTED, NOBODY, "test_auth.test_without_a_token_nobody_is_served"),
        Rule(PROTECTED, ANYBODY, "They bring a token that holds; one that does not makes nobody of them."),
        Rule(PUBLIC, ANYBODY, "Anybody may ask, and no token is looked at."),
    ],
    "forbidden": [
        Rule(OPERATIONS, LESS, "test_auth.test_operations_are_for_a_master_only"),
        Rule(SELLING, ("user",), "test_auth.test_shelves_are_filled_by_sellers_only"),
        Rule((ISSUE,), STAFF, "test_auth.test_coupons_are_issued_to_buyers_only"),
        FIRST[0],
        Rule(TAKING, ANYBODY, "test_session.test_a_session_serves_the_shops_own_pages_and_no_other_site"),
        Rule((REPLAY_FORM,), ("master",), "test_console.test_another_site_replays_nothing"),
        Rule((SIGN_IN, SIGN_OUT), ANYBODY, "test_session.test_another_site_signs_nobody_in_or_out"),
        Rule(PROTECTED, ANYBODY, "Their role may do this: test_auth serves them."),
        Rule(PUBLIC, ANYBODY, "Anybody may do this."),
    ],
    "payload-too-large": taking(
        "test_bodies.test_a_body_beyond_64_kib_is_refused_unread",
        "test_session.test_a_form_that_does_not_end_is_refused",
        "test_console.test_a_form_that_is_none_of_this_page_replays_nothing",
    ),
    "unsupported-media-type": taking(
        "test_bodies.test_a_body_that_is_not_json_by_its_type_is_refused",
        "test_session.test_what_is_no_form_is_refused",
        "test_console.test_a_form_that_is_none_of_this_page_replays_nothing",
    ),
    "invalid-request": [
        *FIRST,
        Rule((*TAKING, HEAR), ANYBODY, "test_bodies.test_what_is_no_json_object_is_refused_and_leaves_no_trace"),
        Rule(LISTS, ANYBODY, "test_lists.test_a_limit_is_1_to_100"),
        Rule((SUCCESS,), ANYBODY, "test_return.test_success_without_what_the_pg_sends_is_refused"),
        Rule((FAIL,), ANYBODY, "test_return.test_fail_refuses_what_no_pg_sends"),
        Rule((SIGN_IN,), ANYBODY, "test_session.test_a_form_that_names_no_buyer_is_refused"),
        Rule((REPLAY_FORM,), ("master",), "test_console.test_a_form_that_is_none_of_this_page_replays_nothing"),
        Rule((GOODS, ASK), ANYBODY, "test_shop.test_a_query_that_cannot_be_is_told_as_a_page"),
        Rule((MINE,), ANYBODY, "test_shop.test_the_pages_of_my_orders_are_each_order_once"),
        Rule((*READS, PRODUCT, PAY, ONE, EVENTS, ASSET), ANYBODY, "It reads an id, and what is no id is 404."),
        Rule((STOCK,), ANYBODY, "It reads an id and no more, and what is no id is 404."),
        Rule((*COUNTS, READY, CATEGORIES, *STILL, SIGN_OUT, CONSOLE), ANYBODY, "It reads nothing that could be wrong."),
    ],
    "not-found": [
        Rule((PAY,), NOBODY, "test_pages.test_a_wrong_token_is_not_found_whoever_brings_it"),
        *FIRST,
        Rule(OWNED, ANYBODY, "test_ids.test_absent_and_foreign_are_the_same_answer"),
        Rule((PLACE,), BUYERS, "test_refusals.test_a_product_that_does_not_exist_is_named_by_its_line"),
        Rule((PRODUCT, REPLAY, ASSET, CHANGE, RESTOCK, STOCK), ANYBODY, "test_ids.test_what_is_no_id_names_nothing"),
        Rule((ANNOUNCE,), ("master",), "test_time_sales.test_a_sale_of_goods_that_are_not_there_is_not_found"),
        Rule((PUT_UP,), ANYBODY, "It names nothing that could be absent."),
        Rule((ISSUE,), ("user",), "test_coupons.test_a_coupon_that_nobody_made_is_not_found"),
        Rule((POLICY,), ANYBODY, "It names nothing that could be absent."),
        Rule((SUCCESS,), ANYBODY, "test_return.test_success_of_a_payment_that_is_not_there_is_not_found"),
        Rule((FAIL,), ANYBODY, "It says what the PG said, of whatever payment."),
        Rule((HEAR,), ANYBODY, "What is told of a payment that is not there is ignored, and answered as all else."),
        Rule((REPLAY_FORM,), ("master",), "A letter that is not there is told on the page to which it leads."),
        Rule(
            (*LISTS, *COUNTS, READY, CATEGORIES, *STILL, GOODS, ASK, SIGN_IN, SIGN_OUT, MINE, CONSOLE), ANYBODY,
            "It names nothing that could be absent; a list may be empty.",
        ),
    ],
    "idempotency-key-reused": [
        Rule((PLACE,), BUYERS, "test_idempotency.test_a_key_with_another_body_is_refused"),
        Rule((RESTOCK,), ("seller", "master"), "test_catalog.test_a_restock_key_with_another_body_is_refused"),
        Rule((REFUND,), OWNERS, "test_refunds.test_a_key_with_another_body_gives_nothing_back"),
        *FIRST,
        Rule((REFUND,), STRANGERS, "To a stranger it is not there, and their keys lead to nothing of it: 404."),
        Rule(tuple(name for name in ALL if name not in KEYED), ANYBODY, "It reads no Idempotency-Key."),
    ],
    "idempotency-in-progress": [
        Rule((PLACE,), BUYERS, "test_idempotency.test_another_body_beside_a_first_that_is_refused_came_too_early"),
        Rule((RESTOCK,), ("seller", "master"), "It is over within its transaction: a second call waits for the first."),
        Rule((REFUND,), OWNERS, "test_refunds.test_while_the_first_call_runs_its_key_is_in_progress"),
        *FIRST,
        Rule((REFUND,), STRANGERS, "To a stranger it is not there, and their keys lead to nothing of it: 404."),
        Rule(tuple(name for name in ALL if name not in KEYED), ANYBODY, "It reads no Idempotency-Key."),
    ],
    "out-of-stock": placing("test_refusals.test_each_short_line_is_named_with_what_is_left"),
    "price-changed": placing("test_refusals.test_a_price_that_is_not_the_one_the_buyer_saw_is_told"),
    "coupon-not-usable": [
        Rule((ISSUE,), ("user",), "test_coupons.test_what_cannot_be_had_now_is_refused_with_the_reason"),
        *placing("test_refusals.test_a_coupon_that_cannot_be_used_is_refused_with_the_reason"),
    ],
    "invalid-state": [
        Rule((CANCEL,), OWNERS, "test_cancel.test_a_paid_order_is_refunded_not_cancelled"),
        Rule((CONFIRM,), OWNERS, "test_confirm.test_the_payment_of_a_cancelled_order_takes_no_money"),
        Rule((REFUND,), OWNERS, "test_refunds.test_only_money_that_came_goes_back"),
        Rule((REPLAY,), ("master",), "test_operations.test_a_letter_that_fails_again_stays"),
        Rule((SUCCESS,), ANYBODY, "test_return.test_success_of_a_closed_payment_takes_no_money"),
        *FIRST,
        FOREIGN,
        Rule((PLACE,), ANYBODY, "A new order has no state yet."),
        Rule((PUT_UP,), ("seller", "master"), "test_catalog.test_an_id_that_is_taken_is_refused"),
        Rule((RESTOCK,), ("seller", "master"), "test_catalog.test_more_than_anybody_can_mean_is_not_put_in"),
        Rule((ANNOUNCE,), ("master",), "test_time_sales.test_two_sales_of_one_product_do_not_overlap"),
        Rule((CHANGE,), ANYBODY, "A product may be changed in any state."),
        Rule((STOCK, CATEGORIES), ANYBODY, "It shows any state as it is."),
        Rule((POLICY, ISSUE), ANYBODY, "A new coupon has no state yet; one that cannot be had is coupon-not-usable."),
        Rule((*READS, *LISTS, PRODUCT, *COUNTS, READY, *STILL, *PAGES), ANYBODY, "It shows any state as it is."),
        Rule((PAY, FAIL, CONSOLE), ANYBODY, "It shows any state as it is."),
        Rule((HEAR,), ANYBODY, "It is a hint: what it says of any state is read back, or was known."),
        Rule((REPLAY_FORM,), ("master",), "A letter that fails again is told on the page to which it leads."),
    ],
    "amount-mismatch": [
        Rule((CONFIRM,), OWNERS, "test_confirm.test_another_amount_is_refused_first_and_always_without_asking_the_pg"),
        Rule((SUCCESS,), ANYBODY, "test_return.test_success_with_another_amount_takes_no_money"),
        *FIRST,
        FOREIGN,
        Rule(tuple(name for name in ALL if name not in (CONFIRM, SUCCESS)), ANYBODY, "It believes no amount."),
    ],
    "payment-declined": [
        Rule((CONFIRM,), OWNERS, "test_confirm.test_a_declined_card_is_told_with_the_pgs_words_and_the_same_way_again"),
        Rule((SUCCESS,), ANYBODY, "test_return.test_success_says_what_the_pg_said_when_it_declined"),
        *FIRST,
        FOREIGN,
        Rule(tuple(name for name in ALL if name not in (CONFIRM, SUCCESS)), ANYBODY, "It takes no payment."),
    ],
    "too-many-requests": [
        FIRST[0],
        Rule(TAKING, LIMITED, "test_rate.test_whoever_sends_too_much_is_told_when_to_come_back"),
        Rule(TAKING, ("master",), "A master's calls are not counted: what is wrong may take many to mend."),
        Rule(
            tuple(name for name in ALL if name not in TAKING), ANYBODY, "It changes nothing of a user that is named."
        ),
    ],
    "unavailable": [
        Rule((PAY,), NOBODY, "test_unavailable.test_the_link_to_the_pay_page_says_later_while_a_store_is_down"),
        Rule(PROTECTED, NOBODY, "Without a token nothing is asked that could be down: 401."),
        Rule((ISSUE,), STAFF, "test_tokens.test_a_key_server_that_is_down_is_no_reason_to_let_anybody_in"),
        Rule(SELLING, ("user",), "test_tokens.test_a_key_server_that_is_down_is_no_reason_to_let_anybody_in"),
        Rule(OPERATIONS, LESS, "test_tokens.test_a_key_server_that_is_down_is_no_reason_to_let_anybody_in"),
        Rule((CONSOLE,), ("master",), "What a store does not say is a gap on the page: it is needed most then."),
        Rule((*STILL, ASSET, ASK, SIGN_IN, SIGN_OUT), ANYBODY, "It asks nothing that could be down."),
        Rule(
            (
                *TAKING, *READS, *LISTS, PRODUCT, *COUNTS, READY, PAY, SUCCESS, FAIL, STOCK, CATEGORIES, GOODS, MINE,
                ONE, EVENTS, REPLAY_FORM, HEAR,
            ),
            ANYBODY,
            "test_unavailable.test_a_store_that_is_down_is_told_and_what_needs_it_works_again_after",
        ),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What decides about one route, one person and one problem; None where nothing does."""

    route: Route
    who: str
    code: str
    rule: Rule | None


def cells(routes: list[Route]) -> Iterator[Cell]:
    """Every cell of these routes."""
    for code, rules in MATRIX.items():
        for route in routes:
            for who in route.people:
                fitting = (rule for rule in rules if str(route) in rule.routes and who in rule.people)
                yield Cell(route, who, code, next(fitting, None))


def shown(route: Route) -> set[str]:
    """The problems of a route that a test shows."""
    return {cell.code for cell in cells([route]) if cell.rule and cell.rule.test}
