"""Each complete example of ZeroTier's multipath document, under traffic: the bond does
what the caption and the text around it say.

The blocks stand as they are in the document but for the names of links, which are the
lab's, and of peers. What the text says of saturation and of limits is not shown here:
balance-aware goes by capacity only.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mpbond import sessions
from mpbond.lab import traffic
from mpbond.lab.bonds import NODE_IDS, Bonds, Site, inner_address, pair
from mpbond.lab.netns import LabError, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.test_balance import captured
from tests.netns.test_traffic import three_hosts
from tests.unit.config import zerotier_blocks as blocks

pytestmark = [pytest.mark.root, pytest.mark.netns]

ETH = {"eth0": "eth1", "eth1": "eth2", "eth2": "eth3", "eth3": "eth4"}
# What a share may be off by: two points, as semantics has it for equal flows.
POINTS = 0.02
Example = Callable[..., Bonds]
_SEND = [sys.executable, str(Path(__file__).with_name("capture.py")), "send"]


def settings_of(block: str, names: dict[str, str]) -> dict[str, Any]:
    """The block's settings with other names, all put in at once."""
    words = re.compile("|".join(f'"{re.escape(name)}"' for name in names) or "(?!)")
    renamed = words.sub(lambda found: f'"{names[found[0][1:-1]]}"', block)
    settings: dict[str, Any] = json.loads(renamed)["settings"]
    return settings


@pytest.fixture
def example(bonds_on: Callable[[Topology], Bonds]) -> Example:
    """Hosts a and b, bonded under a block's settings at both ends over `links` guarded
    wires, once `eligible` paths are up each way (a path on every wire and family, unless
    told otherwise)."""

    def make(
        block: str,
        names: dict[str, str] | None = None,
        *,
        links: int = 2,
        versions: tuple[int, ...] = (4,),
        eligible: int = 0,
    ) -> Bonds:
        bonds = bonds_on(two_hosts(links))
        ends = [
            [link_address(link, end, version) for link in range(1, links + 1) for version in versions]
            for end in (1, 2)
        ]
        site_a, site_b = pair(ends[0], ends[1], "active-backup")
        for site in (site_a, site_b):
            site.settings = settings_of(block, names or {})
        bonds.up(site_a, site_b)
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, eligible or links * len(versions))
        return bonds

    return make


def active(bonds: Bonds) -> tuple[str, int]:
    """Link and outer family of a's active path."""
    for path in bonds.peek("a", "b")["paths"]:
        if path["active"]:
            return path["ifname"], 6 if path["address"].startswith("[") else 4
    return "", 0


def wait_active(bonds: Bonds, *wanted: tuple[str, int]) -> tuple[str, int]:
    """Until the active path is one of these; which."""
    wait_for(f"{wanted} active on a", lambda: active(bonds) in wanted)
    return active(bonds)


def data_sent(bonds: Bonds, do: Callable[[], object]) -> Counter[tuple[str, int]]:
    """Data packets that a sent by (link, outer family) while `do` ran."""

    def now() -> Counter[tuple[str, int]]:
        paths = bonds.peek("a", "b")["paths"]
        return Counter(
            {
                (path["ifname"], 6 if path["address"].startswith("[") else 4): path["txPackets"]
                for path in paths
            }
        )

    before = now()
    do()
    return now() - before


def stream(bonds: Bonds, count: int = 200) -> None:
    """A 1 ms stream from a to b, of which nothing is lost or doubled."""
    with traffic.stream(bonds.lab, "a", "b", inner_address("b"), count=count) as running:
        report = running.finish()
    assert (report.sent, report.lost, report.duplicated) == (count, 0, 0), report


def send_flows(
    bonds: Bonds, flows: int, *, rounds: int = 1, size: int = 100, source: str = "a", target: str = "b"
) -> None:
    """A packet of every flow in each round."""
    words = [*_SEND, inner_address(target), str(flows), str(rounds), str(size)]
    bonds.lab.run(source, words, timeout_s=120)


