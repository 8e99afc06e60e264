"""Adapters to servers are loaded when a setting asks for them: an embedded install has none of their libraries."""

from importlib import import_module
from typing import Any

from quickcommerce.kit.problem import Unavailable


def adapter(module: str, extra: str) -> Any:
    """A module that needs the libraries of an extra. Raises Unavailable where they are not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise Unavailable(
            f"the library {missing.name} is not installed; it comes with the extra quickcommerce[{extra}]"
        ) from missing
