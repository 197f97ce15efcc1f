"""Whatever the traffic: tables stay whole, and who is not to move does not."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mpbond.abi import NO_PATH, SLOTS
from mpbond.avoid import Avoidance
from mpbond.balance import REST_NS
from mpbond.groups import Groups
from mpbond.rows import Floats
from mpbond.shares import Load, wanted
from mpbond.slots import IDLE_SHARE, rearranged
from mpbond.weights import slot_counts
from tests.unit.fluid import TCP, Bond, Link

PATHS = st.integers(0, 6)
SHARES = st.dictionaries(PATHS, st.floats(0.01, 100), min_size=1)
TABLES = st.lists(st.one_of(PATHS, st.just(NO_PATH)), min_size=SLOTS, max_size=SLOTS)
EXAMPLES = settings(max_examples=60, deadline=None, database=None)


@st.composite
def traffic(draw: st.DrawFn) -> Floats:
    """A few slots with much, some with little, most with none."""
    demand = np.zeros(SLOTS)
    for slot in draw(st.lists(st.integers(0, SLOTS - 1), max_size=40, unique=True)):
        demand[slot] = draw(st.floats(0.001, 1e9))
    return demand


@given(TABLES, SHARES, traffic(), st.booleans())
@EXAMPLES
def test_a_table_is_whole_and_moves_what_it_may(
    current: list[int], shares: dict[int, float], demand: Floats, may: bool
) -> None:
    goal = {path: float(demand.sum()) * share / sum(shares.values()) for path, share in shares.items()}
    after = rearranged(current, shares, demand, goal, np.full(SLOTS, may))
    owed = slot_counts(shares)
    assert len(after) == SLOTS and set(after) <= owed.keys()
    idle = demand <= IDLE_SHARE * demand.sum()
    moved = np.array(after) != np.array(current)
    forced = np.array([path not in owed for path in current])
    if not may:
        assert not (moved & ~forced & ~idle).any(), "a busy slot was moved"
    if idle.all():
        assert Counter(after) == Counter({path: count for path, count in owed.items() if count})


@given(TABLES, SHARES, traffic())
@EXAMPLES
def test_swaps_bring_the_bytes_nearer_to_what_is_wanted(
    current: list[int], shares: dict[int, float], demand: Floats
) -> None:
    """Compared with the same change of shares without moving a busy slot."""
    table = rearranged(current, shares, demand, {}, np.zeros(SLOTS, bool))
    goal = {path: float(demand.sum()) * share / sum(shares.values()) for path, share in shares.items()}

    def off(found: list[int]) -> float:
        path_of = np.array(found)
        return sum(abs(float(demand[path_of == path].sum()) - goal[path]) for path in shares)

    counts = {path: float(count) for path, count in Counter(table).items()}
    after = rearranged(table, counts, demand, goal, np.ones(SLOTS, bool))
    assert off(after) <= off(table) * (1 + 1e-9)
    assert Counter(after) == Counter(table)
    assert rearranged(after, counts, demand, goal, np.ones(SLOTS, bool)) == after, "and is done then"


LOADS = st.lists(
    st.tuples(
        st.floats(0.01, 1), st.floats(0, 1e9), st.booleans(), st.one_of(st.just(np.nan), st.floats(0, 1e9))
    ),
    min_size=1,
    max_size=6,
)


@given(LOADS)
@EXAMPLES
def test_all_that_is_carried_is_wanted_somewhere(rows: list[tuple[float, float, bool, float]]) -> None:
    share, carried, full, known = (np.array(column) for column in zip(*rows, strict=True))
    found = wanted(Load(share / share.sum(), carried, full, known))
    assert (found >= -1e-6).all()
    assert abs(found.sum() - carried.sum()) <= 1e-6 * max(carried.sum(), 1)


@given(
    st.lists(st.tuples(st.floats(1, 300), st.booleans()), min_size=2, max_size=3),
    st.integers(1, 24),
    st.sampled_from((TCP, 1.0, 5.0, 20.0)),
    st.integers(0, 5),
)
@settings(max_examples=15, deadline=None, database=None, phases=(Phase.generate,))
def test_no_flow_is_restless(links: list[tuple[float, bool]], count: int, mbit: float, seed: int) -> None:
    """Whatever links and flows: no flow moves more than twice a minute, and TCP finds
    every link whose share is a flow at least."""
    bond = Bond([Link(rate, given=int(rate) if given else 0) for rate, given in links], seed=seed)
    bond.start(count, mbit)
    bond.run(3)  # what was not there a moment ago counts as idle
    for flow in bond.flows:
        flow.moves.clear()
    bond.run(60)
    for flow in bond.flows:
        assert (np.diff(flow.moves) >= REST_NS).all(), "moved again too soon"
    total = sum(rate for rate, _ in links)
    if mbit == TCP and min(rate for rate, _ in links) / total * count >= 1.5:
        assert bond.delivered_mbit >= 0.999 * total


@given(st.lists(st.floats(0, 400), min_size=20, max_size=200))
@EXAMPLES
def test_a_path_is_avoided_and_back_in_turn(latencies: list[float]) -> None:
    avoidance, limits = Avoidance(), np.array([[100.0, 50.0, 0.01, 0.001]])
    avoidance.follow([3])
    before = False
    for step, latency_ms in enumerate(latencies, 1):
        verdict = avoidance.update(step * 250_000_000, np.array([[latency_ms, 0, 0, 0]]), limits)
        assert bool(verdict.newly[0]) == (not before and latency_ms > 100)
        if verdict.back[0]:
            assert before and latency_ms <= 80 and latencies[step - 2] <= 80
        before = bool(verdict.avoided[0])
        assert before or latency_ms <= 100
        assert not avoidance.kept_off(verdict, np.array([True]), Groups([0]))[0], "it is the only one"
