"""`spo-data sandbox`: run programs for other machines."""

from typing import Annotated

import typer

from spo_cli.exits import clean_exit
from spo_data.options import ToolOptions, help_of


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every network's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any that is free.")] = 8080,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Programs that run at once (default: one a core).", show_default=False)
    ] = None,
    sandbox_unsafe: Annotated[
        bool, typer.Option("--sandbox-unsafe", help=help_of(ToolOptions, "sandbox_unsafe"))
    ] = False,
) -> None:
    """Serve the code interpreter to `--sandbox http://HOST:PORT`, and to every client of SandboxFusion's /run_code.

    Exit status: 0 when Ctrl-C or SIGTERM ends it, 2 where programs cannot be run safely here or the port is taken.
    """
    with clean_exit("interrupted before anything was served"):
        import asyncio

        from spo_data.sandbox.server import serve

        def announce(address: str, at_once: int) -> None:
            programs = "1 program" if at_once == 1 else f"{at_once} programs"
            unsafe = ", with all your rights, for whoever reaches that port" if sandbox_unsafe else ""
            print(f"serving /run_code on {address} ({programs} at once{unsafe}; Ctrl-C ends it)", flush=True)

        options = ToolOptions(tools="python", sandbox_unsafe=sandbox_unsafe)
        asyncio.run(serve(options, host, port, concurrency, announce))
