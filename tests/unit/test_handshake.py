"""Handshakes between two nodes: when they come about, and what they do not fall for."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.handshake import FREE_BURST, INITIATION_LIFE_NS, MOST_STRAYS, Agreed, Send, Way
from mpbond.handshake_messages import INITIATION, RESPONSE, Feature, Offer
from mpbond.identity import identity
from tests.unit.handshakes import KEYS, MS, NO_PSK, REKEY_NS, WALL_NS, S, World, way

PSK = bytes(range(32))
# Node 1 comes up so much later that node 0 does not insist on going first.
LATER_NS = 2 * S


def both_up(world: World, apart_ns: int = 0) -> World:
    world.start(0)
    world.run(apart_ns / 1e9)
    world.start(1)
    return world


def matches(world: World) -> bool:
    """Does each end have a session that the other can hear?"""
    first, second = (world.nodes[end].agreed for end in (0, 1))
    return (
        bool(first)
        and bool(second)
        and any(
            one.session.tx == other.session.rx and one.session.rx == other.session.tx
            for one in first[-2:]
            for other in second[-2:]
        )
    )


# ---- it comes about ---------------------------------------------------------------


def test_a_session_after_one_round_trip() -> None:
    world = both_up(World(links=1), apart_ns=LATER_NS)
    world.run(0.021)
    assert matches(world)
    assert (world.nodes[1].latest.initiator, world.nodes[0].latest.initiator) == (True, False)


def test_numbers_and_keys_differ_by_direction() -> None:
    world = both_up(World())
    world.run(1)
    pair = world.nodes[0].latest.session
    assert pair.tx.number != pair.rx.number and pair.tx.mac_key != pair.rx.mac_key
    assert (len(pair.tx.number), len(pair.tx.mac_key)) == (8, 16)


def test_each_end_hears_the_others_offer() -> None:
    offers = (Offer(3, Feature.COPIES), Offer(8))
    world = both_up(World(offers=offers))
    world.run(1)
    assert (world.nodes[0].latest.offer, world.nodes[1].latest.offer) == (offers[1], offers[0])


def test_both_begin_at_once_and_one_goes_first() -> None:
    world = both_up(World())
    world.run(2)
    assert matches(world)
    assert [one.initiator for one in world.nodes[0].agreed] == [True]
    assert [one.initiator for one in world.nodes[1].agreed] == [False]
    assert world.counts(0)["handshake_crossed"] > 0


@pytest.mark.parametrize("apart_ms", [0, 5, 11, 50, 300, 999, 1001, 2500, 60_000])
def test_whenever_the_other_comes_up(apart_ms: int) -> None:
    """The one that waits tries every five seconds, but the one that comes is at once."""
    world = both_up(World(), apart_ns=apart_ms * MS)
    world.run(0.3)
    assert matches(world)


def test_who_is_asked_before_it_would_have_begun_does_not_begin() -> None:
    """Its own turn had come at the same moment."""
    world = World(links=1)
    world.start(0)
    world.run(0.001)
    world.start(1)
    world.arrive(1, world.sent(0)[0])
    world.run(2)
    assert matches(world)
    assert not [send for send in world.sent(1) if send.body[0] == INITIATION]


def test_a_dead_first_link_costs_nothing() -> None:
    world = World(links=2, passes=lambda end, send, now_ns: send.way.ifindex != 1)
    both_up(world)
    world.run(0.041)
    assert matches(world)


def test_each_direction_on_another_link() -> None:
    world = World(passes=lambda end, send, now_ns: send.way.ifindex == 1 + end)
    both_up(world)
    world.run(0.3)
    assert matches(world)


def test_a_way_that_is_slower_than_the_first_retries() -> None:
    """1.4 s there and back: the answer still fits the message that was sent first."""
    world = World(links=1, delay_ns={1: 700 * MS})
    both_up(world)
    world.run(4)
    assert matches(world)


def test_retries_back_off() -> None:
    world = World(links=1)
    world.start(0)
    world.run(60)
    times = [now_ns for now_ns, _, _ in world.wire]
    gaps = [round((after - before) / MS) for before, after in itertools.pairwise(times)]
    assert gaps[:5] == [250, 500, 1000, 2000, 4000]
    assert set(gaps[5:]) == {5000}


def test_the_same_message_is_repeated_for_some_seconds_then_a_new_one_made() -> None:
    world = World(links=1)
    world.start(0)
    world.run(60)
    by_text: dict[bytes, list[int]] = {}
    for now_ns, _, send in world.wire:
        by_text.setdefault(send.body, []).append(now_ns)
    assert len(by_text) > 5
    assert all(times[-1] - times[0] < INITIATION_LIFE_NS for times in by_text.values())


def test_a_new_way_is_tried_at_once() -> None:
    world = World(links=1, passes=lambda end, send, now_ns: send.way.ifindex == 2)
    world.start(0)
    world.start(1)
    world.run(20.1)
    assert not world.nodes[0].agreed
    world.links = 2
    for end in (0, 1):
        node, other = world.nodes[end], world.nodes[1 - end].own
        node.machine.put_peer(other.id, other.public, NO_PSK, node.offer, world.ways(end), world.now_ns)
    world.run(0.1)
    assert matches(world)


# ---- it is renewed ----------------------------------------------------------------


def test_renewed_every_two_minutes_by_the_one_that_began() -> None:
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(6 * 120 + 1)
    starts = world.nodes[1].agreed
    assert len(starts) == 7 and all(one.initiator for one in starts)
    assert len({one.session.tx.number for one in starts}) == 7, "new numbers each time"
    assert not any(one.initiator for one in world.nodes[0].agreed)


def test_the_other_renews_if_the_first_does_not() -> None:
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(1)
    began = world.nodes[1]
    began.machine.remove_peer(world.peer_of(1))
    began.machine.put_peer(
        world.peer_of(1), world.nodes[0].own.public, NO_PSK, Offer(1), world.ways(1), world.now_ns
    )
    began.machine.resume(world.peer_of(1), world.now_ns + 1000 * S)
    world.run(135)
    assert world.nodes[0].latest.initiator


def test_a_restarted_peer_gets_a_new_session() -> None:
    world = both_up(World())
    world.run(30)
    world.start(1)
    world.run(0.3)
    assert matches(world) and len(world.nodes[1].agreed) == 1


def test_a_restarted_peer_whose_clock_went_back() -> None:
    """Its stamps are old to us, so its initiations are not taken; ours are by it. It is
    the silence that has us begin."""
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(30)
    world.wall_ns[1] -= 365 * 86400 * S
    world.start(1)
    world.run(2)
    assert not world.nodes[1].agreed and world.counts(0)["handshake_replayed"] > 0
    world.nodes[0].machine.begin(world.peer_of(0), world.now_ns)
    world.run(2)
    assert matches(world) and world.nodes[0].latest.initiator


def test_silence_begins_at_most_one_in_five_seconds() -> None:
    world = both_up(World(links=1))
    world.run(10)
    before = len(world.nodes[0].agreed)
    for _ in range(100):
        world.nodes[0].machine.begin(world.peer_of(0), world.now_ns)
        world.run(0.1)
    assert 1 <= len(world.nodes[0].agreed) - before <= 3


def test_resume_waits_until_the_session_is_old() -> None:
    world = both_up(World())
    for end in (0, 1):
        world.nodes[end].machine.resume(world.peer_of(end), world.now_ns)
    world.run(REKEY_NS / S - 0.1)
    assert not world.wire
    world.run(0.3)
    assert matches(world)


# ---- what it does not fall for ----------------------------------------------------


def first_of(world: World, kind: int, end: int) -> Send:
    return next(send for send in world.sent(end) if send.body[0] == kind)


@pytest.mark.parametrize(
    ("why", "psks"), [("one has none", (PSK, NO_PSK)), ("another", (PSK, bytes(reversed(PSK))))]
)
def test_another_pre_shared_key(why: str, psks: tuple[bytes, bytes]) -> None:
    world = both_up(World(psks=psks), apart_ns=LATER_NS)
    world.run(3)
    assert not any(agreed.initiator for node in world.nodes.values() for agreed in node.agreed)
    assert world.counts(1)["handshake_failed"] > 0


def test_with_the_same_pre_shared_key() -> None:
    world = both_up(World(psks=(PSK, PSK)))
    world.run(1)
    assert matches(world)


def test_a_stranger_is_not_answered() -> None:
    world = both_up(World())
    world.run(1)
    stranger = World(keys=(KEYS[0], KEYS[2]))
    stranger.start(1)
    stranger.run(1)
    before = len(world.wire)
    for send in stranger.sent(1):
        world.arrive(0, send)
    assert len(world.wire) == before
    assert world.counts(0)["handshake_unknown_peer"] > 0


def test_who_does_not_know_our_key_is_not_answered() -> None:
    world = both_up(World())
    world.run(1)
    node = world.nodes[0]
    other = World(keys=(KEYS[2], KEYS[1]))
    other.start(1)
    other.run(0.1)
    assert node.machine.receive(first_of(other, INITIATION, 1).body, way(1, 0), world.now_ns) == []
    assert world.counts(0)["handshake_bad_mac1"] == 1


def test_old_initiations_are_replayed_in_vain() -> None:
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(125)
    # What node 1 began with: the last of its first attempt was answered.
    first = first_of(world, INITIATION, 1)
    before, agreed = len(world.wire), len(world.nodes[0].agreed)
    for _ in range(10):
        world.arrive(0, first)
    assert (len(world.wire), len(world.nodes[0].agreed)) == (before, agreed)
    assert world.counts(0)["handshake_replayed"] == 10


def test_the_newest_initiation_replayed_repeats_its_answer_to_the_peer_only() -> None:
    """It may be the peer, whose answer was lost. Nothing goes to where it came from."""
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(1)
    newest = [send for send in world.sent(1) if send.body[0] == INITIATION][-1]
    agreed = len(world.nodes[0].agreed)
    elsewhere = way(7, 0)
    sent: list[Send | Agreed] = []
    for _ in range(20):
        sent += world.nodes[0].machine.receive(newest.body, elsewhere, world.now_ns)
    assert len(sent) == world.links, "once on each way, not twenty times"
    assert all(isinstance(one, Send) and one.way in world.ways(0) for one in sent)
    assert len(world.nodes[0].agreed) == agreed


def strayed(world: World, *places: Way) -> list[Send | Agreed]:
    """What node 0 does with node 1's first initiation, come in by each of these."""
    first = first_of(world, INITIATION, 1)
    actions: list[Send | Agreed] = []
    for place in places:
        actions += world.nodes[0].machine.receive(first.body, place, world.now_ns)
    return actions


