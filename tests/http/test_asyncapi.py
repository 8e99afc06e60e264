"""The served description of the events: whole, and true of every event that is told."""

from pathlib import Path
from typing import Any

import msgspec
from openapi_schema_validator import OAS31Validator

from quickcommerce import events
from quickcommerce.kit import outbox
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import EventId, OrderId, PaymentId
from quickcommerce.kit.outbox import SHARDS, Message

from .shop import pay, shop


async def served(tmp_path: Path) -> Any:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.get("/asyncapi.json")
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


def resolve(document: Any, ref: str) -> Any:
    """What a reference names. Raises KeyError."""
    found = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


def refs(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ref for each in value for ref in refs(each)]
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else [ref for each in value.values() for ref in refs(each)]
    return []


def fits(document: Any, message: Message) -> bool:
    """Whether an event is as described: its attributes and its data."""
    [channel] = [each for each in document["channels"].values() if each["address"] == message.source]
    described = resolve(document, channel["messages"][message.type]["$ref"])
    attributes = {
        "specversion": "1.0", "id": message.id, "source": message.source, "type": message.type,
        "subject": message.subject, "time": rfc3339(message.time_us), "datacontenttype": "application/json",
        "trace": message.trace,
    }  # fmt: skip
    payload = OAS31Validator({**described["payload"], "components": document["components"]})
    named = OAS31Validator(described["headers"]).is_valid(attributes)
    return bool(named and payload.is_valid(msgspec.json.decode(message.data)))


async def test_it_is_asyncapi_3_with_one_channel_for_each_source_and_every_event(tmp_path: Path) -> None:
    document = await served(tmp_path)
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    told = {name: set(channel["messages"]) for name, channel in document["channels"].items()}
    assert told == {
        "shop": {event.__name__ for event in (*events.ORDER_EVENTS, *events.SHOP_NOTICES)},
        "payment": {event.__name__ for event in events.PAYMENT_EVENTS},
    }
    assert set(document["components"]["messages"]) == told["shop"] | told["payment"]
    for operation in document["operations"].values():
        assert operation["action"] == "send"
        channel = operation["channel"]["$ref"]
        names = set(resolve(document, channel)["messages"])
        assert {each["$ref"] for each in operation["messages"]} == {f"{channel}/messages/{name}" for name in names}
    for message in document["components"]["messages"].values():
        assert message["summary"], message


async def test_everything_that_it_refers_to_is_there(tmp_path: Path) -> None:
    document = await served(tmp_path)
    found = refs(document)
    assert found
    for ref in found:
        assert resolve(document, ref), ref


async def test_every_event_that_is_told_is_as_described(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        document = (await w.http.get("/asyncapi.json")).json()
        paid = (await w.order([(1, 2), (3, 1)])).json()
        assert await pay(w, paid) == 200
        declined = (await w.order()).json()
        await w.faults(confirm=[{"kind": "error", "code": "REJECT_CARD_PAYMENT"}])
        assert await pay(w, declined) == 402
        await w.until_status(declined["order_id"], "PLACED")
        await w.http.post(f"/v1/orders/{declined['order_id']}/cancel", headers=w.auth())
        await w.until_status(paid["order_id"], "PAID")
        messages = []
        for store in (w.app.stores.shop, w.app.stores.payment):
            messages += await store.read(lambda tx: outbox.after(tx, dict.fromkeys(range(SHARDS), 0), 1_000))
        assert {message.type for message in messages} >= {
            "OrderPlaced", "OrderChanged", "OrderPaid", "OrderClosed", "PaymentStarted", "PaymentSettled",
            "PaymentDeclined",
        }  # fmt: skip
        for message in messages:
            assert fits(document, message), message
        # The control: an event that lacks something, or whose key is no order.
        less = msgspec.json.decode(messages[0].data)
        del less["cause"]
        for wrong in ({"data": msgspec.json.encode(less)}, {"subject": "somebody"}, {"id": "evt_1"}):
            assert not fits(document, msgspec.structs.replace(messages[0], **wrong)), wrong


async def test_a_notice_of_the_shop_is_as_described_too(tmp_path: Path) -> None:
    """Whoever reads the bus by the description alone would not know what MoneyUnclaimed is."""
    document = await served(tmp_path)
    order_id, payment_id = OrderId("ord_" + "0" * 26), PaymentId("pay_" + "0" * 26)
    data = events.encode(events.MoneyUnclaimed(order_id, payment_id, 5_800, "the order is CANCELLED"))
    notice = Message(EventId("evt_" + "0" * 26), "MoneyUnclaimed", "shop", order_id, 0, "", data)
    assert fits(document, notice)
    assert not fits(document, msgspec.structs.replace(notice, data=b'{"amount": 5800}'))
