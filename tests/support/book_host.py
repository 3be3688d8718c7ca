"""A book host over real HTTP that has one book."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from tests.support.decisions import YES


class BookHost(BaseHTTPRequestHandler):
    """Answers every call for books with one book of YES."""

    calls: list[list[str]] = []  # noqa: RUF012  the server makes a handler per request

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.calls.append([each["token_id"] for each in body])
        book = {
            "asset_id": YES, "hash": "abc", "timestamp": "1790586660000",
            "bids": [{"price": "0.48", "size": "1000"}, {"price": "0.49", "size": "1000"}],
            "asks": [{"price": "0.51", "size": "1000"}, {"price": "0.50", "size": "1000"}],
        }  # fmt: skip
        content = json.dumps([book]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its parent's name
        pass


@contextmanager
def serving_books() -> Iterator[str]:
    """Run the host and yield its URL."""
    server = HTTPServer(("127.0.0.1", 0), BookHost)
    BookHost.calls.clear()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
