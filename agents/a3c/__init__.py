"""A3C: asynchronous advantage actor-critic (Mnih et al. 2016)."""

from agents.a3c.a3c import A3C

__all__ = ["A3C"]
