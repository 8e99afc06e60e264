"""`scripts/services` beside a command, beside other servers, and on a machine where something is in its way."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from system.process import until
from system.servers import LINE, SCRIPT, Services, at, environment, states, stopped_at_the_end

pytestmark = pytest.mark.servers


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with stopped_at_the_end(tmp_path / "servers") as services:
        yield services


def test_a_command_gets_the_way_to_the_servers_and_its_exit_code_is_passed_on_and_they_stop(services: Services) -> None:
    ran = services("with", "redis", "--", "bash", "-c", f"{SCRIPT} status redis-1 && env | grep ^QC_; exit 7")
    assert ran.returncode == 7, ran.stderr
    assert LINE.search(ran.stdout), ran.stdout
    assert re.search(r"^QC_GATE_URL=redis\+sentinel://127.0.0.1:\d+,.*/shop$", ran.stdout, re.MULTILINE)
    assert set(states(services).values()) == {"down"}
    assert services("with", "redis-1", "--", "/nowhere").returncode == 127
    assert set(states(services).values()) == {"down"}


def test_memory_that_is_no_number_is_refused_before_anything_starts(services: Services) -> None:
    ran = services("up", "redis-1", SERVICES_BUFFER_POOL_MB="a lot")
    assert (ran.returncode, set(states(services).values())) == (1, {"down"})
    assert "SERVICES_BUFFER_POOL_MB is 'a lot'; it must be a number of MB" in ran.stderr


def test_a_command_leaves_those_servers_running_that_ran_before_it(services: Services) -> None:
    assert services("up", "redis-1").returncode == 0
    ran = services("with", "redis-1", "redis-2", "--", "true")
    assert ran.returncode == 0
    assert "killed" not in ran.stderr, "a Redis that was stopped as soon as it was up was not asked again"
    told = states(services)
    assert (told["redis-1"], told["redis-2"]) == ("up", "down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_is_told_and_the_servers_stop(
    tmp_path: Path, services: Services, number: signal.Signals
) -> None:
    sign = tmp_path / "sign"
    code = f"import pathlib, signal; pathlib.Path({str(sign)!r}).touch(); signal.pause()"
    ours = await asyncio.create_subprocess_exec(
        SCRIPT,
        "with",
        "redis-1",
        "--",
        sys.executable,
        "-c",
        code,
        env=environment(tmp_path / "servers"),
        start_new_session=True,
    )

    async def there() -> bool:
        return sign.exists()

    await until("the command runs", there)
    ours.send_signal(number)
    assert await ours.wait() == 128 + number
    assert set(states(services).values()) == {"down"}


def test_two_folders_side_by_side_share_nothing(tmp_path: Path) -> None:
    with stopped_at_the_end(tmp_path / "one") as one, stopped_at_the_end(tmp_path / "other") as other:
        assert one("up", "redis-1").returncode == 0
        assert other("up", "redis-1").returncode == 0
        assert one("down").returncode == 0
        assert (states(one)["redis-1"], states(other)["redis-1"]) == ("down", "up")


@pytest.mark.parametrize(("ours", "ends"), [(False, False), (True, True)], ids=["reused", "control"])
def test_a_process_that_was_given_the_number_of_a_dead_server_is_left_alone(
    tmp_path: Path, services: Services, ours: bool, ends: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        try:
            born = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
            (tmp_path / "servers" / "redis-1").mkdir(parents=True)
            (tmp_path / "servers" / "redis-1" / "pid").write_text(f"{stranger.pid} {born if ours else born - 1}\n")
            assert (states(services)["redis-1"] == "died") is not ours
            assert services("down").returncode == 0
            assert (stranger.poll() is not None) is ends
        finally:
            stranger.kill()


def test_a_server_that_does_not_start_is_named_with_the_end_of_its_log(tmp_path: Path, services: Services) -> None:
    (tmp_path / "servers" / "mariadb" / "data").mkdir(parents=True)
    failed = services("up", "mariadb")
    assert failed.returncode == 1
    assert "mariadb ended" in failed.stderr
    assert "| " in failed.stderr
    assert f"the log is {tmp_path}/servers/mariadb/server.log" in failed.stderr


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


def test_a_folder_that_can_hold_nothing_or_is_spoiled_is_told_in_a_sentence(tmp_path: Path) -> None:
    file, spoiled = tmp_path / "file", tmp_path / "spoiled"
    file.touch()
    spoiled.mkdir()
    (spoiled / "port-base").write_text("many")
    for folder, why in ((file, f"File exists: '{file}'"), (spoiled, "port-base holds no port")):
        failed = at(folder)("status")
        assert failed.returncode == 1
        assert len(failed.stderr.splitlines()) == 1
        assert why in failed.stderr


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
