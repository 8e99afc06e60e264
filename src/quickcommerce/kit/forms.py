"""Forms of the pages: small, and of the usual type."""

from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from quickcommerce.kit.problem import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from quickcommerce.kit.web import AnyRequest

T = TypeVar("T")
FORM = "application/x-www-form-urlencoded"
FORM_MAX_BYTES = 4096
FIELDS_MAX = 20


async def form(request: AnyRequest, shape: type[T]) -> T:
    """A form as a struct. Raises PayloadTooLarge, UnsupportedMediaType, InvalidRequest."""
    body = b""
    while True:
        message: Any = await request.receive()
        body += message.get("body", b"")
        if len(body) > FORM_MAX_BYTES:
            raise PayloadTooLarge(f"the form may have at most {FORM_MAX_BYTES} bytes")
        if not message.get("more_body"):
            break
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise UnsupportedMediaType(f"send Content-Type: {FORM}")
    try:
        fields = dict(parse_qsl(body.decode(), max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise InvalidRequest("the form cannot be read") from error
    try:
        return msgspec.convert(fields, shape, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the form does not fit: {error}") from error
