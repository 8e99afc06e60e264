"""What may be asked of `scripts/services`."""

import os
import shutil
import signal
import sys
from collections.abc import Sequence

from services import fleet, signals
from services.install import find_administration, say
from services.place import ROOT, Failed, Place, choose
from services.server import Server

USAGE = """\
usage: scripts/services COMMAND [NAME...]

  up [NAME...]              start what does not run, and wait until it is ready ("start" does the same)
  down [NAME...]            stop what runs ("stop" does the same)
  restart [NAME...]         down and up
  status [NAME...]          state, port, pid and version of each; exit code 3 unless all are up
  url [NAME...]             the QC_ settings that lead the shop there
  with [NAME... --] CMD...  up, run a command with these settings, and stop what was started for it
  kill NAME...              kill -9: a crash
  freeze NAME...            SIGSTOP: alive and silent
  thaw NAME...              SIGCONT
  wipe                      down, and delete all data

NAME is mariadb, redis-1, redis-2, sentinel-1, sentinel-2, sentinel-3, kafka or elasticsearch, or redis for its five.
SERVICES_DIR (.services) is the folder of data and logs; SERVICES_PORT_BASE is the first of ten ports, else chosen
by the folder's path and kept in it. Two folders share nothing. SERVICES_BUFFER_POOL_MB (128) is MariaDB's memory.
"""
SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}
NOT_ALL_UP, BAD_USAGE, NO_COMMAND = 3, 2, 127


def main() -> int:
    """Do what the arguments say. Returns the exit code."""
    signals.listen()
    find_administration()
    try:
        return _do(sys.argv[1:])
    except (Failed, OSError) as failed:
        say(f"scripts/services: {failed}")
        return 1
    except signals.Interrupted as interrupted:
        say(f"scripts/services: {interrupted}")
        return interrupted.exit_code


def _do(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else BAD_USAGE
    command, names = arguments[0], arguments[1:]
    place = choose(os.environ)
    if command == "with":
        return _with(place, names)
    servers = fleet.named(place, names)
    match command:
        case "status":
            return _status(place, servers)
        case "url":
            for variable, url in sorted(fleet.urls(place, names).items()):
                print(f"{variable}={url}")
            return 0
    with place.alone():
        return _change(place, command, servers, some=bool(names))


def _change(place: Place, command: str, servers: Sequence[Server], *, some: bool) -> int:
    """What no two may do at once. `some`: the servers were named."""
    match command:
        case "up" | "start":
            fleet.up(place, servers)
        case "down" | "stop":
            _stop(servers)
        case "restart":
            _stop(servers)
            fleet.up(place, servers)
        case "kill" | "freeze" | "thaw" if some:
            fleet.send(servers, SIGNALS[command])
        case "wipe" if not some:
            _stop(servers)
            _wipe(place, servers)
        case _:
            say(USAGE)
            return BAD_USAGE
    return 0


def _stop(servers: Sequence[Server]) -> None:
    fleet.down(servers)
    fleet.forget(servers)


def _wipe(place: Place, servers: Sequence[Server]) -> None:
    """Only what we made: SERVICES_DIR may name a folder in which other things lie."""
    for server in servers:
        shutil.rmtree(server.folder)
    for name in ("port-base", "install.log"):
        (place.folder / name).unlink(missing_ok=True)


def _status(place: Place, servers: Sequence[Server]) -> int:
    looks = [(server, fleet.look(place, server)) for server in servers]
    for server, seen in looks:
        line = f"{server.name:13}  {seen.state:6}  {server.ports[0]:5}  {seen.pid:>7}  {seen.version:10}  {seen.note}"
        print(line.rstrip())
    return 0 if all(seen.state == "up" for _, seen in looks) else NOT_ALL_UP


def _with(place: Place, words: Sequence[str]) -> int:
    """Run a command beside the servers. Those that ran before go on afterwards."""
    names, command = _split(place, words)
    if not command:
        say(USAGE)
        return BAD_USAGE
    started: list[Server] = []
    try:
        with place.alone():
            fleet.up(place, fleet.named(place, names), started)
        return signals.run(command, _environment(place, names))
    except OSError as error:
        say(f"scripts/services: {command[0]}: {error.strerror}")
        return NO_COMMAND
    finally:
        with place.alone():
            _stop(started)


def _split(place: Place, words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The names before a `--`, where there are nothing but names before one, and the command."""
    if "--" in words:
        at = words.index("--")
        servers = fleet.known(place)
        if set(words[:at]) <= {server.name for server in servers} | {server.kind for server in servers}:
            return words[:at], words[at + 1 :]
    return [], words


def _environment(place: Place, names: Sequence[str]) -> dict[str, str]:
    """Ours, with the way to the servers, and to the commands of `.venv`: qc, python, pytest."""
    return (
        dict(os.environ)
        | fleet.urls(place, names)
        | {"SERVICES_DIR": str(place.folder), "SERVICES_PORT_BASE": str(place.base)}
        | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    )
