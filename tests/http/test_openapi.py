"""The served description: valid, and true. A client generated from it must fit the shop."""

from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from quickcommerce.kit.openapi import documented

from .matrix import shown
from .routes import ROUTES
from .shop import CODES, shop

API = [route for route in ROUTES if not route.page]


async def served(tmp_path: Path) -> Any:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


async def test_it_is_valid_openapi_3_1(tmp_path: Path) -> None:
    document = await served(tmp_path)
    assert document["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


async def test_it_names_the_routes_of_the_contract_and_no_other(tmp_path: Path) -> None:
    document = await served(tmp_path)
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in API}


async def test_each_route_names_every_status_it_answers_with_and_no_other(tmp_path: Path) -> None:
    """Those that a test of this folder has seen: `matrix.py` says which."""
    document = await served(tmp_path)
    for route in API:
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        refusals = {str(CODES[code]) for code in shown(route) if code != "method-not-allowed"}
        more = {
            "/v1/payments/{payment_id}/confirm": {"202"},
            "/pay/success": {"202"},
            "/console": {"303"},
            "/v1/coupons/{policy_id}/issue": {"200"},
        }
        assert set(responses) == refusals | more.get(route.path, set()) | {str(route.status)}, str(route)
        for status, response in responses.items():
            page = ["text/html"] if route.path.startswith(("/pay/", "/console")) else []
            refusal = ["application/problem+json", *page]
            assert list(response["content"]) == (
                refusal if status >= "400" else page or [next(iter(response["content"]))]
            )


async def test_it_says_who_may_ask_what_is_taken_and_what_is_read(tmp_path: Path) -> None:
    document = await served(tmp_path)
    for route in API:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        linked: list[dict[str, list[str]]] = [{"checkout": []}] if route.path == "/pay/{order_id}" else []
        assert operation.get("security", []) == ([{"bearer": []}, {"session": []}, *linked] if route.roles else [])
        assert operation.get("x-roles", []) == list(route.roles)
        assert ("requestBody" in operation) == route.takes
        query = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
        assert query == list(route.knows)
    assert document["paths"]["/v1/orders"]["post"]["requestBody"]["required"] is True
    assert document["paths"]["/v1/orders/{order_id}/cancel"]["post"]["requestBody"]["required"] is False
    headers = [each["name"] for each in document["paths"]["/v1/orders"]["post"]["parameters"] if each["in"] == "header"]
    assert headers == ["Idempotency-Key"]


async def test_it_is_made_from_what_the_routes_say_of_themselves(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        said = {(method, path): doc for method, path, doc in documented(w.app.routes)}
        for route in API:
            doc = said[route.method, route.path]
            refused = {kind.code for kind in doc.refuses()}
            assert refused == shown(route) - {"method-not-allowed"}, str(route)
            assert (tuple(doc.roles), doc.takes is not None, doc.query) == (route.roles, route.takes, route.knows)


async def test_each_parameter_says_what_it_may_be(tmp_path: Path) -> None:
    """A client that is generated from it asks for what can be answered."""
    document = await served(tmp_path)
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for path, item in document["paths"].items():
        for operation in item.values():
            for parameter in operation["parameters"]:
                assert parameter["in"] == "path" or parameter["description"], f"{path}: {parameter}"
                told[path, parameter["name"]] = parameter
    limits = [parameter["schema"] for (_, name), parameter in told.items() if name == "limit"]
    assert limits == [{"type": "integer", "minimum": 1, "maximum": 100, "default": 20}] * len(limits)
    history = {name: each["schema"] for (path, name), each in told.items() if path == "/v1/history/orders"}
    assert history["keyword"]["maxLength"] == 200
    assert set(history["status"]["enum"]) == {*"PLACED PAYING PAID REFUNDED FAILED EXPIRED CANCELLED".split()}
    assert history["user_id"] == {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
    assert told["/v1/orders", "Idempotency-Key"]["schema"] == {
        "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$",
    }  # fmt: skip
    assert [name for (_, name), each in told.items() if each["required"] and each["in"] == "query"] == [
        "paymentKey", "orderId", "amount",
    ]  # fmt: skip


async def test_every_id_in_a_path_and_in_an_object_says_its_shape(tmp_path: Path) -> None:
    document = await served(tmp_path)
    schemas = document["components"]["schemas"]
    shape = "^ord_[0-9A-HJKMNP-TV-Z]{26}$"
    assert schemas["OrderView"]["properties"]["order_id"]["pattern"] == shape
    assert schemas["PaymentView"]["properties"]["payment_id"]["pattern"] == shape.replace("ord", "pay")
    for name, prefix in (("refund_id", "ref"), ("policy_id", "pol"), ("time_sale_id", "sal")):
        told = [each["properties"][name] for each in schemas.values() if name in each.get("properties", {})]
        patterns = [each.get("pattern") for one in told for each in one.get("anyOf", [one]) if each["type"] == "string"]
        assert patterns == [shape.replace("ord", prefix)] * len(told) != [], name
    assert schemas["OrderView"]["properties"]["placed_at"]["format"] == "date-time"
    for path, item in document["paths"].items():
        for operation in item.values():
            schema = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "path"}
            assert schema.get("order_id", {}).get("pattern", shape) == shape, path


async def test_each_answer_names_its_headers(tmp_path: Path) -> None:
    document = await served(tmp_path)
    placed = document["paths"]["/v1/orders"]["post"]["responses"]
    assert {"Location", "Idempotency-Replayed"} <= set(placed["201"]["headers"])
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                assert response["description"]
                needed = {"401": "WWW-Authenticate", "409": "Retry-After", "503": "Retry-After"}.get(status)
                assert needed is None or needed in response["headers"], f"{operation['summary']}: {status}"
    assert "Allow" in document["components"]["responses"]["MethodNotAllowed"]["headers"]
    confirmed = document["paths"]["/v1/payments/{payment_id}/confirm"]["post"]["responses"]
    assert "Retry-After" in confirmed["202"]["headers"]
    assert "Retry-After" not in confirmed["200"]["headers"]
