"""Traffic in a lab: the UDP stream, iperf3, ping."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpbond.lab.netns import Lab, LabError, wait_for
from mpbond.lab.stream import StreamReport, analyse

_STREAM = [sys.executable, "-m", "mpbond.lab.stream"]


@dataclass(slots=True)
class Stream:
    """A running UDP stream from one host to another."""

    sender: subprocess.Popen[str]
    receiver: subprocess.Popen[str]
    result: Path

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
        return analyse(said["sent"], json.loads(self.result.read_text()), said["stalls_ms"])


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
) -> Iterator[Stream]:
    """A UDP stream from host `source` to `address` on host `target`."""
    with tempfile.TemporaryDirectory(prefix="mpbond-stream-") as folder:
        result = Path(folder) / "arrivals.json"
        receiver = lab.start(
            target,
            [*_STREAM, "receive", address, "--port", str(port), "--result", str(result)],
            stdout=subprocess.PIPE,
            text=True,
        )
        if receiver.stdout is None or receiver.stdout.readline().strip() != "ready":
            raise LabError(f"the stream's receiver does not listen on {address}")
        words = ["send", address, "--port", str(port), "--interval-us", str(interval_us), "--count", str(count)]
        words += ["--source-port", str(source_port)]
        sender = lab.start(source, [*_STREAM, *words], stdout=subprocess.PIPE, text=True)
        running = Stream(sender, receiver, result)
        try:
            yield running
        finally:
            for process in (sender, receiver):
                if process.poll() is None:
                    process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


@contextmanager
def iperf_server(lab: Lab, host: str, port: int = 5201) -> Iterator[None]:
    """An iperf3 server, listening when the block is entered."""
    server = lab.start(host, ["iperf3", "-s", "-p", str(port)], stdout=subprocess.DEVNULL)
    wait_for(f"iperf3 listening on {host}", lambda: f":{port} " in lab.run(host, ["ss", "-Hltn"]))
    try:
        yield
    finally:
        server.kill()
        server.wait()


def iperf(lab: Lab, host: str, address: str, *, seconds: float = 2, flows: int = 1, options: str = "") -> dict[str, Any]:
    """One iperf3 client run against `address`; its JSON."""
    words = f"iperf3 -c {address} -t {seconds} -P {flows} -J {options}".split()
    data: dict[str, Any] = json.loads(lab.run(host, words, timeout_s=seconds + 30))
    if "error" in data:
        raise LabError(f"iperf3 to {address}: {data['error']}")
    return data


def tcp_bps(lab: Lab, host: str, address: str, *, seconds: float = 2, flows: int = 1, options: str = "") -> float:
    """TCP throughput as received, bits per second."""
    data = iperf(lab, host, address, seconds=seconds, flows=flows, options=options)
    return float(data["end"]["sum_received"]["bits_per_second"])


def udp_pps(lab: Lab, host: str, address: str, *, seconds: float = 2, payload: int = 22) -> float:
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
