"""The HTTP door of a process: /health and /metrics on loopback, served from a thread of its own.

A thread answers even while the event loop is busy or stuck, which is when someone asks.
"""

import json
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app

from libs.common.observability.health import Health
from libs.common.observability.metrics import REGISTRY


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds an idle client may hold a thread

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
        pass


class HttpDoor:
    """A running server; `port` is the bound one, `close` releases it."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.port = int(server.server_port)
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True, name="http"
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def serve_http(health: Health, port: int, host: str = "127.0.0.1") -> HttpDoor:
    """Serve /health (200 when ok, else 503, always JSON) and /metrics until closed; port 0 picks a free one.

    Raises OSError naming the address when the port is taken.
    """
    metrics = make_wsgi_app(REGISTRY)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/").rstrip("/")
        if path == "/metrics":
            body: Iterable[bytes] = metrics(environ, start_response)
            return body
        if path == "/health":
            snapshot = health.snapshot()
            status = "200 OK" if snapshot["status"] == "ok" else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
            return [json.dumps(snapshot, default=str).encode()]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"expected /health or /metrics\n"]

    try:
        server = make_server(host, port, answer, server_class=_Server, handler_class=_QuietHandler)
    except OSError as error:
        raise OSError(error.errno, f"cannot serve http://{host}:{port}: {error.strerror}") from error
    return HttpDoor(server)