def asked(links: int = 0) -> World:
    """Node 1 has asked over two links; node 0 knows of `links`."""
    world = World(passes=lambda end, send, now_ns: False)
    world.start(1)
    world.run(0.001)
    world.links = links
    world.start(0)
    return world


def test_who_has_no_way_to_a_peer_waits() -> None:
    world = World(links=0)
    machine = world.start(0).machine
    world.run(60)
    assert machine.next_due_ns(77) == 77 and machine.tries(world.peer_of(0)) == 0
    assert not world.wire


def test_an_initiation_is_answered_to_where_it_came_from() -> None:
    """Over each link, once, as the way back may be shut on any; and agreed on once."""
    places = [way(1, 0), replace(way(2, 0), port=40_000)]
    actions = strayed(asked(), *places, *places)
    sent = [one for one in actions if isinstance(one, Send)]
    assert [one.way for one in sent] == places
    assert len([one for one in actions if isinstance(one, Agreed)]) == 1
    first = first_of(asked(), INITIATION, 1)
    assert all(len(one.body) < len(first.body) for one in sent), "no amplification"


def test_an_initiation_is_answered_to_the_known_ways_too() -> None:
    stray = replace(way(1, 0), port=40_000)
    sent = [one.way for one in strayed(asked(links=2), stray) if isinstance(one, Send)]
    assert sent == [way(1, 0), way(2, 0), stray]


