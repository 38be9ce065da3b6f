"""`spo-data`: check a dataset, estimate offline values, show them, grade them again, publish and import them.

    spo-data check 'reasoning-gym:chain_sum?max_terms=2&max_digits=1' --limit 32 --model smollm2-135m
    spo-data estimate --model smollm2-135m --dataset 'reasoning-gym:chain_sum?max_terms=2&max_digits=1' --out runs/demo
    spo-data list
    spo-data show runs/demo
    spo-data report runs/demo
    spo-data regrade runs/demo --verifier dapo
    spo-data push org/name runs/demo
    spo-data join org/name train.parquet
    spo-data export runs/demo --format spo-json --out values.json
    spo-data import values.json --out runs/imported
    spo-data sandbox --port 8080

Exit status: 0 if every prompt has its n valid samples, 1 if something is missing or failed, 2 for wrong input,
128 + the signal's number after SIGINT or SIGTERM.
"""

from typing import Annotated

import typer

from spo_cli.commands.check import check
from spo_cli.commands.estimate import estimate
from spo_cli.commands.export import export
from spo_cli.commands.import_values import import_values
from spo_cli.commands.join import join
from spo_cli.commands.list_runs import list_runs
from spo_cli.commands.push import push
from spo_cli.commands.regrade import regrade
from spo_cli.commands.report import report
from spo_cli.commands.sandbox import sandbox
from spo_cli.commands.show import show
from spo_cli.terminal.parameters import CONTEXT, VERSION
from spo_cli.terminal.printing import prepare_streams
from spo_cli.terminal.usage import Group

app = typer.Typer(
    name="spo-data",
    cls=Group,
    no_args_is_help=True,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def start(*, version: Annotated[bool, VERSION] = False) -> None:  # Typer calls VERSION's callback
    """Offline values for RL with verifiable rewards: a model's success probability on every training prompt."""


for command in (check, estimate, show, report, regrade, push, join, export):
    app.command(no_args_is_help=True)(command)
app.command("import", no_args_is_help=True)(import_values)
app.command()(sandbox)  # all of its options have defaults
app.command("list")(list_runs)
app.command("ls", hidden=True)(list_runs)


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    prepare_streams()
    app()
