"""Who carries traffic, who takes over: the policies as pure functions.

Each takes the bond's paths as they are now and returns an `Assignment`, which
the controller writes into the kernel's maps: the order in which paths take over,
and, for the balance policies, the shares of the slot table. The kernel follows
it packet by packet, whether or not a controller is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from mpbond.config.model import BasePolicy, LinkMode, Policy, SelectMethod

# A path is better, for `optimize`, if its score is higher by more than a tenth
# in two periods running (semantics, section 3).
OPTIMIZE_MARGIN = 1.10
OPTIMIZE_PERIODS = 2


@dataclass(frozen=True, slots=True)
class PathView:
    """One path as a policy sees it. `index` is its place in the path map; `avoided`: it
    is over a limit of the policy's linkQuality, or was until a while ago. `precedence`:
    the lower of equally good ones comes first."""

    index: int
    ifname: str
    version: int
    mode: LinkMode
    ipv_pref: int
    eligible: bool
    score: float
    avoided: bool = False
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """`order`: eligible paths, best first, non-spares leading (`preferred` many).

    `shares`: path index -> share of the flows; empty where one path takes all. Under
    balance-aware capacity and quality weigh it besides (balance.py).
    `active`: the path that takes all, None where flows are spread.
    """

    order: tuple[int, ...]
    preferred: int
    shares: dict[int, float] = field(default_factory=dict)
    active: int | None = None


@dataclass(slots=True)
class Memory:
    """What a policy remembers between periods: how long a challenger has led; the link
    whose failure brought the active path; whether that was rotated to, and whether the
    primary was away since."""

    challenger: int | None = None
    periods: int = 0
    failed: str | None = None
    rotated: bool = False
    primary_was_away: bool = False

    def forget(self) -> None:
        self.challenger, self.periods = None, 0

    def rotate(self) -> None:
        """From here on the active path is the user's choice."""
        self.forget()
        self.failed, self.rotated, self.primary_was_away = None, True, False


def usable(paths: Sequence[PathView]) -> list[PathView]:
    """Eligible paths after ipvPref: 46 and 64 keep a link's other family back
    while the first has an eligible path."""
    eligible = [path for path in paths if path.eligible]
    first = {46: 4, 64: 6}

    def kept(path: PathView) -> bool:
        version = first.get(path.ipv_pref)
        if version is None or path.version == version:
            return True
        return not any(other.ifname == path.ifname and other.version == version for other in eligible)

    return [path for path in eligible if kept(path)]


def _by_score(paths: Sequence[PathView]) -> list[PathView]:
    """By quality: what is over a limit comes after what is not."""
    return sorted(paths, key=lambda path: (path.avoided, -path.score, path.precedence, path.index))


def _links_in_turn(paths: Sequence[PathView]) -> list[PathView]:
    """One path of each link, then the second of each, and so on: paths that fail
    together stand apart, so whoever asks down the list soon meets another link."""
    rank: dict[str, int] = {}
    keyed: list[tuple[int, PathView]] = []
    for path in paths:
        rank[path.ifname] = rank.get(path.ifname, -1) + 1
        keyed.append((rank[path.ifname], path))
    return [path for _, path in sorted(keyed, key=lambda item: item[0])]


def _chain(policy: Policy, ifname: str) -> list[str]:
    """The links named by failoverTo, from the one after `ifname` on."""
    following = {rule.ifname: rule.failover_to for rule in policy.links}
    chain: list[str] = []
    current = following.get(ifname)
    while current is not None and current not in chain:
        chain.append(current)
        current = following.get(current)
    return chain


def _by_name(policy: Policy, path: PathView) -> bool:
    """May the policy's naming a link, as the primary or by failoverTo, put this path
    before other links? Not where it is the peer that calls it a spare."""
    own = next((rule.mode for rule in policy.links if rule.ifname == path.ifname), LinkMode.PRIMARY)
    return path.mode is LinkMode.PRIMARY or own is LinkMode.SPARE


def _succession(policy: Policy, paths: Sequence[PathView], ifname: str) -> list[PathView]:
    """Who follows when the path in use, one of `ifname`'s, fails: where links are
    listed the link's other paths (a link fails with its last one) and its failoverTo
    chain; under `failure` the primary, which waits for this; the other non-spares by
    score; then the spares."""
    first = [ifname, *_chain(policy, ifname)] if policy.links else []
    if policy.primary is not None and policy.link_select_method is SelectMethod.FAILURE:
        first.append(policy.primary)
    first = list(dict.fromkeys(first))
    ranked = _by_score(paths)
    named = [path for name in first for path in ranked if path.ifname == name and _by_name(policy, path)]
    rest = [path for path in ranked if path not in named]
    normal = _links_in_turn([path for path in rest if path.mode is LinkMode.PRIMARY])
    spares = _links_in_turn([path for path in rest if path.mode is LinkMode.SPARE])
    return named + normal + spares


