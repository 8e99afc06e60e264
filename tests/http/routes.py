"""Every route in scope with a request that is right, and everybody who may come with it.

`test_matrix.py` holds this table to the running app: a route that is missing here, or is told differently, fails.
"""

from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest

from quickcommerce.coupon.model import PolicyDraft
from quickcommerce.kit.auth import Role
from quickcommerce.kit.ids import EventId, PolicyId
from quickcommerce.kit.inbox import DeadLetters
from quickcommerce.kit.outbox import Message
from world import World

EVERYBODY = tuple(Role)
SELLERS = (Role.SELLER, Role.MASTER)
GOODS = {"name": "딸기 500g", "price": 9_900, "stock": 5}
SALE = {
    "product_id": 1, "price": 2_000, "quota": 3,
    "starts_at": "2026-01-01T00:00:00.000000Z", "ends_at": "2027-01-01T00:00:00.000000Z",
}  # fmt: skip
BASKET = {"lines": [{"product_id": 1, "quantity": 2}]}
POLICY = {
    "name": "새해 쿠폰",
    "discount_type": "RATE",
    "discount_value": 10,
    "min_order_amount": 5_000,
    "max_discount_amount": 3_000,
    "total_quantity": 100,
    "starts_at": "2026-01-01T00:00:00.000000Z",
    "ends_at": "2027-01-01T00:00:00.000000Z",
}

PEOPLE: dict[str, tuple[int, Role] | None] = {
    "nobody": None,
    "user": (7, Role.USER),
    "seller": (7, Role.SELLER),
    "master": (1, Role.MASTER),
    "owner": (7, Role.USER),
    "owner-seller": (7, Role.SELLER),
    "stranger": (8, Role.USER),
    "stranger-seller": (8, Role.SELLER),
}
"""Who comes. The orders of these tests are those of user 7; whose an order is does not matter to a MASTER."""

NOBODY = ("nobody",)
BUYERS = ("user", "seller", "master")
OWNERS = ("owner", "owner-seller", "master")
STRANGERS = ("stranger", "stranger-seller")


