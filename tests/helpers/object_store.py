"""A server of buckets on this machine, which speaks S3, and one of plain files."""

from __future__ import annotations

import functools
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

BUCKET = "pools"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """The address of a web server that lists a folder."""
    server = _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def buckets() -> Iterator[dict[str, str]]:
    """What the environment of a process says that is to find the server, a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(address, server)
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.terminate()
        server.wait()


def put(address: str, folder: Path, below: str) -> None:
    """Copy a folder into the bucket, under a name."""
    _put(f"{address}/{BUCKET}", b"")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _put(
                f"{address}/{BUCKET}/{below}/{quote(path.relative_to(folder).as_posix())}", path.read_bytes()
            )


def _put(address: str, data: bytes) -> None:
    # a server that stands alone takes whoever names a signature
    signed = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=somebody/20250101/us-east-1/s3/aws4_request",
        "Content-Type": "application/octet-stream",
    }
    with urlopen(Request(address, data=data, method="PUT", headers=signed), timeout=20) as answer:
        assert answer.status == 200


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < until:
        try:
            urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no server at {address}, {os.getpid()}")
