"""MariaDB: two schemas, and a user who may do in them what the shop does, and nothing elsewhere."""

import getpass
import shutil
from pathlib import Path

from services import probe
from services.install import run
from services.place import HOST, Place
from services.server import Server

USER, PASSWORD = "quickcommerce", "quickcommerce-local"
"""Public on purpose: they open nothing but loopback."""
SCHEMAS = {"QC_DATABASE_URL": "shop", "QC_PAYMENT_DATABASE_URL": "payment"}
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"
"""Rows for the shop, tables for its migrations."""
LOG_MB_MIN = 48
"""A quarter of the buffer pool, where that is more: a full log has pages written back, room for them or not."""


def servers(place: Place) -> list[Server]:
    """The one server. Its root is whoever runs it, through its socket and without a password; nobody over TCP."""
    port = place.port("mariadb")
    return [
        Server(
            "mariadb", "mariadb", place, ("mariadbd", "mariadb-install-db"),
            prepare=lambda: _command(place.of("mariadb"), port, place.buffer_pool_mb),
            ask=lambda: probe.mariadb(port), ports=(port,),
        )
    ]  # fmt: skip


def urls(place: Place) -> dict[str, str]:
    """How the shop reaches its two schemas."""
    at = f"mariadb://{USER}:{PASSWORD}@{HOST}:{place.port('mariadb')}"
    return {variable: f"{at}/{schema}" for variable, schema in SCHEMAS.items()}


def _command(folder: Path, port: int, buffer_pool_mb: int) -> list[str]:
    user, data, temporary = getpass.getuser(), folder / "data", folder / "tmp"
    # Its own: in a shared one a server that starts deletes the temporary tables of the others, and they die of it.
    temporary.mkdir(exist_ok=True)
    if not data.exists():
        fresh = folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        run(
            "making MariaDB's data folder", folder / "install.log",
            "mariadb-install-db", "--no-defaults", f"--datadir={fresh}", f"--tmpdir={temporary}", f"--user={user}",
            "--skip-test-db", "--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}",
        )  # fmt: skip
        fresh.rename(data)
    (folder / "setup.sql").write_text(_setup())
    return [
        "mariadbd", "--no-defaults", f"--datadir={data}", f"--tmpdir={temporary}", f"--user={user}",
        f"--bind-address={HOST}", f"--port={port}",
        # Relative to the data folder: a socket's path has at most 107 bytes.
        "--socket=mariadb.sock", f"--init-file={folder / 'setup.sql'}",
        # Two processes of each role, and as many again while they are replaced.
        "--max-connections=600",
        "--innodb-flush-log-at-trx-commit=1", f"--innodb-buffer-pool-size={buffer_pool_mb}M",
        f"--innodb-log-file-size={max(LOG_MB_MIN, buffer_pool_mb // 4)}M",
        "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--skip-name-resolve",
    ]  # fmt: skip


def _setup() -> str:
    """What the server runs before it lets anybody in. One statement on a line."""
    lines = [
        f"CREATE USER IF NOT EXISTS '{USER}'@'{HOST}';",
        f"ALTER USER '{USER}'@'{HOST}' IDENTIFIED BY '{PASSWORD}';",
    ]
    for schema in SCHEMAS.values():
        lines.append(f"CREATE DATABASE IF NOT EXISTS {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;")
        lines.append(f"GRANT {RIGHTS} ON {schema}.* TO '{USER}'@'{HOST}';")
    return "".join(f"{line}\n" for line in lines)
