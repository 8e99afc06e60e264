"""One port before several processes: haproxy, in TCP mode, new connections to each in turn."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bench import processes
from bench.processes import Failed, Running
from bench.shapes import Shop

CONFIGURATION = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  balance roundrobin
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen shop
  bind 127.0.0.1:{port}
{servers}
"""
OPEN_WITHIN_S = 10.0


@asynccontextmanager
async def one_port(shop: Shop, folder: Path) -> AsyncIterator[Shop]:
    """The shop behind a proxy. Raises Failed when haproxy is missing or does not open."""
    port = free_port()
    servers = "\n".join(f"  server api-{at} {urlsplit(url).netloc}" for at, url in enumerate(shop.urls, 1))
    configuration = folder / f"haproxy-{port}.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, servers=servers))
    log = folder / f"haproxy-{port}.log"
    with log.open("wb") as out:
        try:
            process = await processes.spawn(["haproxy", "-db", "-f", str(configuration)], out, settings={})
        except FileNotFoundError:
            raise Failed("haproxy is not installed (on Debian: apt-get install haproxy)") from None
    proxy = Running("haproxy", process, log, f"http://127.0.0.1:{port}", None)
    try:
        await _open(proxy, port)
        yield replace(shop, url=proxy.url, others=(*shop.others, proxy))
    finally:
        await processes.stop(proxy)


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _open(proxy: Running, port: int) -> None:
    until_s = time.monotonic() + OPEN_WITHIN_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if proxy.process.returncode is not None or time.monotonic() > until_s:
                raise Failed(f"haproxy does not open: {proxy.log.read_text()[-1000:]}") from None
            await asyncio.sleep(0.05)
        else:
            return writer.close()
