"""The AsyncAPI 3.0 description of the events, made from `events.py`: one channel for each source."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from quickcommerce import events
from quickcommerce.kit.ids import ID
from quickcommerce.kit.openapi import IDS, schemas_of

CHANNELS: Mapping[str, tuple[str, tuple[type[Any], ...]]] = {
    "shop": (
        (
            "What happens to orders. Each new version of an order has exactly one event, which carries the whole order;"
            " a notice, such as MoneyUnclaimed, tells of no new version and carries none."
        ),
        (*events.ORDER_EVENTS, *events.SHOP_NOTICES),
    ),
    "payment": (
        "What happens to the payments of orders. `version` grows by one with each event of a payment.",
        events.PAYMENT_EVENTS,
    ),
}
"""By CloudEvents source: what it tells of, and the events."""


@cache
def describe(version: str) -> dict[str, Any]:
    """The AsyncAPI document."""
    refs, schemas = schemas_of(event for _, told in CHANNELS.values() for event in told)
    channels, operations, messages = {}, {}, {}
    for source, (about, told) in CHANNELS.items():
        names = [event.__name__ for event in told]
        channels[source] = {
            "address": source,
            "description": about,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        }
        operations[f"{source}Events"] = {
            "action": "send",
            "summary": "At least once, and in order for each order: a reader knows a repeat by its `id`.",
            "channel": {"$ref": f"#/channels/{source}"},
            "messages": [{"$ref": f"#/channels/{source}/messages/{name}"} for name in names],
        }
        for event in told:
            messages[event.__name__] = {
                "name": event.__name__,
                "title": event.__name__,
                "summary": (inspect.getdoc(event) or "").partition("\n")[0],
                "contentType": "application/json",
                "headers": _attributes(source, event.__name__),
                "payload": refs[event],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "QuickCommerce events",
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": "Events are keyed by their order, the `subject`. Fields may be added without notice, and a"
            " reader ignores those that it does not know; a change of meaning gets a new type.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _attributes(source: str, name: str) -> dict[str, Any]:
    """The CloudEvents attributes of an event (https://cloudevents.io, version 1.0)."""
    properties = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": f"^evt_{ID}$", "description": "The same event again has the same id."},
        "source": {"const": source},
        "type": {"const": name},
        "subject": {**IDS["order_id"], "description": "The order, by which events are kept in order."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "trace": {"type": "string", "pattern": "^([0-9a-f]{32})?$", "description": "The trace id of the request."},
    }
    return {"type": "object", "required": sorted(properties), "properties": properties}
