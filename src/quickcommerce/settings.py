"""Every setting, in one frozen struct: a profile's TOML file, then the environment (`QC_` and the name in capitals).

Names carry their unit. An unknown or wrong `QC_` variable stops the start with a sentence that says which and why;
secrets never appear in that sentence, nor in what `qc doctor` prints.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal

import msgspec

from quickcommerce.kit.auth import secret_bytes

Profile = Literal["local", "test", "dev", "prod"]
PROFILES: tuple[Profile, ...] = ("local", "test", "dev", "prod")
SECRETS = frozenset({"jwt_secret", "pg_secret_key"})
DERIVED = frozenset({"history_database_url"})
"""Follow from other settings, and are not set."""
EMULATOR = "emulator:"
LOCAL_SECRET = "quickcommerce-local-secret-not-for-production"  # noqa: S105 - public on purpose; prod refuses it

LOCAL_PG_KEY = "test_gsk_local"
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class BadSetting(Exception):
    """A setting that is wrong, unknown or missing; the text says which and what to do."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. Each is `QC_` and its name in capitals in the environment."""

    profile: Profile
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    data_dir: str = "data"
    database_url: str = ""
    payment_database_url: str = ""
    history_database_url: str = ""
    gate_url: str = ""
    bus_url: str = "memory:"
    search_url: str = ""
    pg_url: str = EMULATOR
    pg_secret_key: str = ""
    pg_client_key: str = ""
    jwt_secret: str = ""
    jwks_url: str = ""
    public_url: str = ""
    allow_sqlite: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "json"
    payment_window_s: Positive = 600
    unknown_hold_s: Positive = 86_400
    refund_window_s: Positive = 7 * 86_400
    payable_min_won: Annotated[int, msgspec.Meta(ge=0)] = 100
    pg_confirm_deadline_s: Seconds = 60
    pg_read_deadline_s: Seconds = 10
    answer_within_s: Seconds = 3
    idempotency_keep_s: Positive = 2 * 86_400
    inbox_keep_s: Positive = 14 * 86_400
    order_list_max: Positive = 256
    order_queue_max: Positive = 4096
    event_list_max: Positive = 256
    drain_s: Seconds = 4

    @property
    def capture_lease_s(self) -> float:
        """How long a capture in progress keeps others away: its call, the reading after it, and time to write."""
        return self.pg_confirm_deadline_s + self.pg_read_deadline_s + 2

    def masked(self) -> dict[str, object]:
        """Every setting as it is in effect, secrets masked."""
        plain: dict[str, object] = msgspec.structs.asdict(self)
        shown = {name: value for name, value in plain.items() if name not in DERIVED}
        return {name: "***" if name in SECRETS and value else value for name, value in shown.items()}


def load(environment: Mapping[str, str]) -> Settings:
    """The settings in effect. Raises BadSetting."""
    profile = environment.get("QC_PROFILE", "local")
    if profile not in PROFILES:
        raise BadSetting(f"QC_PROFILE is {profile!r}; it must be one of {', '.join(PROFILES)}")
    values: dict[str, object] = tomllib.loads(
        files("quickcommerce").joinpath("profiles", f"{profile}.toml").read_text()
    )
    for variable, text in environment.items():
        if variable.startswith("QC_"):
            values[_name(variable)] = text
    values["profile"] = profile
    settings = _convert(values)
    data = settings.data_dir.rstrip("/")
    settings = msgspec.structs.replace(
        settings,
        database_url=settings.database_url or f"sqlite:///{data}/shop.db",
        payment_database_url=settings.payment_database_url or f"sqlite:///{data}/payment.db",
        history_database_url=settings.search_url or f"sqlite:///{data}/history.db",
    )
    _check(settings)
    return settings


def _name(variable: str) -> str:
    name = variable.removeprefix("QC_").lower()
    if name not in Settings.__struct_fields__ or name in DERIVED:
        raise BadSetting(f"{variable} is not a setting; `qc doctor` lists those that exist")
    return name


def _convert(values: dict[str, object]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise BadSetting(f"QC_{name.upper()} is wrong: {reason}") from error


def _check(settings: Settings) -> None:
    """Refuse what cannot work, and in production what must not."""
    if not settings.jwt_secret and not settings.jwks_url:
        raise BadSetting("QC_JWT_SECRET or QC_JWKS_URL must be set in this profile")
    try:
        secret_bytes(settings.jwt_secret)
    except ValueError as error:
        raise BadSetting("QC_JWT_SECRET is not Base64 after base64:") from error
    if not settings.pg_secret_key:
        raise BadSetting("QC_PG_SECRET_KEY must be set in this profile")
    if settings.pg_url != EMULATOR and not settings.pg_url.startswith(("http://", "https://")):
        raise BadSetting("QC_PG_URL must be emulator: or an http(s) address")
    for name in ("database_url", "payment_database_url", "history_database_url"):
        if not getattr(settings, name).startswith("sqlite:///"):
            raise BadSetting(f"QC_{name.upper()} must be sqlite:///PATH")
    if settings.bus_url != "memory:":
        raise BadSetting("QC_BUS_URL must be memory:")
    if settings.gate_url:
        raise BadSetting("QC_GATE_URL must be empty: the embedded database needs no gate")
    if settings.profile == "prod":
        _check_prod(settings)


def _check_prod(settings: Settings) -> None:
    """Refuse what is fit for trying out, and unfit for money."""
    if secret_bytes(settings.jwt_secret) == LOCAL_SECRET.encode():
        raise BadSetting("QC_JWT_SECRET is the public default; prod needs a secret of its own")
    if settings.pg_secret_key == LOCAL_PG_KEY:
        raise BadSetting("QC_PG_SECRET_KEY is the public default; prod needs a key of its own")
    if settings.pg_url == EMULATOR:
        raise BadSetting("QC_PG_URL is the emulator; prod needs the real PG")
    if not settings.pg_url.startswith("https://"):
        raise BadSetting("QC_PG_URL must be an https address in prod")
    if settings.database_url.startswith("sqlite:") and not settings.allow_sqlite:
        raise BadSetting("QC_DATABASE_URL is SQLite; prod needs QC_ALLOW_SQLITE=1 to accept one machine as enough")
