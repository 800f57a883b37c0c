"""Which column of a linear agent's table holds what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from agents.common.deterministic_gradient import n_action_features

COMPATIBLE_VARIANTS = ("copdac-q", "copdac-gq")
VARIANTS = (*COMPATIBLE_VARIANTS, "opdac", "on-policy")


@dataclass(frozen=True)
class Layout:
    """Columns theta, v, then the critic's action part w, then the secondary weights u of copdac-gq.

    Args:
        n_actions: m, entries of an action.
        variant: one of ``VARIANTS``.
        full_gq: whether u covers the state's features as well as the compatible ones.
    """

    n_actions: int
    variant: str = "copdac-q"
    full_gq: bool = False

    @property
    def compatible(self) -> bool:
        """Whether the critic is compatible; else it is a polynomial of the action."""
        return self.variant in COMPATIBLE_VARIANTS

    @property
    def gradient_td(self) -> bool:
        """Whether there are secondary weights."""
        return self.variant == "copdac-gq"

    @cached_property
    def actor(self) -> slice:
        """Theta: m columns."""
        return slice(0, self.n_actions)

    @property
    def value(self) -> int:
        """V: one column."""
        return self.n_actions

    @cached_property
    def critic(self) -> slice:
        """W: m columns of a compatible critic, m + m (m + 1) / 2 of a polynomial one."""
        width = self.n_actions if self.compatible else n_action_features(self.n_actions)
        return slice(self.n_actions + 1, self.n_actions + 1 + width)

    @cached_property
    def secondary(self) -> slice:
        """U: m columns for the compatible features, with full GQ one more for the state's."""
        width = self.n_actions + int(self.full_gq) if self.gradient_td else 0
        return slice(self.critic.stop, self.critic.stop + width)

    @property
    def n_columns(self) -> int:
        """Width of the table."""
        return int(self.secondary.stop)
