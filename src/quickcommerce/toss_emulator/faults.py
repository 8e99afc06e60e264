"""Fault scripts: what goes wrong with which call, decided beforehand and used up one entry per arriving call."""

import random
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from quickcommerce.toss_emulator.errors import CODE

Scripted = Literal["confirm", "get", "cancel", "transactions", "webhook"]
"""The kinds of call that can be scripted."""

_MOST_ENTRIES: Final = 10_000
_BODY_MAX_BYTES: Final = 30_000
_ROUNDING: Final = 1e-9


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    repeat: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    forever: bool = False


class Ok(_Fault, frozen=True, tag="ok"):
    """Nothing goes wrong."""


class Error(_Fault, frozen=True, tag="error"):
    """The PG, or the buyer's bank, refuses with this code; one that is not in the table of codes answers 400."""

    code: Annotated[str, Meta(pattern=CODE)]


class Http(_Fault, frozen=True, tag="http"):
    """Nothing happens and the answer is not one of the PG's: any status and any body, a text or JSON.

    Under an Idempotency-Key it is kept like any first answer.
    """

    status: Annotated[int, Meta(ge=200, le=599)]
    body: Any = "Scripted by /emulator/faults.\n"

    def __post_init__(self) -> None:
        """Raises ValueError for a body that is too long."""
        if len(self.content) > _BODY_MAX_BYTES:
            raise ValueError(f"a body may have at most {_BODY_MAX_BYTES} bytes")

    @property
    def content(self) -> bytes:
        """A text as it is, anything else as JSON."""
        return self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)

    @property
    def media_type(self) -> str:
        """The type of the content."""
        return "text/plain" if isinstance(self.body, str) else "application/json"


class Slow(_Fault, frozen=True, tag="slow"):
    """The PG takes this many milliseconds before anything happens."""

    ms: Annotated[int, Meta(ge=0, le=600_000)]


class DropBefore(_Fault, frozen=True, tag="drop-before"):
    """The connection is cut and nothing happens."""


class DropAfter(_Fault, frozen=True, tag="drop-after"):
    """It happens, then the connection is cut in place of the answer."""


class Duplicate(_Fault, frozen=True, tag="duplicate"):
    """A webhook is delivered twice, as one transmission."""


class OutOfOrder(_Fault, frozen=True, tag="out-of-order"):
    """A webhook is held back until another one has been delivered; one at a time, so that two change places."""


Fault = Ok | Error | Http | Slow | DropBefore | DropAfter | Duplicate | OutOfOrder

_OF_WEBHOOKS: Final = (Duplicate, OutOfOrder)
_CALM: Final = Ok()
_PARAMETER: Final = {"error": "code", "http": "status", "slow": "ms"}
"""What follows the colon in a mix, such as `error:REJECT_CARD_PAYMENT`."""


class _Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A draw for every call; what the shares leave of 1 is calm. It lasts unless `repeat` or `forever` end it."""

    mix: dict[str, Annotated[float, Meta(ge=0, le=1)]]
    seed: int = 0
    repeat: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    forever: bool | None = None


@dataclass
class _Entry:
    """Faults to draw from by weight, for as many calls as are left (None: for ever)."""

    faults: list[Fault]
    weights: list[float]
    left: int | None
    rng: random.Random = field(default_factory=random.Random)


Scripts = dict[str, list[_Entry]]
"""By kind of call; a kind that has no script is calm."""


class Script:
    """What is still to go wrong. It is not kept over a restart: a fresh process is calm."""

    def __init__(self) -> None:
        self._entries: Scripts = {}

    def replace(self, scripts: Scripts) -> None:
        """Replace the scripts of the kinds that are named."""
        self._entries.update(scripts)

    def clear(self) -> None:
        """Calm for all kinds."""
        self._entries.clear()

    def take(self, kind: str) -> Fault:
        """What shall happen to the call of this kind that has just arrived; uses up a turn of its script."""
        entries = self._entries.get(kind)
        if not entries:
            return _CALM
        entry = entries[0]
        if entry.left is not None:
            entry.left -= 1
            if entry.left == 0:
                entries.pop(0)
        if len(entry.faults) == 1:
            return entry.faults[0]
        return entry.rng.choices(entry.faults, entry.weights)[0]


def read_scripts(raw: bytes) -> Scripts:
    """Read the body of `PUT /emulator/faults`. Raises ValueError with the reason when any of it is not right."""
    try:
        scripts = msgspec.json.decode(raw, type=dict[Scripted, list[dict[str, Any]]])
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    read: Scripts = {kind: _read_entries(entries) for kind, entries in scripts.items()}
    for kind, found in read.items():
        if kind != "webhook" and any(isinstance(fault, _OF_WEBHOOKS) for entry in found for fault in entry.faults):
            raise ValueError("duplicate and out-of-order are for webhooks")
    return read


def _read_entries(entries: list[dict[str, Any]]) -> list[_Entry]:
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"at most {_MOST_ENTRIES} entries")
    return [_read_mix(entry) if "mix" in entry else _read_fault(entry) for entry in entries]


def _read_fault(entry: dict[str, Any]) -> _Entry:
    fault: Fault = msgspec.convert(entry, Fault)
    if fault.forever and fault.repeat is not None:
        raise ValueError("an entry has `repeat` or `forever`, not both")
    return _Entry([fault], [1.0], None if fault.forever else fault.repeat or 1)


def _read_mix(entry: dict[str, Any]) -> _Entry:
    mix = msgspec.convert(entry, _Mix)
    if mix.forever and mix.repeat is not None:
        raise ValueError("an entry has `repeat` or `forever`, not both")
    calm = 1 - sum(mix.mix.values())
    if calm < -_ROUNDING:
        raise ValueError("the shares of a mix add up to at most 1")
    faults: list[Fault] = [_read_part(name) for name in mix.mix]
    left = 1 if mix.forever is False and mix.repeat is None else mix.repeat
    # The seed is the tester's, so that a run can be repeated; nothing here is secret.
    return _Entry([*faults, _CALM], [*mix.mix.values(), max(calm, 0.0)], left, random.Random(mix.seed))  # noqa: S311


def _read_part(name: str) -> Fault:
    kind, colon, value = name.partition(":")
    part: dict[str, str] = {"kind": kind}
    if colon:
        part[_PARAMETER.get(kind, value)] = value
    # Not strict: the numbers in `http:503` and `slow:800` are text here.
    fault: Fault = msgspec.convert(part, Fault, strict=False)
    return fault
