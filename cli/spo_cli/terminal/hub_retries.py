"""The retries of the Hub's clients, each as one line in our words.

`huggingface_hub` and `datasets` repeat failed requests themselves and log each with its address and a counter. hf-xet
logs into a file.
"""

import logging
import re

LOGGERS = ("huggingface_hub.utils._http", "huggingface_hub.file_download", "datasets.utils.file_utils")
_ANSWERED = re.compile(r"HTTP Error (\d+) thrown while requesting ")
_LOST = re.compile(r"'.*' thrown while requesting ", re.DOTALL)
_WAITS = re.compile(r".*(?:Retrying in|Waiting) ([\d.]+)s", re.DOTALL)
_BROKE_OFF = re.compile(r"Error while downloading from ")


class _Plainly(logging.Filter):
    """Rewrites the clients' lines about retries, and drops those that only lead to one."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = "the Hub did not answer"

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if answered := _ANSWERED.match(said):
            self.reason = f"the Hub answered {answered[1]}"
            return False
        if _LOST.match(said):
            self.reason = "the Hub did not answer"
            return False
        if waits := _WAITS.match(said):
            record.msg, record.args = f"{self.reason}: trying again in {float(waits[1]):.0f} s", ()
        elif _BROKE_OFF.match(said):
            record.msg, record.args = "a download from the Hub broke off: trying again", ()
            return "Max retries exceeded" not in said  # then an error says so
        return True


_FILTERS = {name: _Plainly() for name in LOGGERS}


def show_retries_plainly() -> None:
    """Rewrite what the clients log about retries from now on; they need not be imported yet."""
    for name, plainly in _FILTERS.items():
        logging.getLogger(name).addFilter(plainly)  # a second time changes nothing
