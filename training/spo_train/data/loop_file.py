"""What `agent_loop.yaml` tells the agent loop of its interpreter.

make_loop_settings(options, workers=8, template="retool")           # written into the file
read_loop_options(record, sandbox="local", sandbox_unsafe=False)    # the same ToolOptions, in the agent loop
read_loop_wording(Path("runs/train/agent_loop.yaml"))               # what the chat tells the model about it
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spo_data.options import ToolOptions
from spo_data.prompts.template import AnswerTemplate, tool_wording
from spo_data.provenance import ToolsRecord
from spo_train.literal import from_literal, to_literal

LIMITS = {
    "max_tool_turns": "max_turns",
    "tool_seconds": "seconds",
    "tool_memory_mb": "memory_mb",
    "tool_output_chars": "output_chars",
}
"""The options that limit an interpreter, each with its field in a `ToolsRecord`."""


def make_loop_settings(options: ToolOptions, workers: int, template: str) -> dict[str, Any]:
    """Return the tool arguments of `SPOAgentLoop`, which runs in `workers` processes; empty without tools.

    They are not called `tools`, since verl passes its own tools to each agent loop under that name.
    """
    record = ToolsRecord.of(options)
    if record is None:
        return {}
    return {
        "interpreter": record.model_dump(),
        "sandbox": to_literal(options.sandbox),
        "sandbox_unsafe": options.sandbox_unsafe,
        "workers": workers,
        "template": to_literal(template),
    }


def dump_loop(loop: Mapping[str, Any]) -> str:
    """Return the file's text. Only OmegaConf, which reads it, writes the text "1e5" so that it stays a text."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create([dict(loop)]))


def read_loop_options(record: Mapping[str, Any], sandbox: str, sandbox_unsafe: bool) -> ToolOptions:
    """Return the options that `make_loop_settings` was given."""
    limits = {name: record[field] for name, field in LIMITS.items()}
    return ToolOptions(tools="python", sandbox=from_literal(sandbox), sandbox_unsafe=sandbox_unsafe, **limits)


def read_loop_wording(loop_file: Path) -> AnswerTemplate | None:
    """Return the wording that the agent loop adds to its chats; None if it adds none."""
    import yaml

    (loop,) = yaml.safe_load(loop_file.read_text(encoding="utf-8"))
    return tool_wording(str(from_literal(loop.get("template"))))
