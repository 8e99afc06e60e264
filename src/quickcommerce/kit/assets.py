"""The files of pages: style, scripts, pictures. All are read once, at the start."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from litestar import Response

from quickcommerce.kit.web import AnyRequest

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
KEPT = {"svg": "public, max-age=86400"}
"""A picture may be a day old. Style and scripts belong to the page that names them, so they are asked for each time;
the answer is most often that nothing changed.
"""


@dataclass(frozen=True)
class Asset:
    """A file; `tag` is what it is known by while it does not change."""

    kind: str
    content: bytes
    tag: str

    def answer(self, request: AnyRequest) -> Response[bytes]:
        """The file, or that it is what the browser has."""
        headers = {
            "Cache-Control": KEPT.get(self.kind, "no-cache"), "ETag": self.tag, "X-Content-Type-Options": "nosniff"
        }  # fmt: skip
        if self.kind == "svg":
            # Opened by itself a picture is a document, and could run what stands in it.
            headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, media_type=KINDS[self.kind], headers=headers)
        return Response(self.content, media_type=KINDS[self.kind], headers=headers)


def load(package: str) -> Mapping[str, Asset]:
    """The files in a package's folder `static`, by name."""
    found = {}
    for each in files(package).joinpath("static").iterdir():
        kind = each.name.rpartition(".")[2]
        if kind in KINDS:
            content = each.read_bytes()
            found[each.name] = Asset(kind, content, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
    return found
