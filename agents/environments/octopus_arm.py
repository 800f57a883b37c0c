"""An arm without bones, after the octopus arm of the deterministic policy gradient paper."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

N_SEGMENTS = 6
N_NODES = 2 * (N_SEGMENTS + 1)
"""Nodes 0 to 6 run along the dorsal side from the base, 7 to 13 along the ventral one; each has mass 1."""
N_MUSCLES = 3 * N_SEGMENTS
TARGET = (0.0, 4.0)
TARGET_RADIUS = 0.3
HIT_REWARD = 50.0

STIFFNESS = 20.0  # of a muscle, per unit of length
DAMPING = 2.0  # of a muscle, per unit of speed along it
STRENGTH = 20.0  # tension of a fully active muscle at its length of rest
PRESSURE = 50.0  # restoring force for a segment's area
DRAG = 0.5  # of the water, per unit of speed
BASE_TORQUE, BASE_DRAG = 1.0, 2.0
TIME_STEP, N_SUBSTEPS = 0.01, 5

FloatArray = NDArray[np.float64]

_DORSAL = np.arange(N_SEGMENTS)
_VENTRAL = _DORSAL + N_SEGMENTS + 1
_FROM = np.concatenate([_DORSAL, _VENTRAL, _DORSAL + 1])
_TO = np.concatenate([_DORSAL + 1, _VENTRAL + 1, _VENTRAL + 1])
"""Ends of the dorsal, the ventral and the transverse muscles, from the base to the tip."""
_CORNERS = np.stack([_VENTRAL, _VENTRAL + 1, _DORSAL + 1, _DORSAL], axis=1)
"""[n_segments, 4] nodes around each segment, counterclockwise while the arm lies along the x axis."""
_PULLS = np.zeros((N_NODES, N_MUSCLES))
_PULLS[_FROM, np.arange(N_MUSCLES)] = 1.0
_PULLS[_TO, np.arange(N_MUSCLES)] = -1.0
_SPREAD = np.eye(N_NODES)[:, _CORNERS.ravel()]


def rest_shape() -> FloatArray:
    """[n_nodes, 2] the straight arm along the x axis: segments of length 1 and width 1."""
    x = np.tile(np.arange(N_SEGMENTS + 1.0), 2)
    return np.column_stack([x, np.repeat([0.5, -0.5], N_SEGMENTS + 1)])


def areas(positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[n_segments] area of each segment, and [n_segments, 4, 2] its gradient with respect to the corners."""
    corners = positions[_CORNERS]
    following, previous = np.roll(corners, -1, axis=1), np.roll(corners, 1, axis=1)
    gradient = 0.5 * np.stack([following[..., 1] - previous[..., 1], previous[..., 0] - following[..., 0]], axis=-1)
    return 0.5 * (corners * gradient).sum(axis=(1, 2)), gradient


def internal_forces(positions: FloatArray, velocities: FloatArray, activations: FloatArray) -> FloatArray:
    """[n_nodes, 2] forces of muscles and pressure; they add up to nothing, and so do their torques.

    A muscle of length l (1 at rest), activation a in [0, 1] pulls its ends together with
    20 (l - 1) + 20 a l + 2 dl/dt; a segment of area A has the energy 50 (A - 1)^2 / 2.

    Args:
        positions, velocities: [n_nodes, 2].
        activations: [n_muscles].
    """
    along = positions[_TO] - positions[_FROM]
    lengths = np.sqrt((along * along).sum(axis=1))
    along /= lengths[:, None]
    lengthening = ((velocities[_TO] - velocities[_FROM]) * along).sum(axis=1)
    tension = STIFFNESS * (lengths - 1.0) + STRENGTH * activations * lengths + DAMPING * lengthening
    area, gradient = areas(positions)
    squeeze = -PRESSURE * (area - 1.0)[:, None, None] * gradient
    return _PULLS @ (tension[:, None] * along) + _SPREAD @ squeeze.reshape(-1, 2)


class OctopusArm(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Strike a target with any node of a soft arm of six segments on a turning base.

    Silver et al. (2014), section 5.3: each segment has a dorsal, a ventral and a transverse muscle, the reward is the
    decrease of the distance between arm and target, striking it gives 50 more and ends the episode, 300 steps
    truncate it. The paper refers to Engel et al. (2005) for the physics and gives no constant. Ours is a plane
    mass-spring arm in that manner: see ``internal_forces``; besides, water drags at every node and the base turns with
    ``omega' = (counterclockwise - clockwise) - 2 omega`` and carries the innermost two nodes with it, whatever the arm
    weighs. Our choices are all constants, a fixed target at (0, 4), four segments' length above the base of an arm that
    starts at rest along the x axis, and a step of 0.05 in five symplectic Euler steps.

    Observation: 50 numbers as float32: positions (x, y) of the 12 free nodes, dorsal ones first, from the base to the
    tip; their velocities in the same order; angle and angular velocity of the base. Action: 20 numbers in [0, 1],
    clipped: activations of the 6 dorsal, 6 ventral and 6 transverse muscles, turning clockwise and counterclockwise.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (50,), np.float32)
        self.action_space = spaces.Box(0.0, 1.0, (N_MUSCLES + 2,), np.float32)
        self._free = np.delete(np.arange(N_NODES), [0, N_SEGMENTS + 1])
        self._stand_still()

    def _stand_still(self) -> None:
        self._positions = rest_shape()
        self._velocities = np.zeros((N_NODES, 2))
        self._angle = 0.0
        self._turning = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Lay the arm at rest along the x axis."""
        super().reset(seed=seed)
        self._stand_still()
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Contract muscles and turn the base for a twentieth of a second."""
        clipped = np.clip(action, 0.0, 1.0).astype(np.float64)
        before = self._distance()
        for _ in range(N_SUBSTEPS):
            self._advance(clipped[:N_MUSCLES], float(clipped[-1] - clipped[-2]))
        distance = self._distance()
        terminated = distance < TARGET_RADIUS
        reward = before - distance + (HIT_REWARD if terminated else 0.0)
        return self._observation(), reward, terminated, False, {"distance": distance}

    def _advance(self, activations: FloatArray, turn: float) -> None:
        """One symplectic Euler step: velocities from forces, then positions from the new velocities."""
        forces = internal_forces(self._positions, self._velocities, activations) - DRAG * self._velocities
        self._velocities += TIME_STEP * forces
        self._turning += TIME_STEP * (BASE_TORQUE * turn - BASE_DRAG * self._turning)
        self._angle += TIME_STEP * self._turning
        self._positions += TIME_STEP * self._velocities
        # The base does not yield: its two nodes are where its angle puts them.
        half = 0.5 * np.array([-math.sin(self._angle), math.cos(self._angle)])
        spin = 0.5 * self._turning * np.array([-math.cos(self._angle), -math.sin(self._angle)])
        for node, side in ((0, 1.0), (N_SEGMENTS + 1, -1.0)):
            self._positions[node], self._velocities[node] = side * half, side * spin

    def _distance(self) -> float:
        """From the nearest free node to the target."""
        away = self._positions[self._free] - TARGET
        return float(np.sqrt((away * away).sum(axis=1).min()))

    def _observation(self) -> NDArray[np.float32]:
        moving = (self._positions[self._free].ravel(), self._velocities[self._free].ravel())
        return np.concatenate([*moving, (self._angle, self._turning)]).astype(np.float32)
