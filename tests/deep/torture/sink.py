"""A mail server that takes everything and remembers which messages it has taken."""

import re
import socketserver
import threading
from collections import Counter
from contextlib import suppress

MESSAGE_ID = re.compile(rb"^Message-ID:\s*<order-(\d+)\.(\w+)\.", re.IGNORECASE | re.MULTILINE)


class Sink:
    """Speaks SMTP on a free port; `taken` counts messages by order number and kind."""

    def __init__(self) -> None:
        self.taken: Counter[tuple[int, str]] = Counter()
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.take = self._take
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, message: bytes) -> None:
        found = MESSAGE_ID.search(message)
        if found:
            self.taken[int(found[1]), found[2].decode()] += 1


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    take = staticmethod(lambda message: None)


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):  # the other side was killed
            self._say("220 at your service")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self._say("354 go on")
                    if not self._read_message():
                        return
                self._say("221 goodbye" if verb == b"QUIT" else "250 well")

    def _read_message(self) -> bool:
        """Take a message to its end; return False where the other side was killed before it."""
        message = b""
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            message += line
        self.server.take(message)
        return True

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())
