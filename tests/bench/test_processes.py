import os
from pathlib import Path

import pytest

from bench import processes
from bench.processes import Failed


async def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(Failed, match="ended with 3: no such thing"):
        await processes.run("sh", "-c", "echo no such thing; exit 3")
    assert await processes.run("sh", "-c", "echo fine; exit 1", statuses=(0, 1)) == "fine\n"


async def test_a_process_is_open_once_it_says_where(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo The shop is open at http://127.0.0.1:81; exec sleep 60"]
    running = await processes.start("shop", command, tmp_path, settings={})
    assert running.url == "http://127.0.0.1:81"
    await processes.stop(running)
    assert running.process.returncode is not None


async def test_a_process_that_ends_before_it_is_open_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="shop ended with 2: the port is taken"):
        await processes.start("shop", ["sh", "-c", "echo the port is taken; exit 2"], tmp_path, settings={})


def test_settings_of_another_shop_and_proxies_do_not_reach_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_DATABASE_URL", "mariadb://elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    given = processes.environment({"log_level": "INFO"})
    assert given["QC_LOG_LEVEL"] == "INFO"
    assert not given.keys() & {"QC_DATABASE_URL", "HTTP_PROXY"}


def test_cpu_and_memory_are_those_of_the_kernels_account() -> None:
    before_s = processes.cpu_s(os.getpid())
    while processes.cpu_s(os.getpid()) == before_s:
        sum(range(100_000))
    assert 5 < processes.rss_mb(os.getpid()) < 100_000
    every_s, idle_s, stolen_s = processes.machine_cpu_s()
    assert 0 <= idle_s + stolen_s <= every_s
