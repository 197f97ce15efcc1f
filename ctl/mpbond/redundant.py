"""What a policy sends over two links: how it is told, and over which. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mpbond.config.model import LinkMode, RedundantRule
from mpbond.policies import PathView, usable


def told(rule: RedundantRule) -> str:
    """`udp, ports 53 5060-5070, dscp 46, up to 300 bytes`: what must all be true."""
    ports = [str(low) if low == high else f"{low}-{high}" for low, high in rule.ports]
    parts = [
        rule.protocol or "",
        f"port{'s' * (ports != [ports[0]] or '-' in ports[0])} {' '.join(ports)}" if ports else "",
        f"dscp {rule.dscp}" if rule.dscp is not None else "",
        f"up to {rule.max_size} bytes" if rule.max_size is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def best_links(paths: Sequence[PathView]) -> tuple[int, ...]:
    """Of the paths that carry traffic the best one of every link, by quality; then every
    link's second, and so on. Spares only where there is nothing else."""
    now = usable(paths)
    carrying = [path for path in now if path.mode is LinkMode.PRIMARY] or now
    rank: dict[str, int] = {}
    keyed: list[tuple[int, int]] = []
    for path in sorted(carrying, key=lambda path: (path.avoided, -path.score, path.index)):
        rank[path.ifname] = rank.get(path.ifname, -1) + 1
        keyed.append((rank[path.ifname], path.index))
    return tuple(index for _, index in sorted(keyed, key=lambda item: item[0]))
