"""Redis: two servers, of which one is the primary, and three Sentinels that choose another when it is gone."""

from pathlib import Path

from services import probe
from services.place import HOST, Place
from services.server import NotReady, Server

NAME = "shop"
"""What the Sentinels call the primary."""
DATA, SENTINELS = ("redis-1", "redis-2"), ("sentinel-1", "sentinel-2", "sentinel-3")
QUORUM = 2


def servers(place: Place) -> list[Server]:
    """The five servers."""
    primary = f"replicaof {HOST} {place.port('redis-1')}\n"
    return [
        _server(place, "redis-1", _data_conf(place, "redis-1"), "redis-server"),
        _server(place, "redis-2", _data_conf(place, "redis-2") + primary, "redis-server"),
        *(_server(place, name, _sentinel_conf(place, name), "redis-server", "--sentinel") for name in SENTINELS),
    ]


def urls(place: Place) -> dict[str, str]:
    """How the shop reaches whoever is the primary."""
    sentinels = ",".join(f"{HOST}:{place.port(name)}" for name in SENTINELS)
    return {"QC_GATE_URL": f"redis+sentinel://{sentinels}/{NAME}"}


def role(place: Place, name: str) -> str:
    """`primary`, `replica` or `sentinel`. Raises NotReady."""
    info = probe.redis_info(place.port(name))
    return {"master": "primary", "slave": "replica"}.get(info.get("role", ""), "sentinel")


def agreed(place: Place) -> None:
    """Raises NotReady until all Sentinels know each other and the same working primary, and its replica follows."""
    primaries = set()
    for name in SENTINELS:
        told = probe.redis(place.port(name), "SENTINEL", "MASTER", NAME)
        master = dict(zip(told[::2], told[1::2], strict=False))
        if master["flags"] != "master":
            raise NotReady(f"{name} calls the primary {master['flags']}")
        if (master["num-slaves"], master["num-other-sentinels"]) != ("1", "2"):
            raise NotReady(f"{name} has not met all the others")
        primaries.add(int(master["port"]))
    if len(primaries) > 1:
        raise NotReady(f"the Sentinels name several primaries: {primaries}")
    for name in DATA:
        info = probe.redis_info(place.port(name))
        if (info["role"] == "master") != (place.port(name) in primaries):
            raise NotReady(f"{name} is {info['role']}, and the Sentinels think otherwise")
        if info["role"] == "slave" and info["master_link_status"] != "up":
            raise NotReady(f"{name} does not follow the primary yet")


def _server(place: Place, name: str, conf: str, *command: str) -> Server:
    port, folder = place.port(name), place.of(name)
    return Server(
        name, "redis", place, ("redis-server",),
        prepare=lambda: [command[0], str(_settled(folder, conf)), *command[1:]],
        ask=lambda: probe.redis_info(port)["redis_version"], ports=(port,),
        after=DATA if name in SENTINELS else (),
    )  # fmt: skip


def _settled(folder: Path, conf: str) -> Path:
    """The file of settings, which the server itself rewrites when roles change.

    It is ours only until then: made anew where what we would begin with has changed, as after a change of ports.
    """
    begun, own = folder / "begun.conf", folder / "server.conf"
    if not own.exists() or not begun.exists() or begun.read_text() != conf:
        own.write_text(conf)
        begun.write_text(conf)
    return own


def _data_conf(place: Place, name: str) -> str:
    return (
        f'bind {HOST}\nport {place.port(name)}\ndir "{place.of(name)}"\n'
        'save ""\nappendonly yes\nappendfsync everysec\nrepl-diskless-sync-delay 0\n'
    )


def _sentinel_conf(place: Place, name: str) -> str:
    """A primary that does not answer for a second is given up."""
    return (
        f'bind {HOST}\nport {place.port(name)}\ndir "{place.of(name)}"\n'
        f"sentinel monitor {NAME} {HOST} {place.port('redis-1')} {QUORUM}\n"
        f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
    )
