"""A Hugging Face hub on loopback, for the real `huggingface_hub` and `datasets` clients to load from and push to.

    cd tests && python -m fake_hub.serve ROOT        prints its address on one line, serves until it is killed

* ROOT/{datasets,models}/ORG/NAME/BRANCH/… are the files of a branch (`main` is the default). A test may read and write
  them. If a test edits a folder, it becomes a new commit of its branch, and every past commit stays readable. The
  server keeps history, privacy and pull requests in memory only (store.py).
* A repository whose name starts with `gated-` shows its page and refuses its files, as the real hub does.
* `Authorization: Bearer hf_writer` is the user `me`, who may write to `me/…` and `org/…`. `hf_reader` is the user
  `reader`, who sees private repositories and may only open pull requests and commit to them. Any other token is
  refused. Without a token, private repositories do not exist (api.py).
* Clients see a commit as a whole or not at all. On disk its files change one after the other.
* Every request is appended to ROOT/requests.log as `METHOD PATH`, and may trigger a fault from
  ROOT/faults.json (faults.py).
"""

import sys
import time
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fake_hub.api import Answer, Api, Request
from fake_hub.faults import Faults
from fake_hub.objects import PIECE
from fake_hub.store import Store


class Handler(BaseHTTPRequestHandler):
    """The HTTP side: request bodies in pieces, faults, responses."""

    root: Path
    api: Api
    faults: Faults
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond to a GET."""
        self._answer()

    def do_HEAD(self) -> None:
        """Respond to a HEAD with the headers of the corresponding GET."""
        self._answer()

    def do_POST(self) -> None:
        """Respond to a POST: changes to a repository, and `paths-info`."""
        self._answer()

    def do_PUT(self) -> None:
        """Receive an LFS object."""
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the base class's name
        """Print nothing to stderr; requests.log records every request."""

    def _answer(self) -> None:
        self._unread = int(self.headers.get("Content-Length") or 0)
        url = urlsplit(self.path)
        request = Request(
            self.command,
            [unquote(part) for part in url.path.strip("/").split("/")],
            {name: values[0] for name, values in parse_qs(url.query).items()},
            self.headers,
            self._pieces(),
        )
        try:
            try:
                answer = self._answer_to(request, url.path)
            except ConnectionError:
                raise
            except Exception as error:
                traceback.print_exc()
                # The clients do not retry this status.
                answer = Answer.of({"error": f"tests/fake_hub/serve.py: {error!r}"}, HTTPStatus.NOT_IMPLEMENTED)
            for _ in self._pieces():
                pass
            if answer is None:
                self.close_connection = True
            else:
                self._send(answer)
        except ConnectionError:
            self.close_connection = True

    def _answer_to(self, request: Request, path: str) -> Answer | None:
        with self.api.store.lock:
            with (self.root / "requests.log").open("a") as log:
                log.write(f"{self.command} {self.path}\n")
            fault = self.faults.take(self.command, path)
        if fault is None:
            return self.api.answer(request)
        time.sleep(fault.pause)
        if fault.meanwhile:
            self.api.commit_meanwhile(request, fault.meanwhile)
        if fault.status is None:
            return self.api.answer(request)
        if fault.when == "after":
            self.api.answer(request)
        if fault.status == 0:
            return None
        if isinstance(fault.body, str):
            return Answer(fault.body.encode(), fault.status, {"Content-Type": "application/xml", **fault.headers})
        error = {"error": HTTPStatus(fault.status).phrase} if fault.body is None else fault.body
        return Answer.of(error, fault.status, fault.headers)

    def _pieces(self) -> Iterator[bytes]:
        """The unread rest of the request's body."""
        while self._unread:
            piece = self.rfile.read(min(self._unread, PIECE))
            if not piece:
                raise ConnectionError("the client went away")
            self._unread -= len(piece)
            yield piece

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        content = answer.content
        length = len(content) if isinstance(content, bytes) else len(answer.part)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD" or length == 0:
            return
        if isinstance(content, bytes):
            self.wfile.write(content)
        else:
            with content.open("rb") as file:
                self.connection.sendfile(file, answer.part.start, length)


def main() -> None:
    """Serve the folder named on the command line on a free port of 127.0.0.1."""
    Handler.root = Path(sys.argv[1])
    Handler.api = Api(Store(Handler.root))
    Handler.faults = Faults(Handler.root / "faults.json")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
