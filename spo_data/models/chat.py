"""The only chat rendering, for estimation and training: it turns messages into prompt token ids.

Prompts go to the engine as token ids. An engine never renders a template itself, so the model reads exactly what was
counted, previewed and recorded.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spo_data.errors import UserError, first_line, reason
from spo_data.files import read_regular
from spo_data.models.cached import check_tokenizer
from spo_data.models.names import Model
from spo_data.prompts.identity import Message
from spo_data.prompts.template import AnswerTemplate

_PROBE = "A probe of this template."


@dataclass(frozen=True)
class Chat:
    """A model's tokenizer and chat template with fixed template arguments."""

    tokenizer: Any
    template_kwargs: Mapping[str, Any]
    context_length: int
    """The longest sequence (prompt and response tokens) that the model's configuration allows."""
    wording: AnswerTemplate | None = None
    """Tells the model about its interpreter; it is not part of a prompt or its id."""

    @property
    def template_sha256(self) -> str:
        """The chat template's checksum, which is part of the policy, like the template's arguments."""
        canonical = json.dumps(self.tokenizer.chat_template, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def identity(self) -> str:
        """The template's checksum and its arguments, for messages and records."""
        arguments = json.dumps(dict(self.template_kwargs), sort_keys=True) if self.template_kwargs else ""
        return f"{self.template_sha256} {arguments}".rstrip()

    def render(self, messages: Sequence[Message], clock: Callable[[str], str] | None = None) -> str:
        """Return the text that the model reads, with the generation prompt; raises UserError if the template fails.

        A `clock` replaces the template's `strftime_now`, which formats the present time.
        """
        arguments = dict(self.template_kwargs) if clock is None else {**self.template_kwargs, "strftime_now": clock}
        worded = messages if self.wording is None else self.wording.apply(tuple(messages))
        turns = [{"role": message.role, "content": message.content} for message in worded]
        try:
            return str(
                self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **arguments)
            )
        except Exception as error:  # a template is a program: it raises jinja2's errors and its own
            raise UserError(f"the model's chat template refuses a prompt: {first_line(error)}") from error

    @property
    def opens_thinking(self) -> bool:
        """Whether the generation prompt ends inside `<think>`, so that a response begins with thinking."""
        rendered = self.render([Message("user", "?")])
        return rendered.rfind("<think>") > rendered.rfind("</think>")

    def tokenize(self, conversations: Iterable[Sequence[Message]]) -> list[np.ndarray]:
        """Return the token ids of each rendered conversation, int32, shape (n_tokens,)."""
        texts = [self.render(messages) for messages in conversations]
        if not texts:
            return []
        encoded = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return [np.asarray(ids, dtype=np.int32) for ids in encoded]


def read_chat_template(file: str | None) -> str | None:
    """Return the text of a chat template's file, None without a file; raises UserError if it cannot be read."""
    try:
        return None if file is None else read_regular(Path(file).expanduser()).decode()
    except OSError as error:
        raise UserError(f"--chat-template {file} cannot be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--chat-template {file} cannot be read: {first_line(error)}") from error


def load_chat(
    model: Model,
    template_kwargs: Mapping[str, Any] | None = None,
    *,
    trust_remote_code: bool = False,
    template: str | None = None,
) -> Chat:
    """Load a model's tokenizer and context length; `template` is a text that replaces its chat template.

    Raises UserError if there is no chat template, or if `template` is none.
    """
    from transformers import AutoConfig, AutoTokenizer

    check_tokenizer(model)
    source = {"revision": model.hub_revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.path, **source)
        config = AutoConfig.from_pretrained(model.path, **source)
    except Exception as error:  # OSError, ValueError, KeyError; tokenizers raises bare Exception
        raise UserError(
            f"--model {model.name}: its tokenizer or configuration cannot be loaded: {first_line(error)}"
        ) from error
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    chat = Chat(tokenizer, dict(template_kwargs or {}), int(length or 32_768))
    if template is not None:
        tokenizer.chat_template = template
        _check_template(chat)
    if not tokenizer.chat_template:
        raise UserError(
            f"--model {model.name} has no chat template, as a base model: give one with --chat-template FILE.jinja"
        )
    return chat


def _check_template(chat: Chat) -> None:
    """Raise UserError if the user's chat template does not render, or leaves out the messages."""
    try:
        rendered = chat.render([Message("user", _PROBE)])
    except UserError as error:
        raise UserError(f"--chat-template: {error}") from error
    if _PROBE not in rendered:
        raise UserError("--chat-template: the file drops the prompt; a chat template is Jinja that writes `messages`")