def _optimized(active: PathView, paths: Sequence[PathView], memory: Memory) -> PathView:
    normal = [path for path in paths if path.mode is LinkMode.PRIMARY] or list(paths)
    best = _by_score(normal)[0]
    if active.avoided and not best.avoided:
        memory.forget()
        return best
    leads = best.index != active.index and best.score > active.score * OPTIMIZE_MARGIN
    memory.periods = memory.periods + 1 if leads and memory.challenger == best.index else int(leads)
    memory.challenger = best.index if leads else None
    if memory.periods < OPTIMIZE_PERIODS:
        return active
    memory.forget()
    return best


def _off_the_spare(
    policy: Policy, active: PathView, paths: Sequence[PathView], memory: Memory
) -> PathView | None:
    """A spare is not used while another can be, whatever the method: who is next then.
    None where the active path is no spare, nothing else is left, or failoverTo names
    it for the link that failed and the others are not before it."""
    normal = [path for path in paths if path.mode is LinkMode.PRIMARY]
    if active.mode is not LinkMode.SPARE or not normal:
        return None
    failed = memory.failed or policy.primary or ""
    if _succession(policy, paths, failed)[0].ifname == active.ifname and _by_name(policy, active):
        return None
    by_quality = policy.link_select_method is SelectMethod.OPTIMIZE
    return _by_score(normal)[0] if by_quality else _first(policy, normal)


def _reselect(policy: Policy, active: PathView, paths: Sequence[PathView], memory: Memory) -> PathView:
    """The active path is fine: does another take its place all the same? The primary
    may, and any non-spare that of a spare."""
    method = policy.link_select_method
    instead = _off_the_spare(policy, active, paths, memory)
    if instead is not None:
        memory.forget()
        return instead
    if method is SelectMethod.OPTIMIZE:
        return _optimized(active, paths, memory)
    if method is SelectMethod.FAILURE or policy.primary in (None, active.ifname):
        return active
    best = _first(policy, paths)
    if best.ifname != policy.primary or (method is SelectMethod.BETTER and not _is_better(best, active)):
        return active
    return best


def _is_better(one: PathView, other: PathView) -> bool:
    return (not one.avoided, one.score) > (not other.avoided, other.score)


def _stays_by_rotation(policy: Policy, paths: Sequence[PathView], memory: Memory) -> bool:
    """A path rotated to stays until it fails; where the primary may take over, until
    that has failed and is back."""
    if not memory.rotated:
        return False
    primary_is_here = any(path.ifname == policy.primary for path in paths)
    yields = policy.link_select_method in (SelectMethod.ALWAYS, SelectMethod.BETTER)
    if primary_is_here and memory.primary_was_away and yields:
        memory.rotated = False
        return False
    memory.primary_was_away |= not primary_is_here
    return True


def _first(policy: Policy, paths: Sequence[PathView]) -> PathView:
    """Whom the policy would choose if nothing were in use: the primary, else who
    follows it, else the best."""
    return _succession(policy, paths, policy.primary or "")[0]


def _in_use(policy: Policy, paths: Sequence[PathView], last: PathView | None) -> PathView | None:
    """The path that goes on carrying: the last active one, else, where links are
    listed, the best of its link, which has not failed then."""
    if last is None or last in paths:
        return last
    same_link = [path for path in paths if path.ifname == last.ifname]
    return _by_score(same_link)[0] if same_link and policy.links else None


def _follower(policy: Policy, paths: Sequence[PathView], last: PathView | None) -> PathView:
    """Nothing is in use, or what was has failed."""
    to_primary = policy.link_select_method is SelectMethod.ALWAYS and any(
        path.ifname == policy.primary for path in paths
    )
    if last is None or to_primary:
        return _first(policy, paths)
    return _succession(policy, paths, last.ifname)[0]


def next_in_turn(paths: Sequence[PathView], active: int) -> PathView | None:
    """Whom `rotate` moves to: the next non-spare by number, after the last the first; a
    spare only where there is no other non-spare. None where nothing else is eligible."""
    others = [path for path in usable(paths) if path.index != active]
    normal = [path for path in others if path.mode is LinkMode.PRIMARY] or others
    return min(normal, key=lambda path: (path.index < active, path.index), default=None)


