"""A setting that is wrong stops the start with a sentence that says which and why, and tells no secret."""

import base64
import re
from pathlib import Path

import pytest
from msgspec import inspect

from quickcommerce.settings import DERIVED, LOCAL_SECRET, PROFILES, SECRETS, BadSetting, Settings, load

SECRET = "a-secret-that-must-not-be-told-0123456789"
LOCAL_IN_BASE64 = "base64:" + base64.b64encode(LOCAL_SECRET.encode()).decode()
SHORT_IN_BASE64 = "base64:" + base64.b64encode(b"s" * 31).decode()
"""Longer than 32 characters as it is written."""
PROD = {
    "QC_PROFILE": "prod",
    "QC_JWT_SECRET": SECRET,
    "QC_PG_SECRET_KEY": SECRET,
    "QC_PG_URL": "https://pg.test",
    "QC_PG_CLIENT_KEY": "live_gck_of_a_shop",
    "QC_ALLOW_SQLITE": "1",
}


def refusal(environment: dict[str, str]) -> str:
    with pytest.raises(BadSetting) as refused:
        load(environment)
    return str(refused.value)


def test_with_no_settings_at_all_the_shop_runs_locally() -> None:
    found = load({})
    assert (found.profile, found.port, found.jwt_secret) == ("local", 8080, LOCAL_SECRET)
    assert found.database_url == "sqlite:///data/shop.db"
    assert found.payment_database_url == "sqlite:///data/payment.db"
    assert found.history_database_url == "sqlite:///data/history.db"


def test_the_environment_wins_over_the_profile_and_values_are_read_as_their_type() -> None:
    found = load(
        {
            "QC_PORT": "0",
            "QC_DATA_DIR": "/srv/shop/",
            "QC_LOG_FORMAT": "json",
            "QC_REFUND_WINDOW_S": "60",
            "QC_UNKNOWN_HOLD_S": "674",
            "QC_ANSWER_WITHIN_S": "0.5",
            "QC_ALLOW_SQLITE": "true",
            "QC_PAYMENT_DATABASE_URL": "sqlite:///elsewhere/pay.db",
            "HOME": "/home/somebody",
            "QUICKCOMMERCE_PORT": "1",
        }
    )
    assert (found.port, found.log_format, found.refund_window_s) == (0, "json", 60)
    assert (found.answer_within_s, found.allow_sqlite) == (0.5, True)
    assert found.database_url == "sqlite:////srv/shop/shop.db"
    assert found.payment_database_url == "sqlite:///elsewhere/pay.db"


@pytest.mark.parametrize("variable", ["QC_PROT", "QC_", "QC_MASKED", "QC_CAPTURE_LEASE_S", "QC_HISTORY_DATABASE_URL"])
def test_a_variable_that_is_no_setting_is_refused_by_its_name(variable: str) -> None:
    assert refusal({variable: "1"}).startswith(f"{variable} is not a setting")


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("qc_profile", "QC_PROFILE"),
        ("QC_profile", "QC_PROFILE"),
        ("Qc_Port", "QC_PORT"),
        ("QC_Jwt_SECRET", "QC_JWT_SECRET"),
        ("qc_unknown_hold_s", "QC_UNKNOWN_HOLD_S"),
    ],
)
def test_a_variable_in_another_case_is_neither_ignored_nor_taken_but_put_right(variable: str, right: str) -> None:
    """A shop that was told qc_profile=prod would open as a local one, with the secret that everybody knows."""
    assert refusal({variable: "prod"}) == f"{variable} is not a setting; write it {right}"
    assert refusal({"qc_prot": "1"}).startswith("qc_prot is not a setting; `qc doctor`")


WRONG_NUMBERS = ["inf", "-inf", "nan", "1e999", "9" * 30, "1" + "0" * 5000, str(2**63), "1e12", "-1"]


def numbers() -> dict[str, inspect.IntType | inspect.FloatType]:
    info = inspect.type_info(Settings)
    assert isinstance(info, inspect.StructType)
    return {each.name: each.type for each in info.fields if isinstance(each.type, inspect.IntType | inspect.FloatType)}


