"""The demo's web server: this project, with its static files, on threads of this process."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

HOST = "127.0.0.1"
ANY_FREE_PORT = 0


@contextmanager
def serving(port: int) -> Iterator[int]:
    """Serve while the block runs, on `port` or, if it is taken, on a free one; yields the port."""
    server = _bind(port)
    server.set_app(StaticFilesHandler(WSGIHandler()))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="demo server", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _bind(port: int) -> ThreadedWSGIServer:
    try:
        return ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return ThreadedWSGIServer((HOST, ANY_FREE_PORT), WSGIRequestHandler)
