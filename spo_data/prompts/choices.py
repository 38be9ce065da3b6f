"""Multiple choice: options that a row holds in columns are written below its problem, and the ground truth is a letter.

    What is the capital of France?

    A. Lyon
    B. Paris

    Answer with the letter of the correct option.

Options are columns `choices` or `options` (a list, or a struct of texts and labels), columns `A`, `B`, … or
`option_a`, `option_b`, …, and GPQA's `Correct Answer` beside `Incorrect Answer 1`, …, whose order is a hash of problem
and option: it is the same in every call, and depends on no row number. Nothing is written if the prompt shows the
options already.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spo_data.prompts.rows import BadRowError
from spo_data.prompts.stored_json import read_stored
from spo_data.text import excerpt

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASK = "Answer with the letter of the correct option."
_LISTS = ("choices", "options", "answer_choices")
_LETTER_COLUMN = re.compile(r"([A-J])|(?i:option|choice|op)[ _]?([A-Ja-j])")
_WRONG_COLUMN = re.compile(r"(?:incorrect_answers?|distractors?)_?\d*")
_NAMED_LETTER = re.compile(r"\(?([A-Z])\)?\s*[.):]?", re.IGNORECASE)
_OWN_LABEL = re.compile(r"\(?([A-Z])[).:]\s*")


@dataclass(frozen=True)
class Options:
    """The options of one row, in the order of their letters."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """What the dataset calls them; letters unless it says otherwise."""
    answer: int | None = None
    """The position of the correct one, if the columns say so."""
    are_numbers: bool = False
    """Whether a ground truth that is a number is an option, not a position."""
    is_certain: bool = True
    """False for columns that may be something else, such as `A` and `B`: then a ground truth must name an option."""


def find_options(row: Mapping[str, Any], answer_column: str, problem: str) -> Options | None:
    """Return the options that a row holds in columns; None if it is no multiple choice."""
    named = {normal_name(column): column for column in row}
    if normal_name(answer_column) == "correct_answer":
        wrong = [row[column] for name, column in named.items() if _WRONG_COLUMN.fullmatch(name)]
        texts = [text for value in wrong for text in _read_texts(read_stored(value)) if text]
        if not texts:
            return None
        correct = str(row[named["correct_answer"]]).strip() if "correct_answer" in named else ""
        ordered = sorted({*texts, correct}, key=lambda text: hashlib.sha256(f"{problem}\0{text}".encode()).digest())
        return None if not correct else _make_options(ordered, answer=ordered.index(correct))
    for name in _LISTS:
        if name in named and (found := _read_options(read_stored(row[named[name]]))) is not None:
            return found
    return _find_letter_columns(row)


def letter_prompt(problem: str, gold: Any, options: Options) -> tuple[str, str] | None:
    """Return the problem with its options and the letter of the ground truth; None if both stay as they are.

    Raises BadRowError if the ground truth names no option, or two.
    """
    answer, by_text = (options.answer, False) if options.answer is not None else _find_answer(gold, options)
    if answer is None:
        if options.is_certain:
            raise BadRowError("gold_not_an_option", f"{excerpt(str(gold), 60)!r} names none of {len(options.texts)}")
        return None
    folded = _fold(problem)
    for labels in (options.labels, LETTERS):
        if _shows(folded, labels, options.texts):
            is_labelled = isinstance(gold, str) and not by_text and options.answer is None
            return problem, gold.strip() if is_labelled else labels[answer]
    if by_text and all(_says(folded.casefold(), text.casefold()) for text in options.texts):
        return None  # the options are part of the wording, and the ground truth is one of these words
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options.texts, strict=False))
    return f"{problem.rstrip()}\n\n{lines}\n\n{ASK}", LETTERS[answer]


def shows_letters(text: str) -> bool:
    """Whether a text shows options by letters: an A, a B and a C, each in parentheses or before a mark."""
    return all(re.search(rf"(?<![A-Za-z0-9])(?:\({letter}\)|{letter}[.):])", text) for letter in "ABC")


def normal_name(column: str) -> str:
    """Return a column's name in lower case, with _ for spaces."""
    return column.strip().lower().replace(" ", "_")