@pytest.mark.parametrize("name", numbers())
def test_a_number_that_no_shop_can_mean_is_refused_with_those_that_it_may_be(name: str) -> None:
    low, high = numbers()[name].ge, numbers()[name].le
    assert low is not None
    assert high is not None
    for value in WRONG_NUMBERS:
        text = refusal({f"QC_{name.upper()}": value})
        assert re.fullmatch(rf"QC_{name.upper()} is wrong: it must be a (whole )?number from {low} to {high}", text)
    assert load({"QC_UNKNOWN_HOLD_S": str(365 * 86_400), f"QC_{name.upper()}": str(high)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QC_PORT", "80x"),
        ("QC_PORT", "65536"),
        ("QC_PORT", "-1"),
        ("QC_LOG_LEVEL", "LOUD"),
        ("QC_LOG_FORMAT", ""),
        ("QC_ALLOW_SQLITE", "perhaps"),
        ("QC_ORDER_LIST_MAX", "0"),
        ("QC_ORDER_LIST_MAX", "1.5"),
        ("QC_ORDER_QUEUE_MAX", "many"),
        ("QC_PAYMENT_WINDOW_S", "-5"),
        ("QC_PG_CONFIRM_DEADLINE_S", "0"),
        ("QC_PG_CONFIRM_DEADLINE_S", "nan"),
        ("QC_DRAIN_S", ""),
        ("QC_PAYABLE_MIN_WON", "-1"),
        ("QC_IDEMPOTENCY_KEEP_S", "86399"),
        ("QC_DATA_DIR", ""),
        ("QC_HOST", ""),
    ],
)
def test_a_value_that_is_wrong_is_refused_with_its_name_and_the_reason(variable: str, value: str) -> None:
    text = refusal({variable: value})
    assert text.startswith(f"{variable} is wrong: it must be ")
    assert "Expected" not in text, "that is what a library says to a programmer"


def test_what_a_setting_may_be_is_said_in_plain_words() -> None:
    assert refusal({"QC_PORT": "80x"}) == "QC_PORT is wrong: it must be a whole number from 0 to 65535"
    assert refusal({"QC_DRAIN_S": ""}) == "QC_DRAIN_S is wrong: it must be a number from 0.001 to 600"
    assert refusal({"QC_ALLOW_SQLITE": "so"}) == "QC_ALLOW_SQLITE is wrong: it must be true or false"
    assert refusal({"QC_LOG_FORMAT": "xml"}) == "QC_LOG_FORMAT is wrong: it must be one of json, text"
    assert refusal({"QC_DATA_DIR": ""}) == "QC_DATA_DIR is wrong: it must be the path of a folder, such as data"


def test_doubt_about_a_payment_holds_its_goods_for_as_long_as_it_may_come() -> None:
    """A shorter hold would sell the goods of an order that can still be paid."""
    times = {"QC_PAYMENT_WINDOW_S": "30", "QC_PG_CONFIRM_DEADLINE_S": "4.5", "QC_PG_READ_DEADLINE_S": "1"}
    assert load(times | {"QC_UNKNOWN_HOLD_S": "40"}).unknown_hold_s == 40
    text = refusal(times | {"QC_UNKNOWN_HOLD_S": "39"})
    assert text == (
        "QC_UNKNOWN_HOLD_S is 39; it must be at least 40: QC_PAYMENT_WINDOW_S and the 9.5 s that a capture may take"
    )
    assert "at least 2592074: QC_PAYMENT_WINDOW_S" in refusal({"QC_PAYMENT_WINDOW_S": "2592000"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QC_PROFILE", "production"),
        ("QC_DATABASE_URL", "mysql://host/shop"),
        ("QC_PAYMENT_DATABASE_URL", "data/payment.db"),
        ("QC_PAYMENT_DATABASE_URL", "sqlite:///"),
        ("QC_SEARCH_URL", "elastic://elastic:9200"),
        ("QC_SEARCH_URL", "http://"),
        ("QC_SEARCH_URL", "http://elastic"),
        ("QC_SEARCH_URL", "https://elastic:99999999"),
        ("QC_SEARCH_INDEX", "QC_Orders"),
        ("QC_SEARCH_INDEX", "-orders"),
        ("QC_PG_URL", "ftp://pg"),
        ("QC_PG_URL", "http://"),
        ("QC_PG_URL", "http://["),
        ("QC_PG_URL", "https://pg:99999999"),
        ("QC_JWKS_URL", "keys.test"),
        ("QC_PUBLIC_URL", "javascript:x"),
        ("QC_PG_WEBHOOK_URL", "shop.test/webhooks"),
        ("QC_BUS_URL", "rabbit://host"),
        ("QC_BUS_URL", "kafka://broker"),
        ("QC_BUS_URL", "kafka://broker:9092,other"),
        ("QC_BUS_URL", "kafka://broker:9092/topic"),
        ("QC_PG_CLIENT_KEY", "live_gck of a shop"),
    ],
)
def test_a_part_that_is_not_installed_is_refused_by_its_setting(variable: str, value: str) -> None:
    text = refusal({variable: value})
    assert text.startswith(f"{variable} ")
    assert "HISTORY_DATABASE" not in text, "there is no such setting to look for"


