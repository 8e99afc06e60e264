"""The pages' own files: style, scripts, pictures. All are read once, at the start."""

import hashlib
from importlib.resources import files

from litestar import Response, get
from litestar.params import FromPath

from quickcommerce.kit.problem import NotFound
from quickcommerce.kit.web import AnyRequest

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
KEPT = {"svg": "public, max-age=86400"}
"""A picture may be a day old. Style and scripts belong to the page that names them, so they are asked for each time;
the answer is most often that nothing changed.
"""
FILES = {
    each.name: each.read_bytes()
    for each in files("quickcommerce.shop").joinpath("static").iterdir()
    if each.name.rpartition(".")[2] in KINDS
}
TAGS = {name: f'"{hashlib.sha256(content).hexdigest()[:20]}"' for name, content in FILES.items()}


def url(name: str) -> str:
    """Where a file of ours is; one that does not exist is a KeyError, in a test rather than in a buyer's browser."""
    FILES[name]
    return f"/static/{name}"


@get("/static/{name:str}", sync_to_thread=False)
def asset(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """A file of the pages."""
    if name not in FILES:
        raise NotFound("there is no such address")
    kind = name.rpartition(".")[2]
    headers = {"Cache-Control": KEPT.get(kind, "no-cache"), "ETag": TAGS[name], "X-Content-Type-Options": "nosniff"}
    if kind == "svg":
        # Opened by itself a picture is a document, and could run what stands in it.
        headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    if TAGS[name] in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, media_type=KINDS[kind], headers=headers)
    return Response(FILES[name], media_type=KINDS[kind], headers=headers)
