"""`python -m bench.floor`: uvicorn with an application that takes an order and does nothing, on a free port."""

from typing import Any

from bench.yardstick.server import serve

BODY = b'{"order_id": "' + b"0" * 600 + b'"}'
"""As long as the answer to an order of three goods."""
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole request, and answer 201."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


if __name__ == "__main__":
    serve(app, 0)
