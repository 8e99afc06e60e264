"""Every setting, in one frozen struct: a profile's TOML file, then the environment (`QC_` and the name in capitals).

Names carry their unit. An unknown or wrong `QC_` variable, in whatever case, stops the start with a sentence that says
which and why; secrets never appear in that sentence, nor in what `qc doctor` prints.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from quickcommerce.kit import limits
from quickcommerce.kit.addresses import is_elastic, is_http, is_redis, server_of, without_password
from quickcommerce.kit.auth import secret_bytes

Profile = Literal["local", "test", "dev", "prod"]
PROFILES: tuple[Profile, ...] = ("local", "test", "dev", "prod")
SECRETS = frozenset({"jwt_secret", "pg_secret_key"})
MARIADB_FORM = "mariadb://USER:PASSWORD@HOST:PORT/SCHEMA"
OTHER_FORMS = {
    "QC_DATABASE_URL": f" or {MARIADB_FORM}",
    "QC_PAYMENT_DATABASE_URL": f" or {MARIADB_FORM}",
    "QC_SEARCH_URL": " or an http(s) address",
}
"""What the place of a store may be beside a SQLite file."""
DERIVED = frozenset({"history_database_url"})
"""Follow from other settings, and are not set."""
EMULATOR = "emulator:"
MEMORY = "memory:"
_KAFKA = re.compile(r"kafka://[\w.-]+:\d{1,5}(,[\w.-]+:\d{1,5})*")
LOCAL_SECRET = "quickcommerce-local-secret-not-for-production"  # noqa: S105 - public on purpose; prod refuses it

LOCAL_PG_KEY = "test_gsk_local"
JWT_SECRET_MIN_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least the 256 bits of its hash."""

DAY_S, YEAR_S = 86_400, 365 * 86_400
Deadline = Annotated[float, msgspec.Meta(ge=0.001, le=600)]
"""Seconds that somebody waits. Whatever takes ten minutes will not come."""
Window = Annotated[int, msgspec.Meta(ge=1, le=YEAR_S)]
"""Seconds in which something may be done."""
Keep = Annotated[int, msgspec.Meta(ge=DAY_S, le=10 * YEAR_S)]
"""Seconds for which rows are remembered: clients are promised that a key is known for a day."""
QueueMax = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
"""Requests that may wait."""
OrderList = Annotated[int, msgspec.Meta(ge=1, le=512)]
"""Orders in one transaction: SQLite takes 32,766 values in one statement, and an order has up to 50 lines."""
EventList = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class BadSetting(Exception):
    """A setting that is wrong, unknown or missing; the text says which and what to do."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. Each is `QC_` and its name in capitals in the environment."""

    profile: Profile
    host: Annotated[str, msgspec.Meta(min_length=1, description="an address to listen on")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    port_shared: bool = False
    data_dir: Annotated[str, msgspec.Meta(min_length=1, description="the path of a folder, such as data")] = "data"
    database_url: str = ""
    payment_database_url: str = ""
    history_database_url: str = ""
    gate_url: str = ""
    bus_url: str = MEMORY
    bus_prefix: Annotated[
        str, msgspec.Meta(pattern=r"^[a-z0-9._-]{0,60}$", description="small letters, digits, dots, dashes; at most 60")
    ] = "qc."
    bus_partitions: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    search_url: str = ""
    search_index: Annotated[
        str,
        msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,99}$", description="small letters, digits and hyphens"),
    ] = "qc-orders"
    pg_url: str = EMULATOR
    pg_secret_key: Annotated[
        str, msgspec.Meta(pattern=r"\A[!-9;-~]{0,200}\Z", description="the key as the PG shows it: no space, no colon")
    ] = ""
    pg_client_key: Annotated[
        str, msgspec.Meta(pattern="^[!-~]{0,200}$", description="the key as the PG shows it, or empty")
    ] = ""
    pg_webhook_url: str = ""
    jwt_secret: str = ""
    jwks_url: str = ""
    public_url: str = ""
    allow_sqlite: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "json"
    payment_window_s: Annotated[int, msgspec.Meta(ge=1, le=30 * DAY_S)] = 600
    unknown_hold_s: Window = DAY_S
    refund_window_s: Window = 7 * DAY_S
    late_money: Literal["hold_again", "refund"] = "hold_again"
    virtual_account_max_s: Annotated[int, msgspec.Meta(ge=0, le=90 * DAY_S)] = 0
    payable_min_won: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 100
    pg_confirm_deadline_s: Deadline = 60
    pg_read_deadline_s: Deadline = 10
    pg_calls_per_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 300.0
    pg_list_deadline_s: Deadline = 60
    answer_within_s: Deadline = 3
    idempotency_keep_s: Keep = 2 * DAY_S
    inbox_keep_s: Keep = 14 * DAY_S
    order_list_max: OrderList = 256
    order_queue_max: QueueMax = 4096
    request_queue_max: QueueMax = 1024
    event_list_max: EventList = 256
    db_runners_max: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    db_writers_max: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    db_readers_max: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    db_wait_s: Deadline = 1
    db_statement_s: Deadline = 5
    db_scan_s: Deadline = 30
    user_burst_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 300
    user_rate_per_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 30.0
    drain_s: Deadline = 4
    invariants_every_s: Annotated[int, msgspec.Meta(ge=1, le=DAY_S)] = 60
    reconcile_every_s: Annotated[int, msgspec.Meta(ge=0, le=DAY_S)] = 300

    @property
    def capture_lease_s(self) -> float:
        """How long a capture in progress keeps others away: its call and the reading after it, behind their turns of
        one and three seconds (`payment/pace.py`).
        """
        return self.pg_confirm_deadline_s + self.pg_read_deadline_s + 4

    @property
    def refund_claim_s(self) -> float:
        """How long the first call under an Idempotency-Key keeps its refund: its wait, and time to write.

        Bounded, since after a crash the key must be free again within 90 s.
        """
        return min(self.answer_within_s + 7, 80)

    @property
    def reconcile_lease_s(self) -> float:
        """How long one step of reconciliation keeps others away: a page of the PG's list or some readings."""
        return self.pg_list_deadline_s + 2 * self.pg_read_deadline_s + 30

    @property
    def webhook_lease_s(self) -> float:
        """How long looking into a webhook keeps others away: a reading, a second one, and time to write."""
        return 2 * self.pg_read_deadline_s + 30

    @property
    def embedded(self) -> bool:
        """Whether anything is kept in files of the data folder, which one process alone may have."""
        kept = (self.database_url, self.payment_database_url, self.history_database_url)
        return self.pg_url == EMULATOR or any(url.startswith("sqlite:") for url in kept)

    @property
    def searches_elastic(self) -> bool:
        """Whether the history is kept in Elasticsearch, and not in a database of its own."""
        return self.search_url.startswith(("http:", "https:"))

    def masked(self) -> dict[str, object]:
        """Every setting as it is in effect, secrets masked."""
        plain: dict[str, object] = msgspec.structs.asdict(self)
        shown = {name: value for name, value in plain.items() if name not in DERIVED}
        for name in ("database_url", "payment_database_url", "gate_url", "search_url"):
            shown[name] = without_password(getattr(self, name))
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
        # QC_TEST_ tells the tests where their servers are, and is no setting of the shop that they start.
        if variable.upper().startswith("QC_") and not variable.startswith("QC_TEST_"):
            values[_name(variable)] = text
    values["profile"] = profile
    settings = _convert(values)
    data = settings.data_dir.rstrip("/")
    settings = msgspec.structs.replace(
        settings,
        database_url=settings.database_url or f"sqlite:///{data}/shop.db",
        payment_database_url=settings.payment_database_url or f"sqlite:///{data}/payment.db",
        history_database_url="" if settings.searches_elastic else settings.search_url or f"sqlite:///{data}/history.db",
    )
    _check(settings)
    return settings


