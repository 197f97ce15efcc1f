"""Traffic in a lab: the UDP stream, iperf3, ping."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mpbond.lab.netns import Lab, LabError, wait_for
from mpbond.lab.stream import StreamReport, analyse, gap_ms, lost_after

_STREAM = [sys.executable, "-m", "mpbond.lab.stream"]


@dataclass(slots=True)
class Stream:
    """A running UDP stream from one host to another."""

    sender: subprocess.Popen[str]
    receiver: subprocess.Popen[str]
    result: Path
    sent: int = 0
    arrivals: list[tuple[int, int]] = field(default_factory=list)

    def stop(self) -> StreamReport:
        """Ends the sender, lets the last packets arrive, and counts."""
        if self.sender.poll() is None:
            self.sender.send_signal(signal.SIGTERM)
        return self.finish()

    def finish(self, timeout_s: float = 120.0) -> StreamReport:
        """Waits for a sender with a count to come to its end, and counts."""
        output, _ = self.sender.communicate(timeout=timeout_s)
        self.receiver.send_signal(signal.SIGTERM)
        self.receiver.wait(timeout=30)
        said = json.loads(output)
        self.sent = said["sent"]
        self.arrivals = [(number, stamp) for number, stamp in json.loads(self.result.read_text())]
        return analyse(self.sent, self.arrivals, said["stalls_ms"])

    def lost_after(self, marks_ns: Sequence[int]) -> list[int]:
        """After the end: what each cut cost, see stream.lost_after."""
        return lost_after(marks_ns, self.sent, self.arrivals)

    def gap_ms(self, since_ns: int, until_ns: int | None = None) -> float:
        """After the end: the longest silence of that time, see stream.gap_ms."""
        return gap_ms(self.arrivals, since_ns, until_ns)


@contextmanager
def stream(
    lab: Lab,
    source: str,
    target: str,
    address: str,
    *,
    interval_us: int = 1000,
    count: int = 0,
    port: int = 5999,
    source_port: int = 0,
    tos: int = 0,
) -> Iterator[Stream]:
    """A UDP stream from host `source` to `address` on host `target`."""
    receive = ["receive", address, "--port", str(port)]
    send = ["send", address, "--port", str(port), "--interval-us", str(interval_us)]
    send += ["--count", str(count), "--source-port", str(source_port), "--tos", str(tos)]
    with tempfile.TemporaryDirectory(prefix="mpbond-stream-") as folder, ExitStack() as stack:
        result = Path(folder) / "arrivals.json"
        receiver = stack.enter_context(_process(lab, target, [*receive, "--result", str(result)]))
        _wait_to_hear("ready", receiver.stdout, receiver, f"receiver on {address}")
        sender = stack.enter_context(_process(lab, source, send))
        _wait_to_hear("started", sender.stderr, sender, f"sender to {address}")
        yield Stream(sender, receiver, result)


@contextmanager
def _process(lab: Lab, host: str, words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """One end of a stream, ended with the block."""
    process = lab.start(host, [*_STREAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_to_hear(word: str, pipe: IO[str] | None, process: subprocess.Popen[str], what: str) -> None:
    """Reads the line that says the process is ready. Raises LabError with its last
    words if it ended instead."""
    first = pipe.readline() if pipe else ""
    if first.strip() != word:
        process.kill()
        raise LabError(f"the stream's {what}: {first}{process.communicate()[1]}".strip())


@contextmanager
def iperf_server(lab: Lab, host: str, port: int = 5201) -> Iterator[None]:
    """An iperf3 server, listening when the block is entered."""
    silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = lab.start(host, ["iperf3", "-s", "-p", str(port)], **silent)
    wait_for(f"iperf3 listening on {host}", lambda: f":{port} " in lab.run(host, ["ss", "-Hltn"]))
    try:
        yield
    finally:
        server.kill()
        server.wait()


def iperf(
    lab: Lab, host: str, address: str, *, seconds: int = 2, flows: int = 1, options: str = ""
) -> dict[str, Any]:
    """One iperf3 client run against `address`; its JSON."""
    words = f"iperf3 -c {address} -t {seconds} -P {flows} -J {options}".split()
    data: dict[str, Any] = json.loads(lab.run(host, words, timeout_s=seconds + 30))
    if "error" in data:
        raise LabError(f"iperf3 to {address}: {data['error']}")
    return data


@dataclass(slots=True)
class TcpFlows:
    """A running iperf3 client."""

    client: subprocess.Popen[str]

    def ended(self, at_most_s: float) -> bool:
        """Waits so long at most; True once it has ended by itself."""
        try:
            self._output, self._errors = self.client.communicate(timeout=at_most_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    _output: str = ""
    _errors: str = ""

    def bps(self) -> float:
        """After its end: throughput as received, bits per second."""
        data = json.loads(self._output or "{}")
        if "end" not in data:
            raise LabError(f"iperf3: {data.get('error') or self._errors or 'no result'}")
        return float(data["end"]["sum_received"]["bits_per_second"])


@contextmanager
def tcp_flows(
    lab: Lab, source: str, address: str, *, seconds: int, flows: int = 1, options: str = ""
) -> Iterator[TcpFlows]:
    """TCP flows in the background, from host `source` to an iperf3 server; ended with
    the block if not before."""
    words = f"iperf3 -c {address} -t {seconds} -P {flows} -J {options}".split()
    client = lab.start(source, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield TcpFlows(client)
    finally:
        client.kill()
        client.communicate()


def tcp_bps(
    lab: Lab, host: str, address: str, *, seconds: int = 2, flows: int = 1, options: str = ""
) -> float:
    """TCP throughput as received, bits per second."""
    data = iperf(lab, host, address, seconds=seconds, flows=flows, options=options)
    return float(data["end"]["sum_received"]["bits_per_second"])


def udp_pps(lab: Lab, host: str, address: str, *, seconds: int = 2, payload: int = 22) -> float:
    """Packets received per second of a one-socket UDP flood; 22 bytes of payload
    make 64-byte frames."""
    data = iperf(lab, host, address, seconds=seconds, options=f"-u -b 0 -l {payload}")
    end = data["end"]["sum"]
    return float((end["packets"] - end["lost_packets"]) / end["seconds"])


def ping(lab: Lab, host: str, address: str, *options: str) -> bool:
    """One echo within a second?"""
    try:
        lab.run(host, ["ping", "-c", "1", "-W", "1", *options, address])
    except LabError:
        return False
    return True