def test_few_places_get_an_answer() -> None:
    """However many somebody sends the same initiation from."""
    places = [replace(way(1, 0), port=port) for port in range(1000, 1200)]
    sent = [one for one in strayed(asked(), *places) if isinstance(one, Send)]
    assert len(sent) == MOST_STRAYS


def test_no_stray_answer_once_the_session_is_used() -> None:
    world = asked()
    assert strayed(world, way(1, 0))
    world.nodes[0].machine.confirmed(world.peer_of(0), world.now_ns)
    assert strayed(world, way(2, 0)) == []


def test_a_way_that_is_learnt_is_asked_at_once() -> None:
    world = World(links=0)
    node = world.start(0)
    world.run(5)
    public = identity(KEYS[1]).public
    node.machine.put_peer(world.peer_of(0), public, NO_PSK, node.offer, (way(1, 0),), world.now_ns)
    (sent,) = node.machine.tick(world.now_ns, WALL_NS)
    assert isinstance(sent, Send) and sent.way == way(1, 0)


def test_replayed_answers() -> None:
    world = both_up(World(), apart_ns=LATER_NS)
    world.run(125)
    before, agreed = len(world.wire), len(world.nodes[1].agreed)
    for send in world.sent(0):
        if send.body[0] == RESPONSE:
            world.arrive(1, send)
    assert (len(world.wire), len(world.nodes[1].agreed)) == (before, agreed)
    assert world.counts(1)["handshake_unasked"] > 0


