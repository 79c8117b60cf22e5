"""A TCP gate in front of a server: while open it passes everything on, once shut nobody gets through."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class Gate:
    """A context manager; `port` is where it listens."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    def shut(self) -> None:
        """End what passes, and refuse the rest, as a server that was killed does."""
        with self._lock:
            for passing in self._sockets:
                with contextlib.suppress(OSError):  # the other end has gone
                    passing.shutdown(socket.SHUT_RDWR)
                passing.close()
            self._sockets.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                with self._lock:
                    self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either end may be cut
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):  # either end may be cut
            other.shutdown(socket.SHUT_WR)