@dataclass(frozen=True)
class Route:
    """A route. `takes`: it reads a body; `stores`: those without which it cannot answer; `query`: what must be there,
    `knows`: all of it; `page`: seen by people only, and no part of the description; `form`: what it reads as a form.
    """

    method: str
    path: str
    roles: tuple[Role, ...] = ()
    status: int = 200
    takes: bool = False
    owned: bool = False
    page: bool = False
    form: str = ""
    query: str = ""
    knows: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody who may come; owners and strangers only where that makes a difference."""
        return ("nobody", *OWNERS, *STRANGERS) if self.owned else ("nobody", *BUYERS)

    def admits(self, who: str) -> bool:
        """Whether the role of these people is enough."""
        person = PEOPLE[who]
        return not self.roles or (person is not None and person[1] in self.roles)


ROUTES = [
    Route("POST", "/v1/orders", EVERYBODY, 201, takes=True, stores=("shop",)),
    Route("GET", "/v1/orders", EVERYBODY, knows=("limit", "cursor"), stores=("shop",)),
    Route("GET", "/v1/orders/{order_id}", EVERYBODY, owned=True, stores=("shop",)),
    Route("POST", "/v1/orders/{order_id}/cancel", EVERYBODY, takes=True, owned=True, stores=("shop", "payment")),
    Route("GET", "/v1/orders/{order_id}/timeline", EVERYBODY, owned=True, stores=("shop",)),
    Route("GET", "/v1/orders/{order_id}/payment", EVERYBODY, owned=True, stores=("payment",)),
    Route("POST", "/v1/payments/{payment_id}/confirm", EVERYBODY, takes=True, owned=True, stores=("payment",)),
    Route("POST", "/v1/payments/{payment_id}/refunds", EVERYBODY, 201, takes=True, owned=True, stores=("payment",)),
    Route("POST", "/webhooks/toss", takes=True, stores=("payment",)),
    Route("GET", "/v1/products", knows=("limit", "cursor", "keyword", "category"), stores=("shop",)),
    Route("GET", "/v1/products/{product_id}", stores=("shop",)),
    Route("POST", "/v1/products", SELLERS, 201, takes=True, stores=("shop",)),
    Route("PATCH", "/v1/products/{product_id}", SELLERS, takes=True, stores=("shop",)),
    Route("POST", "/v1/products/{product_id}/restock", SELLERS, takes=True, stores=("shop",)),
    Route("GET", "/v1/products/{product_id}/stock", SELLERS, stores=("shop",)),
    Route("GET", "/v1/categories", stores=("shop",)),
    Route("POST", "/v1/time-sales", (Role.MASTER,), 201, takes=True, stores=("shop",)),
    Route("GET", "/v1/time-sales", knows=("limit", "cursor"), stores=("shop",)),
    Route("POST", "/v1/coupons", (Role.MASTER,), 201, takes=True, stores=("shop",)),
    Route("GET", "/v1/coupons", EVERYBODY, knows=("limit", "cursor"), stores=("shop",)),
    Route("POST", "/v1/coupons/{policy_id}/issue", (Role.USER,), 201, takes=True, stores=("shop",)),
    Route("GET", "/v1/coupon-policies", knows=("limit", "cursor"), stores=("shop",)),
    Route(
        "GET", "/v1/history/orders", EVERYBODY, stores=("history",),
        knows=("order_id", "user_id", "keyword", "status", "from", "to", "limit", "cursor"),
    ),
    Route("GET", "/healthz"),
    Route("GET", "/readyz", stores=("shop", "payment", "history")),
    Route("GET", "/metrics"),
    Route("GET", "/openapi.json"),
    Route("GET", "/asyncapi.json"),
    Route("GET", "/docs"),
    Route("GET", "/static/docs.css", page=True),
    Route("GET", "/static/console.css", page=True),
    Route("GET", "/static/console.js", page=True),
    Route("GET", "/console", (Role.MASTER,)),
    Route(
        "POST", "/console/replay", (Role.MASTER,), 303, page=True, form="letter_id={letter_id}", stores=("payment",)
    ),
    Route("GET", "/v1/ops/counts", (Role.MASTER,), stores=("shop", "payment", "history")),
    Route("GET", "/v1/ops/invariants", (Role.MASTER,), stores=("shop", "payment", "history")),
    Route("GET", "/v1/ops/attention", (Role.MASTER,), knows=("limit", "cursor"), stores=("payment",)),
    Route("GET", "/v1/ops/dead-letters", (Role.MASTER,), knows=("limit", "cursor"), stores=("shop", "payment")),
    Route("POST", "/v1/ops/dead-letters/{letter_id}/replay", (Role.MASTER,), takes=True, stores=("payment",)),
    Route("GET", "/pay/{order_id}", EVERYBODY, owned=True, stores=("shop", "payment")),
    Route(
        "GET", "/pay/success", query="paymentKey={payment_key}&orderId={payment_id}&amount={amount}",
        knows=("paymentKey", "orderId", "amount", "paymentType"), stores=("payment",),
    ),
    Route(
        "GET", "/pay/fail", query="code=PAY_PROCESS_CANCELED&message=no&orderId={payment_id}",
        knows=("code", "message", "orderId"), stores=("payment",),
    ),
    Route("GET", "/static/{name}", page=True),
    Route("GET", "/", page=True, knows=("keyword", "category", "cursor", "all"), stores=("shop",)),
    Route("GET", "/basket", page=True),
    Route("GET", "/coupons", page=True),
    Route("GET", "/sign-in", page=True, knows=("next",)),
    Route("POST", "/sign-in", status=303, page=True, form="user=7&role=ROLE_USER"),
    Route("POST", "/sign-out", status=303, page=True),
    Route("GET", "/orders", EVERYBODY, page=True, knows=("cursor",), stores=("shop",)),
    Route("GET", "/orders/{order_id}", EVERYBODY, owned=True, page=True, stores=("shop",)),
    Route("GET", "/orders/{order_id}/events", EVERYBODY, owned=True, page=True, stores=("shop",)),
]  # fmt: skip
PROTECTED = [route for route in ROUTES if route.roles]
PUBLIC = [route for route in ROUTES if not route.roles]
TAKING = [route for route in ROUTES if route.takes]
OF_USERS = [route for route in TAKING if route.roles]
"""What is taken in somebody's name."""
STORED = [route for route in ROUTES if route.stores]


