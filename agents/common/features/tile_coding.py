"""Tile coding: several displaced grids over the same box, one active tile in each.

Sutton and Barto (2018), section 9.5.4. Tiling i is displaced by i / n_tilings of a tile in the first dimension and by
an odd multiple of that in the others. The displacements are even on purpose: with independent random offsets Off-PAC on
mountain car needs 144 to 161 steps where even ones reach 108 to 114. They are upwards on purpose, too: displaced
downwards, the last tiles are up to twice as wide, where mountain car has its goal, and one seed in ten needs 140 steps.

How it is fast: along one dimension the displacements cut every tile into ``n_tilings`` equal slices, and all
observations of one slice share their tiles. So each dimension has a table from slice to its share of the indices, and a
call is one row lookup per dimension plus an addition of short integer vectors; its cost does not depend on ``n_tiles``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap
from agents.common.features.bounds import box_dimension, finite_bounds
from agents.common.features.counts import whole
from agents.common.features.room import in_words, require_room

_INFINITY = math.inf


class TileCoding(FeatureMap):
    """Indices of the active tiles of a Box observation, plus a bias feature that is always active.

    A tile spans (high - low) / n_tiles. Tilings are displaced upwards: what a displaced tiling leaves over at the lower
    edge belongs to its first tile, so the table has n_tilings * n_tiles^d tiles and the bias, for which there must be
    room (see ``agents.common.features.room``).

    Args:
        observation_space: a Box; its entries are tiled jointly.
        n_tilings: number of grids.
        n_tiles: tiles along each dimension; one number, or one for each entry of the flattened observation. 1 leaves an
            entry out.
        bias: whether to add a feature that is always 1, as the last one.
        low, high: bounds that replace those of the space; needed where it has none.

    Raises:
        ValueError: not a Box, no finite bounds, counts that are no whole numbers or below 1, or more tiles than
            there is room for.
    """

    sparse: ClassVar[bool] = True
    remedy: ClassVar[str] = (
        "use fewer tiles, in some dimensions if not in all (n_tiles takes one number for each; 1 leaves a dimension "
        'out), an observation of fewer dimensions, features="polynomial" with a low order, or a deep policy'
    )

    def __init__(
        self,
        observation_space: spaces.Space,
        n_tilings: int = 10,
        n_tiles: int | Sequence[int] = 10,
        bias: bool = True,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
    ) -> None:
        dimension = box_dimension(observation_space, "Tile coding")
        assert isinstance(observation_space, spaces.Box)
        self.low, self.high = finite_bounds(observation_space, low, high, "Tile coding")
        self.n_tilings = whole(n_tilings, 1, "n_tilings", "10 is usual")
        self.n_tiles = _per_dimension(n_tiles, dimension)
        self.tiles_per_tiling = math.prod(self.n_tiles)
        self.n_features = self.n_tilings * self.tiles_per_tiling + int(bias)
        self.n_active = self.n_tilings + int(bias)
        self.require_room(1, "number")
        self._require_room_for_slices()
        self.displacements = _displacements(self.n_tilings, dimension)
        self._slices = [count * self.n_tilings for count in self.n_tiles]
        self._scales = [slices / float(width) for slices, width in zip(self._slices, self.high - self.low, strict=True)]
        self._origins = [float(bound) for bound in self.low]
        self._tables = [self._table(entry, bias) for entry in range(dimension)]
        # One observation is looked up in lists: indexing an array costs several times as much.
        rows = [list(table) for table in self._tables]
        self._axes = list(zip(self._origins, self._scales, self._slices, rows, strict=True))

    @property
    def described(self) -> str:
        """The tilings and their tiles."""
        tiles = str(self.n_tiles[0]) if len(set(self.n_tiles)) == 1 else _shortened(self.n_tiles)
        dimension = len(self.n_tiles)
        return f"Tile coding with n_tilings={self.n_tilings} and n_tiles={tiles} in {dimension} dimensions"

    def _require_room_for_slices(self) -> None:
        numbers = sum(self.n_tiles) * self.n_tilings * self.n_active
        described = f"{self.described} looks tiles up by their slices, and {in_words(numbers)} numbers for that"
        require_room(numbers, described, "use fewer tilings or tiles; n_tilings=10 and n_tiles=10 are usual")

    def _table(self, entry: int, bias: bool) -> NDArray[np.intp]:
        """[n_slices, n_active]: what each slice of one dimension adds to the active indices."""
        slices = np.arange(self._slices[entry])[:, None]
        tiles = np.maximum((slices - self.displacements[:, entry]) // self.n_tilings, 0)
        shares = tiles * math.prod(self.n_tiles[entry + 1 :])
        if entry == 0:
            shares = shares + np.arange(self.n_tilings) * self.tiles_per_tiling
        if bias:
            constant = self.n_features - 1 if entry == 0 else 0
            shares = np.hstack([shares, np.full((len(shares), 1), constant)])
        return shares.astype(np.intp)

    def __call__(self, observation: ArrayLike) -> NDArray[np.intp]:
        """[n_active] indices of the active tiles, the bias last.

        Raises:
            ValueError: an entry of the observation is NaN or infinite, or there are too many or too few.
        """
        entries = np.asarray(observation).ravel().tolist()
        if len(entries) != len(self._axes):
            raise ValueError(
                f"Tile coding got an observation with {len(entries)} entries, but its space has {len(self._axes)}; "
                "give one of that space."
            )
        indices: NDArray[np.intp] | None = None
        for value, (origin, scale, slices, table) in zip(entries, self._axes):  # noqa: B905  (its check is slower)
            position = (value - origin) * scale
            if 0.0 <= position < slices:
                row = table[int(position)]
            elif position < 0.0 and value > -_INFINITY:
                row = table[0]
            elif position >= slices and value < _INFINITY:
                row = table[-1]
            else:
                raise ValueError(
                    f"Tile coding got the observation {entries}, but NaN and infinity lie in no tile; mend the "
                    "environment or the wrapper that produced it."
                )
            indices = row if indices is None else indices + row
        assert indices is not None
        return indices

    def batch(self, observations: ArrayLike) -> NDArray[np.intp]:
        """[n, n_active] indices of the active tiles of n observations, all looked up at once.

        Raises:
            ValueError: an entry of an observation is NaN or infinite.
        """
        entries = np.asarray(observations, dtype=np.float64)
        entries = entries.reshape(len(entries), -1)
        faulty = ~np.isfinite(entries).all(axis=1)
        if faulty.any():
            self(entries[np.argmax(faulty)])
        indices = np.zeros((len(entries), self.n_active), dtype=np.intp)
        for column, origin, scale, slices, table in zip(
            entries.T, self._origins, self._scales, self._slices, self._tables, strict=True
        ):
            with np.errstate(over="ignore"):
                position = (column - origin) * scale
            indices += table[np.clip(position, 0, slices - 1).astype(np.intp)]
        return indices


def _per_dimension(n_tiles: int | Sequence[int], dimension: int) -> tuple[int, ...]:
    """[dimension] tiles along each."""
    # As objects: numbers beyond what NumPy counts to are for the error that says how much they would take.
    given = np.asarray(n_tiles, dtype=object)
    if given.shape not in ((), (1,), (dimension,)):
        raise ValueError(
            f"n_tiles={n_tiles}, but it must be one number, or {dimension} for the {dimension} entries of the "
            "observation; correct n_tiles=."
        )
    counts = tuple(whole(count, 1, "n_tiles", "10 is usual", n_tiles) for count in given.ravel())
    return counts if len(counts) == dimension else counts * dimension


def _shortened(counts: tuple[int, ...]) -> str:
    few = 8
    return str(counts) if len(counts) <= few else f"({', '.join(map(str, counts[:few]))}, ...)"


def _displacements(n_tilings: int, dimension: int) -> NDArray[np.int64]:
    """[n_tilings, dimension] displacements in units of 1 / n_tilings of a tile.

    Dimension d takes the d-th odd number without a common divisor with ``n_tilings`` as its multiple, so that every
    dimension sees all n_tilings displacements (5 times i modulo 10 would be 0 and 5 only).
    """
    multiples: list[int] = []
    candidate = 1
    while len(multiples) < dimension:
        if math.gcd(candidate, n_tilings) == 1:
            multiples.append(candidate)
        candidate += 2
    return np.outer(np.arange(n_tilings), multiples) % n_tilings