def _name(variable: str) -> str:
    right = variable.upper()
    name = right.removeprefix("QC_").lower()
    if name not in Settings.__struct_fields__ or name in DERIVED:
        raise BadSetting(f"{variable} is not a setting; `qc doctor` lists those that exist")
    if variable != right:
        raise BadSetting(f"{variable} is not a setting; write it {right}")
    return name


def _convert(values: dict[str, object]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        name, wanted = limits.broken(error, Settings)
        raise BadSetting(f"QC_{name.upper()} is wrong: it must be {wanted}") from error


def _check(settings: Settings) -> None:
    """Refuse what cannot work, and in production what must not."""
    _check_secrets(settings)
    _check_parts(settings)
    # While its order may be paid or a capture be under way, doubt about a payment is no reason to let the goods go.
    needed_s = math.ceil(settings.payment_window_s + settings.capture_lease_s)
    if settings.unknown_hold_s < needed_s:
        raise BadSetting(
            f"QC_UNKNOWN_HOLD_S is {settings.unknown_hold_s}; it must be at least {needed_s}:"
            f" QC_PAYMENT_WINDOW_S and the {settings.capture_lease_s:g} s that a capture may take"
        )
    if settings.profile == "prod":
        _check_prod(settings)
    _check_keys(settings.pg_client_key, settings.pg_secret_key)


def _check_keys(client: str, secret: str) -> None:
    """Toss takes both halves of a pair only. Keys of the emulator may look as they like."""
    both = "QC_PG_CLIENT_KEY and QC_PG_SECRET_KEY must both be"
    halves = [tuple(key.split("_")[:2]) for key in (client, secret)]
    if {half[0] for half in halves} == {"test", "live"}:
        raise BadSetting(f"{both} test keys, or both live ones")
    if {half[1:] for half in halves} in ({("gck",), ("sk",)}, {("ck",), ("gsk",)}):
        raise BadSetting(f"{both} of the widget (gck, gsk), or both of the API (ck, sk)")


def _check_secrets(settings: Settings) -> None:
    if not settings.jwt_secret and not settings.jwks_url:
        raise BadSetting("QC_JWT_SECRET or QC_JWKS_URL must be set in this profile")
    try:
        secret_bytes(settings.jwt_secret)
    except ValueError as error:
        raise BadSetting("QC_JWT_SECRET is not Base64 after base64:") from error
    if not settings.pg_secret_key:
        raise BadSetting("QC_PG_SECRET_KEY must be set in this profile")


def _check_parts(settings: Settings) -> None:
    if settings.pg_url != EMULATOR and not is_http(settings.pg_url):
        raise BadSetting("QC_PG_URL must be emulator: or an http(s) address")
    for name in ("jwks_url", "public_url", "pg_webhook_url"):
        url = getattr(settings, name)
        if url and not is_http(url):
            raise BadSetting(f"QC_{name.upper()} must be an http(s) address")
    _check_databases(settings)
    if settings.port_shared and settings.embedded:
        raise BadSetting("QC_PORT_SHARED is for processes that share their stores and their PG; here one has its own")
    if settings.bus_url != MEMORY and not _KAFKA.fullmatch(settings.bus_url):
        raise BadSetting("QC_BUS_URL must be memory: or kafka://HOST:PORT[,HOST:PORT]")
    if settings.gate_url and not is_redis(settings.gate_url):
        raise BadSetting(
            "QC_GATE_URL must be empty, redis://[:PASSWORD@]HOST[:PORT][/DB], or"
            " redis+sentinel://[:PASSWORD@]HOST:PORT[,HOST:PORT...]/NAME[/DB]"
        )


def _check_databases(settings: Settings) -> None:
    """Refuse databases that cannot work, or not together. What is told holds no URL: there may be a password in it."""
    stores = {"QC_DATABASE_URL": settings.database_url, "QC_PAYMENT_DATABASE_URL": settings.payment_database_url}
    if not settings.searches_elastic:
        stores["QC_SEARCH_URL"] = settings.history_database_url
    elif not is_elastic(settings.search_url):
        raise BadSetting("QC_SEARCH_URL must be sqlite:///PATH or http(s)://[USER:PASSWORD@]HOST:PORT")
    servers = {variable: url for variable, url in stores.items() if url.startswith("mariadb:")}
    for variable, url in stores.items():
        if variable not in servers and (not url.startswith("sqlite:///") or url == "sqlite:///"):
            raise BadSetting(f"{variable} must be sqlite:///PATH{OTHER_FORMS[variable]}")
    paths = [Path(url.removeprefix("sqlite:///")).resolve() for name, url in stores.items() if name not in servers]
    if len(set(paths)) < len(paths):
        raise BadSetting(f"{', '.join(stores)} must be different files")
    if servers:
        _check_servers(settings, servers)


def _check_servers(settings: Settings, servers: Mapping[str, str]) -> None:
    both = "QC_DATABASE_URL and QC_PAYMENT_DATABASE_URL"
    if len(servers) != 2 or "QC_SEARCH_URL" in servers:
        raise BadSetting(f"{both} must both be mariadb://, and QC_SEARCH_URL not")
    try:
        schemas = {(server.host, server.port, server.schema) for server in map(server_of, servers.values())}
    except ValueError:
        raise BadSetting(f"{both} must be {MARIADB_FORM}") from None
    if len(schemas) < len(servers):
        raise BadSetting(f"{both} must name different schemas: they share no transaction")
    if settings.bus_url == MEMORY:
        raise BadSetting(
            "QC_BUS_URL is memory:, which reads the outbox as a log and would pass over what commits late; where many"
            " write at once, as on MariaDB, use kafka://"
        )


def _check_prod(settings: Settings) -> None:
    """Refuse what is fit for trying out, and unfit for money."""
    if secret_bytes(settings.jwt_secret) == LOCAL_SECRET.encode():
        raise BadSetting("QC_JWT_SECRET is the public default; prod needs a secret of its own")
    if settings.jwt_secret and len(secret_bytes(settings.jwt_secret)) < JWT_SECRET_MIN_BYTES:
        raise BadSetting(f"QC_JWT_SECRET is too short; prod needs at least {JWT_SECRET_MIN_BYTES} bytes, for HS256")
    if settings.pg_secret_key == LOCAL_PG_KEY:
        raise BadSetting("QC_PG_SECRET_KEY is the public default; prod needs a key of its own")
    if settings.pg_url == EMULATOR:
        raise BadSetting("QC_PG_URL is the emulator; prod needs the real PG")
    if not settings.pg_url.startswith("https://"):
        raise BadSetting("QC_PG_URL must be an https address in prod")
    if not settings.pg_client_key:
        raise BadSetting("QC_PG_CLIENT_KEY must be set in prod: the pay page shows the PG's widget with it")
    if settings.database_url.startswith("sqlite:") and not settings.allow_sqlite:
        raise BadSetting("QC_DATABASE_URL is SQLite; prod needs QC_ALLOW_SQLITE=1 to accept one machine as enough")
