"""Logs and trace context.

One trace id follows an order from the request through group commit, outbox, payment and history: it is taken from the
W3C `traceparent` header or made, lives in a context variable while one thing is handled, is stored with each event,
and is set again by whoever takes the event. Code that handles a list binds each item's own (`tracing`).
"""

import logging
import re
import sys
from contextlib import suppress
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO, cast

import ecs_logging
import msgspec
import structlog
from prometheus_client import Counter

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SECRET = re.compile(r"token|secret|authorization|cookie|password|payment_key|card", re.IGNORECASE)
_NAMES_CACHED = 1_024
"""Names in log lines whose kind is remembered."""

LOST = Counter("qc_log_failures_total", "Writes of log lines that failed; the lines are lost")

log: structlog.stdlib.BoundLogger = structlog.get_logger("quickcommerce")


def trace_of(traceparent: str) -> str | None:
    """The 32 digits of a W3C traceparent, or None if it is not one (https://www.w3.org/TR/trace-context/)."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match and match[1]


_current: ContextVar[str] = ContextVar("trace", default="")


def current_trace() -> str:
    """The trace id of what is being handled now; empty outside of any."""
    return _current.get()


class tracing:  # noqa: N801 - it is used as a function; as a generator it would cost four times as much
    """Everything logged inside carries this trace id."""

    __slots__ = ("_before", "_trace")

    def __init__(self, trace: str) -> None:
        self._trace = trace
        self._before: Token[str]

    def __enter__(self) -> None:
        self._before = _current.set(self._trace)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)


def add_trace(_logger: Any, _name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Which trace a line belongs to."""
    trace = _current.get()
    return {"trace.id": trace, **entry} if trace else entry


def _with_errors(logger: Any, name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Exceptions as text, where there are any: to look for them in every line would take 1.5 us of each."""
    return structlog.processors.format_exc_info(logger, name, entry) if "exc_info" in entry else entry


@lru_cache(maxsize=_NAMES_CACHED)
def _is_secret(name: str) -> bool:
    """To search each name anew would take 2.5 us of a line."""
    return _SECRET.search(name) is not None


def _mask(_logger: Any, _name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """No secret, token or card in any log line, whoever wrote it."""
    return {key: "***" if _is_secret(key) else value for key, value in entry.items()}


def _origin(_logger: Any, _name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Which library wrote a line."""
    return {**entry, "log.logger": entry["_record"].name}


_ecs = ecs_logging.StructlogFormatter()


def _is_plain(name: str) -> bool:
    return name != "exception" and ("." not in name or name == "trace.id")


def _line(logger: Any, name: str, entry: structlog.typing.EventDict) -> str:
    """A line in the Elastic Common Schema.

    An order is a line when it is placed and another when its document is written. One takes 20 us by the schema's own
    library, and 9 us where this needs none of its rules: names within names, errors, and values that are no JSON.
    """
    if all(map(_is_plain, entry)):
        told = {
            "@timestamp": f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}Z",
            "log.level": name,
            "message": entry["event"],
            "ecs.version": ecs_logging.ECS_VERSION,
        }
        if "trace.id" in entry:
            told["trace"] = {"id": entry["trace.id"]}
        told |= entry
        del told["event"]
        told.pop("trace.id", None)
        with suppress(TypeError, ValueError):
            return msgspec.json.encode(told).decode()
    return _ecs(logger, name, dict(entry))


class _Unfailing:
    """A stream for log lines. A disk that is full or a reader that is gone costs the line, never what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write at once, or count what could not be written."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            LOST.inc()

    def flush(self) -> None:
        """Nothing waits."""


def configure_logs(level: str, *, machine: bool) -> None:
    """Log to standard error: one ECS JSON object a line for machines, or text for people, coloured on a terminal.

    Lines of libraries come out in the same form: those of the web server from `level` on, those of others from WARNING
    on, since below it an HTTP client tells whole addresses and headers, and so payment keys and tokens.
    """
    number = logging.getLevelNamesMapping()[level]
    out = _Unfailing(sys.stderr)
    common: list[structlog.typing.Processor] = [
        add_trace,
        _with_errors,
        _mask,
    ]
    renderer: list[Any] = (
        [_line]
        if machine
        else [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%H:%M:%S"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    )
    structlog.configure(
        processors=[*common, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_origin, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(number)
