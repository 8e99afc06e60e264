"""The emulator beside what is known of Toss, line by line: each line is held by a test, or the README says it is not.

The lines are those of a fact sheet on Toss's documents (core API, authorization and headers, webhooks, error codes,
test environment), under its headings: D1 basics, D2 endpoints, D3 the Payment object, D4 idempotency, D5 errors,
D6 webhooks, D7 timeouts, D8 errors on request, D9 the widget.
"""

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from quickcommerce import toss_emulator
from quickcommerce.toss_emulator.errors import REFUSED_BY_ISSUER

from . import test_pg_cancel as cancels
from . import test_pg_emulator as calls
from . import test_pg_transactions as transactions
from . import test_pg_virtual_accounts as accounts
from . import test_pg_webhooks as webhooks
from .test_pg_cancel import cancel, captured
from .test_pg_emulator import AMOUNT, NOBODY, ORDER, SECRET, Pg, emulator, in_process, refusal

README = (Path(toss_emulator.__file__).parent / "README.md").read_text("utf-8")
NOT_DONE = " ".join(README.partition("## What it does not do")[2].split())


@pytest.fixture
async def pg() -> AsyncIterator[Pg]:
    toss = emulator(inline=True)
    await toss.start()
    async with in_process(toss.asgi) as http:
        yield Pg(http)
    await toss.stop()


# D1, D2


async def test_a_key_with_a_byte_order_mark_is_not_the_key(pg: Pg) -> None:
    credentials = base64.b64encode(b"\xef\xbb\xbf" + f"{SECRET}:".encode()).decode()
    assert credentials.startswith("77u/")
    answer = await pg.http.get("/v1/transactions", headers={"Authorization": f"Basic {credentials}"}, auth=NOBODY)
    assert refusal(answer) == (401, "UNAUTHORIZED_KEY")


ABSENT = (
    ("POST", "/v1/virtual-accounts"),
    ("POST", "/v1/payments/key-in"),
    ("POST", "/v1/billing/authorizations/issue"),
    ("POST", "/v1/billing/authorizations/card"),
    ("POST", "/v1/billing/some-key"),
    ("DELETE", "/v1/billing/some-key"),
    ("GET", "/v1/settlements"),
    ("POST", "/v1/cash-receipts"),
    ("GET", "/v1/cash-receipts"),
    ("POST", "/v1/brandpay/payments/confirm"),
    ("POST", "/v1/brandpay/authorizations/access-token"),
)


