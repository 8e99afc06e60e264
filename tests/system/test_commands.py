"""The commands, as somebody types them: what they do, what they say when they cannot, and their exit status."""

import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from quickcommerce.settings import DERIVED, LOCAL_SECRET, Settings
from system.process import environment, qc, qc_async, until
from system.shop import running, stock_up
from system.truth import rows

CATALOG = "product_id,name,price,stock\n1,우유 1L,3100,5\n77,새우 과자,1500,40\n"
BAD = "product_id,name,price,stock\n78,감자칩,1700,10\n79,,1700,10\n80,케이크,-1,10\n81,콘칩,1700,many\n78,또,1,1\n"


def test_doctor_finds_a_new_and_a_migrated_shop_fit_and_masks_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    new = qc(folder, "doctor", jwt_secret="a-secret-of-ours-that-nobody-may-see", pg_secret_key="another-secret")
    assert new.returncode == 0, new.stderr
    assert not folder.exists(), "looking at a shop made one"
    assert f"{folder} is not there, and can be made" in new.stdout
    assert "of-ours" not in new.stdout + new.stderr
    assert "another-secret" not in new.stdout + new.stderr
    for name in set(Settings.__struct_fields__) - DERIVED:
        assert f"QC_{name.upper()} " in new.stdout
    applied = qc(folder, "migrate")
    assert applied.returncode == 0, applied.stderr
    assert "applied shop: shop/0001_core" in applied.stdout
    again = qc(folder, "migrate")
    assert (again.returncode, again.stdout) == (0, "0 applied; the databases are up to date\n")
    migrated = qc(folder, "doctor")
    assert migrated.returncode == 0, migrated.stdout
    assert migrated.stdout.count("sound, up to date") == 3
    assert f"{folder} can be written" in migrated.stdout


