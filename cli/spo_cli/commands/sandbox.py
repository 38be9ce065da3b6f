"""`spo-data sandbox`: run programs for other machines."""

from dataclasses import replace
from typing import Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.parameters import TOOLS, GivenOptions, takes


@takes(tools=replace(TOOLS.only("sandbox_unsafe"), panel="Options"))
def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 listens on every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free port.")] = 8080,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Programs that run at once (default: one per core).", show_default=False)
    ] = None,
    tools: GivenOptions,
) -> None:
    """Serve the code interpreter to `--sandbox http://HOST:PORT`, and to every client of SandboxFusion's /run_code.

    Exit status: 0 if Ctrl-C or SIGTERM ends it, 2 if programs cannot be run safely here or the port is taken.
    """
    with clean_exit("nothing was served") as command:
        from spo_data.sandbox.server import serve

        options = tools.make(tools="python")

        def announce(address: str, at_once: int) -> None:
            programs = "1 program" if at_once == 1 else f"{at_once} programs"
            unsafe = ", with all your rights, for whoever reaches that port" if options.sandbox_unsafe else ""
            print(f"serving /run_code on {address} ({programs} at once{unsafe}; Ctrl-C ends it)", flush=True)

        command.run(serve(options, host, port, concurrency, announce))
