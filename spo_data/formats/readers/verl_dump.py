"""Read verl's validation dump: one JSON object a response, with `input`, `output`, `gts` and `score`.

    read_dump(files)                                       each input as one user message
    read_dump(files, render_transcripts(prompts, chat))    each input as the training prompt that it renders

`input` is a decoded transcript: the rendered chat template without its special tokens. Nothing is cut out of it, since
a prompt may contain the text that separates the turns. To find its training prompt, each training prompt is rendered,
tokenized and decoded with `skip_special_tokens=True`, as verl's trainer does, and the whole texts are compared.

If a reward function gives `acc`, it is read in place of `score`, which may have another scale (DAPO's -1 and 1). A
score of null or NaN means that the response was not graded.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spo_data.errors import UserError, first_line, reason
from spo_data.formats.readers.draws import ForeignDraw, FoundPrompt, LeftOut, read_score
from spo_data.formats.readers.sources import SourceFile
from spo_data.json_text import read_json
from spo_data.models.chat import Chat
from spo_data.prompts.identity import Message, Prompt

KEYS = ("input", "gts")
TOKENIZED_AT_ONCE = 1_000

Transcripts = Mapping[str, Prompt | None]
"""The training prompt of each decoded transcript; None if two prompts have the same."""


def render_transcripts(prompts: Sequence[Prompt], chat: Chat) -> Transcripts:
    """The `input` that verl's trainer would write for each training prompt."""
    found: dict[str, Prompt | None] = {}
    for start in range(0, len(prompts), TOKENIZED_AT_ONCE):
        some = prompts[start : start + TOKENIZED_AT_ONCE]
        for prompt, ids in zip(some, chat.tokenize(prompt.messages for prompt in some), strict=True):
            text = str(chat.tokenizer.decode(ids.tolist(), skip_special_tokens=True))
            found[text] = None if text in found else prompt
    return found


def read_dump(files: Sequence[SourceFile], known: Transcripts | None = None) -> Iterator[FoundPrompt | LeftOut]:
    """Every response; raises UserError, naming file and line, if a line is not from a dump, or steps differ."""
    _refuse_copies(files)
    first_step: tuple[Any, str] | None = None
    for file in files:
        empty = True
        for where, row in _read_rows(file):
            empty = False
            step, earlier = first_step = first_step or (row.get("step"), where)
            if row.get("step") != step:
                raise UserError(
                    f"{earlier} is of step {step}, but {where} of step {row.get('step')}, which is another policy:"
                    " name the files of one step"
                )
            yield _find_prompt(row, file.name, where, known)
        if empty:
            raise UserError(f"{file.name} is empty")


def _refuse_copies(files: Sequence[SourceFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        try:
            with file.path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{file.name} cannot be read: {reason(error)}") from error
        if (twin := seen.setdefault(digest, file.name)) != file.name:
            raise UserError(f"{file.name} is a copy of {twin}: its responses would count twice")


def _read_rows(file: SourceFile) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{file.name}, line {number}"
            if not line.strip():
                continue
            try:
                row = read_json(line.decode("utf-8"))
            except ValueError as error:
                raise UserError(f"{where}: not JSON in UTF-8 ({first_line(error)})") from error
            if not isinstance(row, dict):
                raise UserError(f"{where}: {line[:40]!r} is not a JSON object")
            missing = [key for key in KEYS if key not in row] + ["score"] * ("score" not in row and "acc" not in row)
            if missing:
                raise UserError(
                    f"{where} has no {', '.join(missing)}, but {', '.join(row) or 'nothing'}: this is not verl's"
                    " validation dump (input, output, gts, score); pass rates and other tables are read from parquet"
                )
            yield where, row


def _find_prompt(row: Mapping[str, Any], file: str, where: str, known: Transcripts | None) -> FoundPrompt | LeftOut:
    text, ground_truth = row["input"], _read_ground_truth(row["gts"])
    if not isinstance(text, str) or not text.strip():
        return LeftOut("have an empty input", where)
    if _is_further_output(row.get("uid")):
        return LeftOut("are later outputs of a draw that was counted", where, text)
    if ground_truth is None:
        return LeftOut("have a ground truth that is not text", where, repr(row["gts"]))
    response, answer = (_read_text(row.get(key), where, key) for key in ("output", "pred"))
    draw = ForeignDraw(_read_row_score(row, where), response, answer)
    if known is None:
        return FoundPrompt(
            Prompt((Message("user", _check_unicode(text, where).strip()),), ground_truth, ""), (draw,), file, where
        )
    if text not in known:
        return LeftOut("match no training prompt", where, text)
    prompt = known[text]
    if prompt is None:
        return LeftOut("match two training prompts", where, text)
    if ground_truth and ground_truth != prompt.ground_truth:
        raise UserError(
            f"{where} was graded with the ground truth {ground_truth!r}, but its training prompt has"
            f" {prompt.ground_truth!r}"
        )
    return FoundPrompt(prompt, (draw,), file, where)


def _is_further_output(uid: Any) -> bool:
    """Whether OUTPUT is above 0 in PROMPT_SESSION_OUTPUT: an agent loop may write several outputs of one draw."""
    parts = uid.rsplit("_", 2) if isinstance(uid, str) else ()
    return len(parts) == 3 and parts[2].isdigit() and int(parts[2]) > 0


def _read_ground_truth(gts: Any) -> str | None:
    """The ground truth as text, "" if there is none, None if it is not text."""
    if gts is None:
        return ""
    return None if isinstance(gts, (list, dict)) else str(gts).strip()


def _read_row_score(row: Mapping[str, Any], where: str) -> float | None:
    if row.get("acc") is not None:
        return read_score(row["acc"], f"{where}: acc")
    try:
        return read_score(row.get("score"), where)
    except UserError as error:
        raise UserError(f"{error}; if the reward has another scale, the dump needs `acc`") from error


def _read_text(value: Any, where: str, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        if key == "pred":
            return None  # a reward function may record anything
        raise UserError(f"{where}: {key} {value!r:.80} is not a text")
    return None if value is None else _check_unicode(value, where)


def _check_unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: half a surrogate pair is not text ({error.reason})") from error
    return text
