"""The score made of what was measured. Pure: arrays in, numbers out.

semantics: x = exp(-4 value/max) for each of the four; quality is their weighted
sum. What is not measured yet is NaN and counts as perfect, so that a fresh path
is judged by what is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpbond.config.model import LinkQuality
from mpbond.rows import Floats


@dataclass(frozen=True, slots=True)
class Limits:
    """A row per path, (n, 4) each: latency and its variation in ms, loss and errors as
    ratios: the maxima that a policy allows, and how much each of the four weighs."""

    most: Floats
    weight: Floats


def limits_of(policies: Sequence[LinkQuality]) -> Limits:
    """One for each path, in their order."""
    most = [(at.lat_max_ms, at.pdv_max_ms, at.plr_max, at.per_max) for at in policies]
    weight = [(at.lat_weight, at.pdv_weight, at.plr_weight, at.per_weight) for at in policies]
    return Limits(np.reshape(most, (-1, 4)).astype(float), np.reshape(weight, (-1, 4)).astype(float))


def scores(values: Floats, limits: Limits) -> Floats:
    """0..1 for each path of `values` (n, 4), 1 for one without delay, variation, loss
    or errors. (n,)"""
    part = np.exp(-4.0 * np.nan_to_num(values) / limits.most)
    total: Floats = (limits.weight * part).sum(axis=1)
    return total
