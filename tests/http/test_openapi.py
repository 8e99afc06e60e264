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
        more = {"/v1/payments/{payment_id}/confirm": {"202"}, "/v1/coupons/{policy_id}/issue": {"200"}}
        assert set(responses) == refusals | more.get(route.path, set()) | {str(route.status)}, str(route)
        for status, response in responses.items():
            kind = "application/problem+json" if status >= "400" else next(iter(response["content"]))
            assert list(response["content"]) == [kind]


async def test_it_says_who_may_ask_what_is_taken_and_what_is_read(tmp_path: Path) -> None:
    document = await served(tmp_path)
    for route in API:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        assert operation.get("security", []) == ([{"bearer": []}, {"session": []}] if route.roles else [])
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