def _make_options(texts: Sequence[str], labels: Sequence[str] = (), **more: Any) -> Options | None:
    texts = [text.strip() for text in texts]
    while texts and not texts[-1]:
        texts.pop()
    if not 2 <= len(texts) <= len(LETTERS):
        return None
    if not all(texts):
        raise BadRowError("empty_option", f"{len(texts)} options, and {LETTERS[texts.index('')]} is empty")
    own = [_OWN_LABEL.match(text) for text in texts]
    if all(match and match[1] == letter for match, letter in zip(own, LETTERS, strict=False)):
        texts = [text[match.end() :] if match else text for text, match in zip(texts, own, strict=True)]
    labels = [str(label).strip() for label in labels]
    return Options(tuple(texts), tuple(labels if len(labels) == len(texts) else LETTERS[: len(texts)]), **more)


def _read_options(value: Any) -> Options | None:
    """Read a list of texts or of structs, a struct of lists (`text`, `label`), or a struct by letter."""
    if isinstance(value, Mapping):
        texts = value.get("text", value.get("texts"))
        if isinstance(texts, (list, tuple)):
            return _make_options(list(_read_texts(texts)), value.get("label", value.get("labels")) or ())
        letters = [key for key in LETTERS if isinstance(value.get(key), (str, int, float))]
        if letters != list(LETTERS[: len(letters)]) or len(letters) != sum(each is not None for each in value.values()):
            return None
        return _make_options([str(value[key]) for key in letters])
    if not isinstance(value, (list, tuple)):
        return None
    if all(isinstance(each, Mapping) for each in value):
        keys = [next((key for key in ("label", "key", "letter", "id") if key in each), None) for each in value]
        texts = [next((each[key] for key in ("text", "value", "content") if key in each), None) for each in value]
        if None in keys or not all(isinstance(text, str) for text in texts):
            return None
        return _make_options(texts, [each[key] for each, key in zip(value, keys, strict=True)])
    texts = list(_read_texts(value))
    are_numbers = all(isinstance(each, (int, float)) for each in value)
    return _make_options(texts, are_numbers=are_numbers) if len(texts) == len(value) else None


def _read_texts(value: Any) -> Iterator[str]:
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if each is None:
            yield ""
        elif isinstance(each, (str, int, float)):
            yield str(each).strip()


def _find_letter_columns(row: Mapping[str, Any]) -> Options | None:
    found = {
        (match[1] or match[2]).upper(): row[column]
        for column in row
        if (match := _LETTER_COLUMN.fullmatch(column)) and isinstance(row[column], (str, int, float))
    }
    if len(found) < 2 or sorted(found) != list(LETTERS[: len(found)]):
        return None
    return _make_options([str(found[letter]) for letter in sorted(found)], is_certain=False)


def _find_answer(gold: Any, options: Options) -> tuple[int | None, bool]:
    """Return the position that a ground truth names, and whether it does so by the option's text."""
    n = len(options.texts)
    if isinstance(gold, float) and gold.is_integer() and not options.are_numbers:
        gold = int(gold)
    if isinstance(gold, int) and not isinstance(gold, bool) and not options.are_numbers:
        return (gold if 0 <= gold < n else None), False
    said = _fold(str(gold))
    by_label = {i for i, label in enumerate(options.labels) if label == said}
    if not by_label and (match := _NAMED_LETTER.fullmatch(said)) and match[1].upper() in LETTERS[:n]:
        by_label = {LETTERS.index(match[1].upper())}
    elif not by_label and (match := _OWN_LABEL.match(said)) and match[1] in LETTERS[:n]:
        position = LETTERS.index(match[1])  # "B. 12 cm"
        by_label = {position} if _fold(options.texts[position]) == said[match.end() :] else set()
    by_text = {i for i, text in enumerate(options.texts) if _fold(text) == said}
    found = by_label | by_text
    if len(found) > 1:
        raise BadRowError("gold_names_two_options", f"{excerpt(said, 60)!r} names {len(found)} of {n} options")
    return (found.pop(), not by_label) if found else (None, False)


def _shows(text: str, labels: Sequence[str], options: Sequence[str]) -> bool:
    """Whether a text lists the options in their order, each behind its label."""
    end = 0
    for label, option in zip(labels, map(_fold, options), strict=False):
        before = re.compile(rf"(?<![A-Za-z0-9]){re.escape(label)}[^A-Za-z0-9]{{1,12}}$")
        position = text.find(option, end)
        while position >= 0 and not before.search(text, max(end, position - 16 - len(label)), position):
            position = text.find(option, position + 1)
        if position < 0:
            return False
        end = position + len(option)
    return True


def _says(text: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_fold(words))}(?!\w)", text) is not None


def _fold(text: str) -> str:
    return " ".join(text.split())
