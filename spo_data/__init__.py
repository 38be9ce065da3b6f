"""Offline values: a language model's success probability on every training prompt, before training.

    from spo_data import Prompt, load_values, prompt_id, sample_seed

The library says what an offline value is and how one is made. It knows no command line, no Ray and, at import,
no torch: `spo_pipelines` runs its parts together, `spo_cli` is what a user types.
"""

from spo_data.errors import SpoError, UserError
from spo_data.formats.load import load_values
from spo_data.prompts.identity import Message, Prompt, prompt_id, sample_seed
from spo_data.values.table import ValueTable

__version__ = "0.1.0"

__all__ = [
    "Message",
    "Prompt",
    "SpoError",
    "UserError",
    "ValueTable",
    "__version__",
    "load_values",
    "prompt_id",
    "sample_seed",
]
