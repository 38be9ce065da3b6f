"""The one kind of rich console here: what it prints is data, never markup, and its control characters are escapes."""

from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from spo_data.printable import printable


class DataConsole(Console):
    """A console on a stream. Only rich's own colours and cursor movements reach it unescaped."""

    def __init__(self, stream: TextIO, **settings: Any) -> None:
        while (behind := getattr(stream, "rich_proxied_file", None)) is not None:
            stream = behind
        super().__init__(file=stream, highlight=False, emoji=False, markup=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return the text for rich, escaped before its width is measured."""
        return super().render_str(printable(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed, escaped. A `Text` that holds control characters may then be wider than its place."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
