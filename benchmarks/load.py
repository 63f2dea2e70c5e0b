"""The load: POSTs that were signed beforehand, from a process of its own, over connections that are kept.

`wrk` sends them where it is installed, otherwise this module does as a program:

    python -m benchmarks.load FILE --port 8000 --connections 16 --seconds 5

Both print one line of JSON with the fields of `Outcome`.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPT: Final = Path(__file__).with_name("wrk.lua")
GRACE_SECONDS: Final = 60.0
"""How much longer than asked for the load may take."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one turn of load measured."""

    requests: int
    "Answered with 200 while the clock ran."
    seconds: float
    p50: float
    "Milliseconds from the first byte sent to the last byte of the answer."
    p99: float
    failed: int
    "Other answers, and connections that broke."
    is_exhausted: bool
    "Whether there were too few prepared requests."

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def parse_outcome(output: str) -> Outcome:
    """Return the outcome in the output of a load: its last line that is a JSON object. Raises `ValueError`."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return Outcome(**json.loads(line))
    raise ValueError(f"The load printed no result: {output[-500:]!r}")


def http_request(path: str, body: bytes, signature: str) -> bytes:
    """Return the bytes of a POST as Nateq sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Nateq-Webhooks/1.0\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nX-Nateq-Signature: sha256={signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write_requests(file: Path, requests: Iterator[bytes]) -> None:
    """Write requests to a file, each after a line with its length in bytes."""
    with file.open("wb") as opened:
        for request in requests:
            opened.write(b"%d\n%b" % (len(request), request))


def read_requests(file: Path) -> Iterator[bytes]:
    """Yield the requests of a file."""
    with file.open("rb") as opened:
        while length := opened.readline():
            yield opened.read(int(length))


def tool() -> str:
    """Return the name of the program that sends the load."""
    return "wrk" if shutil.which("wrk") else "python"


def send(file: Path, *, port: int, connections: int, seconds: float) -> Outcome:
    """Send the requests of a file from another process for some seconds. Raises `RuntimeError`."""
    if tool() == "wrk":
        whole = max(1, round(seconds))  # wrk takes no fractions
        command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}s", "-s", str(SCRIPT)]
        command += [f"http://127.0.0.1:{port}/", "--", str(file)]
    else:
        command = [sys.executable, "-m", "benchmarks.load", str(file), f"--port={port}"]
        command += [f"--connections={connections}", f"--seconds={seconds}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The load failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return parse_outcome(done.stdout)


class Turn:
    """What all connections share: the requests that are left, and what was measured."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self._requests = iter(requests)
        self._seconds = seconds
        self._latencies: list[float] = []
        self._failed = 0
        self._is_exhausted = False
        self._began = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether no further request is to be sent."""
        return self._is_exhausted or time.perf_counter() - self._began >= self._seconds

    def next_request(self) -> bytes | None:
        """Return the next request; None when the time is over or no request is left."""
        if self.is_over:
            return None
        request = next(self._requests, None)
        self._is_exhausted = request is None
        return request

    def record(self, started: float, *, is_good: bool) -> None:
        """Count an answer that ended now, unless the time is over."""
        now = time.perf_counter()
        if now - self._began > self._seconds:
            return
        if is_good:
            self._latencies.append(1000 * (now - started))
        else:
            self._failed += 1

    def outcome(self) -> Outcome:
        """Return what was measured."""
        ordered = sorted(self._latencies)
        return Outcome(
            requests=len(ordered),
            seconds=min(self._seconds, time.perf_counter() - self._began),
            p50=percentile(ordered, 0.5),
            p99=percentile(ordered, 0.99),
            failed=self._failed,
            is_exhausted=self._is_exhausted,
        )


def percentile(ordered: list[float], share: float) -> float:
    """Return the value of sorted values that this share of them does not exceed; 0 if there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Connection(asyncio.Protocol):
    """One connection: sends a request, waits for the whole answer, sends the next."""

    def __init__(self, turn: Turn) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._turn = turn
        self._buffer = b""
        self._started: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Go on once the answer is complete."""
        self._buffer += data
        if self._started is None or not is_complete(self._buffer):
            return
        head = self._buffer.partition(b"\r\n\r\n")[0].lower()
        self._turn.record(self._started, is_good=head.split(b" ", 2)[1] == b"200")
        self._buffer, self._started = b"", None
        if b"\nconnection: close" in head:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count an answer that never came."""
        if self._started is not None:
            self._turn.record(self._started, is_good=False)
        self.ended.set_result(None)

    def _send(self) -> None:
        request = self._turn.next_request()
        if request is None:
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)


def is_complete(answer: bytes) -> bool:
    """Whether these bytes are a whole HTTP answer, of a named length or in chunks."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _colon, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return True


async def _send_all(requests: list[bytes], port: int, connections: int, seconds: float) -> Outcome:
    turn = Turn(requests, seconds)

    async def keep_connected() -> None:
        while True:
            _transport, protocol = await asyncio.get_running_loop().create_connection(
                lambda: Connection(turn), "127.0.0.1", port
            )
            await protocol.ended
            if turn.is_over:
                return

    await asyncio.gather(*(keep_connected() for _ in range(connections)))
    return turn.outcome()


def main() -> None:
    """Send the requests of a file and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    requests = list(read_requests(options.file))
    outcome = asyncio.run(_send_all(requests, options.port, options.connections, options.seconds))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
