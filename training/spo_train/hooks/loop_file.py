"""`agent_loop.yaml`: what the agent loop of a training run is told of its interpreter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spo_data.options import ToolOptions
from spo_data.prompts.template import AnswerTemplate, tool_wording
from spo_data.provenance import ToolsRecord

LIMITS = {
    "max_tool_turns": "max_turns",
    "tool_seconds": "seconds",
    "tool_memory_mb": "memory_mb",
    "tool_output_chars": "output_chars",
}
"""The options of an interpreter's limits, and their fields in a record."""


def make_loop_settings(options: ToolOptions, workers: int, template: str) -> dict[str, Any]:
    """The arguments of `SPOAgentLoop`, of which there are so many worker processes; none without tools.

    Not `tools`: verl gives each agent loop its own tools under that name.
    """
    record = ToolsRecord.of(options)
    if record is None:
        return {}
    return {
        "interpreter": record.model_dump(),
        "sandbox": options.sandbox,
        "sandbox_unsafe": options.sandbox_unsafe,
        "workers": workers,
        "template": template,
    }


def read_loop_options(record: Mapping[str, Any], sandbox: str, sandbox_unsafe: bool) -> ToolOptions:
    """The options that `make_loop_settings` was given."""
    limits = {name: record[field] for name, field in LIMITS.items()}
    return ToolOptions(tools="python", sandbox=sandbox, sandbox_unsafe=sandbox_unsafe, **limits)


def read_loop_wording(loop_file: Path) -> AnswerTemplate | None:
    """What the agent loop of a training adds to its chats."""
    import yaml

    (loop,) = yaml.safe_load(loop_file.read_text(encoding="utf-8"))
    return tool_wording(str(loop.get("template")))