def test_a_history_in_elasticsearch_has_no_database_and_its_password_is_not_shown() -> None:
    settings = load({"QC_SEARCH_URL": "https://shop:s@cret@elastic:9200/path"})
    assert settings.searches_elastic
    assert settings.history_database_url == ""
    assert settings.masked()["search_url"] == "https://shop:***@elastic:9200/path"
    plain = load({"QC_SEARCH_URL": "http://elastic:9200"})
    assert plain.masked()["search_url"] == "http://elastic:9200"
    assert not load({}).searches_elastic


def test_a_bus_is_this_process_or_brokers_with_their_ports() -> None:
    for url in ("memory:", "kafka://127.0.0.1:9092", "kafka://kafka-0.kafka:9092,kafka-1.kafka:9092"):
        assert load({"QC_BUS_URL": url}).bus_url == url
    assert refusal({"QC_BUS_PREFIX": "a shop/"}).startswith("QC_BUS_PREFIX is wrong: it must be small letters")


def test_a_port_is_shared_only_by_processes_that_share_what_they_sell() -> None:
    assert refusal({"QC_PORT_SHARED": "1"}).startswith("QC_PORT_SHARED is for processes that share their stores")
    servers = {
        "QC_DATABASE_URL": "mariadb://u:p@h:1/a", "QC_PAYMENT_DATABASE_URL": "mariadb://u:p@h:1/b",
        "QC_BUS_URL": "kafka://h:1", "QC_SEARCH_URL": "http://h:1", "QC_PG_URL": "http://h:1",
    }  # fmt: skip
    assert load(servers | {"QC_PORT_SHARED": "1"}).port_shared


def test_two_stores_in_one_file_are_refused() -> None:
    """Each would read the other's events."""
    same = {"QC_DATABASE_URL": "sqlite:///data/shop.db", "QC_PAYMENT_DATABASE_URL": "sqlite:///data/../data/shop.db"}
    assert "must be different files" in refusal(same)
    assert "must be different files" in refusal({"QC_SEARCH_URL": "sqlite:///data/payment.db"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"QC_JWT_SECRET": LOCAL_SECRET}, "QC_JWT_SECRET is the public default"),
        ({"QC_JWT_SECRET": LOCAL_IN_BASE64}, "QC_JWT_SECRET is the public default"),
        ({"QC_JWT_SECRET": "s" * 31}, "QC_JWT_SECRET is too short; prod needs at least 32 bytes"),
        ({"QC_JWT_SECRET": SHORT_IN_BASE64}, "QC_JWT_SECRET is too short"),
        ({"QC_PG_SECRET_KEY": load({}).pg_secret_key}, "QC_PG_SECRET_KEY is the public default"),
        ({"QC_PG_URL": "http://pg.test"}, "QC_PG_URL must be an https address"),
        ({"QC_JWT_SECRET": ""}, "QC_JWT_SECRET or QC_JWKS_URL must be set"),
        ({"QC_PG_SECRET_KEY": ""}, "QC_PG_SECRET_KEY must be set"),
        ({"QC_PG_URL": "emulator:"}, "QC_PG_URL is the emulator"),
        ({"QC_PG_CLIENT_KEY": ""}, "QC_PG_CLIENT_KEY must be set in prod"),
        ({"QC_PG_SECRET_KEY": "test_gsk_of_a_shop"}, "must both be test keys, or both live ones"),
        ({"QC_PG_SECRET_KEY": "live_sk_of_a_shop"}, "must both be of the widget (gck, gsk), or both of the API"),
        ({"QC_ALLOW_SQLITE": "0"}, "QC_DATABASE_URL is SQLite"),
    ],
)
def test_production_refuses_what_is_fit_for_trying_out_only(change: dict[str, str], reason: str) -> None:
    assert load(PROD).profile == "prod"
    assert reason in refusal(PROD | change)


@pytest.mark.parametrize(
    "key", ["\ufefflive_gsk_of_a_shop", "live_gsk_of_a_shop\n", "live_gsk_of_a_shop:", "live_gsk a"]
)
def test_a_key_with_what_a_file_or_an_editor_added_is_refused_and_not_shown(key: str) -> None:
    """The PG would refuse every capture, and say only that it does not know the key."""
    told = refusal(PROD | {"QC_PG_SECRET_KEY": key})
    assert told.startswith("QC_PG_SECRET_KEY is wrong: it must be the key as the PG shows it")
    assert "gsk" not in told