@pytest.mark.parametrize("damage", ["no database at all", "a page is lost", "cut off"])
async def test_doctor_names_the_damaged_part(tmp_path: Path, damage: str) -> None:
    await stock_up(tmp_path)
    path = tmp_path / "payment.db"
    data = path.read_bytes()
    broken = {
        "no database at all": b"not a database" * 1000,
        "a page is lost": data[: 4096 * 2] + bytes(range(256)) * 16 * 4 + data[4096 * 6 :],
        "cut off": data[: len(data) // 2],
    }
    path.write_bytes(broken[damage])
    found = await qc_async(tmp_path, "doctor")
    assert found.returncode == 1, found.stdout
    assert re.search(r"database payment +│ NO ", found.stdout), found.stdout
    assert re.search(r"database shop +│ yes", found.stdout), "the sound parts are not told from the damaged one"
    assert "Traceback" not in found.stderr


async def test_a_damaged_ledger_of_the_emulator_is_named_and_keeps_the_shop_closed(tmp_path: Path) -> None:
    (tmp_path / "toss.db").write_bytes(b"not a ledger" * 1000)
    found = await qc_async(tmp_path, "doctor")
    assert found.returncode == 1
    assert re.search(r"PG +│ NO .*toss.db", found.stdout), found.stdout
    refused = await qc_async(tmp_path, "run", "--port", "0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"qc: the emulator's ledger .*toss.db cannot be used: .*\n", refused.stderr), refused.stderr


async def test_doctor_asks_for_the_keys_that_verify_tokens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/jwks"
    found = await qc_async(tmp_path, "doctor", jwks_url=nowhere)
    assert found.returncode == 1
    assert re.search(rf"keys +│ NO .*{nowhere}", found.stdout), found.stdout


IMPOSSIBLE = {
    "a file in its place": ("taken", "Not a directory"),
    "below a file": ("taken/inner/shop", "taken: Not a directory"),
    "where no file can be made": ("/proc/nowhere/shop", "/proc: No such file or directory"),
}


@pytest.mark.parametrize(("place", "reason"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_doctor_finds_a_data_folder_that_can_hold_nothing_unfit(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "taken").write_text("a list")
    found = qc(tmp_path / place, "doctor")
    assert found.returncode == 1, found.stdout
    # A long path makes the table's cell go on in the next line.
    told = reason.replace(" ", r"[\s│]+")
    assert re.search(rf"folder +│ NO .*cannot be used:[\s│]*(/.*)?{told}", found.stdout), found.stdout
    assert found.stderr == ""


def test_doctor_looks_at_every_folder_and_makes_none(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere/payment.db"
    found = qc(tmp_path / "shop", "doctor", payment_database_url=elsewhere, search_url="sqlite:////proc/x/history.db")
    assert found.returncode == 1
    assert re.search(r"folder +│ NO .*/proc/x cannot be used", found.stdout), found.stdout
    assert re.search(r"database payment +│ yes .*not there yet", found.stdout), found.stdout
    assert [path.name for path in tmp_path.rglob("*")] == ["shop"], "looking at a shop made something"


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["run", "--port", 0], "a file in its place"),
        (["run", "--port", 0], "where no file can be made"),
        (["migrate"], "below a file"),
        (["catalog", "import", "goods.csv"], "where no file can be made"),
        (["emulator", "--port", 0], "a file in its place"),
    ],
)
def test_a_command_whose_data_folder_can_hold_nothing_says_so_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[object], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a list")
    (tmp_path / "goods.csv").write_text(CATALOG, "utf-8")
    place, reason = IMPOSSIBLE[where]
    refused = qc(tmp_path / place, *command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(rf"qc: the folder .*{reason}\n", refused.stderr), refused.stderr


async def test_doctor_says_what_is_missing_and_which_pg_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    await stock_up(tmp_path)
    (tmp_path / "history.db").write_bytes(b"")
    found = await qc_async(tmp_path, "doctor", pg_url=nowhere)
    assert found.returncode == 1, found.stdout
    assert re.search(r"database history +│ NO .*qc migrate", found.stdout), found.stdout
    assert re.search(rf"PG +│ NO .*{nowhere}", found.stdout), found.stdout


async def test_doctor_leaves_the_ledger_of_a_running_shop_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        found = await qc_async(shop.folder, "doctor")
        assert found.returncode == 0, found.stdout
        assert re.search(r"PG +│ yes .*which is running", found.stdout), found.stdout


async def test_doctor_counts_the_money_that_needs_a_human_and_finds_the_shop_fit(tmp_path: Path) -> None:
    """A refund that the PG refuses is no reason not to start; that nobody looks at it is one to say so."""
    async with running(tmp_path) as shop:
        order = await shop.order()
        assert (await shop.pay(order)).status_code == 200
        calm = await qc_async(shop.folder, "doctor")
        assert re.search(r"money +│ yes +│ no payment or refund needs a human", calm.stdout), calm.stdout
        payment = await shop.get(f"/v1/orders/{order['order_id']}/payment")
        await shop.faults(cancel=[{"kind": "error", "code": "REFUND_REJECTED"}])
        url = f"/v1/payments/{payment['payment_id']}/refunds"
        assert (await shop.ask("POST", url, json={"reason": "no"})).status_code == 409
        found = await qc_async(shop.folder, "doctor")
    assert found.returncode == 0, found.stdout
    assert re.search(r"money +│ look +│ payments and refunds that need a human: 1", found.stdout), found.stdout


async def test_a_catalog_is_loaded_into_a_shop_that_sells_meanwhile(tmp_path: Path) -> None:
    file, bad = tmp_path / "catalog.csv", tmp_path / "bad.csv"
    file.write_text(CATALOG, "utf-8")
    bad.write_text(BAD, "utf-8")
    async with running(tmp_path / "shop") as shop:
        order = await shop.order([(1, 2)])
        loaded = await qc_async(shop.folder, "catalog", "import", file)
        assert loaded.returncode == 0, loaded.stderr
        assert loaded.stdout == "2 products: 1 new, 1 updated\n"
        refused = await qc_async(shop.folder, "catalog", "import", bad)
        assert refused.returncode == 1
        assert re.findall(r"^line (\d+): ", refused.stderr, re.MULTILINE) == ["3", "4", "5", "6"]
        assert "nothing was loaded" in refused.stderr
        milk = await shop.get("/v1/products/1")
        assert (milk["price"], milk["available"]) == (3_100, 998), "a price list changed what is on the shelf"
        assert (await shop.ask("GET", "/v1/products/78")).status_code == 404, "half a file was loaded"
        snack = await shop.order([(77, 40)])
        assert snack["payable"] == 60_000
        assert (await shop.get(f"/v1/orders/{order['order_id']}"))["payable"] == 5_800, "a placed order changed"


def test_tokens_are_given_out_only_where_they_cannot_be_misused(tmp_path: Path) -> None:
    given = qc(tmp_path, "token", "--user", 7)
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", given.stdout), "a script reads nothing but the token"
    prod = {
        "jwt_secret": "s" * 40,
        "pg_secret_key": "k",
        "pg_url": "https://pg.test",
        "pg_client_key": "c",
        "allow_sqlite": 1,
    }
    refused = qc(tmp_path, "token", "--user", 7, "--role", "ROLE_MASTER", profile="prod", **prod)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "tokens are not given out" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--role", "api"], {}, "--role api needs a PG that processes share"),
        (["--role", "api"], {}, "`qc emulator`"),
        (["--role", "api"], {"pg_url": "http://127.0.0.1:9900"}, "set QC_DATABASE_URL to mariadb://"),
        (["--role", "cook"], {}, "--role cook is none of all, api"),
        ([], {"payment_window": 60}, "QC_PAYMENT_WINDOW is not a setting"),
        ([], {"payment_window_s": "ten"}, "QC_PAYMENT_WINDOW_S is wrong"),
        ([], {"profile": "prod", "jwt_secret": LOCAL_SECRET, "pg_secret_key": "k"}, "QC_JWT_SECRET is the public"),
        ([], {"bus_url": "kafka://broker"}, "QC_BUS_URL"),
    ],
)
def test_a_shop_that_cannot_work_does_not_open_and_says_why(
    tmp_path: Path, arguments: list[str], settings: dict[str, object], said: str
) -> None:
    folder = tmp_path / "shop"
    refused = qc(folder, "run", "--port", 0, *arguments, **settings)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert LOCAL_SECRET not in refused.stderr
    assert "open at" not in refused.stdout
    assert not folder.exists(), "a refused start left something behind"


async def test_a_second_shop_cannot_take_the_first_ones_port_or_data(tmp_path: Path) -> None:
    async with running(tmp_path / "shop") as shop:
        port = shop.url.rpartition(":")[2]
        taken = await qc_async(tmp_path / "other", "run", "--port", port)
        assert (taken.returncode, taken.stdout) == (1, "")
        assert taken.stderr == f"qc: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        assert not (tmp_path / "other").exists(), "a shop that cannot open was made ready all the same"
        same = await qc_async(shop.folder, "run", "--port", 0)
        assert same.returncode == 2
        assert f"another shop is running on {shop.folder}" in same.stderr
        await shop.order()


def test_a_defect_of_ours_is_shown_as_it_is_and_shows_no_variables(tmp_path: Path) -> None:
    code = "from quickcommerce import cli; cli.checks.examine = lambda settings: 1 // 0; cli.main()"
    ours = environment(tmp_path, {"jwt_secret": "a-secret-that-stands-in-a-variable"})
    ran = subprocess.run([sys.executable, "-c", code, "doctor"], env=ours, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback (most recent call last):\n")
    assert ran.stderr.endswith("ZeroDivisionError: integer division or modulo by zero\n")
    assert "─" not in ran.stderr, "drawn for a terminal, and cut to its width"
    assert "a-secret" not in ran.stderr


async def test_dead_letters_are_listed_and_handled_again_once_the_cause_is_mended(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        none = await qc_async(tmp_path, "dead-letters", "list")
        assert (none.returncode, none.stdout) == (0, "no dead letters\n")
        rows(tmp_path / "history.db", "ALTER TABLE document RENAME TO mislaid")
        order = await shop.order()

        async def buried() -> list[dict[str, object]]:
            return rows(tmp_path / "shop.db", "SELECT letter_id FROM dead_letter")

        [letter] = await until("the event is buried", buried)
        listed = await qc_async(tmp_path, "dead-letters", "list")
        assert str(letter["letter_id"]) in listed.stdout
        assert order["order_id"] in listed.stdout
        still = await qc_async(tmp_path, "dead-letters", "replay", letter["letter_id"])
        assert still.returncode == 1, still.stderr
        rows(tmp_path / "history.db", "ALTER TABLE mislaid RENAME TO document")
        mended = await qc_async(tmp_path, "dead-letters", "replay", letter["letter_id"])
        assert mended.returncode == 0, mended.stderr
        assert rows(tmp_path / "shop.db", "SELECT * FROM dead_letter") == []
        assert (await shop.get(f"/v1/history/orders?order_id={order['order_id']}"))["total"] == 1
        gone = await qc_async(tmp_path, "dead-letters", "replay", letter["letter_id"])
        assert gone.returncode == 1
        assert "there is no such dead letter" in gone.stderr


async def test_an_emulator_beside_a_shop_on_its_folder_says_why_it_cannot_open(tmp_path: Path) -> None:
    """Two of them would each believe in a ledger of its own."""
    async with running(tmp_path) as shop:
        refused = await qc_async(shop.folder, "emulator", "--port", 0)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(r"qc: the emulator's ledger .*toss.db is open in another process.*\n", refused.stderr)
        assert (await shop.pay(await shop.order())).status_code == 200


@pytest.mark.parametrize("command", ["run", "emulator"])
@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, command: str, port: int) -> None:
    refused = qc(tmp_path / "shop", command, "--port", port)
    assert refused.returncode == 2
    assert "--port" in refused.stderr
    assert not (tmp_path / "shop").exists()


BRACKETS = "no [/red] and [bold]such[/bold] [key=1]"


async def test_what_stands_in_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    """As markup it would be left out, or end the command: both where somebody looks for what is wrong."""
    await stock_up(tmp_path)
    letter = ("evt_1:history", "history", "OrderPlaced", "ord_1", BRACKETS, 5, 1_767_225_600_000_000, b"{}")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute("INSERT INTO dead_letter VALUES (?, ?, ?, ?, ?, ?, ?, ?)", letter)
    listed = await qc_async(tmp_path, "dead-letters", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert BRACKETS in listed.stdout
    doctor = await qc_async(tmp_path, "doctor", host=BRACKETS, jwks_url="http://[::1]:9/[/red]")
    assert doctor.stderr == ""
    assert BRACKETS in doctor.stdout
    assert "http://[::1]:9/[/red]: no keys" in doctor.stdout


def test_without_a_gate_there_is_none_to_rebuild(tmp_path: Path) -> None:
    told = qc(tmp_path / "shop", "rebuild", "gate")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == "no gate is configured (QC_GATE_URL): nothing has to be rebuilt\n"
    assert not (tmp_path / "shop").exists(), "where there was nothing to do, a shop was made"


@pytest.mark.parametrize("command", [["rebuild", "history"], ["dead-letters", "list"], ["dead-letters", "replay", "x"]])
def test_where_no_shop_is_none_is_made_and_called_well(tmp_path: Path, command: list[str]) -> None:
    """A mistyped folder: "0 orders", "no dead letters", and an empty shop beside the real one."""
    refused = qc(tmp_path / "mistyped", *command)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(
        r"qc: there is no shop: .*mistyped/shop.db does not exist; is --data-dir right\?\n", refused.stderr
    )
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize(
    ("command", "profile", "said"),
    [
        (["token", "--user", 7], "dev", "tokens are not given out in the profile dev"),
        (["token", "--user", 7], "prod", "tokens are not given out in the profile prod"),
        (["emulator", "--port", 0], "prod", "the emulator takes no real money"),
    ],
)
def test_what_a_profile_does_not_have_is_refused_for_that_reason(
    tmp_path: Path, command: list[object], profile: str, said: str
) -> None:
    """Somebody told of a secret first would make one, and be refused again."""
    refused = qc(tmp_path, *command, profile=profile)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"qc: {said}")
