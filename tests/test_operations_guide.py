"""The guide for operations is true of the code: its metrics, loops, settings and commands are there."""

import re
from importlib import import_module
from pathlib import Path

import msgspec
import prometheus_client

import quickcommerce.kit.pool  # noqa: F401 - its metrics are there where a pool is
from quickcommerce.app import build
from quickcommerce.settings import DERIVED, Settings, load

ROOT = Path(__file__).parent.parent
ADAPTERS = ("quickcommerce.kit.kafka_reader", "quickcommerce.stock.gate")
"""Loaded only when a setting asks for them."""
GUIDE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def metrics() -> dict[str, set[str]]:
    """Every metric of ours by its name in the metrics page, with its labels."""
    for adapter in ADAPTERS:
        import_module(adapter)
    found: dict[str, set[str]] = {}
    for collector in set(prometheus_client.REGISTRY._names_to_collectors.values()):
        name = str(getattr(collector, "_name", ""))
        if name.startswith("qc_"):
            counter = isinstance(collector, prometheus_client.Counter)
            found[name + "_total" * counter] = set(getattr(collector, "_labelnames", ()))
    return found


def test_the_table_names_every_metric_with_its_labels_and_no_other() -> None:
    told = dict(re.findall(r"^\| `(qc_\w+)` \| ([\w, ]*) \|", GUIDE, re.MULTILINE))
    assert {name: set(labels.split(", ")) - {"none"} for name, labels in told.items()} == metrics()


def test_alerts_ask_for_metrics_that_exist() -> None:
    alerts = GUIDE.partition("## Alerts")[2].partition("\n## ")[0]
    asked = set(re.findall(r"qc_\w+", alerts))
    assert asked
    assert asked <= set(metrics())


def test_settings_routes_and_commands_that_it_names_exist(tmp_path: Path) -> None:
    for name in re.findall(r"QC_(\w+)", GUIDE):
        assert name.lower() in Settings.__struct_fields__, name
    app = build(load({"QC_PROFILE": "test", "QC_DATA_DIR": str(tmp_path)}))
    paths = {re.sub(r"\{\w+(:str)?\}", "{id}", route.path) for route in app.routes.routes}
    for path in re.findall(r"`(?:GET |POST )?(/[\w/{}-]+)`", GUIDE):
        assert path in paths, path
    source = (ROOT / "src" / "quickcommerce" / "cli.py").read_text("utf-8")
    for command in re.findall(r"`?qc ([a-z-]+)", GUIDE):
        assert re.search(rf'name="{command}"|def {command}\(', source), command


def test_what_a_timeline_says_of_late_money_is_what_the_guide_says() -> None:
    """An operator who gives back by hand what the shop gives back by itself pays twice."""
    part = GUIDE.partition("## Money that comes late")[2].partition("\n## ")[0]
    said = [each for each in re.findall(r"`([a-z ]+)`", part) if not each.startswith("qc")]
    assert {"paid late", "late payment", "late payment refunded"} <= set(said)
    orders = ROOT / "src" / "quickcommerce" / "order"
    source = "".join((orders / name).read_text("utf-8") for name in ("settlement.py", "model.py"))
    assert [each for each in said if f'"{each}"' not in source] == []
    assert "Nobody has to do anything" in part


def test_the_table_explains_every_setting_with_its_default_and_no_other() -> None:
    rows = re.findall(r"^\| `QC_(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", GUIDE, re.MULTILINE)
    told = {name.lower(): default for name, default, _, _ in rows}
    defaults = {each.name: each.default for each in msgspec.structs.fields(Settings)} | {"profile": "local"}
    assert told == {name: str(value) or "none" for name, value in defaults.items() if name not in DERIVED}
    units = {"s": "seconds", "won": "won", "max": "", "per_s": "per second"}
    for name, _, unit, meaning in rows:
        wanted = next((units[end] for end in ("per_s", "won", "max", "s") if name.lower().endswith(f"_{end}")), "-")
        assert unit == wanted or (wanted == "" and unit != "-"), name
        assert meaning.strip(), name
