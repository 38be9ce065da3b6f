"""Find out why a training prompt has no value: the nearest prompt that has one, and what differs.

    finder = NearMisses(values.prompts())
    finder.find(prompt)      # NearMiss("suffix", "the values end with '\\nThe answer format must be: …'")

A near miss never joins: prompt ids are equal or they are not. It tells a user which option makes them equal, before a
trainer starts without half of its baseline. These differences are tried in order, each ignoring the ones before it:
whitespace, Unicode normal form, system prompt, earlier turns, answer instruction, a text before or after.
"""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from spo_data.prompts.identity import Message, Prompt
from spo_data.prompts.template import BUILT_IN, AnswerTemplate
from spo_data.text import excerpt

SHORTEST_AFFIX = 8
"""Characters. A shorter affix may be part of the problem: "What is 1 + 1" begins "What is 1 + 12?"."""


@dataclass(frozen=True)
class NearMiss:
    """What differs between a training prompt and the nearest prompt with a value."""

    reason: str
    detail: str = ""
    prompt_id: str | None = None
    """The prompt with a value."""


class NearMisses:
    """Prompts that have values, indexed to find those that nearly equal a prompt."""

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._prompts = list(prompts)
        self._levels = [(reason, key, self._index(key)) for reason, key in _LEVELS]
        self._by_text = sorted((_read_text(prompt), position) for position, prompt in enumerate(self._prompts))
        self._by_end = sorted((_read_text(prompt)[::-1], position) for position, prompt in enumerate(self._prompts))

    def find(self, prompt: Prompt) -> NearMiss:
        """How a prompt differs from the nearest one; "not in the values" if none is near."""
        for reason, key, index in self._levels:
            position = index.get(hash(key(prompt)))
            if position is not None:
                near = self._prompts[position]
                return NearMiss(reason, _DETAILS[reason](prompt, near), near.prompt_id)
        text = _read_text(prompt)
        for reason, ordered, ours in (("suffix", self._by_text, text), ("prefix", self._by_end, text[::-1])):
            if (found := _find_affix(ordered, ours)) is not None:
                position, in_values, affix = found
                affix = affix if reason == "suffix" else affix[::-1]
                where = "end with" if reason == "suffix" else "begin with"
                who = "the values" if in_values else "the training prompts"
                return NearMiss(reason, f"{who} {where} {excerpt(affix, 80)!r}", self._prompts[position].prompt_id)
        return NearMiss("not in the values")

    def _index(self, key: "Callable[[Prompt], object]") -> dict[int, int]:
        """Positions by the hash of each key: the keys themselves would be five more copies of every prompt."""
        return {hash(key(prompt)): position for position, prompt in reversed(list(enumerate(self._prompts)))}


def _find_affix(ordered: Sequence[tuple[str, int]], text: str) -> tuple[int, bool, str] | None:
    """(position, whether the entry is longer, the rest of the longer) of an entry if it begins `text` or `text` it."""
    for place in range(bisect_left(ordered, (text, -1)), len(ordered)):
        longer, position = ordered[place]
        if not longer.startswith(text):
            break
        if len(longer) - len(text) >= SHORTEST_AFFIX:
            return position, True, longer[len(text) :]
    begin = text[:-SHORTEST_AFFIX]
    while begin:  # an entry that begins `text` is no longer than what `begin` shares with the entry before it
        place = bisect_right(ordered, (begin, len(ordered))) - 1
        if place < 0:
            return None
        shorter, position = ordered[place]
        if begin.startswith(shorter):
            return (position, False, text[len(shorter) :]) if shorter else None
        begin = begin[: _count_shared(shorter, begin)]
    return None


def _count_shared(one: str, other: str) -> int:
    """The number of characters that two texts share at the beginning."""
    return len(commonprefix([one, other]))  # noqa: RUF071 # it compares by character, as wanted here


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _normalise(text: str) -> str:
    return _collapse(unicodedata.normalize("NFKC", text))


def _get_last(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def _read_text(prompt: Prompt) -> str:
    return _normalise(_get_last(prompt))


def _remove_instruction(prompt: Prompt) -> str:
    text = _get_last(prompt)
    for template in _TEMPLATES:
        text = template.without_instruction(text.strip())
    return _normalise(text)


def _change_turns(prompt: Prompt, change: "Callable[[str], str]", *, system: bool = True) -> tuple[Message, ...]:
    return tuple(
        Message(turn.role, change(turn.content)) for turn in prompt.messages if system or turn.role != "system"
    )


def _describe_system(prompt: Prompt) -> str:
    found = next((turn.content for turn in prompt.messages if turn.role == "system"), None)
    return "no system prompt" if found is None else f"the system prompt {excerpt(found, 60)!r}"


def _describe_difference(ours: Prompt, theirs: Prompt) -> str:
    pairs = zip(ours.messages, theirs.messages, strict=True)
    mine, its = next((a.content.strip(), b.content.strip()) for a, b in pairs if a.content.strip() != b.content.strip())
    at = _count_shared(mine, its)
    window = slice(max(0, at - 12), at + 12)
    return f"{mine[window]!r} in the training data, {its[window]!r} in the values"


def _describe_instructions(ours: Prompt, theirs: Prompt) -> str:
    def describe(prompt: Prompt) -> str:
        text = _get_last(prompt).strip()
        worded = [template.name for template in _TEMPLATES if template.without_instruction(text) != text]
        return f"--template {worded[0]}" if worded else "no instruction that we know"

    return f"{describe(ours)} in the training data, {describe(theirs)} in the values"


_TEMPLATES = [AnswerTemplate(name, source) for name, source in BUILT_IN.items() if name != "none"]

_LEVELS: "tuple[tuple[str, Callable[[Prompt], object]], ...]" = (
    ("whitespace", lambda prompt: _change_turns(prompt, _collapse)),
    ("characters", lambda prompt: _change_turns(prompt, _normalise)),
    ("system prompt", lambda prompt: _change_turns(prompt, _normalise, system=False)),
    ("earlier turns", _read_text),
    ("instruction", _remove_instruction),
)

_DETAILS: "dict[str, Callable[[Prompt, Prompt], str]]" = {
    "whitespace": _describe_difference,
    "characters": _describe_difference,
    "system prompt": lambda ours, theirs: (
        f"{_describe_system(ours)} in the training data, {_describe_system(theirs)} in the values"
    ),
    "earlier turns": lambda ours, theirs: (
        f"{len(ours.messages)} messages in the training data, {len(theirs.messages)} in the values"
    ),
    "instruction": _describe_instructions,
}
