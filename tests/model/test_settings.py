"""A setting that is wrong stops the start with a sentence that says which and why, and tells no secret."""

import base64
import re
from pathlib import Path

import pytest

from quickcommerce.settings import DERIVED, LOCAL_SECRET, PROFILES, SECRETS, BadSetting, Settings, load

SECRET = "a-secret-that-must-not-be-told-0123456789"
LOCAL_IN_BASE64 = "base64:" + base64.b64encode(LOCAL_SECRET.encode()).decode()
PROD = {
    "QC_PROFILE": "prod",
    "QC_JWT_SECRET": SECRET,
    "QC_PG_SECRET_KEY": SECRET,
    "QC_PG_URL": "https://pg.test",
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
    ],
)
def test_a_value_that_is_wrong_is_refused_with_its_name_and_the_reason(variable: str, value: str) -> None:
    text = refusal({variable: value})
    assert text.startswith(f"{variable} is wrong: ")
    assert text.removeprefix(f"{variable} is wrong: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QC_PROFILE", "production"),
        ("QC_DATABASE_URL", "mysql://host/shop"),
        ("QC_PAYMENT_DATABASE_URL", "data/payment.db"),
        ("QC_PG_URL", "ftp://pg"),
        ("QC_BUS_URL", "rabbit://host"),
    ],
)
def test_a_part_that_is_not_installed_is_refused_by_its_setting(variable: str, value: str) -> None:
    assert variable in refusal({variable: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"QC_JWT_SECRET": LOCAL_SECRET}, "QC_JWT_SECRET is the public default"),
        ({"QC_JWT_SECRET": LOCAL_IN_BASE64}, "QC_JWT_SECRET is the public default"),
        ({"QC_PG_SECRET_KEY": load({}).pg_secret_key}, "QC_PG_SECRET_KEY is the public default"),
        ({"QC_PG_URL": "http://pg.test"}, "QC_PG_URL must be an https address"),
        ({"QC_JWT_SECRET": ""}, "QC_JWT_SECRET or QC_JWKS_URL must be set"),
        ({"QC_PG_SECRET_KEY": ""}, "QC_PG_SECRET_KEY must be set"),
        ({"QC_PG_URL": "emulator:"}, "QC_PG_URL is the emulator"),
        ({"QC_ALLOW_SQLITE": "0"}, "QC_DATABASE_URL is SQLite"),
    ],
)
def test_production_refuses_what_is_fit_for_trying_out_only(change: dict[str, str], reason: str) -> None:
    assert load(PROD).profile == "prod"
    assert reason in refusal(PROD | change)


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
    units = re.compile(r"_(s|won|max|bytes)$|^port$")
    for name in Settings.__struct_fields__:
        if isinstance(getattr(load({}), name), int | float) and name != "allow_sqlite":
            assert units.search(name), name


def test_the_profiles_hold_no_name_that_is_not_a_setting() -> None:
    import quickcommerce

    folder = Path(quickcommerce.__file__).parent / "profiles"
    assert {path.stem for path in folder.glob("*.toml")} == set(PROFILES)
