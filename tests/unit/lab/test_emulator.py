"""The lab's side of an emulated wire: words for tc, what a log says, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpbond.lab import emulator
from mpbond.lab.emulator import RECORD_DTYPE, EmulationLog, EmulatorError
from mpbond.lab.netns import Lab, LabError
from mpbond.lab.relay import DIRECTIONS, RECORD
from mpbond.lab.schedule import LOSS, PASSED, QUEUE, Impairment
from mpbond.lab.topology import End, Wire, gateways, two_hosts

LIMIT = "netem limit 100000"
NETEM = [
    ("nothing", {}, LIMIT),
    ("delay", {"delay_ms": 20.5}, f"{LIMIT} delay 20500us"),
    ("jitter", {"delay_ms": 20, "jitter_ms": 2}, f"{LIMIT} delay 20000us 2000us distribution normal"),
    ("loss and damage", {"loss": 0.5, "corrupt": 2}, f"{LIMIT} loss 0.5% corrupt 2%"),
    ("reordering", {"delay_ms": 5, "reorder": 3}, f"{LIMIT} delay 5000us reorder 3%"),
    ("reordering needs a delay to skip", {"reorder": 3}, LIMIT),
    # 12.112 Mbit/s are a frame of 1,514 bytes each ms.
    ("rate", {"rate_mbit": 12.112, "queue_ms": 30}, "netem limit 30 rate 12112000bit"),
    (
        "a rate's queue comes on top of what is on its way",
        {"rate_mbit": 12.112, "queue_ms": 30, "delay_ms": 50},
        "netem limit 80 delay 50000us rate 12112000bit",
    ),
]


@pytest.mark.parametrize(("settings", "words"), [case[1:] for case in NETEM], ids=[case[0] for case in NETEM])
def test_words_for_netem(settings: dict[str, float], words: str) -> None:
    assert " ".join(emulator.netem_words(Impairment(**settings))) == words


def test_netem_takes_no_seed() -> None:
    """Newer versions do; the tc of Debian 12 does not."""
    with pytest.raises(EmulatorError, match="a seed: netem draws as it likes"):
        emulator.netem_words(Impairment(loss=1), seed=7)


def log_of(*records: tuple[int, ...]) -> EmulationLog:
    """Of the relay's own bytes."""
    return EmulationLog(np.frombuffer(b"".join(RECORD.pack(*record) for record in records), RECORD_DTYPE))


LOG = log_of(
    (3_000_000, 5_000_000, 5_100_000, 100, -1, 0, PASSED),
    (1_000_000, 5_000_000, 5_300_000, 101, 350, 0, PASSED),
    (2_000_000, 2_000_000, 0, 102, -1, 0, LOSS),
    (4_000_000, 4_000_000, 0, 103, -1, 1, QUEUE),
)


def test_a_log_reads_what_the_relay_wrote() -> None:
    """One layout in two files: every field comes out as it went in."""
    (record,) = log_of((1 << 40, 2 << 40, 3 << 40, 4_000_000_000, -1, 1, 6)).records
    assert record.tolist() == (1 << 40, 2 << 40, 3 << 40, 4_000_000_000, -1, 1, 6)


def test_a_log_by_direction_and_verdict() -> None:
    assert LOG.of("a->b")["length"].tolist() == [101, 102, 100], "in order of arrival"
    assert LOG.of("a->b", "loss")["length"].tolist() == [102]
    assert LOG.of("b->a", "passed")["length"].tolist() == []
    assert LOG.delays_ms("a->b").tolist() == pytest.approx([4.3, 2.1])


def test_summary_of_a_log() -> None:
    assert LOG.summary() == [
        "a->b: 2 passed, 1 dropped: loss, held for 3.200 ms (standard deviation 1.100), 1 damaged",
        "b->a: 0 passed, 1 dropped: queue",
    ]
    assert EmulationLog(missed=3).summary()[-1] == "missed by the emulator: 3"


def test_csv_of_a_log(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log.csv")
    head, first, *_, last = (tmp_path / "log.csv").read_text().splitlines()
    assert head == "direction,verdict,in_ns,due_ns,out_ns,length,bit"
    assert first == "a->b,passed,3000000,5000000,5100000,100,-1"
    assert last == "b->a,queue,4000000,4000000,0,103,-1"


def test_directions_by_name() -> None:
    assert [emulator.ways(name) for name in (*DIRECTIONS, "both")] == [[0], [1], [0, 1]]
    with pytest.raises(EmulatorError, match="direction 'a<-b': wanted one of a->b, b->a, both"):
        emulator.ways("a<-b")


def test_only_guarded_wires_can_be_emulated() -> None:
    with pytest.raises(ValueError, match="an emulated wire is a guarded one"):
        Wire("eth1", End("a", "eth1"), End("b", "eth1"), guarded=False, emulated=True)
    emulated = {wire.name: wire.emulated for wire in gateways(1, guarded=True).emulated().wires}
    assert emulated == {"eth1": True, "client": False, "server": False}


def test_a_wire_that_is_not_emulated_says_so() -> None:
    with pytest.raises(LabError, match="eth1 is not an emulated wire"):
        Lab(two_hosts(1)).emulate("eth1", delay_ms=1)


def test_netem_keeps_no_log() -> None:
    lab = Lab(two_hosts(1).emulated(), emulator="netem")
    with pytest.raises(EmulatorError, match="netem, which tells nothing"), lab.emulation_log("eth1"):
        pytest.fail("no log to read")


def test_an_emulator_that_is_not_there() -> None:
    lab = Lab(two_hosts(1).emulated(), tag="nowhere", emulator="relay")
    with pytest.raises(EmulatorError, match="eth1 does not answer"):
        lab.emulate("eth1", delay_ms=1)
