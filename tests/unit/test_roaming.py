"""What the controller makes of what rx has learnt: with maps of numpy, no kernel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpbond import abi
from mpbond.config.model import Peer
from mpbond.controller.prober import KEEP_NS, interval_ns
from mpbond.controller.roaming import LEAST_SILENCE_NS, SILENCE_CHECK_NS, Roaming, ways
from mpbond.events import History
from mpbond.kernel.endpoints import Endpoints
from mpbond.kernel.entries import family_code, packed
from mpbond.layout import Layout, compute
from mpbond.learnt import LEAST_SILENCE_NS as LEARNT_SILENCE_NS
from tests.unit.host import PEER, REMOTE, Nic, config, host, peer, placed, uplink

S = 1_000_000_000
BLOCK = 4
NOW_NS = 1000 * S
NEW, NEWER = ("198.51.100.7", 40_000), ("198.51.100.8", 9944)
ETH0, ETH1 = uplink("eth0", 0), uplink("eth1", 1)
NEAR = ("10.0.0.77", 9944)
CALLER = replace(peer(), endpoints=())


@dataclass
class Scene:
    """Two links to one peer; as rx and `reconcile` would do to the maps."""

    peer: Peer = field(default_factory=peer)
    nics: tuple[Nic, ...] = (ETH0, ETH1)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paths = np.zeros(2 * BLOCK, abi.PATH)
        self.live = np.zeros(2 * BLOCK, abi.PATH_LIVE)
        self.fars = np.zeros(2 * BLOCK, abi.FAR)
        self.endpoints = Endpoints(self.paths, self.live, self.fars)
        self.layout: Layout | None = None
        self.start()

    def start(self, installed: Layout | None = None) -> None:
        plane: Any = SimpleNamespace(
            endpoints=self.endpoints, block=BLOCK, path_index=lambda bond, number: bond * BLOCK + number
        )
        self.roaming = Roaming(plane, History(self.said.append), installed)
        self.layout = installed
        self.follow()

    def follow(self) -> Layout:
        inventory = host(*self.nics)
        self.layout = compute(
            config(self.peer),
            inventory,
            block=BLOCK,
            placed=placed(self.layout) if self.layout else None,
            learnt=self.roaming.learnt.all(),
        )
        self.roaming.follow(self.layout, inventory)
        return self.layout

    def move(self, path: int, place: tuple[str, int]) -> None:
        """As rx does."""
        slot = int(self.paths["moved"][path] == 1)
        entry = self.live["moved"][path, slot]
        entry["address"] = np.frombuffer(packed(ip_address(place[0])), np.uint8)
        entry["port"], entry["next_hop_family"] = place[1], 0
        self.live["moves"][path] += 1
        self.live["last_in_ns"][path] = NOW_NS
        self.paths["moved"][path] = slot + 1

    def arrive(self, number: int, place: tuple[str, int], link: int = 0, at_ns: int = NOW_NS) -> None:
        far = self.fars[number]
        far["ifindex"], far["family"], far["port"] = 2 + link, abi.AF_INET, place[1]
        far["remote"] = np.frombuffer(packed(ip_address(place[0])), np.uint8)
        far["local"] = np.frombuffer(packed(ip_address(f"10.0.{link}.2")), np.uint8)
        far["at_ns"] = at_ns

    def hop(self, path: int) -> str | None:
        entry = self.live["moved"][path, int(self.paths["moved"][path]) - 1]
        if not entry["next_hop_family"]:
            return None
        assert entry["next_hop_family"] == family_code(4)
        return str(ip_address(bytes(entry["next_hop"])[:4]))

    def led(self) -> list[str]:
        assert self.layout is not None
        return [f"{path.key.ifname} {path.key.remote}:{path.key.port}" for path in self.layout.bonds[0].paths]


def test_nothing_is_news_while_nothing_moves() -> None:
    scene = Scene()
    assert scene.roaming.look(NOW_NS) == (False, False) and scene.said == []


def test_a_move_is_told_once_with_where_to() -> None:
    scene = Scene()
    scene.move(1, NEW)
    assert scene.roaming.look(NOW_NS) == (True, False)
    assert scene.said == [
        f"{PEER}: path 1 (eth1) endpoint: 198.51.100.7:40000, learnt from the peer's probes"
    ]
    assert scene.roaming.look(NOW_NS + 1) == (False, False) and len(scene.said) == 1


@pytest.mark.parametrize(("place", "hop"), [(NEW, "10.0.0.1"), (NEAR, "10.0.0.77")], ids=["far", "near"])
def test_the_next_hop_is_the_links_own(place: tuple[str, int], hop: str) -> None:
    scene = Scene()
    scene.move(0, place)
    assert scene.hop(0) is None, "until the controller has looked, the kernel does"
    scene.roaming.look(NOW_NS)
    assert scene.hop(0) == hop


def test_a_second_move_has_a_next_hop_too() -> None:
    scene = Scene()
    for place, hop in ((NEW, "10.0.0.1"), (NEAR, "10.0.0.77"), (NEWER, "10.0.0.1")):
        scene.move(0, place)
        scene.roaming.look(NOW_NS)
        assert scene.hop(0) == hop and scene.endpoints.moved(0) == (ip_address(place[0]), place[1])


def test_a_route_that_changes_changes_the_next_hop() -> None:
    scene = Scene()
    scene.move(0, NEW)
    scene.roaming.look(NOW_NS)
    scene.nics = (replace(ETH0, routes=("default via 10.0.0.9",)), ETH1)
    scene.follow()
    assert scene.hop(0) == "10.0.0.9"


def test_a_next_hop_is_not_set_for_where_the_path_led_before() -> None:
    scene = Scene()
    scene.move(0, NEW)
    scene.endpoints.set_next_hop(0, (ip_address("192.0.2.1"), 1), ip_address("10.0.0.1"))
    assert scene.hop(0) is None


def test_handshakes_go_to_both() -> None:
    scene = Scene()
    scene.move(0, NEW)
    found = ways(scene.endpoints, scene.follow().bonds[0], 0)
    assert [(way.ifindex, str(way.remote), way.port) for way in found] == [
        (2, "198.51.100.7", 40_000),
        (2, REMOTE, 9944),
        (3, REMOTE, 9944),
    ]


def test_what_goes_by_the_address_goes_by_the_new_one() -> None:
    """Whether it is near, say."""
    scene = Scene()
    path = scene.follow().bonds[0].paths[0]
    assert scene.roaming.as_led(0, path) == path
    scene.move(0, NEW)
    led = scene.roaming.as_led(0, path)
    assert (str(led.key.remote), led.key.port) == NEW and led.number == path.number


def test_an_adopted_move_is_no_news_but_holds() -> None:
    scene = Scene()
    scene.move(0, NEW)
    scene.start(scene.layout)
    assert scene.roaming.look(NOW_NS) == (False, False)
    assert scene.hop(0) == "10.0.0.1"


def test_silence_sends_it_home() -> None:
    scene = Scene()
    scene.move(0, NEW)
    scene.roaming.look(NOW_NS)
    after_ns = NOW_NS + max(LEAST_SILENCE_NS, 3 * 5 * S)
    assert scene.roaming.look(after_ns - SILENCE_CHECK_NS) == (False, False)
    assert scene.endpoints.moved(0) is not None
    assert scene.roaming.look(after_ns + 1) == (True, False)
    assert scene.endpoints.moved(0) is None
    assert scene.said[-1].endswith(f"endpoint: {REMOTE}:9944 again, as the file says: silent for 15 s")


# ---- peers without endpoints ----------------------------------------------------------


def test_an_arrival_becomes_a_path() -> None:
    scene = Scene(CALLER)
    assert scene.led() == []
    scene.arrive(0, NEW)
    assert scene.roaming.look(NOW_NS) == (False, True)
    scene.follow()
    assert scene.led() == ["eth0 198.51.100.7:40000"]
    assert scene.said == [
        f"{PEER}: endpoint: 198.51.100.7:40000 on eth0, learnt: the peer came by it",
    ]
    assert scene.roaming.look(NOW_NS + S) == (False, False), "once"


def test_arrivals_of_a_peer_with_endpoints_make_none() -> None:
    scene = Scene()
    scene.arrive(0, NEW)
    assert scene.roaming.look(NOW_NS) == (False, False)


def test_the_peers_path_that_comes_by_another_link_is_another() -> None:
    scene = Scene(CALLER)
    scene.arrive(0, NEW)
    scene.roaming.look(NOW_NS)
    scene.follow()
    scene.live["peer_path"][0] = 1
    scene.arrive(0, NEW, link=1, at_ns=NOW_NS + S)
    assert scene.roaming.look(NOW_NS + S) == (False, True)
    scene.follow()
    assert scene.led() == ["eth1 198.51.100.7:40000"]


def test_an_arrival_on_a_link_that_is_gone() -> None:
    scene = Scene(CALLER)
    scene.arrive(0, NEW, link=7)
    assert scene.roaming.look(NOW_NS) == (False, False)


def test_a_silent_path_goes() -> None:
    scene = Scene(CALLER)
    scene.arrive(0, NEW)
    scene.roaming.look(NOW_NS)
    scene.follow()
    scene.live["last_in_ns"][0] = NOW_NS + 5 * S
    assert scene.roaming.look(NOW_NS + LEARNT_SILENCE_NS) == (False, False)
    assert scene.roaming.look(NOW_NS + LEARNT_SILENCE_NS + 6 * S) == (False, True)
    scene.follow()
    assert scene.led() == [] and "is given up: silent for 61 s" in scene.said[-1]


def test_a_path_that_was_never_heard_has_its_time() -> None:
    scene = Scene(CALLER)
    scene.arrive(0, NEW)
    scene.roaming.look(NOW_NS)
    scene.follow()
    assert scene.roaming.look(NOW_NS + 2 * S) == (False, False)
    assert scene.roaming.look(NOW_NS + LEARNT_SILENCE_NS + 2 * S) == (False, True)


def test_a_new_controller_goes_on_with_the_paths() -> None:
    """Those of the maps; what arrived long ago is no news."""
    scene = Scene(CALLER)
    scene.arrive(0, NEW)
    scene.roaming.look(NOW_NS)
    before = scene.follow()
    scene.live["last_in_ns"][0] = NOW_NS + 200 * S
    scene.arrive(1, NEWER, at_ns=NOW_NS)
    scene.start(before)
    assert scene.led() == ["eth0 198.51.100.7:40000"]
    assert scene.roaming.look(NOW_NS + 200 * S) == (False, False)


def test_keep_alives_are_in_time() -> None:
    """Every path is probed, and never so seldom that a NAT forgets it."""
    assert interval_ns(60_000) <= KEEP_NS <= 25 * S
    assert interval_ns(3_600_000) == KEEP_NS
