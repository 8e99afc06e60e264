"""The shop's own files: style, scripts, pictures."""

from litestar import Response, get
from litestar.params import FromPath

from quickcommerce.kit import assets
from quickcommerce.kit.problem import NotFound
from quickcommerce.kit.web import AnyRequest

FILES = assets.load("quickcommerce.shop")


def url(name: str) -> str:
    """Where a file of ours is; one that does not exist is a KeyError, in a test rather than in a buyer's browser."""
    FILES[name]
    return f"/static/{name}"


@get("/static/{name:str}", sync_to_thread=False)
def asset(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """A file of the pages."""
    if name not in FILES:
        raise NotFound("there is no such address")
    return FILES[name].answer(request)
