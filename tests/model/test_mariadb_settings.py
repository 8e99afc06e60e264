"""Settings of MariaDB: what cannot work is refused in a sentence, and no sentence tells a password."""

import random
import sys
from typing import Any

import pytest

from quickcommerce.kit import db
from quickcommerce.kit.addresses import server_of
from quickcommerce.kit.problem import Unavailable
from quickcommerce.settings import BadSetting, Settings, load

PASSWORD = "s3cret:p@ss"
A = f"mariadb://shop:{PASSWORD}@db.example:3307/shop"
B = f"mariadb://shop:{PASSWORD}@db.example:3307/payment"


def refusal(**settings: str) -> str:
    with pytest.raises(BadSetting) as refused:
        load({f"QC_{name.upper()}": value for name, value in settings.items()})
    seen: BaseException | None = refused.value
    while seen:
        assert "s3cret" not in f"{seen} {seen!r}"
        seen = seen.__cause__ or seen.__context__
    return str(refused.value)


def test_a_shop_whose_payments_are_elsewhere_or_in_its_own_schema_does_not_start() -> None:
    assert "must both be mariadb://" in refusal(database_url=A)
    assert "must both be mariadb://" in refusal(payment_database_url=B)
    assert "must name different schemas" in refusal(database_url=A, payment_database_url=A)
    other_user = A.replace("shop:", "other:", 1)
    assert "must name different schemas" in refusal(database_url=A, payment_database_url=other_user)
    # The port that is not written is the usual one.
    usual = "mariadb://shop@db.example/shop"
    assert "must name different schemas" in refusal(
        database_url=usual, payment_database_url=usual.replace("example/", "example:3306/")
    )


WRONG = """
mariadb://
mariadb://host/shop
mariadb://u@/shop
mariadb://u@h
mariadb://u@h/a/b
mariadb://u@h:0/shop
mariadb://u@h/shop?ssl=true
mariadb://u@h/shop#a
mariadb://u:s3cret@h:x/shop
mariadb://u:s3cret℀@h/shop
"""


@pytest.mark.parametrize("url", WRONG.split())
def test_an_address_that_is_none_is_refused_with_the_form_of_one(url: str) -> None:
    assert "mariadb://USER:PASSWORD@HOST:PORT/SCHEMA" in refusal(database_url=url, payment_database_url=B)


def test_an_outbox_that_many_write_is_not_read_as_a_log() -> None:
    assert "QC_BUS_URL is memory:" in refusal(database_url=A, payment_database_url=B)


def test_what_is_shown_of_the_settings_holds_no_password() -> None:
    plain: dict[str, Any] = {"database_url": A, "payment_database_url": B}
    shown = Settings(profile="local", **plain).masked()
    assert shown["database_url"] == "mariadb://shop:***@db.example:3307/shop"
    assert shown["payment_database_url"] == "mariadb://shop:***@db.example:3307/payment"
    assert Settings(profile="local", database_url="sqlite:///data/shop.db").masked()["database_url"] == (
        "sqlite:///data/shop.db"
    )


def test_a_user_and_a_password_may_hold_any_character() -> None:
    server = server_of("mariadb://o%40ps:p%2Fw%25%3A@db.example/shop")
    assert (server.user, server.password, server.port) == ("o@ps", "p/w%:", 3306)
    assert "p/w%:" not in repr(server)


def test_an_install_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncmy", None)
    monkeypatch.delitem(sys.modules, "quickcommerce.kit.mariadb", raising=False)
    with pytest.raises(Unavailable, match=r"asyncmy is not installed.* quickcommerce\[mariadb\]"):
        db.connect(A, rng=random.Random(1))


def test_where_the_tests_find_their_servers_is_no_setting_and_stops_no_shop() -> None:
    assert load({"QC_TEST_MARIADB_URL": "mariadb://root@127.0.0.1:3306"}) == load({})
