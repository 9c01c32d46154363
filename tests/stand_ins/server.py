"""What the stand-ins of web services have in common: a server on the loopback, and how it answers."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer:
    """Serves with a handler from the moment it is made until `close`; `over` is set then, for who stalls."""

    def __init__(self, handler: type[LoopbackHandler], name: str, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.over = threading.Event()
        self.http = ThreadingHTTPServer((host, port), handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *words: None  # a connection that the client ended
        self.port = self.http.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        beat = {"poll_interval": 0.05}
        threading.Thread(target=self.http.serve_forever, kwargs=beat, daemon=True, name=name).start()

    def close(self) -> None:
        self.over.set()
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

    def give_file(self, body: bytes, **headers: str) -> None:
        """Give a file, or the range of it that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not body:
            return self.give(200, body, **headers)
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
        return self.give(206, body[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(body)}", **headers)
