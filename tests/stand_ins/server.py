"""What the stand-ins of web services have in common: a server on the loopback, and how it answers."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer:
    """Serves with a handler from the moment it is made until `close`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], name: str) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *words: None  # a connection that the client ended
        self.port = self.http.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True, name=name).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers in silence."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: Any) -> None:
        pass

    def give(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