def links_used(bonds: Bonds, flows: int = 64, rounds: int = 3) -> dict[int, set[str]]:
    """Port -> links its packets left by, of so many flows from a to b."""
    with captured(bonds.lab, "a") as capture:
        send_flows(bonds, flows, rounds=rounds)
    found: dict[int, set[str]] = {}
    for link, port in capture.packets:
        found.setdefault(port, set()).add(link)
    assert len(found) == flows
    return found


def each_on_one_of(used: dict[int, set[str]], links: Iterable[str]) -> None:
    """Every flow keeps to one link, and these links are used and no other."""
    assert all(len(taken) == 1 for taken in used.values()), used
    assert set().union(*used.values()) == set(links)


def assert_shares(bonds: Bonds, shares: dict[str, float], points: float = POINTS) -> None:
    """Bytes of 2,000 equal flows from a divide so."""
    send_flows(bonds, 2000, rounds=2, size=1000)
    paths = bonds.show("a", "b")["paths"]
    total = sum(path["txBytes"] for path in paths)
    found = {path["ifname"]: path["txBytes"] / total for path in paths}
    assert found == pytest.approx(shares, abs=points)


# ---- active-backup ----------------------------------------------------------------------


@pytest.mark.parametrize("block", [blocks.OPENING, blocks.STANDARD["active-backup"]], ids=["opening", "own"])
def test_active_backup(example: Example, block: str) -> None:
    """ "Traffic is sent on only one link at any time. A different link becomes active if
    the current link fails." """
    bonds = example(block)
    first, _ = wait_active(bonds, ("eth1", 4), ("eth2", 4))
    other = {"eth1": "eth2", "eth2": "eth1"}[first]
    assert data_sent(bonds, lambda: stream(bonds)) == {(first, 4): 200}
    bonds.lab.carrier(first, "a", False)
    wait_active(bonds, (other, 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {(other, 4): 200}


def test_rapid_active_backup(example: Example) -> None:
    """ "A more rapid active-backup policy that will failover 1 second after it detects a
    link failure": one second of silence, not the five of the standard policy."""
    bonds = example(blocks.RAPID)
    first, _ = wait_active(bonds, ("eth1", 4), ("eth2", 4))
    other = {"eth1": "eth2", "eth2": "eth1"}[first]
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as running:
        cut_ns = bonds.lab.cut(first)
        wait_active(bonds, (other, 4))
        report = running.stop()
    assert report.duplicated == 0
    assert 500 < running.gap_ms(cut_ns) < 2500


def test_links_families_and_their_chain(example: Example) -> None:
    """ "Should only use eth1 but then failover to eth2 and prefer IPv4 over IPv6 except on
    eth2 where only IPv6 is allowed": the last of the chain is IPv6 only. "ZeroTier will use
    only those links and ignore everything else": the lab has one more, which nothing takes."""
    bonds = example(blocks.LINK_SETTINGS, ETH, links=4, versions=(4, 6), eligible=5)
    lab = bonds.lab
    paths = bonds.show("a", "b")["paths"]
    assert {path["ifname"] for path in paths} == {"eth1", "eth2", "eth3"}
    assert [path["address"][0] for path in paths if path["ifname"] == "eth3"] == ["["]

    wait_active(bonds, ("eth1", 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth1", 4): 200}
    lab.run("a", ["ip", "addr", "del", f"{link_address(1, 1)}/24", "dev", "eth1"])
    wait_active(bonds, ("eth1", 6))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth1", 6): 200}
    lab.run("a", ["ip", "addr", "add", f"{link_address(1, 1)}/24", "dev", "eth1"])
    wait_active(bonds, ("eth1", 4))

    lab.cut("eth1")
    wait_active(bonds, ("eth2", 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth2", 4): 200}
    lab.cut("eth2")
    wait_active(bonds, ("eth3", 6))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth3", 6): 200}
    lab.restore("eth1")
    wait_active(bonds, ("eth1", 4))


def test_primary_and_its_spares(example: Example) -> None:
    """The block with its policy in the wrong place is refused with the right one; moved
    there it loads: eth0 while it is available, eth1 after it, then the other spares."""
    bonds = example(blocks.moved(blocks.MISPLACED), ETH, links=4)
    lab = bonds.lab
    wrong = bonds.folder / "misplaced.yaml"
    whole = {"node": {"id": NODE_IDS["a"]}, "peers": {}, **json.loads(blocks.MISPLACED)}
    wrong.write_text(json.dumps(whole, indent=2))
    with pytest.raises(LabError, match=r"move it to settings\.policies\.custom-active-backup") as refused:
        bonds.mpbond("a", "check", str(wrong))
    assert "a policy directly under settings" in str(refused.value)

    wait_active(bonds, ("eth1", 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth1", 4): 200}
    lab.carrier("eth1", "a", False)
    wait_active(bonds, ("eth2", 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth2", 4): 200}
    lab.carrier("eth2", "a", False)
    link, version = wait_active(bonds, ("eth3", 4), ("eth4", 4))
    assert data_sent(bonds, lambda: stream(bonds)) == {(link, version): 200}
    lab.carrier("eth1", "a", True)
    wait_active(bonds, ("eth1", 4))


# ---- by peer ------------------------------------------------------------------------------


def test_peer_specific_bonds(bonds_on: Callable[[Topology], Bonds]) -> None:
    """ "active-backup for all peers by default but for certain peers a custom load-balanced
    bond": b has a named in peerSpecificBonds, and c not."""
    bonds = bonds_on(three_hosts())
    key = sessions.new_key().strip()
    settings = settings_of(blocks.PEER_SPECIFIC, {"f6203a2db3": NODE_IDS["a"]})
    hub = Site(
        "b",
        key,
        {"a": [link_address(1, 1), link_address(2, 1)], "c": ["10.77.11.2", "10.77.12.2"]},
        settings=settings,
    )
    spoke_a = Site("a", key, {"b": [link_address(1, 2), link_address(2, 2)]})
    spoke_c = Site("c", key, {"b": ["10.77.11.1", "10.77.12.1"]})
    bonds.up(hub, spoke_a, spoke_c)
    to_a = bonds.wait_eligible("b", "a", 2, timeout_s=30)
    to_c = bonds.wait_eligible("b", "c", 2)
    assert (to_a["bondingPolicyStr"], to_a["basePolicy"]) == ("my-custom-balance-xor", "balance-xor")
    assert (to_a["failoverInterval"], to_a["upDelay"]) == (2000, 5000)
    assert to_c["bondingPolicyStr"] == to_c["basePolicy"] == "active-backup"
    used: dict[str, set[str]] = {}
    for peer in ("a", "c"):
        before = {path["ifname"]: path["txPackets"] for path in bonds.peek("b", peer)["paths"]}
        send_flows(bonds, 64, source="b", target=peer)
        sent = {path["ifname"]: path["txPackets"] for path in bonds.peek("b", peer)["paths"]}
        used[peer] = {link for link, packets in sent.items() if packets > before[link]}
    assert used["a"] == {"eth1", "eth2"}
    assert len(used["c"]) == 1


# ---- broadcast ----------------------------------------------------------------------------


def test_broadcast(example: Example) -> None:
    """ "Traffic is sent on all available links simultaneously", and a cut loses nothing."""
    bonds = example(blocks.STANDARD["broadcast"])
    assert data_sent(bonds, lambda: stream(bonds)) == {("eth1", 4): 200, ("eth2", 4): 200}
    bonds.lab.cut("eth1")
    stream(bonds)
    bonds.lab.restore("eth1")
    bonds.lab.cut("eth2")
    stream(bonds)


# ---- balance ------------------------------------------------------------------------------


def test_balance_rr(example: Example) -> None:
    """ "The number of packets to transmit via a link before moving to the next link": 64."""
    bonds = example(blocks.STANDARD["balance-rr"])
    with captured(bonds.lab, "a") as capture:
        send_flows(bonds, 16, rounds=200)
    links = capture.links()
    # What came before may have used a part of the first turn.
    turned = next(at for at in range(1, len(links)) if links[at] != links[at - 1])
    assert len(links) == 3200 and turned <= 64
    whole = links[turned : turned + (3200 - turned) // 64 * 64]
    turns = [set(whole[at : at + 64]) for at in range(0, len(whole), 64)]
    assert all(len(turn) == 1 for turn in turns)
    assert all(turn != following for turn, following in itertools.pairwise(turns))


def test_balance_xor(example: Example) -> None:
    """ "Hashed onto available links where they will persist for the duration of their life.
    Traffic that does not have an assigned port (such as ICMP pings) will be randomly
    distributed across links." """
    bonds = example(blocks.STANDARD["balance-xor"])
    each_on_one_of(links_used(bonds, rounds=10), ("eth1", "eth2"))
    pings = ["ping", "-q", "-c", "64", "-i", "0.01", inner_address("b")]
    sent = data_sent(bonds, lambda: bonds.lab.run("a", pings))
    assert set(sent) == {("eth1", 4), ("eth2", 4)} and sum(sent.values()) == 64


def test_all_links_marked_spare(example: Example) -> None:
    """The block as the document has it marks every link a spare, which its caption cannot
    mean: there is a warning, and all links are used."""
    names = {"eth0": "eth1", "eth1": "eth2", "expensive_lte0": "eth3"}
    bonds = example(blocks.XOR_WITH_A_SPARE, names, links=3)
    check = bonds.argv("a", "check", str(bonds.folder / "site-a.yaml"))
    said = bonds.lab.run("a", ["sh", "-c", '"$@" 2>&1', "sh", *check])
    assert "every link is a spare, so none is" in said
    each_on_one_of(links_used(bonds), ("eth1", "eth2", "eth3"))


def test_xor_with_a_spare(example: Example) -> None:
    """The same block as its caption means it: "hashed over two links eth0 and eth1 and
    expensive_lte0 should only be used when the other two are down"."""
    names = {"eth0": "eth1", "eth1": "eth2", "expensive_lte0": "eth3"}
    block = json.loads(blocks.XOR_WITH_A_SPARE)
    links = block["settings"]["policies"]["xor-with-a-spare"]["links"]
    for link in ("eth0", "eth1"):
        del links[link]["mode"]
    bonds = example(json.dumps(block), names, links=3)
    each_on_one_of(links_used(bonds), ("eth1", "eth2"))
    bonds.lab.carrier("eth1", "a", False)
    wait_for("eth1 left", lambda: bonds.peek("a", "b")["numAliveLinks"] == 2)
    each_on_one_of(links_used(bonds), ("eth2",))
    bonds.lab.carrier("eth2", "a", False)
    wait_for("eth2 left", lambda: bonds.peek("a", "b")["numAliveLinks"] == 1)
    each_on_one_of(links_used(bonds), ("eth3",))
    bonds.lab.carrier("eth2", "a", True)
    bonds.wait_eligible("a", "b", 2)
    each_on_one_of(links_used(bonds), ("eth2",))


def test_balance_aware(example: Example) -> None:
    """ "Hashes flows onto specific links"; without capacities evenly."""
    bonds = example(blocks.STANDARD["balance-aware"])
    each_on_one_of(links_used(bonds), ("eth1", "eth2"))
    assert_shares(bonds, {"eth1": 0.5, "eth2": 0.5})


def test_capacities_as_hints(example: Example) -> None:
    """ "Link capacities are given as hints to enable proportional traffic allocation":
    250 to 1000."""
    bonds = example(blocks.BALANCE_AWARE, {"wlan0": "eth1", "eth0": "eth2"})
    each_on_one_of(links_used(bonds), ("eth1", "eth2"))
    assert_shares(bonds, {"eth1": 0.2, "eth2": 0.8})


def test_arbitrary_relative_capacities(example: Example) -> None:
    """ "eth0 ~0.900, eth1 ~0.090, eth2 ~0.009", within the 0.4% that the document allows."""
    bonds = example(blocks.CAPACITIES, ETH, links=3)
    assert_shares(bonds, {"eth1": 0.900, "eth2": 0.090, "eth3": 0.009}, points=0.004)