@pytest.mark.parametrize(("method", "path"), ABSENT)
async def test_an_endpoint_that_is_not_done_says_so(pg: Pg, method: str, path: str) -> None:
    assert refusal(await pg.http.request(method, path)) in {(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED")}


# D3

PAYMENT = """
    version paymentKey type orderId orderName mId currency method totalAmount balanceAmount status requestedAt
    approvedAt useEscrow lastTransactionKey suppliedAmount vat taxFreeAmount taxExemptionAmount cultureExpense
    cancels isPartialCancelable card virtualAccount secret mobilePhone giftCertificate transfer metadata receipt
    checkout easyPay country failure cashReceipt cashReceipts discount
""".split()
CANCEL = """
    cancelAmount cancelReason taxFreeAmount taxExemptionAmount refundableAmount cardDiscountAmount
    transferDiscountAmount easyPayDiscountAmount canceledAt transactionKey receiptKey cancelStatus
    cancelRequestId
""".split()
CARD = """
    amount issuerCode acquirerCode number installmentPlanMonths approveNo cardType ownerType acquireStatus
    isInterestFree interestPayer
""".split()
ACCOUNT = """
    accountNumber bankCode customerName dueDate refundStatus expired settlementStatus refundReceiveAccount
""".split()


async def test_a_payment_has_the_fields_of_the_api(pg: Pg) -> None:
    key = await captured(pg)
    await cancel(pg, key, cancelAmount=100)
    payment = (await pg.get(key)).json()
    assert sorted(payment) == sorted(PAYMENT)
    assert sorted(payment["cancels"][0]) == sorted(CANCEL)
    assert set(payment["card"]) >= set(CARD)
    assert payment["totalAmount"] == AMOUNT, "it never changes"
    assert len(payment["mId"]) <= 14
    account = (await pg.get(await accounts.opened(pg, "order-0002"))).json()["virtualAccount"]
    assert set(account) >= set(ACCOUNT)
    for method, part in {"TRANSFER": "transfer", "EASY_PAY": "easyPay"}.items():
        key = await pg.authenticate(f"order-{method}", method=method)
        assert (await pg.confirm(key, f"order-{method}")).json()[part]


# D5

STATUSES = {
    500: "FAILED_INTERNAL_SYSTEM_PROCESSING FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING UNKNOWN_PAYMENT_ERROR"
    " FAILED_REFUND_PROCESS FAILED_PARTIAL_REFUND FAILED_METHOD_HANDLING_CANCEL COMMON_ERROR",
    409: "IDEMPOTENT_REQUEST_PROCESSING",
    404: "NOT_FOUND_PAYMENT_SESSION NOT_FOUND_PAYMENT NOT_FOUND",
    403: "FORBIDDEN_CONSECUTIVE_REQUEST REJECT_CARD_PAYMENT REJECT_CARD_COMPANY REJECT_ACCOUNT_PAYMENT"
    " REJECT_TOSSPAY_INVALID_ACCOUNT EXCEED_MAX_AUTH_COUNT EXCEED_MAX_ONE_DAY_AMOUNT INVALID_PASSWORD FDS_ERROR"
    " NOT_AVAILABLE_BANK INCORRECT_BASIC_AUTH_FORMAT FORBIDDEN_REQUEST",
    401: "UNAUTHORIZED_KEY",
    400: "PROVIDER_ERROR CARD_PROCESSING_ERROR ALREADY_PROCESSED_PAYMENT INVALID_REJECT_CARD INVALID_STOPPED_CARD"
    " INVALID_CARD_EXPIRATION INVALID_CARD_NUMBER INVALID_CARD_LOST_OR_STOLEN EXCEED_MAX_DAILY_PAYMENT_COUNT"
    " EXCEED_MAX_PAYMENT_AMOUNT EXCEED_MAX_AMOUNT EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT"
    " EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT RESTRICTED_TRANSFER_ACCOUNT"
    " INVALID_ACCOUNT_INFO_RE_REGISTER NOT_ALLOWED_POINT_USE EXCEED_MAX_CARD_INSTALLMENT_PLAN"
    " NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT INVALID_CARD_INSTALLMENT_PLAN"
    " NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN NOT_AVAILABLE_PAYMENT INVALID_REQUEST INVALID_API_KEY"
    " INVALID_AUTHORIZE_AUTH UNAPPROVED_ORDER_ID BELOW_MINIMUM_AMOUNT NOT_FOUND_TERMINAL_ID NOT_REGISTERED_BUSINESS"
    " INVALID_UNREGISTERED_SUBMALL INVALID_IDEMPOTENCY_KEY INVALID_TRANSACTION_KEY",
}
REFUSED = set(
    """
    REJECT_CARD_PAYMENT REJECT_CARD_COMPANY REJECT_ACCOUNT_PAYMENT REJECT_TOSSPAY_INVALID_ACCOUNT
    EXCEED_MAX_AUTH_COUNT EXCEED_MAX_ONE_DAY_AMOUNT INVALID_PASSWORD FDS_ERROR INVALID_REJECT_CARD
    INVALID_STOPPED_CARD INVALID_CARD_EXPIRATION INVALID_CARD_NUMBER INVALID_CARD_LOST_OR_STOLEN
    EXCEED_MAX_DAILY_PAYMENT_COUNT EXCEED_MAX_PAYMENT_AMOUNT EXCEED_MAX_AMOUNT EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT
    EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT RESTRICTED_TRANSFER_ACCOUNT
    INVALID_ACCOUNT_INFO_RE_REGISTER NOT_ALLOWED_POINT_USE EXCEED_MAX_CARD_INSTALLMENT_PLAN
    NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT INVALID_CARD_INSTALLMENT_PLAN
    NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN
    """.split()
)
CODES = [(status, code) for status, codes in STATUSES.items() for code in codes.split()]


@pytest.mark.parametrize(("status", "code"), CODES)
async def test_a_code_has_its_status_and_a_refusal_of_the_issuer_stays_with_the_payment(
    pg: Pg, status: int, code: str
) -> None:
    key = await pg.authenticate()
    await pg.script(confirm=[{"kind": "error", "code": code}])
    answer = await pg.confirm(key)
    assert refusal(answer) == (status, code)
    payment = (await pg.get(key)).json()
    if code in REFUSED:
        assert (payment["status"], payment["failure"]) == ("ABORTED", answer.json())
    else:
        assert (payment["status"], payment["failure"]) == ("IN_PROGRESS", None)
    assert await pg.captures() == 0


def test_the_issuers_refusals_are_those_of_the_api() -> None:
    assert REFUSED == REFUSED_BY_ISSUER


# D6 and D9


async def test_a_buyer_who_closes_the_window_is_no_news() -> None:
    async with webhooks.telling(webhooks.Shop()) as pg:
        form = {"orderId": ORDER, "amount": str(AMOUNT), "orderName": "", "choice": "cancel", **calls.SHOP}
        assert (await pg.http.post("/emulator/checkout", data=form)).status_code == 303
        await pg.authenticate("order-begun")
        await pg.at_rest()
        assert await pg.webhooks() == []


LINES: list[tuple[str, Callable[..., Any] | str]] = [
    ("D1 base URL: paths under /v1; TLS", "- TLS"),
    ("D1 auth: secret key and a colon, else 403", calls.test_only_the_secret_key_and_a_colon_are_let_in),
    ("D1 auth: a BOM", test_a_key_with_a_byte_order_mark_is_not_the_key),
    ("D1 version: by date", "API versions"),
    ("D1 language: Korean, English by header", calls.test_english_is_spoken_when_asked_for),
    ("D1 language: methods", "Korean in English answers too"),
    ("D1 test limit", "100 requests per minute"),
    ("D2 confirm: bounds of its fields", calls.test_a_confirm_that_does_not_fit_moves_no_money),
    ("D2 confirm: within 10 minutes", calls.test_a_payment_expires_ten_minutes_after_the_buyer_authenticated),
    ("D2 confirm: other amount, other order", calls.test_a_confirm_that_does_not_fit_moves_no_money),
    ("D2 get by key and by order", calls.test_a_confirmed_payment_is_captured_and_reads_back_the_same),
    ("D2 get: failure of a failed one", calls.test_a_card_its_issuer_refuses_is_refused_for_good),
    ("D2 cancel: reason, amount, refundable guard", cancels.test_what_does_not_fit_moves_nothing),
    ("D2 cancel: all that is left, each with a key", cancels.test_parts_of_it_go_back_until_nothing_is_left),
    ("D2 cancel: an account to refund to", accounts.test_a_deposit_goes_back_only_to_an_account),
    ("D2 cancel: an account for virtual accounts only; currency", cancels.test_what_does_not_fit_moves_nothing),
    ("D2 cancel: tax", "`taxFreeAmount` (it is ignored)"),
    ("D2 virtual account: its endpoint", "POST /v1/virtual-accounts"),
    ("D2 virtual account: 168 hours, at most 2160", accounts.test_an_account_is_open_for_an_hour_to_90_days),
    ("D2 virtual account: no partial cancel before", accounts.test_before_the_deposit_only_the_whole_is_cancelled),
    ("D2 key-in, billing, settlements, receipts, Brandpay", "key-in cards, billing keys and charges, settlements"),
    ("D2 the same", test_an_endpoint_that_is_not_done_says_so),
    ("D2 transactions: dates, limit 100, at most 5000", transactions.test_a_question_that_is_none_is_refused),
    ("D2 transactions: startingAfter", transactions.test_pages_show_every_transaction_once),
    ("D2 transactions: a bad page key", transactions.test_a_page_that_follows_nothing_of_the_span_is_refused),
    ("D3 fields", test_a_payment_has_the_fields_of_the_api),
    ("D3 metadata, receipt, checkout, discount", "`metadata`; receipts and checkout pages have no address"),
    ("D3 status: READY", "The status READY"),
    ("D3 status: ABORTED", calls.test_a_card_its_issuer_refuses_is_refused_for_good),
    ("D3 status: WAITING_FOR_DEPOSIT and back", accounts.test_a_deposit_taken_back_is_no_capture_any_more),
    ("D3 status: EXPIRED of an account", accounts.test_an_account_closes_at_its_due_date),
    ("D3 refundReceiveAccount for 30 minutes", "`virtualAccount.refundReceiveAccount` is always null"),
    ("D4 a repeat gets the first answer", calls.test_a_repeat_gets_the_first_answer_and_runs_nothing),
    ("D4 trap (a): one URL for all confirms", calls.test_a_repeat_gets_the_first_answer_and_runs_nothing),
    ("D4 trap (b): an error is repeated; 15 days", calls.test_a_refusal_is_repeated_too_until_its_time_has_passed),
    ("D4 300 characters; ignored on GET", calls.test_a_key_has_1_to_300_characters_and_get_ignores_it),
    ("D4 409 while the first runs", calls.test_while_the_first_call_runs_its_key_is_busy),
    ("D4 the URL is in the scope", cancels.test_the_same_key_is_one_cancel_with_one_answer),
    ("D5 body, statuses, failure", test_a_code_has_its_status_and_a_refusal_of_the_issuer_stays_with_the_payment),
    ("D5 refused for good", test_the_issuers_refusals_are_those_of_the_api),
    ("D5 ALREADY_PROCESSED_PAYMENT", calls.test_an_order_is_captured_once_whatever_key_asks),
    ("D5 BELOW_MINIMUM_AMOUNT: 100, account 200", accounts.test_less_than_200_won_is_not_paid_into_an_account),
    ("D5 unknown outcome: cut and late", calls.test_a_call_dropped_after_has_happened),
    ("D5 cancel: transient", cancels.test_an_error_is_answered_again_under_its_key),
    ("D5 cancel: already, not cancelable", cancels.test_only_money_that_is_there_goes_back),
    ("D5 cancel: windows; NOT_AVAILABLE_*", "the age of a payment or the hour of the day"),
    ("D6 which statuses", webhooks.test_every_end_of_a_payment_is_told_and_its_beginning_is_not),
    ("D6 nothing when the window is closed", test_a_buyer_who_closes_the_window_is_no_news),
    ("D6 other events; signatures; console", "`CANCEL_STATUS_CHANGED` and the other events; signatures"),
    ("D6 body and headers", webhooks.test_a_capture_is_told_in_the_form_of_the_pg_and_reads_as_the_payment_does),
    ("D6 DEPOSIT_CALLBACK, and both", accounts.test_a_deposit_is_told_by_both_events_with_the_secret_of_the_payment),
    ("D6 success is 200", webhooks.test_only_200_is_heard),
    ("D6 within 10 s", webhooks.test_a_shop_that_takes_longer_than_10_seconds_has_not_heard),
    ("D6 the ladder", webhooks.test_what_is_not_heard_is_told_again_after_1_4_16_up_to_4096_minutes_and_then_given_up),
    ("D6 source addresses", "the addresses from which Toss sends webhooks"),
    ("D6 a deposit taken back", accounts.test_a_deposit_taken_back_is_no_capture_any_more),
    ("D7 a call may take a minute", calls.test_a_slow_call_outlives_its_callers_patience),
    ("D8 TossPayments-Test-Code", calls.test_a_developer_can_ask_for_an_error_by_header_with_a_test_key_only),
    ("D8 accounts begin with X", accounts.test_confirming_opens_an_account_and_captures_nothing),
    ("D9 1-5: the widget", "- The widget itself"),
    ("D9 6, 7: successUrl and failUrl", calls.test_the_buttons_lead_back_to_the_shop_with_what_happened),
    ("D9 7: PAY_PROCESS_ABORTED; no orderId", "it never says `PAY_PROCESS_ABORTED`"),
]  # fmt: skip
"""Each line, and the test that holds it, or the words with which the README says that it is not done."""


@pytest.mark.parametrize(("line", "held"), LINES, ids=[line for line, _ in LINES])
def test_a_line_that_no_test_holds_is_told_as_not_done(line: str, held: Callable[..., Any] | str) -> None:
    if isinstance(held, str):
        assert held in NOT_DONE, line
    else:
        assert held.__name__.startswith("test_"), line


def test_every_heading_is_there() -> None:
    assert {line[:2] for line, _ in LINES} == {f"D{each}" for each in range(1, 10)}
