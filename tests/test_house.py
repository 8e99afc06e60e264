"""The house's rules that no linter knows. `docs/architecture.md` says why each is there."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "quickcommerce"
FILES = sorted(SOURCE.rglob("*.py"))
ALL_FILES = [*FILES, *sorted((ROOT / "tools").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]

FILE_MAX, FUNCTION_MAX = 250, 70
LONGER = {
    "payment/model.py": "states, outcomes, and what a reading proves: each is told by the others",
    "parts.py": "the wiring is read from top to bottom, once, and in one place",
    "kit/openapi.py": "one document, made from top to bottom",
    "kit/sqlite.py": "one adapter, whose order of locks, threads and errors has to be seen together",
    "settings.py": "every setting, and every check of one against another",
}
"""Files that read better long, and why."""

DOORS = {
    "sqlite3": {"kit/sqlite.py"},
    "asyncmy": {"kit/mariadb.py", "kit/mariadb_line.py"},
    "confluent_kafka": {"kit/kafka.py", "kit/kafka_list.py", "kit/kafka_member.py"},
    "redis": {"stock/gate.py"},
    "elasticsearch": {"history/elastic.py"},
    "httpx2": {"payment/toss.py", "payment/line.py", "payment/tcp.py", "kit/auth.py"},
    "aiohttp": {"payment/tcp.py"},
}
"""One door per library: only these files may import it. The emulator and the bench stand apart and are free."""
FREE = ("toss_emulator/", "bench/")

PURE = {
    "msgspec", "quickcommerce.events", "quickcommerce.kit.ids", "quickcommerce.kit.text", "quickcommerce.order.model",
    "quickcommerce.payment.deposit_model", "quickcommerce.payment.model",
}  # fmt: skip
"""What a model may import beside the standard library."""
IMPURE_STDLIB = {"asyncio", "time", "random", "os", "socket", "sqlite3", "threading", "subprocess", "secrets"}


def name(path: Path) -> str:
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", ALL_FILES, ids=name)
def test_a_file_is_short_enough_to_be_one_idea(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= FILE_MAX or name(path) in LONGER, f"{name(path)} has {lines} lines"


def test_the_list_of_longer_files_is_not_out_of_date() -> None:
    for entry in LONGER:
        assert len((SOURCE / entry).read_text("utf-8").splitlines()) > FILE_MAX, f"{entry} needs no exception any more"


@pytest.mark.parametrize("path", ALL_FILES, ids=name)
def test_a_function_is_short_enough_to_be_read_at_once(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_one_door_per_library(path: Path) -> None:
    if not name(path).startswith(FREE):
        for module in imports(path):
            doors = DOORS.get(module.partition(".")[0])
            assert doors is None or name(path) in doors, f"{name(path)} imports {module}"


MODELS = ("model.py", "pricing.py", "events.py")


@pytest.mark.parametrize("path", [path for path in FILES if path.name.endswith(MODELS)], ids=name)
def test_a_model_is_pure(path: Path) -> None:
    found = imports(path)
    ours = {module for module in found if module.startswith("quickcommerce.")}
    others = {module for module in found - ours if module.partition(".")[0] in IMPURE_STDLIB}
    assert not others, f"{name(path)} imports {others}"
    assert ours <= PURE, f"{name(path)} imports {ours - PURE}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.parent == SOURCE], ids=name)
def test_inside_a_feature_web_knows_flow_and_flow_knows_store_never_the_other_way(path: Path) -> None:
    feature = path.parent.name
    upward = {"model": {"store", "flow", "web"}, "store": {"flow", "web"}, "flow": {"web"}}.get(path.stem, set())
    for module in imports(path):
        head, _, last = module.rpartition(".")
        assert not (head == f"quickcommerce.{feature}" and last in upward), f"{name(path)} imports {module}"


def test_sql_stands_only_in_stores_and_the_kit() -> None:
    statement = re.compile(r"\b(SELECT|UPDATE|DELETE FROM|INSERT INTO)\b [a-zA-Z(*]")
    for path in FILES:
        if path.name.endswith(("store.py", "sql.py", "audit.py")) or name(path).startswith(("kit/", *FREE)):
            continue
        text = path.read_text("utf-8").replace('"SELECT 1"', "")
        assert not statement.search(text), f"{name(path)} speaks SQL"


def test_what_the_money_ledger_says_is_never_changed() -> None:
    for path in FILES:
        assert not re.search(r"(UPDATE|DELETE FROM|REPLACE INTO) ledger_entry", path.read_text("utf-8")), name(path)


def test_nothing_in_the_repository_is_of_one_machine_or_of_one_package_host() -> None:
    """Paths of a machine and addresses of package hosts make a clone work in one place only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    host = re.compile(r"https?://[^\s\"')]*(py" + r"pi|pythonhosted|registry\.npm|maven\.org)")
    for entry in listed.stdout.split():
        path = ROOT / entry
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sql", ".html", ".css", ".csv", ""} and path.is_file():
            assert not host.search(path.read_text("utf-8", errors="replace")), entry
