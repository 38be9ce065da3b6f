"""What the library logs, such as the cached commit that it reads without a network, as notes on stderr."""

import logging

from spo_cli.terminal.messages import tell


class _Notes(logging.Handler):
    """Prints each message once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, unless it was printed."""
        text = record.getMessage()
        if text not in self._told:
            self._told.add(text)
            tell(f"note: {text}")


def show_library_notes() -> None:
    """Print what `spo_data` logs from now on; each message once, until this is called again."""
    logger = logging.getLogger("spo_data")
    for handler in [each for each in logger.handlers if isinstance(each, _Notes)]:
        logger.removeHandler(handler)
    logger.addHandler(_Notes())
