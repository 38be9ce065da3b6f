"""Resolve a model name.

    resolve_model("Qwen3-8B")         Qwen/Qwen3-8B on the Hub, at a commit
    resolve_model("checkpoints/step-100")
    resolve_model("smollm2-135m")     the embedded model, built once into the user's cache

An existing path wins, then `org/name`, then the short names below. The commit (or, for a folder, a fingerprint of its
files) is part of the policy: values of one set of weights are not values of another. Without a network (HF_HUB_OFFLINE)
a Hub model is the commit that the Hub's cache names, and is loaded from that commit's folder.
"""

import difflib
import hashlib
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spo_data.errors import UserError, first_line, reason
from spo_data.hub.answers import check_commit
from spo_data.hub.cache import find_cached, find_commit, find_offline_variable, remember, suggest_offline
from spo_data.hub.client_errors import PASSING, clear_hub_errors
from spo_data.hub.ids import find_id_fault

logger = logging.getLogger(__name__)

CONFIG = "config.json"
EMBEDDED = "smollm2-135m"

SHORT_NAMES = {
    "Qwen3-0.6B": "Qwen/Qwen3-0.6B",
    "Qwen3-1.7B": "Qwen/Qwen3-1.7B",
    "Qwen3-4B": "Qwen/Qwen3-4B",
    "Qwen3-8B": "Qwen/Qwen3-8B",
    "Qwen3-14B": "Qwen/Qwen3-14B",
    "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B",
    "Qwen3-4B-Base": "Qwen/Qwen3-4B-Base",
    "Qwen3-8B-Base": "Qwen/Qwen3-8B-Base",
    "Qwen2.5-0.5B-Instruct": "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen2.5-1.5B-Instruct": "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen2.5-7B-Instruct": "Qwen/Qwen2.5-7B-Instruct",
    "Qwen2.5-Math-7B": "Qwen/Qwen2.5-Math-7B",
    "Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "Llama-3.2-1B-Instruct": "meta-llama/Llama-3.2-1B-Instruct",
    "DeepSeek-R1-Distill-Qwen-1.5B": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "DeepSeek-R1-Distill-Qwen-7B": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
}


@dataclass(frozen=True)
class Model:
    """A resolved model, as transformers and vLLM load it and as the manifest records it."""

    name: str
    """The Hub id, the embedded model's name, or the folder's path."""
    path: str
    """The Hub id or folder to load; offline, the folder of a Hub model in the cache."""
    revision: str
    """The Hub commit, or a fingerprint of a folder's files."""

    @property
    def hub_revision(self) -> str | None:
        """The revision to load; None for folders."""
        return None if Path(self.path).is_dir() else self.revision


def resolve_model(name: str, revision: str | None = None) -> Model:
    """Resolve a model name; raises UserError with suggestions if it is unknown."""
    path = Path(name).expanduser()
    if os.path.isdir(path):
        if not (path / CONFIG).is_file():
            raise UserError(f"--model {name}: the folder has no {CONFIG}")
        return _make_local_model(str(path.resolve()), path, name, revision)
    if name.lower() == EMBEDDED:
        from spo_data.models.embedded import embedded_model

        return _make_local_model(EMBEDDED, embedded_model(), name, revision)
    repository = full_name(name)
    if find_id_fault(repository):
        near = difflib.get_close_matches(name, [*SHORT_NAMES, EMBEDDED], n=3, cutoff=0.5) or [EMBEDDED, "Qwen3-8B"]
        raise UserError(
            f"--model {name}: neither a folder, nor org/name, nor a short name; did you mean {', '.join(near)}?"
        )
    return _resolve_on_hub(repository, revision)


def full_name(name: str) -> str:
    """Return the Hub id of a short name, whatever its case; any other name unchanged."""
    return {short.lower(): full for short, full in SHORT_NAMES.items()}.get(name.lower(), name)


def _make_local_model(name: str, path: Path, given: str, revision: str | None) -> Model:
    if revision is not None:
        raise UserError(f"--model {given} is not on the Hub: --model-revision {revision} does not apply to it")
    return Model(name, str(path), folder_fingerprint(path))


def folder_fingerprint(folder: Path) -> str:
    """Return a SHA-256 over a folder's model files and weights: an overwritten checkpoint is another model."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            if not path.is_file() and path.exists() and not path.is_dir():
                raise UserError(f"--model {folder}: {path} is no regular file")  # transformers would wait for a pipe
            if path.suffix in {".json", ".jinja", ".safetensors", ".bin", ".model", ".txt", ".gguf"}:
                with path.open("rb") as file:
                    digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    except OSError as error:
        raise UserError(f"--model {folder}: {error.filename} cannot be read: {reason(error)}") from error
    return f"sha256:{digest.hexdigest()[:40]}"


def _resolve_on_hub(repository: str, revision: str | None) -> Model:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    subject, absent = f"--model {repository}", "no such folder"
    if variable := find_offline_variable("model"):
        cached = find_cached(repository, "model", revision, variable, subject, absent)
        cached.require([CONFIG])
        return Model(repository, str(cached.folder), cached.commit)  # a folder: nothing asks the Hub for its files
    otherwise = partial(suggest_offline, repository, "model", revision)
    with clear_hub_errors(subject, absent=absent, revision=revision, otherwise=otherwise):
        commit = _ask_commit(repository, revision)
        try:
            hf_hub_download(repository, CONFIG, revision=commit)
        except RemoteEntryNotFoundError as error:
            raise UserError(f"{subject} has no {CONFIG}, so it is not a transformers model") from error
        remember(repository, "model", revision, commit)
    return Model(repository, repository, commit)


def _ask_commit(repository: str, revision: str | None) -> str:
    """Return the commit that a revision is; of a Hub that cannot be reached, the cached one, which is logged."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    known = find_commit(repository, "model", revision)
    is_cached = known is not None and isinstance(try_to_load_from_cache(repository, CONFIG, revision=known), str)
    if known is not None and known == revision and is_cached:
        return known
    try:
        return check_commit(HfApi().model_info(repository, revision=revision, timeout=10).sha)
    except (httpx.TransportError, HfHubHTTPError) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code not in PASSING
        if refused or known is None or not is_cached:
            raise
        logger.warning(
            "the Hub at %s did not answer (%s): --model %s is taken from its cache, at commit %s",
            constants.ENDPOINT,
            first_line(error),
            repository,
            known,
        )
        return known