def test_production_takes_a_secret_of_32_bytes_and_keys_in_the_place_of_one() -> None:
    assert load(PROD | {"QC_JWT_SECRET": "s" * 32})
    assert load(PROD | {"QC_JWT_SECRET": "비" * 11}), "bytes are counted, not characters"
    assert load(PROD | {"QC_JWT_SECRET": "", "QC_JWKS_URL": "https://keys.test"})


@pytest.mark.parametrize("secret", ["base64:", "base64:abcde", "base64:not base64"])
def test_a_secret_that_cannot_be_read_stops_the_start(secret: str) -> None:
    assert "QC_JWT_SECRET" in refusal({"QC_JWT_SECRET": secret})


@pytest.mark.parametrize("profile", ["prod", "dev"])
def test_a_profile_that_others_reach_brings_no_secret_of_its_own(profile: str) -> None:
    assert "must be set" in refusal({"QC_PROFILE": profile})


def test_every_profile_loads_once_its_secrets_are_given() -> None:
    for profile in PROFILES:
        assert load(PROD | {"QC_PROFILE": profile}).profile == profile


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    shown = load(PROD).masked()
    assert SECRET not in str(shown)
    assert {name for name, value in shown.items() if value == "***"} == SECRETS == {"jwt_secret", "pg_secret_key"}
    assert set(shown) == set(Settings.__struct_fields__) - DERIVED
    assert shown["pg_url"] == "https://pg.test"
    # What is not set is shown as not set.
    assert load({"QC_JWKS_URL": "https://keys.test"} | PROD | {"QC_JWT_SECRET": ""}).masked()["jwt_secret"] == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"QC_PORT": "x"},
        {"QC_JWT_SECRET": f"base64:{SECRET}!"},
        {"QC_PROT": "1"},
        {"QC_PROFILE": "x"},
        {"QC_PG_URL": "emulator:"},
        {"QC_ALLOW_SQLITE": "0"},
        {"QC_BUS_URL": "x"},
        {"QC_DATABASE_URL": "x"},
        {"QC_LOG_LEVEL": "x"},
    ],
)
def test_no_refusal_tells_a_secret(broken: dict[str, str]) -> None:
    with pytest.raises(BadSetting) as refused:
        load(PROD | broken)
    seen: BaseException | None = refused.value
    while seen:
        assert SECRET not in str(seen)
        assert SECRET not in repr(seen)
        seen = seen.__cause__ or seen.__context__


def test_a_lease_outlives_the_capture_that_it_protects() -> None:
    found = load({"QC_PG_CONFIRM_DEADLINE_S": "30", "QC_PG_READ_DEADLINE_S": "7"})
    assert found.capture_lease_s > 30 + 7


def test_a_setting_that_is_a_number_of_something_says_of_what() -> None:
    units = re.compile(r"_(s|won|max|bytes|partitions)$|^port$")
    for name in Settings.__struct_fields__:
        if isinstance(getattr(load({}), name), int | float) and name not in ("allow_sqlite", "port_shared"):
            assert units.search(name), name


def test_the_profiles_hold_no_name_that_is_not_a_setting() -> None:
    import quickcommerce

    folder = Path(quickcommerce.__file__).parent / "profiles"
    assert {path.stem for path in folder.glob("*.toml")} == set(PROFILES)


@pytest.mark.parametrize(
    "url",
    ["redis://cache", "redis://:secret@10.0.0.7:6380/2", "redis+sentinel://a:26379,b:26379,c:26379/shop",
     "redis+sentinel://:secret@a:26379/shop/3"],
)  # fmt: skip
def test_a_gate_is_a_redis_or_the_sentinels_that_know_it(url: str) -> None:
    assert load({"QC_GATE_URL": url}).gate_url == url


@pytest.mark.parametrize(
    "url",
    ["cache", "redis://", "redis://a:x", "redis://a,b", "redis://a/shop", "rediss://a", "redis+sentinel://a/shop",
     "redis+sentinel://a:26379", "redis+sentinel://a:26379/shop/x", "redis+sentinel://a:26379/shop/0/1", "redis://[a"],
)  # fmt: skip
def test_a_gate_that_cannot_be_reached_is_refused_at_the_start(url: str) -> None:
    assert refusal({"QC_GATE_URL": url}).startswith("QC_GATE_URL must be empty, redis://")
