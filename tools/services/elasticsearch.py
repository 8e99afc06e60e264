"""Elasticsearch with Korean analysis (Nori): one node without security, of the jars that are published.

The distribution's own launcher and its plugin for Korean are not among them; `deploy/services/elasticsearch` has
small ones of ours, which give Nori under the names that the official plugin uses.
"""

import shutil
from pathlib import Path

from services import probe
from services.install import JAVA, jars, run
from services.place import HOST, ROOT, Place
from services.server import Server

HEAP_MB = 384
SOURCES = ROOT / "deploy" / "services" / "elasticsearch"
TRANSPORT = ("transport-netty4-", "netty-")
"""Jars with these beginnings are the module that speaks HTTP; it has a class loader of its own."""
KOREAN = "lucene-analysis-nori-"
LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1.} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


def servers(place: Place) -> list[Server]:
    """The one server."""
    port = place.port("elasticsearch")
    return [
        Server(
            "elasticsearch", "elasticsearch", place, JAVA,
            prepare=lambda: _command(place), ask=lambda: _ask(port),
            ports=(port, place.port("elasticsearch-transport")),
        )
    ]  # fmt: skip


def urls(place: Place) -> dict[str, str]:
    """How the shop reaches the index."""
    return {"QC_SEARCH_URL": f"http://{HOST}:{place.port('elasticsearch')}"}


def _ask(port: int) -> str:
    probe.http(port, "/_cluster/health?wait_for_status=yellow&timeout=1s")
    return str(probe.http(port, "/")["version"]["number"])


def _command(place: Place) -> list[str]:
    folder = place.of("elasticsearch")
    home = jars("elasticsearch", sorted(SOURCES.glob("*.*")), _arrange)
    for name in ("config", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "config" / "log4j2.properties").write_text(LOGGING)
    (folder / "config" / "elasticsearch.yml").write_text(_settings(place, folder))
    return [
        "java", f"-Xms{HEAP_MB}m", f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={folder / 'tmp'}", "-Djna.nosys=true", "-Dlog4j2.disable.jmx=true",
        "-Dlog4j.shutdownHookEnabled=false",
        "-cp", f"{home / 'launcher'}:{home / 'lib'}/*", "quickcommerce.search.Launcher", str(home),
        str(folder / "config"),
    ]  # fmt: skip


def _settings(place: Place, folder: Path) -> str:
    lines = {
        "cluster.name": "quickcommerce",
        "node.name": "elasticsearch",
        "network.host": HOST,
        "http.port": place.port("elasticsearch"),
        "transport.port": place.port("elasticsearch-transport"),
        "discovery.type": "single-node",
        "path.data": folder / "data",
        "path.logs": folder / "logs",
        # A developer's disk is often nearly full, which is no reason to refuse writes here.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def _arrange(home: Path, log: Path) -> None:
    """Sort the jars, which all lie in one folder, into what a node expects of its home, and compile our own part."""
    lib, module, plugin, launcher = (
        home / name for name in ("lib", "modules/transport-netty4", "plugins/quickcommerce", "launcher")
    )
    for target in (lib, module, plugin, launcher):
        target.mkdir(parents=True)
    for jar in home.glob("*.jar"):
        jar.rename(
            (module if jar.name.startswith(TRANSPORT) else plugin if jar.name.startswith(KOREAN) else lib) / jar.name
        )
    version = next(lib.glob("elasticsearch-core-*.jar")).stem.rpartition("-")[2]
    _describe(module, "org.elasticsearch.transport.netty4.Netty4Plugin", version)
    _describe(plugin, "quickcommerce.search.SearchPlugin", version)
    compiled = home / "compiled"
    javac = ["javac", "-proc:none", "-Xlint:all,-classfile", "-cp", f"{lib}/*:{plugin}/*"]
    run("compiling the launcher", log, *javac, "-d", str(launcher), str(SOURCES / "Launcher.java"))
    plugin_sources = [str(SOURCES / name) for name in ("SearchPlugin.java", "Korean.java", "Root.java")]
    run("compiling the plugin", log, *javac, "-d", str(compiled), *plugin_sources)
    run("packing the plugin", log, "jar", "cf", str(plugin / "quickcommerce.jar"), "-C", str(compiled), ".")
    shutil.rmtree(compiled)


def _describe(folder: Path, plugin: str, version: str) -> None:
    """What Elasticsearch reads of a module or plugin before it loads it."""
    lines = {
        "name": folder.name,
        "description": folder.name,
        "classname": plugin,
        "version": version,
        "elasticsearch.version": version,
        "java.version": 17,
    }
    (folder / "plugin-descriptor.properties").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
