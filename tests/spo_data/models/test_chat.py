"""Our chat rendering, compared with that of transformers for the embedded model's tokenizer."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from spo_data import Message, UserError
from spo_data.models.chat import Chat, load_chat, read_chat_template
from spo_data.models.embedded import embedded_model
from spo_data.models.names import resolve_model

CONVERSATIONS = [
    [Message("user", "What is 2 + 2?")],
    [Message("system", "Be brief."), Message("user", "What is 2 + 2?")],
    [Message("user", "1 + 1?"), Message("assistant", "2"), Message("user", "And 2 + 2?")],
    [Message("user", "  \\boxed{x}\n\t∑ 数学 🦊 é é  ")],
    [Message("user", "What does <|im_end|>\n<|im_start|>assistant do? {{ prompt }}")],
    [Message("user", "long " * 3000)],
]


@pytest.fixture(scope="module")
def chat() -> Chat:
    """The embedded model's chat."""
    return load_chat(resolve_model("smollm2-135m"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """transformers' own tokenizer of the embedded model."""
    return AutoTokenizer.from_pretrained(embedded_model())


def _turns(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _model_folder(folder: Path, without: str = "", **changed: str) -> str:
    folder.mkdir()
    for path in embedded_model().iterdir():
        if path.suffix in {".json", ".jinja"} and path.name != without:
            shutil.copy(path, folder)
    for name, text in changed.items():
        (folder / name.replace("__", ".")).write_text(text)
    return str(folder)


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_text_and_token_ids_are_those_of_transformers(chat: Chat, tokenizer: Any, messages: list[Message]) -> None:
    text = tokenizer.apply_chat_template(_turns(messages), tokenize=False, add_generation_prompt=True)
    encoded = tokenizer.apply_chat_template(_turns(messages), add_generation_prompt=True, return_dict=True)
    (ids,) = chat.tokenize([messages])
    assert chat.render(messages) == text
    assert ids.tolist() == list(encoded["input_ids"])
    assert (ids.dtype, ids.ndim) == (np.dtype("int32"), 1)


def test_a_batch_is_neither_padded_nor_reordered(chat: Chat) -> None:
    together = chat.tokenize(CONVERSATIONS)
    alone = [chat.tokenize([messages])[0] for messages in CONVERSATIONS]
    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]


def test_no_conversation_gives_no_token_ids(chat: Chat) -> None:
    """If every ground truth was unverifiable, tokenizing nothing raised IndexError before "no prompt is left"."""
    assert chat.tokenize([]) == []


def test_the_prompt_ends_where_the_assistant_begins(chat: Chat) -> None:
    assert chat.render(CONVERSATIONS[0]).endswith("<|im_start|>assistant\n")


def test_the_embedded_tokenizer_ends_at_im_end_and_pads_with_it(chat: Chat) -> None:
    assert (chat.tokenizer.eos_token, chat.tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert chat.tokenizer.pad_token_id == 2
    assert chat.context_length == 8192


def test_template_arguments_reach_the_template(tmp_path: Path) -> None:
    template = "{{ messages[0]['content'] }}{% if not thinking %}<think></think>{% endif %}"
    model = resolve_model(_model_folder(tmp_path / "model", chat_template__jinja=template))
    on, off, plain = (load_chat(model, kwargs) for kwargs in ({"thinking": True}, {"thinking": False}, None))
    assert on.render(CONVERSATIONS[0]) == "What is 2 + 2?"
    assert off.render(CONVERSATIONS[0]) == plain.render(CONVERSATIONS[0]) == "What is 2 + 2?<think></think>"
    assert len({on.template_sha256, off.template_sha256, plain.template_sha256}) == 1


def test_the_checksum_changes_with_the_template(chat: Chat, tmp_path: Path) -> None:
    model = resolve_model(_model_folder(tmp_path / "model", chat_template__jinja="{{ messages[0]['content'] }}"))
    assert load_chat(model).template_sha256 != chat.template_sha256


@pytest.mark.slow
def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    model = resolve_model(_model_folder(tmp_path / "base", without="chat_template.jinja"))
    with pytest.raises(UserError, match=r"has no chat template, as a base model: give one with --chat-template FILE"):
        load_chat(model)
    chat = load_chat(model, template="{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[you]")
    assert chat.render(CONVERSATIONS[0]) == "[user] What is 2 + 2?\n[you]"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% if %}", "--chat-template: the model's chat template refuses a prompt: "),
        (
            "What is 2 + 2?",
            "--chat-template: the file drops the prompt; a chat template is Jinja that writes `messages`",
        ),
        ("", "--chat-template: the file drops the prompt"),
        ("{{ prompt }}", "--chat-template: the file drops the prompt"),
    ],
)
def test_a_file_that_is_no_chat_template_is_one_line(template: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        load_chat(resolve_model("smollm2-135m"), template=template)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_a_chat_template_s_file_is_read_or_named(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages }} é\n")
    assert read_chat_template(str(tmp_path / "own.jinja")) == "{{ messages }} é\n"
    assert read_chat_template(None) is None
    (tmp_path / "latin.jinja").write_bytes(b"\xe9")
    for file in (tmp_path / "none.jinja", tmp_path / "latin.jinja", tmp_path):
        with pytest.raises(UserError, match=re.escape(f"--chat-template {file} cannot be read: ")):
            read_chat_template(str(file))


@pytest.mark.parametrize(
    "changed",
    [
        {"tokenizer__json": "{}"},
        {"tokenizer__json": "not json"},
        {"tokenizer__json": '{"added_tokens": [], "model": {"type": "Nonsense"}}'},
        {"config__json": "{"},
        {"config__json": "{}"},
        {"config__json": '{"model_type": "nonsense"}'},
    ],
)
def test_a_broken_model_folder_is_one_line(tmp_path: Path, changed: dict[str, str]) -> None:
    model = resolve_model(_model_folder(tmp_path / "broken", **changed))
    with pytest.raises(UserError, match="its tokenizer or configuration cannot be loaded") as caught:
        load_chat(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('system first') }}", "system first"),
        ("{% if %}", "refuses"),
        ("{{ messages[9].x }}", "refuses"),
    ],
)
def test_a_template_that_refuses_a_prompt_is_one_line(tmp_path: Path, template: str, said: str) -> None:
    chat = load_chat(resolve_model(_model_folder(tmp_path / "model", chat_template__jinja=template)))
    with pytest.raises(UserError, match="the model's chat template refuses a prompt") as caught:
        chat.render(CONVERSATIONS[0])
    assert said in str(caught.value)


def test_an_argument_that_is_ours_is_refused(chat: Chat) -> None:
    with pytest.raises(UserError, match="tokenize"):
        dataclasses.replace(chat, template_kwargs={"tokenize": True}).render(CONVERSATIONS[0])
