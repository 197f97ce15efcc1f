"""What a peer has told, as listings have it."""

from __future__ import annotations

from mpbond.control_frames import PathMark, policy_name
from mpbond.controller.control import Told
from mpbond.handshake_messages import Feature
from mpbond.snapshot import PathViewSnapshot, PeerViewSnapshot


def feature_names(features: Feature) -> tuple[str, ...]:
    """Those that this version knows."""
    return tuple(flag.name.lower() for flag in Feature if flag in features and flag.name)


def why_none(told: Told | None) -> str | None:
    """Why there is no view of the peer's; None where there is one."""
    if told is None:
        return "a shared key alone: no reports"
    if told.heard is not None:
        return None
    if not told.is_wanted:
        return "no session, or its version sends none"
    return "no report has come yet"


def peer_view(told: Told | None, now_ns: int) -> PeerViewSnapshot | None:
    if told is None or told.heard is None:
        return None
    heard, view = told.heard, told.heard.view
    return PeerViewSnapshot(
        policy=view.policy,
        policyBase=policy_name(view.policy_code),
        peerFailoverInterval=view.failover_ms,
        version=view.version,
        peerFeatures=feature_names(Feature(view.features)),
        reports=told.reports,
        reportAge=_ms(now_ns - heard.heard_ns),
        reportGap=_ms(told.timeliness.gap_ns),
        reportLate=_ms(told.timeliness.late_ns),
        reportStall=_ms(told.timeliness.stall_ns),
    )


def path_view(told: Told | None, index: int) -> PathViewSnapshot | None:
    """Of one path by our index; None where the peer has said nothing of it."""
    path = told.reported.get(index) if told else None
    if path is None:
        return None
    return PathViewSnapshot(
        peerState=path.state_name,
        peerMode="spare" if path.marks & PathMark.SPARE else "primary",
        peerEligible=bool(path.marks & PathMark.ELIGIBLE),
        peerActive=bool(path.marks & PathMark.CARRIES),
        peerLatencyMean=_units(path.latency_us, 1e3),
        peerLatencyVariance=_units(path.pdv_us, 1e3),
        peerPacketLossRatio=_units(path.loss_ppm, 1e6),
        peerPacketErrorRatio=_units(path.errors_ppm, 1e6),
    )


def _ms(value_ns: int) -> float:
    return round(max(0, value_ns) / 1e6, 1)


def _units(value: int | None, per_unit: float) -> float | None:
    return None if value is None else value / per_unit
