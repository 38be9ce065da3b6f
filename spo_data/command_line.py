"""Changes to command lines that are recorded or printed in messages."""

from collections.abc import Sequence


def set_option(command: Sequence[str], option: str, value: str | None) -> list[str]:
    """Return the command line with the option set once, at its first place if it has one; None removes the option."""
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
