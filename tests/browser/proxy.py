"""A bad proxy: it passes everything on, but loses one event of a task's stream, once."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

_TIMEOUT_SECONDS = 30
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class LossyProxy:
    """Stands before a server on a port of its own. Use as a context manager; `lost` are the events that it did not pass on."""

    def __init__(self, port: int, task_id: str, revision: int) -> None:
        self.lost: list[dict[str, Any]] = []
        self._wanted = (task_id, revision)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(port))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever)

    def __enter__(self) -> "LossyProxy":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def loses(self, block: bytes) -> bool:
        """Whether this block of the stream is the one that gets lost."""
        data = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
        event = json.loads(data[0]) if data and not self.lost else {}
        if (event.get("task_id"), event.get("revision")) != self._wanted:
            return False
        self.lost.append(event)
        return True

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                try:
                    upstream.request(self.command, self.path, body or None, {**headers, "Host": self.headers["Host"]})
                    self._answer(upstream.getresponse())
                except OSError:
                    pass  # one of the two sides is gone
                finally:
                    upstream.close()

            do_GET = do_POST = _pass_on  # noqa: N815 - the names that the base class looks for

            def _answer(self, answer: http.client.HTTPResponse) -> None:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP | {"date", "server"}:
                        self.send_header(name, value)
                self.end_headers()
                if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                    self._stream(answer)
                else:
                    self.wfile.write(answer.read())

            def _stream(self, answer: http.client.HTTPResponse) -> None:
                block = b""
                while line := answer.readline():
                    block += line
                    if line == b"\n":
                        if not proxy.loses(block):
                            self.wfile.write(block)
                        block = b""

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
