"""What pages say, in one table for each language, and which language a reader is spoken to in."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from quickcommerce.kit.web import AnyRequest

LANGUAGES = ("ko", "en")
"""The first is spoken to whoever asks for none of them."""
COOKIE = "qc_lang"
_RANGES_MAX = 20

Texts = Mapping[str, Mapping[str, str]]
"""By language, then by key."""


def load(package: str) -> Texts:
    """The tables of a package: its `texts/ko.toml` and so on, read once, at the start."""
    folder = files(package).joinpath("texts")
    return {each: tomllib.loads(folder.joinpath(f"{each}.toml").read_text("utf-8")) for each in LANGUAGES}


def language(request: AnyRequest) -> str:
    """The language of a page: the one asked for now, the one chosen before, or the browser's."""
    asked = [*request.query_params.getall("lang", []), request.cookies.get(COOKIE, "")]
    return next((each for each in asked if each in LANGUAGES), None) or accepted(
        request.headers.get("accept-language", "")
    )


def accepted(header: str) -> str:
    """The language of ours that an Accept-Language header likes best (RFC 9110 section 12.5.4)."""
    best, weight = LANGUAGES[0], 0.0
    for each in header.split(",")[:_RANGES_MAX]:
        name, _, parameter = each.strip().partition(";")
        found = name.strip().lower().partition("-")[0]
        if found in LANGUAGES and _weight(parameter) > weight:
            best, weight = found, _weight(parameter)
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if not parameter.strip():
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if name.strip().lower() == "q" and 0 <= weight <= 1 else 0.0


class Say:
    """Says things in one language: `say("to_pay", amount="3,900")`."""

    def __init__(self, texts: Texts, language: str) -> None:
        self.language = language
        self._texts = texts[language]

    def __call__(self, key: str, **values: Any) -> str:
        """A text of the table, with its places filled in; one that ends in `_one` is said of a single thing."""
        key = f"{key}_one" if values.get("count") == 1 and self.has(f"{key}_one") else key
        return self._texts[key].format(**values) if values else self._texts[key]

    def has(self, key: str) -> bool:
        """Whether the table has a text for this."""
        return key in self._texts

    def scripts(self) -> dict[str, str]:
        """What the scripts say."""
        return {key.removeprefix("js_"): text for key, text in self._texts.items() if key.startswith("js_")}
