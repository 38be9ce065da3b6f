"""Command lines that a message prints."""

from collections.abc import Sequence


def with_option(command: Sequence[str], option: str, value: str | None) -> list[str]:
    """The command line with an option set once, where it stood first; without it where the value is None."""
    words: list[str] = []
    given = iter(command)
    found = False
    for word in given:
        name, equals, _ = word.partition("=")
        if name != option:
            words.append(word)
            continue
        if not equals:
            next(given, None)
        if value is not None and not found:
            words += [f"{option}={value}"] if equals else [option, value]
        found = True
    return words if found or value is None else [*words, option, value]