def test_every_changed_byte_is_seen() -> None:
    world = both_up(World(links=1), apart_ns=LATER_NS)
    for end, kind in ((1, INITIATION), (0, RESPONSE)):
        fresh = World(links=1)
        fresh.start(1)
        fresh.run(0.001)
        world.run(0.011)
        body = bytearray(first_of(world, kind, end).body)
        for at in range(len(body) - (16 if kind == INITIATION else 0)):
            body[at] ^= 0x80
            actions = world.nodes[1 - end].machine.receive(bytes(body), way(1, 1 - end), world.now_ns)
            assert not any(isinstance(action, Agreed) for action in actions), at
            body[at] ^= 0x80


@given(st.binary(max_size=500), st.sampled_from([b"", b"\1", b"\2", b"\3"]))
def test_nonsense_is_counted_and_not_answered(junk: bytes, kind: bytes) -> None:
    world = both_up(World())
    before = sum(world.nodes[0].machine.counts.values())
    assert world.nodes[0].machine.receive(kind + junk, way(1, 0), 1) == []
    assert sum(world.nodes[0].machine.counts.values()) == before + 1


# ---- under load -------------------------------------------------------------------


def flood(world: World, count: int) -> int:
    """Initiations of a stranger who knows our key, at once; how many of them are answered."""
    stranger = World(keys=(KEYS[0], KEYS[2]), links=1)
    stranger.start(1)
    stranger.run(0.001)
    body = first_of(stranger, INITIATION, 1).body
    before = len(world.wire)
    for number in range(count):
        machine = world.nodes[0].machine
        sign = machine._receiver.mac1
        head = body[:4] + number.to_bytes(4, "big") + body[8:-32]
        assert machine.receive(head + sign(head) + bytes(16), way(9, 0), world.now_ns) == []
    return len(world.wire) - before


def test_a_flood_costs_a_few_handshakes_and_is_not_answered() -> None:
    world = both_up(World())
    world.run(1)
    assert flood(world, 1000) == 0
    counts = world.counts(0)
    assert counts["handshake_unknown_peer"] <= FREE_BURST
    assert counts["handshake_overload"] >= 1000 - FREE_BURST


def test_under_a_flood_a_peer_gets_through_with_a_cookie() -> None:
    world = World()
    world.start(0)
    world.run(2)
    flood(world, 1000)
    world.start(1)
    for _ in range(40):
        flood(world, 100)
        world.run(0.01)
    assert matches(world)
    assert world.counts(0)["handshake_cookie_sent"] > 0
    assert world.counts(1)["handshake_cookie_taken"] > 0


def test_somebody_elses_cookie_does_not_help() -> None:
    world = World()
    world.start(0)
    world.run(2)
    flood(world, 1000)
    world.start(1)
    world.run(0.025)
    with_cookie = next(send for send in world.sent(1) if send.body[-16:] != bytes(16))
    world = World()
    world.start(0)
    world.run(2)
    flood(world, 1000)
    assert world.nodes[0].machine.receive(with_cookie.body, way(9, 0), world.now_ns) == []


# ---- any weather ------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    loss=st.lists(st.floats(0, 0.6), min_size=3, max_size=3),
    delays_ms=st.lists(st.integers(0, 400), min_size=3, max_size=3),
    apart_ms=st.integers(0, 3000),
    order=st.permutations([0, 1]),
)
def test_through_any_weather(
    seed: int, loss: list[float], delays_ms: list[int], apart_ms: int, order: list[int]
) -> None:
    """Loss, delay, reordering, either end first: a session that both have, soon, and
    again when one is restarted."""
    dice = random.Random(seed)
    world = World(
        links=3,
        delay_ns={link + 1: delay * MS for link, delay in enumerate(delays_ms)},
        passes=lambda end, send, now_ns: dice.random() >= loss[send.way.ifindex - 1],
        keys=(KEYS[order[0]], KEYS[order[1]]),
        seed=seed,
    )
    both_up(world, apart_ns=apart_ms * MS)
    world.run(20)
    assert matches(world)
    world.start(0)
    world.run(20)
    assert matches(world)
