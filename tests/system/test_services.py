"""`scripts/services` starts the real servers, tells how they are, and leaves nothing behind."""

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.process import until
from system.servers import LINE, Services, pids, states, stopped_at_the_end

pytestmark = pytest.mark.servers


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with stopped_at_the_end(tmp_path / "servers") as services:
        yield services


def runs(pid: int) -> bool:
    """Whether there is such a process that is not merely waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_servers_come_up_once_are_known_when_they_crash_or_hang_and_leave_nothing_running(
    services: Services,
) -> None:
    first = services("up")
    assert first.returncode == 0, first.stderr
    born = pids(services)
    assert set(states(services).values()) == {"up"}
    assert len(born) == 8
    assert services("up").returncode == 0
    assert pids(services) == born, "a second up started a server again"

    assert services("kill", "mariadb").returncode == 0
    assert services("freeze", "kafka").returncode == 0
    told = services("status")
    assert told.returncode == 3
    assert states(services) == dict.fromkeys(born, "up") | {"mariadb": "died", "kafka": "frozen"}
    assert "mariadb/server.log" in told.stdout

    assert services("thaw", "kafka").returncode == 0
    assert services("restart", "mariadb").returncode == 0
    again = pids(services)
    assert services("status").returncode == 0
    assert again.pop("mariadb") != born.pop("mariadb")
    assert again == born, "a restart of one touched another"

    last = pids(services)
    assert services("down").returncode == 0
    assert set(states(services).values()) == {"down"}
    assert not [name for name, pid in last.items() if runs(pid)]


def test_the_shops_user_reaches_both_schemas_and_nothing_else_and_a_commit_is_on_disk(services: Services) -> None:
    assert services("up", "mariadb").returncode == 0
    url = services("url", "mariadb").stdout
    found = re.search(r"mariadb://(.+):(.+)@(.+):(\d+)/shop$", url, re.MULTILINE)
    assert found
    user, password, host, port = found.groups()

    def sql(text: str) -> subprocess.CompletedProcess[str]:
        command = [
            "mariadb",
            "--no-defaults",
            "--protocol=tcp",
            f"-h{host}",
            f"-P{port}",
            f"-u{user}",
            "-N",
            "-e",
            text,
        ]
        return subprocess.run(
            command, env=os.environ | {"MYSQL_PWD": password}, capture_output=True, text=True, check=False
        )

    for schema in ("shop", "payment"):
        made = sql(f"USE {schema}; CREATE TABLE t (i INT); INSERT INTO t VALUES (1); SELECT @@collation_database")
        assert made.stdout == "utf8mb4_bin\n", made.stderr
    assert sql("SELECT @@innodb_flush_log_at_trx_commit").stdout == "1\n"
    for refused in ("CREATE DATABASE other", "SELECT * FROM mysql.global_priv", "SET GLOBAL max_connections = 1"):
        assert "denied" in sql(refused).stderr


def test_the_index_takes_korean_words_apart(services: Services) -> None:
    assert services("up", "elasticsearch").returncode == 0
    url = services("url", "elasticsearch").stdout.strip().removeprefix("QC_SEARCH_URL=")
    body = json.dumps({"analyzer": "nori", "text": "블루베리를 샀다"}).encode()
    asked = urllib.request.Request(f"{url}/_analyze", body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
        tokens = [token["token"] for token in json.load(answer)["tokens"]]
    assert tokens == ["블루베리", "사"]


async def test_when_the_primary_is_lost_its_replica_takes_over_and_it_comes_back_as_the_replica(
    services: Services,
) -> None:
    def roles() -> list[str]:
        return [found[6] for found in LINE.finditer(services("status", "redis-1", "redis-2").stdout)]

    async def promoted() -> bool:
        return roles()[1] == "primary"

    assert services("up", "redis").returncode == 0
    assert roles() == ["primary", "replica"]
    assert services("kill", "redis-1").returncode == 0
    await until("the replica is the primary", promoted)
    assert services("up", "redis").returncode == 0
    assert roles() == ["replica", "primary"]
    assert services("restart", "redis").returncode == 0
    assert roles() == ["replica", "primary"], "a restart of all forgot who the primary was"
