"""What is done to servers: started and waited for, stopped, killed, frozen, and looked at."""

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from services import elasticsearch, install, kafka, mariadb, process, redis
from services.install import say
from services.place import HOST, Failed, Place, free
from services.server import NotReady, Server
from services.signals import check

READY_WITHIN_S, STOP_WITHIN_S = 180.0, 30.0
"""Generous: a slow machine is no failure."""
LOOK_S, ASK_AGAIN_S = 0.05, 1.0
STOP = (signal.SIGTERM, signal.SIGCONT)
"""One that is frozen has to go on in order to stop."""
T = TypeVar("T")
KINDS = {"mariadb": mariadb, "redis": redis, "kafka": kafka, "elasticsearch": elasticsearch}


def known(place: Place) -> list[Server]:
    """Every server there is, in the order in which they start."""
    return [server for kind in KINDS.values() for server in kind.servers(place)]


def named(place: Place, names: Sequence[str]) -> list[Server]:
    """The servers of these names, or kinds; all, where none is named. Raises Failed."""
    everything = known(place)
    for name in names:
        if not any(name in (server.name, server.kind) for server in everything):
            raise Failed(f"there is no server {name!r}; there are {', '.join(server.name for server in everything)}")
    return [server for server in everything if not names or server.name in names or server.kind in names]


def urls(place: Place, names: Sequence[str]) -> dict[str, str]:
    """The settings with which the shop finds these servers. Raises Failed."""
    kinds = {server.kind for server in named(place, names)}
    return {variable: url for kind in kinds for variable, url in KINDS[kind].urls(place).items()}


def up(place: Place, servers: Sequence[Server], started: list[Server] | None = None) -> None:
    """Start those that do not run, and wait until all are ready. Raises Failed; what has started then stays.

    Those that were started are added to `started` as soon as they are. What takes long and may fail comes first: to
    install, to fetch, to make data folders.
    """
    started = [] if started is None else started
    install.ensure(sorted({each for server in servers for each in server.programs}), place.folder / "install.log")
    commands = {server.name: command for server in servers if (command := _prepared(server))}
    begun_s = time.monotonic()
    waiting = list(servers)
    for server in servers:
        for earlier in [each for each in waiting if each.name in server.after]:
            _ready(earlier, begun_s)
            waiting.remove(earlier)
        if server.name in commands:
            check()
            say(f"{server.name:13} starts")
            process.start(server.folder, commands[server.name])
            started.append(server)
    for server in waiting:
        _ready(server, begun_s)
    if any(server.kind == "redis" for server in servers) and _whole(place):
        _until("the Redis servers agree who is the primary", lambda: redis.agreed(place))


def _whole(place: Place) -> bool:
    return all(process.pid(server.folder) for server in redis.servers(place))


def _prepared(server: Server) -> list[str] | None:
    """The command that starts it, or None where it runs already. One that is frozen goes on."""
    check()
    if process.state(server.folder) == "frozen":
        process.send(server.folder, signal.SIGCONT)
    if process.pid(server.folder):
        return None
    taken = [port for port in server.ports if not free(port)]
    if taken:
        raise Failed(
            f"{server.name}: port {taken[0]} is taken by somebody else; set SERVICES_PORT_BASE to another base"
        )
    return server.prepare()


def _ready(server: Server, begun_s: float) -> None:
    def alive() -> None:
        if not process.pid(server.folder):
            raise Failed(f"{server.name} ended\n{install.tail(process.log_of(server.folder))}")

    version = _until(f"{server.name} is ready", server.ask, alive, process.log_of(server.folder))
    after_s = time.monotonic() - begun_s
    number = process.pid(server.folder)
    say(f"{server.name:13} is ready at {HOST}:{server.ports[0]}, pid {number}, {version} ({after_s:.1f} s)")


def _until(what: str, ask: Callable[[], T], alive: Callable[[], None] = lambda: None, log: object = "") -> T:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while True:
        check()
        alive()
        try:
            return ask()
        except NotReady as reason:
            if time.monotonic() > deadline_s:
                raise Failed(f"not within {READY_WITHIN_S:.0f} s: {what}; {reason}; {log}") from reason
        time.sleep(LOOK_S)


def down(servers: Iterable[Server]) -> None:
    """Stop those that run, the last first, and kill what does not stop in time."""
    going = [server for server in reversed(list(servers)) if process.send(server.folder, *STOP)]
    deadline_s = time.monotonic() + STOP_WITHIN_S
    for server in going:
        # Asked again and again: Redis declines, and forgets that it was asked, while it writes its first file.
        while not process.ended(server.folder, ASK_AGAIN_S) and time.monotonic() < deadline_s:
            process.send(server.folder, *STOP)
        if process.send(server.folder, signal.SIGKILL):
            process.ended(server.folder, STOP_WITHIN_S)
            say(f"{server.name:13} did not stop within {STOP_WITHIN_S:.0f} s, and was killed")
        else:
            say(f"{server.name:13} stopped")


def forget(servers: Iterable[Server]) -> None:
    """What was stopped is not missed."""
    for server in servers:
        process.forget(server.folder)


def send(servers: Iterable[Server], number: signal.Signals) -> None:
    """Send a signal to each. SIGKILL is waited for. Raises Failed for those that do not run."""
    for server in servers:
        if not process.send(server.folder, number):
            raise Failed(f"{server.name} does not run")
        if number == signal.SIGKILL:
            process.ended(server.folder, STOP_WITHIN_S)


class Look(NamedTuple):
    """How a server is."""

    state: str
    """`up`, `down`, `died` (nobody stopped it), `frozen`, or `silent`: it runs and does not answer."""
    pid: str
    version: str
    note: str


def look(place: Place, server: Server) -> Look:
    """How a server is."""
    state, log = process.state(server.folder), str(process.log_of(server.folder))
    if state in ("down", "died"):
        return Look(state, "-", "-", log if state == "died" else "")
    number = str(process.pid(server.folder) or "-")
    if state == "frozen":
        return Look(state, number, "-", log)
    try:
        return Look("up", number, server.ask(), redis.role(place, server.name) if server.kind == "redis" else "")
    except NotReady as reason:
        return Look("silent", number, "-", f"{reason}; {log}")
