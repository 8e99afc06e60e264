"""Kafka: one node that is broker and controller (KRaft). Topics are made by whoever needs them, never by a typo."""

import base64
import uuid
from pathlib import Path

from services import probe
from services.install import JAVA, jars, run
from services.place import HOST, ROOT, Place
from services.server import Server

HEAP_MB = 256
SOURCES = ROOT / "deploy" / "services" / "kafka"


def servers(place: Place) -> list[Server]:
    """The one server."""
    return [
        Server(
            "kafka", "kafka", place, JAVA,
            prepare=lambda: _command(place), ask=lambda: _ask(place),
            ports=(place.port("kafka"), place.port("kafka-controller")),
        )
    ]  # fmt: skip


def urls(place: Place) -> dict[str, str]:
    """How the shop reaches the bus."""
    return {"QC_BUS_URL": f"kafka://{HOST}:{place.port('kafka')}"}


def _ask(place: Place) -> str:
    probe.kafka(place.port("kafka"))
    # Kafka does not tell its version.
    return (place.of("kafka") / "version").read_text()


def _command(place: Place) -> list[str]:
    folder, libraries = place.of("kafka"), jars("kafka", [SOURCES / "pom.xml"])
    (folder / "version").write_text(next(libraries.glob("kafka_*.jar")).stem.rpartition("-")[2])
    settings, data = folder / "server.properties", folder / "data"
    settings.write_text(_settings(place, data))
    java = [
        "java", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile=file:{SOURCES / 'log4j2.yaml'}", "-cp", f"{libraries}/*",
    ]  # fmt: skip
    if not (data / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        run(
            "formatting Kafka's data folder", folder / "install.log",
            *java, "kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster}",
            f"--config={settings}",
        )  # fmt: skip
    heap = [f"-Xmx{HEAP_MB}m", f"-Xms{HEAP_MB // 4}m", "-XX:+ExitOnOutOfMemoryError"]
    return [java[0], *heap, *java[1:], "kafka.Kafka", str(settings)]


def _settings(place: Place, data: Path) -> str:
    """The whole file of settings: roles and ports, then what one node and quick tests need."""
    client, controller = (f"{HOST}:{place.port(name)}" for name in ("kafka", "kafka-controller"))
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        # There is nobody to replicate to.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # A group is complete when its first member comes, and tests may use short sessions.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 500,
        # A small machine.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.segment.bytes": 64 * 1024 * 1024,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())
