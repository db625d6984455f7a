"""moto's S3 on this machine, which can be slow, answer 503, be away, or cut connections in the middle of uploads.

Needs `pip install "moto[server]" s3fs`.
"""

from __future__ import annotations

import io
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from vqcodec.dataset.packages import needed

#: bytes that a slow server takes at once, and the seconds that it waits after each
_PIECE: Final = 256 << 10
_PAUSE: Final = 0.02
#: of a slow server's sockets, so that a client cannot leave much of an upload to the kernel
_BUFFER: Final = 256 << 10


class Server:
    """moto's S3 in threads of this process.

    slow: part of the paths whose uploads are taken 256 kB at a time, 13 MB/s. fails: answer everything by 503. cut_at:
    bytes of a slow upload after which its connection is cut; None for never. uploading: bytes that came and bytes that
    were stated of each slow upload that goes on, by its number. short: slow uploads of which not all came.
    """

    def __init__(self, slow: str | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.slow, self.fails = slow, False
        self.refused, self.uploads, self.short = 0, 0, 0
        self.uploading: dict[int, tuple[int, int]] = {}
        self.cut_at: int | None = None
        self._application = needed("moto.server", "dataset").DomainDispatcherApplication(
            needed("moto.server", "dataset").create_backend_app
        )
        self._server: Any = None
        self.begin()

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }

    def begin(self) -> None:
        """Listen."""
        self._server = needed("werkzeug.serving", "dataset").make_server(
            "127.0.0.1", self.port, self._answer, threaded=True
        )
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # else a line a request, and what is left of cut ones
        if self.slow:
            self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        """Listen no more: connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environment: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        if self.fails:
            self.refused += 1
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if self.slow and environment["REQUEST_METHOD"] == "PUT" and self.slow in environment["PATH_INFO"]:
            self._take(environment)
        answer: Iterable[bytes] = self._application(environment, respond)
        return answer

    def _take(self, environment: dict[str, Any]) -> None:
        """Take an upload slowly. moto then gets what came of it, with the length that was stated."""
        number, self.uploads = self.uploads, self.uploads + 1
        stated, content = int(environment["CONTENT_LENGTH"]), io.BytesIO()
        try:
            while content.tell() < stated:
                self.uploading[number] = content.tell(), stated
                if self.cut_at is not None and content.tell() >= self.cut_at:
                    # whoever closes a socket that lingers for 0 s resets its connection
                    environment["werkzeug.socket"].setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    raise ConnectionAbortedError
                piece = environment["wsgi.input"].read(min(_PIECE, stated - content.tell()))
                if not piece:
                    break
                content.write(piece)
                time.sleep(_PAUSE)
        except OSError:  # the connection is cut, or the client has ended and the kernel says so
            self.short += 1
            raise
        finally:
            self.uploading.pop(number, None)
        self.short += content.tell() < stated
        content.seek(0)
        environment["wsgi.input"] = content
