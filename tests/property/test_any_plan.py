"""Whatever was there before: after a plan there is what a fresh set-up would have made."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.config.model import Config, Network, Policy, RxMode
from mpbond.inventory import Inventory
from mpbond.layout import Layout, compute
from mpbond.learnt import Reached
from mpbond.plan import plan
from tests.unit.host import Nic, backup, config, endpoint, host, peer, placed, rule, xor
from tests.unit.kernel_model import KernelModel, installed

NAMES = ("eth0", "eth1", "wwan0")
IDS = ("abcdef0123", "bbcdef0123", "cbcdef0123")
ADDRESSES = ("10.9.0.1/24", "10.9.0.2/24", "10.8.0.1/24", "fd00::1/64")
PREFIXES = tuple(map(ip_network, ("10.9.0.2/32", "10.9.0.3/32", "10.20.0.0/16", "10.20.1.0/24", "fd00::/64")))
ENDPOINTS = ("203.0.113.1", "203.0.113.2", "203.0.113.1%eth1", "2001:db8:ffff::1", "fe80::7%eth0")
LINK_SETS = ((), ("eth0",), ("eth1", "eth0"), ("wwan0", "eth0", "lo"))


def some(values: tuple[str, ...], least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least).map(tuple)


@st.composite
def nics(draw: st.DrawFn) -> Nic:
    """A link that may have been made anew (another ifindex), renumbered, or be down."""
    at = draw(st.integers(0, 2))
    own = draw(some((f"10.0.{at}.2/24", f"10.0.{at}.3/24", "10.0.7.2/24", f"2001:db8:{at}::2/64")))
    gateways = (f"default via 10.0.{at}.1", f"default via 10.0.{at}.9", "default6 via fe80::1")
    nic = Nic(
        name=NAMES[at],
        addresses=(*own, "fe80::2/64"),
        routes=draw(some(gateways)),
        ifindex=draw(st.sampled_from((2 + at, 20 + at))),
        mtu=draw(st.sampled_from((1300, 1500))),
    )
    return nic.down() if draw(st.booleans()) else nic


def hosts() -> st.SearchStrategy[Inventory]:
    return st.lists(nics(), unique_by=lambda nic: nic.name).map(lambda found: host(*found))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    modes, ipv = st.sampled_from(("primary", "spare")), st.sampled_from((0, 4, 6, 46))
    rules = tuple(rule(name, draw(modes), ipv=draw(ipv)) for name in draw(st.sampled_from(LINK_SETS)))
    return draw(st.sampled_from((xor(*rules), backup(*rules))))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """A prefix belongs to one peer, as in every file that loads."""
    ids = draw(some(IDS))
    owners = st.fixed_dictionaries({prefix: st.sampled_from((*ids, "")) for prefix in PREFIXES})
    owned: dict[Network, str] = draw(owners)
    peers = [
        replace(
            peer(ident=ident, policy=draw(policies())),
            endpoints=tuple(map(endpoint, draw(some(ENDPOINTS)))),
            allowed=tuple(prefix for prefix, owner in owned.items() if owner == ident),
        )
        for ident in ids
    ]
    rx = st.sampled_from(RxMode)
    return config(
        *peers,
        addresses=draw(some(ADDRESSES)),
        mtu=draw(st.sampled_from((None, 1400))),
        rx=draw(rx),
        rx_links=((draw(st.sampled_from(NAMES)), draw(rx)),),
    )


def learnt() -> st.SearchStrategy[dict[str, tuple[Reached, ...]]]:
    """Where peers without endpoints have come in: on links and addresses that may be gone."""
    reached = st.builds(
        Reached,
        st.sampled_from(NAMES),
        st.sampled_from(("10.0.0.2", "10.0.1.2", "10.0.1.3")).map(ip_address),
        st.sampled_from(("203.0.113.7", "10.0.0.77", "198.51.100.7")).map(ip_address),
        st.sampled_from((9944, 40_000)),
    )
    return st.dictionaries(st.sampled_from(IDS), st.lists(reached, unique=True, max_size=4).map(tuple))


@st.composite
def changes(draw: st.DrawFn) -> tuple[Layout, Layout]:
    """A layout, and what becomes of it under another file on a changed host."""
    block = draw(st.sampled_from((2, 8)))
    before = compute(draw(configs()), draw(hosts()), block=block, learnt=draw(learnt()))
    after = compute(draw(configs()), draw(hosts()), block=block, placed=placed(before), learnt=draw(learnt()))
    return before, after


@given(changes())
@settings(max_examples=120, deadline=None, database=None)
def test_a_change_leads_to_what_a_fresh_set_up_makes(change: tuple[Layout, Layout]) -> None:
    before, after = change
    changed = installed(before).apply(plan(after, before))
    assert changed.by_peer() == installed(after).by_peer()
    assert all(line and line.isprintable() for line in changed.said)
    assert plan(after, after) == ()
    assert_only_what_is_in_the_file(changed, after)


def assert_only_what_is_in_the_file(kernel: KernelModel, after: Layout) -> None:
    """Against the layout itself: a fresh set-up could be wrong in the same way."""
    allowed = {prefix for bond in after.bonds for prefix in bond.peer.allowed}
    assert {peer.id for peer in kernel.bonds.values()} == {bond.peer.id for bond in after.bonds}
    assert kernel.prefixes.keys() == kernel.routes == allowed
    assert set(kernel.addresses) == set(after.addresses)
    paths = [path for bond in after.bonds for path in bond.paths]
    assert len(kernel.paths) == len(paths)
    assert all(path in kernel.paths.values() for path in paths)
    assert kernel.locals == {path.key.local for path in paths} | set(after.listens)
    assert set(kernel.remotes.values()) == kernel.paths.keys()
    assert kernel.rx == dict(after.rx)


def test_the_words_of_the_strategies_are_addresses() -> None:
    """So that a typing error above fails here and not by never being drawn."""
    assert {ip_interface(text).version for text in ADDRESSES} == {4, 6}
    assert {endpoint(text).address.version for text in ENDPOINTS} == {4, 6}
