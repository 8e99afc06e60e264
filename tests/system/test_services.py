"""`scripts/services` starts the real servers, tells how they are, and leaves nothing behind and nobody harmed."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from system.process import until

pytestmark = pytest.mark.servers

SCRIPT = Path(__file__).parents[2] / "scripts" / "services"
ENOUGH_S = 400
LINE = re.compile(r"^(\S+) +(\S+) +(\d+) +(\S+) +(\S+) *(.*)$", re.MULTILINE)
Services = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SERVICES_", "QC_"))}
    return ours | {"SERVICES_DIR": str(folder)}


def at(folder: Path) -> Services:
    def services(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments], env=environment(folder) | extra, capture_output=True, text=True, timeout=ENOUGH_S,
            check=False,
        )  # fmt: skip

    return services


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "servers"
    at(tmp_path / "servers")("down")


@pytest.fixture
def services(folder: Path) -> Services:
    return at(folder)


def states(services: Services) -> dict[str, str]:
    return {found[1]: found[2] for found in LINE.finditer(services("status").stdout)}


def pids(services: Services) -> dict[str, int]:
    return {found[1]: int(found[4]) for found in LINE.finditer(services("status").stdout) if found[4] != "-"}


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


def test_a_command_gets_the_way_to_the_servers_and_its_exit_code_is_passed_on_and_they_stop(services: Services) -> None:
    ran = services("with", "redis", "--", "bash", "-c", f"{SCRIPT} status redis-1 && env | grep ^QC_; exit 7")
    assert ran.returncode == 7, ran.stderr
    assert LINE.search(ran.stdout), ran.stdout
    assert re.search(r"^QC_GATE_URL=redis\+sentinel://127.0.0.1:\d+,.*/shop$", ran.stdout, re.MULTILINE)
    assert set(states(services).values()) == {"down"}
    assert services("with", "redis-1", "--", "/nowhere").returncode == 127
    assert set(states(services).values()) == {"down"}


def test_a_command_leaves_those_servers_running_that_ran_before_it(services: Services) -> None:
    assert services("up", "redis-1").returncode == 0
    assert services("with", "redis-1", "redis-2", "--", "true").returncode == 0
    told = states(services)
    assert (told["redis-1"], told["redis-2"]) == ("up", "down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_is_told_and_the_servers_stop(
    folder: Path, services: Services, number: signal.Signals
) -> None:
    sign = folder.parent / "sign"
    code = f"import pathlib, signal; pathlib.Path({str(sign)!r}).touch(); signal.pause()"
    ours = await asyncio.create_subprocess_exec(
        SCRIPT, "with", "redis-1", "--", sys.executable, "-c", code, env=environment(folder), start_new_session=True
    )

    async def there() -> bool:
        return sign.exists()

    await until("the command runs", there)
    ours.send_signal(number)
    assert await ours.wait() == 128 + number
    assert set(states(services).values()) == {"down"}


def test_two_folders_side_by_side_share_nothing(tmp_path: Path) -> None:
    one, other = at(tmp_path / "one"), at(tmp_path / "other")
    try:
        assert one("up", "redis-1").returncode == 0
        assert other("up", "redis-1").returncode == 0
        assert one("down").returncode == 0
        assert (states(one)["redis-1"], states(other)["redis-1"]) == ("down", "up")
    finally:
        one("down")
        other("down")


@pytest.mark.parametrize(("ours", "ends"), [(False, False), (True, True)], ids=["reused", "control"])
def test_a_process_that_was_given_the_number_of_a_dead_server_is_left_alone(
    folder: Path, services: Services, ours: bool, ends: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        try:
            born = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
            (folder / "redis-1").mkdir(parents=True)
            (folder / "redis-1" / "pid").write_text(f"{stranger.pid} {born if ours else born - 1}\n")
            assert (states(services)["redis-1"] == "died") is not ours
            assert services("down").returncode == 0
            assert (stranger.poll() is not None) is ends
        finally:
            stranger.kill()


def test_a_server_that_does_not_start_is_named_with_the_end_of_its_log(folder: Path, services: Services) -> None:
    (folder / "mariadb" / "data").mkdir(parents=True)
    failed = services("up", "mariadb")
    assert failed.returncode == 1
    assert "mariadb ended" in failed.stderr
    assert "| " in failed.stderr
    assert f"the log is {folder}/mariadb/server.log" in failed.stderr


def test_a_port_of_somebody_else_is_named_and_nothing_is_started(services: Services) -> None:
    with closing(socket.socket()) as stranger:
        services("status")
        port = int(services("url", "elasticsearch").stdout.strip().rpartition(":")[2]) - 8
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        failed = services("up", "mariadb")
    assert failed.returncode == 1
    assert f"port {port} is taken" in failed.stderr
    assert states(services)["mariadb"] == "down"


@pytest.mark.parametrize("apt", [False, True])
def test_on_a_bare_machine_it_installs_what_is_missing_or_says_what_to_install(
    tmp_path: Path, services: Services, apt: bool
) -> None:
    """An apt-get that only writes down what it is asked for stands for one that cannot install."""
    for program in ("bash", "dirname", "env"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    asked = tmp_path / "asked"
    if apt:
        (tmp_path / "apt-get").write_text(f'#!/usr/bin/bash\necho "$@" >> {asked}\n')
        (tmp_path / "apt-get").chmod(0o755)
    failed = services("up", "kafka", PATH=str(tmp_path), PYTHON=sys.executable)
    assert failed.returncode == 1
    assert "missing: java, javac, mvn" in failed.stderr
    assert "apt-get install default-jdk-headless maven" in failed.stderr
    if apt and os.getuid() == 0:
        update, install = asked.read_text().splitlines()
        assert update.endswith("update")
        assert install.endswith("default-jdk-headless maven")
    else:
        assert not asked.exists()
