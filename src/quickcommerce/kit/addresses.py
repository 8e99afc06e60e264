"""Addresses of servers in settings: whether something could be there, and what they name."""

from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


def is_http(url: str) -> bool:
    """Whether this is where a server could be: http or https, a host, and a port that exists, if any."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_elastic(url: str) -> bool:
    """Whether this is where an Elasticsearch could be. Its client knows no port of http."""
    return is_http(url) and (url.startswith("https:") or urlsplit(url).port is not None)


def is_redis(url: str) -> bool:
    """Whether this is where a Redis could be, or the Sentinels that know where it is."""
    try:
        parts = urlsplit(url)
        hosts = [urlsplit(f"//{each}") for each in parts.netloc.rpartition("@")[2].split(",")]
        named = all(host.hostname and (host.port or 0) >= 0 for host in hosts)
    except ValueError:
        return False
    *name, db = parts.path.strip("/").split("/")
    if parts.scheme == "redis+sentinel":
        name, db = (name, db) if name else ([db], "")
        return named and len(name) == 1 and bool(name[0]) and all(host.port for host in hosts) and _is_db(db)
    return parts.scheme == "redis" and named and len(hosts) == 1 and not name and _is_db(db)


def _is_db(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def without_password(url: str) -> str:
    """The URL, as it may be shown."""
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}:***@{host}" if at else url


@dataclass(frozen=True)
class Server:
    """Where a schema is, and who we are there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    schema: str


def server_of(url: str) -> Server:
    """What `mariadb://USER:PASSWORD@HOST:PORT/SCHEMA` names. Raises ValueError, which does not tell the password."""
    found: Server | None = None
    with suppress(ValueError):
        # What the parser says of a URL quotes it.
        parts = urlsplit(url)
        host, user, schema = parts.hostname, unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
        # Nothing reads options: whoever writes `?ssl=true` must not believe that it is so.
        whole = parts.port != 0 and not parts.query and not parts.fragment
        if parts.scheme == "mariadb" and host and user and schema and "/" not in schema and whole:
            found = Server(host, parts.port or 3306, user, unquote(parts.password or ""), schema)
    if found is None:
        raise ValueError("a MariaDB database is mariadb://USER:PASSWORD@HOST:PORT/SCHEMA")
    return found