def active_backup(
    policy: Policy, paths: Sequence[PathView], active: int | None, memory: Memory
) -> Assignment:
    """All data on one path. `active` is the path in use, eligible or not."""
    now = usable(paths)
    last = next((path for path in paths if path.index == active), None)
    in_use = _in_use(policy, now, last)
    if in_use is None:
        memory.forget()
        memory.rotated = False
    if not now:
        return Assignment((), 0)
    if in_use is None:
        memory.failed = last.ifname if last else None
        chosen = _follower(policy, now, last)
    elif _stays_by_rotation(policy, now, memory):
        chosen = in_use
    else:
        chosen = _reselect(policy, in_use, now, memory)
    others = [path for path in now if path.index != chosen.index]
    order = [chosen, *_succession(policy, others, chosen.ifname)]
    leading = takewhile(lambda path: path.mode is LinkMode.PRIMARY, order)
    return Assignment(tuple(path.index for path in order), len(list(leading)), {}, chosen.index)


def carriers(paths: Sequence[PathView]) -> list[PathView]:
    """Who may carry under the balance policies: non-spares, or spares where there are
    none, whatever their quality."""
    now = usable(paths)
    return [path for path in now if path.mode is LinkMode.PRIMARY] or now


def _spread(leading: Sequence[PathView], behind: Sequence[PathView], preferred: int) -> Assignment:
    """Every link of `leading` the same share of the flows, a link's paths an equal part
    each; then who takes over."""
    on_link = {path.ifname: sum(other.ifname == path.ifname for other in leading) for path in leading}
    order = [*_links_in_turn(leading), *behind]
    shares = {path.index: 1.0 / on_link[path.ifname] for path in leading}
    return Assignment(tuple(path.index for path in order), preferred, shares)


def balance_xor(policy: Policy, paths: Sequence[PathView], active: int | None, memory: Memory) -> Assignment:
    """Every link the same share of the flows, a link's paths an equal part each."""
    now = carriers(paths)
    spares = [path for path in usable(paths) if path not in now]
    preferred = sum(path.mode is LinkMode.PRIMARY for path in now)
    return _spread(now, _links_in_turn(spares), preferred)


def balance_rr(policy: Policy, paths: Sequence[PathView], active: int | None, memory: Memory) -> Assignment:
    """Every eligible non-spare path in turn, in an order that does not change with
    quality: who counts packets on the wire sees them alternate."""
    now = usable(paths)
    normal = sorted((path for path in now if path.mode is LinkMode.PRIMARY), key=lambda path: path.index)
    spares = sorted((path for path in now if path.mode is LinkMode.SPARE), key=lambda path: path.index)
    carrying = normal or spares
    return Assignment(
        tuple(path.index for path in normal + spares),
        len(normal),
        {path.index: 1.0 for path in carrying},
    )


def broadcast(policy: Policy, paths: Sequence[PathView], active: int | None, memory: Memory) -> Assignment:
    """A copy over the best path of every link; the links' other paths take over."""
    now = _links_in_turn(_by_score(usable(paths)))
    best = list({path.ifname: path for path in reversed(now)}.values())
    first = [path for path in now if path in best]
    rest = [path for path in now if path not in best]
    return Assignment(
        tuple(path.index for path in first + rest),
        len(first),
        {path.index: 1.0 for path in first},
    )


def balance_aware(
    policy: Policy, paths: Sequence[PathView], active: int | None, memory: Memory
) -> Assignment:
    """As xor, but paths that are avoided only take over, before the spares; unless there
    are no others."""
    now = carriers(paths)
    leading = [path for path in now if not path.avoided] or now
    last = [path for path in now if path not in leading]
    spares = [path for path in usable(paths) if path not in now]
    preferred = sum(path.mode is LinkMode.PRIMARY for path in leading)
    return _spread(leading, [*_links_in_turn(last), *_links_in_turn(spares)], preferred)


Assign = Callable[[Policy, Sequence[PathView], int | None, Memory], Assignment]

# The policies this version runs; `up` refuses the others by name.
ASSIGN: dict[BasePolicy, Assign] = {
    BasePolicy.ACTIVE_BACKUP: active_backup,
    BasePolicy.NONE: active_backup,
    BasePolicy.BROADCAST: broadcast,
    BasePolicy.BALANCE_RR: balance_rr,
    BasePolicy.BALANCE_XOR: balance_xor,
    BasePolicy.BALANCE_AWARE: balance_aware,
}
