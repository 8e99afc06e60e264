"""What the commands share: the terminal, the settings in effect, and the wired system for one thing to do."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from quickcommerce import settings as settings_module
from quickcommerce.app import App, build
from quickcommerce.settings import Settings

T = TypeVar("T")

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

DataDir = Annotated[str | None, typer.Option(help="Where the embedded databases live.", show_default="data")]


def settings_of(**overrides: object) -> Settings:
    """The settings in effect, with what the command line says. Raises BadSetting."""
    given = {f"QC_{name.upper()}": str(value) for name, value in overrides.items() if value is not None}
    return settings_module.load(os.environ | given)


def cells(*values: object) -> list[Text]:
    """A row of a table. What stands in brackets is part of the value, and no markup."""
    return [Text(str(value)) for value in values]


def once(settings: Settings, work: Callable[[App], Awaitable[T]]) -> T:
    """Do one thing with the wired system; its loops do not run."""

    async def whole() -> T:
        app = build(settings)
        try:
            await app.open()
            return await work(app)
        finally:
            await app.stop()

    return asyncio.run(whole())
