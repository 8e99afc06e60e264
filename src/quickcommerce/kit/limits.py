"""What a field of a struct must be, in words for whoever filled it in. The limits are read from the field's type."""

from typing import cast

from msgspec import Struct, ValidationError, inspect


def broken(error: ValidationError, shape: type[Struct]) -> tuple[str, str]:
    """The field of a flat struct that was refused, and what it must be: `price`, `a whole number from 1 to 100`."""
    name = str(error).rpartition("`$.")[2].rstrip("`")
    return name, wanted(shape, name)


def wanted(shape: type[Struct], name: str) -> str:
    """What a field must be. One that has no limits of its own must say it itself, as its `Meta(description=...)`."""
    fields = cast("inspect.StructType", inspect.type_info(shape)).fields
    return _words(next(field.type for field in fields if field.name == name))


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number from {low} to {high}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.UnionType(types=types):
            return _words(next(each for each in types if not isinstance(each, inspect.NoneType)))
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
    raise TypeError(f"{kind} has no words")
