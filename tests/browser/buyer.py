"""A buyer with a browser: Chromium as the system has it, on a shop in a process of its own."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Request, Route, async_playwright, expect

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, system_clock
from quickcommerce.kit.db import connect
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.inbox import DeadLetters
from quickcommerce.kit.outbox import Message
from system.shop import Shop, running
from world import GOODS

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"phone": (390, 844), "desktop": (1280, 860)}
BUYER = 7
WAIT_MS = 30_000
"""Generous: a slow machine is no failure."""
expect.set_options(timeout=WAIT_MS)


class Buyer:
    """A browser's window, or several, of one buyer; every error of a script or of the policy is kept."""

    def __init__(self, context: BrowserContext, shop: Shop) -> None:
        self.context = context
        self.shop = shop
        self.faults: list[str] = []
        self.orders_sent: list[str] = []
        context.set_default_timeout(WAIT_MS)
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("request", self._sent)

    def _sent(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/v1/orders"):
            self.orders_sent.append(request.headers["idempotency-key"])

    async def window(self) -> Page:
        """A new window."""
        page = await self.context.new_page()
        page.on("console", lambda said: self.faults.append(said.text) if "Content Security" in said.text else None)
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        return page

    async def open(self, path: str = "/", page: Page | None = None) -> Page:
        """Open a page of the shop."""
        page = page or await self.window()
        await page.goto(self.shop.url + path)
        return page

    async def sign_in(self, user: int = BUYER) -> Page:
        """Sign in, with a window of its own."""
        page = await self.open("/sign-in")
        await page.fill("input[name=user]", str(user))
        await page.click("form[action='/sign-in'] button")
        await page.wait_for_url(f"{self.shop.url}/")
        return page

    async def operate(self) -> Page:
        """Sign in as an operator, by the way that the operator's page shows."""
        page = await self.open("/console")
        await page.click("form[action='/sign-in'] button")
        await page.wait_for_url(f"{self.shop.url}/console")
        return page

    async def letter(self, order_id: str = "ord_" + "0" * 26) -> str:
        """An event that failed before, and would be handled now, lies among the dead letters. Returns its id."""
        url = f"sqlite:///{self.shop.folder}/payment.db"
        store = connect(url, rng=random.Random(0))
        event = Message(EventId(f"evt_{random.getrandbits(64):016X}"), "OrderChanged", "test", order_id, 0, "", b"{}")
        reason = "OSError('No space left on device')"
        await store.run(lambda tx: DeadLetters(store, system_clock).add(tx, "payment", event, reason, 5))
        await store.close()
        return f"payment.{event.id}"

    async def refused_refund(self, order: dict[str, Any]) -> None:
        """The PG refuses to give the money of a paid order back."""
        payment = await self.shop.get(f"/v1/orders/{order['order_id']}/payment")
        await self.shop.faults(cancel=[{"kind": "error", "code": "REFUND_REJECTED"}])
        url = f"/v1/payments/{payment['payment_id']}/refunds"
        assert (await self.shop.ask("POST", url, json={"reason": "changed my mind"})).status_code == 409

    async def with_basket(self, *lines: tuple[int, int]) -> Page:
        """Sign in, put (product, quantity) into the basket, and look at it."""
        page = await self.sign_in()
        await self.fill_basket(page, *lines)
        return page

    async def fill_basket(self, page: Page, *lines: tuple[int, int]) -> None:
        """Put (product, quantity) into the basket, and look at it."""
        await self.open("/?all=1", page)
        for product, quantity in lines:
            for _ in range(quantity):
                await page.click(f"[data-add*='\"product_id\": {product},']")
        await self.open("/basket", page)
        await page.wait_for_selector(f"[data-lines] > :nth-child({len(lines)})")

    async def order(self, page: Page) -> str:
        """Place the order of the basket that is shown. Returns the order's id."""
        await page.click("button[data-order]")
        await page.wait_for_url("**/pay/ord_*")
        return page.url.rpartition("/")[2]

    async def pay(self, page: Page) -> None:
        """From the pay page through the PG and back."""
        await page.click("a.button")
        await page.click("button.pay")
        await page.wait_for_url("**/pay/success?*")

    async def can(self, path: str) -> bool:
        """Whether the shop has this part."""
        return path in (await self.shop.http.get(f"{self.shop.url}/openapi.json")).json()["paths"]

    async def captures(self) -> int:
        """How often the PG took money."""
        ledger: Any = (await self.shop.http.get(f"{self.shop.pg_url}/emulator/ledger")).json()
        return sum(len(payment["captures"]) for payment in ledger["payments"])

    async def coupon(self, name: str = "첫 주문") -> None:
        """The shop gives coupons of 1,000 won."""
        policy = {
            "name": name, "discount_type": "AMOUNT", "discount_value": 1_000, "min_order_amount": 1_000,
            "max_discount_amount": 1_000, "total_quantity": 10, "starts_at": from_now(-1), "ends_at": from_now(48),
        }  # fmt: skip
        answer = await self.shop.ask("POST", "/v1/coupons", role=Role.MASTER, json=policy)
        assert answer.status_code == 201, answer.text

    async def end_coupons(self) -> None:
        """All coupons have ended a minute ago."""
        store = connect(f"sqlite:///{self.shop.folder}/shop.db", rng=random.Random(0))
        await store.run(lambda tx: tx.run("UPDATE coupon_policy SET ends_us = ?", (system_clock() - 60 * SECOND_US,)))
        await store.close()

    async def sale(self, product: int, price: int, *, hours: float = 1) -> None:
        """A time sale that has begun."""
        window = {"starts_at": from_now(-1), "ends_at": from_now(hours)}
        sale = {"product_id": product, "price": price, "quota": 20, **window}
        answer = await self.shop.ask("POST", "/v1/time-sales", role=Role.MASTER, json=sale)
        assert answer.status_code == 201, answer.text


async def reply_lost(route: Route) -> None:
    """The shop does what it was asked, and its answer does not arrive."""
    await route.fetch()
    await route.abort("connectionreset")


def from_now(hours: float) -> str:
    """So many hours from now."""
    return f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def buyer(
    folder: Path,
    size: str = "phone",
    language: str = "ko",
    *,
    goods: Sequence[Entry] = GOODS,
    scripts: bool = True,
    zone: str | None = None,
    **settings: object,
) -> AsyncIterator[Buyer]:
    """A buyer at a screen, before an open shop; `zone`: where the buyer's clocks are.

    At the end no script may have failed, and nothing been blocked.
    """
    width, height = SIZES[size]
    locale = {"ko": "ko-KR", "en": "en-US"}[language]
    async with running(folder, goods=goods, **settings) as shop, chromium() as browser:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, locale=locale, java_script_enabled=scripts, timezone_id=zone
        )
        someone = Buyer(context, shop)
        yield someone
        assert someone.faults == []
        await context.close()
