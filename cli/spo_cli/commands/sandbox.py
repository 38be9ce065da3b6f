"""`spo-data sandbox`: run programs for other machines."""

from dataclasses import replace
from typing import Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.parameters import TOOLS, GivenOptions, takes
from spo_data.sandbox.token import TOKEN, check_token


@takes(tools=replace(TOOLS.only("sandbox_unsafe"), panel="Options"))
def sandbox(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 listens on every network and needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free port.")] = 8080,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Programs that run at once (default: one per core).", show_default=False)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN,
            show_envvar=False,
            show_default=False,
            help=f"Token that every request must carry; other users can read a command line, so set {TOKEN} instead.",
        ),
    ] = None,
    tools: GivenOptions,
) -> None:
    """Serve the code interpreter to `--sandbox http://HOST:PORT`, and to every client of SandboxFusion's /run_code.

    Other machines are served only with a token.

    Exit status: 0 if Ctrl-C or SIGTERM ends it, 2 if programs cannot be run safely here or the port is taken.
    """
    with clean_exit("nothing was served") as command:
        from spo_data.sandbox.server import serve

        options = tools.make(tools="python")
        known = check_token(token)

        def announce(address: str, at_once: int) -> None:
            programs = "1 program" if at_once == 1 else f"{at_once} programs"
            who = "whoever reaches that port" if known is None else "whoever has the token"
            unsafe = f", with all your rights, for {who}" if options.sandbox_unsafe else ""
            print(f"serving /run_code on {address} ({programs} at once{unsafe}; Ctrl-C ends it)", flush=True)

        command.run(serve(options, host, port, concurrency, known, announce))
