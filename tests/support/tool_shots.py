"""Problems whose chat has four example programs, so that even a small model usually writes a program.

write_shots(tmp_path / "shots.jsonl")       # the messages layout, with ground truths
"""

import json
from pathlib import Path

SHOTS = ("1 + 2", "3 + 5", "7 - 4", "6 + 1")
PROBLEMS = ("2 + 5", "9 - 4", "8 + 1", "3 + 3")


def write_shots(path: Path) -> Path:
    """Write one row per problem."""
    rows = []
    for problem in PROBLEMS:
        messages = []
        for shot in SHOTS:
            messages += [_message("user", f"What is {shot}?"), _message("assistant", f"<code>{shot}</code>")]
        messages.append(_message("user", f"What is {problem}?"))
        rows.append({"messages": messages, "answer": str(eval(problem))})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
