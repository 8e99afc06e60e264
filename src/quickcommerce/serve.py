"""Serving: uvicorn around the wired system, and a stop that loses nothing."""

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType

import uvicorn
import uvloop
from rich.console import Console

from quickcommerce.app import App, build
from quickcommerce.catalog.flow import read_file
from quickcommerce.kit.telemetry import configure_logs
from quickcommerce.settings import BadSetting, Settings
from quickcommerce.toss_emulator.server import CuttableProtocol

BACKLOG = 4096
"""Connections that wait to be accepted: a flash sale arrives within a second."""
KEEP_ALIVE_S = 75


class Server(uvicorn.Server):
    """Says where the shop is once it is open, and is not ready from the first signal on."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Open the port, then say so."""
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            url = self._app.settings.public_url or f"http://{self._app.settings.host}:{port}"
            Console(soft_wrap=True).print(f"QuickCommerce is open at {url}", highlight=False)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop: first tell the readiness probe, then finish what is in flight."""
        self._app.drain()
        super().handle_exit(sig, frame)


def serve(settings: Settings, *, sample: bool) -> None:
    """Run everything in this process until a signal ends it."""
    configure_logs(settings.log_level, machine=settings.log_format == "json")
    with _alone(Path(settings.data_dir)), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, sample=sample))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process. Raises BadSetting where another shop runs on it.

    The embedded stores are made for one process: two would read the same events. The lock ends with the process,
    however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "running.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise BadSetting(f"another shop is running on {folder}; choose another --data-dir") from taken
        yield


async def _serve(settings: Settings, *, sample: bool) -> None:
    app = build(settings)
    await app.migrate()
    if sample:
        await load_sample(app)
    config = uvicorn.Config(
        app.asgi,
        host=settings.host,
        port=settings.port,
        http=CuttableProtocol if app.flows.emulator else "httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    await Server(config, app).serve()


async def load_sample(app: App) -> int:
    """Load the sample catalog into a shop that has no goods. Returns how many products were added."""
    if await app.flows.catalog.page("", 0, 1):
        return 0
    with as_file(files("quickcommerce").joinpath("samples", "catalog.csv")) as path:
        return await app.flows.catalog.put(read_file(path))