def visited(routes: list[Route], *, strangers: bool = True) -> pytest.MarkDecorator:
    """A case for each route: with everybody whose role is enough. To a public route everybody is nobody."""
    cases = []
    for route in routes:
        admitted = [who for who in route.people if route.admits(who) and (strangers or who not in STRANGERS)]
        cases.append((route, tuple(admitted if route.roles else NOBODY)))
    return pytest.mark.parametrize(("route", "people"), cases, ids=[str(route) for route in routes])


def find(name: str) -> Route:
    """A route by its name, such as `GET /healthz`."""
    return next(route for route in ROUTES if str(route) == name)


@dataclass(frozen=True)
class Scene:
    """An order of user 7, authenticated at the PG and not yet confirmed, the payment of another one that is captured,
    an event that could not be handled, and a coupon that nobody has yet.
    """

    order: dict[str, Any]
    payment: dict[str, Any]
    payment_key: str
    letter_id: str
    captured: dict[str, Any]
    policy_id: str

    def url(self, route: Route) -> str:
        """A path of this route that names what is there, with the query that it cannot do without."""
        ids = {
            "order_id": self.order["order_id"],
            "payment_id": (self.captured if route.path.endswith("/refunds") else self.payment)["payment_id"],
            "payment_key": self.payment_key,
            "amount": self.payment["amount"],
            "letter_id": self.letter_id,
            "policy_id": self.policy_id,
            "product_id": 1,
            "name": "shop.css",
        }
        return (f"{route.path}?{route.query}" if route.query else route.path).format(**ids)

    def body(self, route: Route) -> dict[str, Any] | None:
        """A body that is right for this route; None where it takes none."""
        if not route.takes:
            return None
        confirm = {"payment_key": self.payment_key, "amount": self.payment["amount"]}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/orders": BASKET,
            "/v1/payments/{payment_id}/confirm": confirm,
            "/v1/payments/{payment_id}/refunds": {"reason": "changed my mind", "amount": 100},
            "/webhooks/toss": {"orderId": self.captured["payment_id"], "status": "DONE"},
            "/v1/coupons": POLICY,
            "/v1/products": GOODS,
            "/v1/products/{product_id}": {"price": 3_100},
            "/v1/products/{product_id}/restock": {"quantity": 5},
            "/v1/time-sales": SALE,
        }
        return bodies.get(route.path, {})


async def scene(w: World) -> Scene:
    """Set the scene."""
    order = (await w.order()).json()
    payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
    letter_id = await bury(w, "payment", "OrderChanged", order["order_id"])
    other = (await w.order()).json()
    captured = await w.get(f"/v1/orders/{other['order_id']}/payment")
    assert (await w.confirm(captured, await w.authenticate(captured))).status_code == 200
    return Scene(order, payment, await w.authenticate(payment), letter_id, captured, await policy(w))


async def policy(w: World, **changes: object) -> PolicyId:
    """Make a coupon policy. Returns its id."""
    return (await w.app.flows.coupons.create(msgspec.convert(POLICY | changes, PolicyDraft))).policy_id


async def bury(w: World, consumer: str, event_type: str, order_id: str, *, data: bytes = b"{}") -> str:
    """Put an event among the dead letters of a consumer, as one that failed. Returns the letter's id."""
    number = w.app.flows.ids.token()
    event = Message(EventId(f"evt_{number}"), event_type, "test", order_id, w.clock(), "", data)
    store = w.app.stores.payment if consumer == "payment" else w.app.stores.shop
    await store.run(lambda tx: DeadLetters(store, w.clock).add(tx, consumer, event, "it failed", 5))
    return f"{consumer}.{event.id}"


def auth(w: World, who: str) -> dict[str, str]:
    """The Authorization header of these people, or none."""
    person = PEOPLE[who]
    return w.auth(*person) if person else {}


async def send(w: World, route: Route, at: Scene, who: str, **changes: Any) -> httpx2.Response:
    """A request that is right but for the changes: `url`, `content`, `json`, `headers` (added to the others)."""
    headers = auth(w, who) | changes.pop("headers", {})
    request: dict[str, Any] = {"url": at.url(route)} | changes
    if route.takes and not changes.keys() & {"content", "json"}:
        request["json"] = at.body(route)
    if route.form and "content" not in changes:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
        request["content"] = route.form.format(letter_id=at.letter_id)
    return await w.http.request(route.method, headers=headers, **request)
