"""The controller's side of control frames: keys, ways, what is taken, what comes of it.

One end is `Control` with maps and a bond of two paths; the other end's frames are made
by hand, and ours are taken from the carrier.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from mpbond import abi, wire
from mpbond.config.model import LinkMode
from mpbond.control_frames import Ack, PathMark, PathReport, PathState, Report, View, decode, encode
from mpbond.control_seal import Opener, Sealer
from mpbond.controller.bond import BondState
from mpbond.controller.control import LEAST_NEWS_NS, Control
from mpbond.controller.measuring import Measuring
from mpbond.controller.reporting import ways_of
from mpbond.events import History
from mpbond.health import State
from mpbond.layout import BondSpec, PathKey, PathSpec
from mpbond.policies import Assignment
from mpbond.sessions import SessionPair, from_keys
from tests.bpf import packets
from tests.bpf.packets import GATEWAY, LOCAL
from tests.bpf.rig import SIZES, Bond, BondSetup, PathSetup, Rig
from tests.bpf.test_trust import OTHER, Carrier
from tests.unit.host import XOR, peer

pytestmark = pytest.mark.root

MS = 1_000_000
FAMILIES = (4, 6)
POLICY = replace(XOR, name="ours", failover_interval_ms=1000)
SPARED = View(
    "theirs",
    abi.PolicyCode.ACTIVE_BACKUP,
    "0.2",
    3,
    900,
    (
        PathReport(5, PathState.UP, PathMark.ELIGIBLE | PathMark.CARRIES, 1500),
        PathReport(6, PathState.HELD, PathMark.SPARE),
        PathReport(99, PathState.UP, PathMark.SPARE),
    ),
)


@dataclass
class End:
    """Ours. The peer's numbers of our paths 0 and 1 are 5 and 6."""

    rig: Rig
    bond: Bond
    state: BondState
    control: Control
    carrier: Carrier
    now_ns: int = 1000 * MS
    spares: list[frozenset[int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def agree(self, seed: int, *, takes_reports: bool = True) -> None:
        """A new session, at both ends at once."""
        ours = from_keys(bytes([seed]) * 32, bytes([seed + 1]) * 32)
        self.pair = SessionPair(tx=ours.rx, rx=ours.tx)  # as the peer has it
        self.rig.plane.sessions.receive_under(0, ours.rx, self.now_ns)
        value = self.rig.plane.maps["sessions"].get(ours.rx.number)
        assert value is not None
        entry = bytearray(value)
        numbers = abi.SESSION.fields["local_path"][1]
        for theirs, index in ((5, self.bond.paths[0]), (6, self.bond.paths[1])):
            entry[numbers + 2 * theirs : numbers + 2 * theirs + 2] = index.to_bytes(2, "little")
        self.rig.plane.maps["sessions"].put(ours.rx.number, bytes(entry))
        self.sealer, self.opener = Sealer(self.pair.tx.control_key), Opener(self.pair.rx.control_key)
        self.control.receive_under(OTHER.id, ours.rx)
        self.control.send_under(OTHER.id, ours.tx, self.now_ns, takes_reports=takes_reports)

    def work(self, later_ms: int = 0) -> list[tuple[int, Report | Ack]]:
        """What is sent, with our path numbers; each checked for the way that it went."""
        self.now_ns += later_ms * MS
        self.control.work(self.now_ns)
        return self.sent()

    def sent(self) -> list[tuple[int, Report | Ack]]:
        found = []
        for way, data in self.carrier.sent:
            header, number = data[: wire.HEADER_LEN], int.from_bytes(data[2:4], "big")
            assert header == wire.bond_header(self.pair.rx.number, number, kind=wire.TYPE_CONTROL)
            family = FAMILIES[number]
            assert (way.local, way.remote, way.port) == (
                ip_address(LOCAL[family]),
                packets.peer_address(family, number),
                packets.PORT,
            )
            assert way.ifindex == self.rig.lab.ifindex["wan0"]
            found.append((number, decode(self.opener.open(header, data[wire.HEADER_LEN :]))))
        self.carrier.sent.clear()
        return found

    def frame(self, text: bytes, path: int = 5) -> bytes:
        header = wire.bond_header(self.pair.tx.number, path, kind=wire.TYPE_CONTROL)
        return self.sealer.seal(header, text)

    def hear(self, view: View = SPARED, number: int = 1, path: int = 5) -> list[tuple[int, Report | Ack]]:
        for part in encode(view, number, 7):
            self.control.take(self.frame(part, path), self.now_ns)
        return self.sent()

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.control.counts.items() if count}


def state_of(rig: Rig, bond: Bond) -> BondState:
    paths = tuple(
        PathSpec(
            PathKey("wan0", ip_address(LOCAL[family]), packets.peer_address(family, number), packets.PORT),
            *(number, rig.lab.ifindex["wan0"], ip_address(GATEWAY[family]), LinkMode.PRIMARY),
            *(0, 0, 1500, True, True),
        )
        for number, family in enumerate(FAMILIES)
    )
    there = replace(peer(ident=OTHER.id, policy=POLICY), key=None, public_key=OTHER.public)
    state = BondState(BondSpec(0, there, paths), SIZES.block)
    state.respec(state.spec)
    for health in state.health.values():
        health.state = State.UP
    state.assignment = Assignment(tuple(bond.paths), 2, shares=dict.fromkeys(bond.paths, 1.0))
    return state


@pytest.fixture
def end(rig: Rig) -> End:
    bond = rig.bond(BondSetup(paths=tuple(PathSetup(family) for family in FAMILIES)))
    for index in bond.paths:
        rig.plane.paths_live[index] = 0
    carrier = Carrier()
    control = Control(rig.plane, carrier)  # type: ignore[arg-type]
    made = End(rig, bond, state_of(rig, bond), control, carrier)
    measuring = Measuring()
    measuring.follow({index: (index, XOR.link_quality) for index in bond.paths})
    measuring.update(rig.plane, made.now_ns)
    control.serve(
        threading.RLock(),
        measuring,
        History(made.lines.append),
        hear=lambda bond, spares, now_ns: made.spares.append(spares),
        wake=lambda: None,
    )
    control.follow([made.state])
    return made


@pytest.fixture
def up(end: End) -> End:
    end.agree(1)
    end.carrier.sent.clear()
    return end


def only(found: Sequence[tuple[int, Report | Ack]]) -> tuple[int, Report]:
    ((path, report),) = found
    assert isinstance(report, Report)
    return path, report


def test_nothing_is_said_without_a_session(end: End) -> None:
    assert end.work(1000) == []
    told = end.control.told(OTHER.id, end.now_ns)
    assert told is not None and not told.is_wanted and told.heard is None
    assert end.control.told("somebody", end.now_ns) is None


def test_a_report_over_the_first_path_of_the_order(up: End) -> None:
    path, report = only(up.work())
    assert path == 0 and report.view.policy_code == abi.PolicyCode.BALANCE_XOR
    assert [(one.number, one.state_name) for one in report.view.paths] == [(0, "up"), (1, "up")]
    assert all(one.marks == PathMark.ELIGIBLE | PathMark.CARRIES for one in report.view.paths)


def test_another_path_in_the_same_step_that_takes_the_first(up: End) -> None:
    """What was in flight goes over it, with the news."""
    only(up.work())
    up.state.health[up.bond.paths[0]].state = State.DOWN
    assert up.control.told(OTHER.id, up.now_ns).way == up.bond.paths[1]  # type: ignore[union-attr]
    assert up.work(1) == [], "nobody has said so yet"
    up.control.look_at([0])
    path, report = only(up.work())
    assert path == 1
    assert [one.state_name for one in report.view.paths] == ["down", "up"]


def test_ways(end: End) -> None:
    first, second = end.bond.paths
    assert ways_of(end.state, abi.NO_PATH) == (first, second)
    end.state.assignment = Assignment((second,), 1)
    assert ways_of(end.state, abi.NO_PATH) == (second, first), "those in the order come first"
    for index, state in ((first, State.HELD), (second, State.DOWN)):
        end.state.health[index].state = state
    assert ways_of(end.state, abi.NO_PATH) == (first,), "better one that is kept waiting than none"
    end.state.health[first].state = State.DOWN
    assert ways_of(end.state, abi.NO_PATH) == ()


def test_what_the_kernel_calls_a_spare_and_a_link_that_is_down(up: End) -> None:
    up.rig.plane.set_path_flag(up.bond.paths[1], abi.PathFlag.SPARE, True)
    up.rig.plane.set_link_up(up.bond.paths[0], False)
    _, report = only(up.work())
    assert [one.state_name for one in report.view.paths] == ["link down", "up"]
    assert [bool(one.marks & PathMark.SPARE) for one in report.view.paths] == [False, True]


def test_an_acknowledged_report_is_not_repeated(up: End) -> None:
    path, report = only(up.work())
    up.control.take(up.frame(Ack(path, report.number, 0).encode()), up.now_ns)
    assert up.work(130) == [], "failoverInterval is 1 s: keep-ups each 250 ms"
    assert only(up.work(130))[1].number == report.number + 1
    assert [number for number, _ in up.work(130)] == [0, 1], "not acknowledged: over both"
    assert up.counted() == {"control_acks": 1, "control_sent": 2, "control_again": 2}


@pytest.mark.parametrize(("by", "over"), [(5, 0), (6, 1), (77, 0)])
def test_a_report_is_acknowledged_on_its_path(up: End, by: int, over: int) -> None:
    """Where that is not known, over the metadata connection."""
    up.work()
    assert up.hear(path=by) == [(over, Ack(by, 1, 0))]


def test_what_is_heard(up: End) -> None:
    up.work()
    up.hear()
    told = up.control.told(OTHER.id, up.now_ns)
    assert told is not None and told.heard is not None and told.heard.view == SPARED
    first, second = up.bond.paths
    assert dict(told.reported) == {first: SPARED.paths[0], second: SPARED.paths[1]}, "99 is none of ours"
    assert up.spares == [frozenset({second})]
    said = "theirs (active-backup), another than ours: ours (balance-xor)"
    assert up.lines == [f"{OTHER.id}: peer's policy: {said}"]
    assert len(up.hear()) == 1 and len(up.spares) == 1, "again: acknowledged, and that is all"


def test_policies_are_told_when_they_come_to_differ_or_to_agree(up: End) -> None:
    same = replace(SPARED, policy_code=abi.PolicyCode.BALANCE_XOR)
    for number, view in enumerate([same, same, SPARED, SPARED, same], 1):
        up.now_ns += LEAST_NEWS_NS
        up.hear(view, number)
    assert [("another" in line, "the same" in line) for line in up.lines] == [(True, False), (False, True)]


def test_a_peer_that_changes_its_mind_all_the_time_does_not_fill_the_log(up: End) -> None:
    """Once a second, and the last word is told."""
    same = replace(SPARED, policy_code=abi.PolicyCode.BALANCE_XOR)
    for number in range(1, 202):
        up.now_ns += 5 * MS
        up.hear(SPARED if number % 2 else same, number)
    assert len(up.lines) == 1
    up.now_ns += LEAST_NEWS_NS
    up.hear(same, 202)
    assert len(up.lines) == 2 and "the same" in up.lines[-1]


def test_what_is_refused_changes_nothing(up: End) -> None:
    up.work()
    up.hear()
    before = up.control.told(OTHER.id, up.now_ns)
    good = up.frame(encode(replace(SPARED, policy="evil"), 2, 8)[0])
    unknown = good[:8] + b"\1" * 8 + good[16:]
    nonsense = up.frame(b"\x09nonsense")
    for frame, reason in (
        (good[:-1] + bytes([good[-1] ^ 1]), "control_failed"),
        (good[:3] + b"\6" + good[4:], "control_failed"),
        (good[:20], "control_failed"),
        (good[:16], "control_failed"),
        (unknown, "control_no_key"),
        (nonsense, "control_malformed"),
        (nonsense, "control_replayed"),
    ):
        counted = up.control.counts[reason]
        up.control.take(frame, up.now_ns)
        assert up.control.counts[reason] == counted + 1
        assert up.sent() == [] and up.control.told(OTHER.id, up.now_ns) == before
    up.control.take(good, up.now_ns)
    assert up.control.told(OTHER.id, up.now_ns) != before, "it was good"


def test_after_a_new_session_the_old_ones_frames_are_outdated(up: End) -> None:
    """Numbers begin anew, and all is told anew."""
    up.work()
    up.hear(number=900)
    old = up.frame(encode(replace(SPARED, policy="old"), 901, 8)[0])
    up.agree(3)
    assert only(up.work())[1].number == 2
    up.hear(replace(SPARED, policy="new"), number=1)
    up.control.take(old, up.now_ns)
    told = up.control.told(OTHER.id, up.now_ns)
    assert told is not None and told.heard is not None and told.heard.view.policy == "new"
    assert up.control.counts["control_outdated"] == 1


def test_a_forgotten_session_has_no_key(up: End) -> None:
    up.control.forget(up.pair.tx.number)
    up.hear()
    assert up.counted() == {"control_no_key": 1}


def test_a_peer_that_now_takes_no_reports_is_told_none_nor_believed(up: End) -> None:
    up.work()
    up.hear()
    up.agree(3, takes_reports=False)
    assert up.work(1000) == []
    told = up.control.told(OTHER.id, up.now_ns)
    assert told is not None and told.heard is None and not told.reported
    assert up.spares[-1] == frozenset()


def test_a_peer_that_goes(up: End) -> None:
    up.control.follow([])
    assert up.work(1000) == [] and up.hear() == []
    assert up.counted() == {"control_no_key": 1}


def test_a_host_that_does_not_send_is_counted(up: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up.carrier, "send", lambda way, data: False)
    up.work()
    assert up.counted() == {"control_sent": 1, "control_unsent": 1}


def test_peers_with_a_shared_key_are_none_of_ours(end: End) -> None:
    spec = replace(end.state.spec, peer=replace(end.state.spec.peer, public_key=None, key=bytes(32)))
    end.state.respec(spec)
    end.control.follow([end.state])
    assert end.control.told(OTHER.id, end.now_ns) is None
