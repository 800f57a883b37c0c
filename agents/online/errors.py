"""What stops a run that would otherwise go on with useless numbers."""

from __future__ import annotations


class TrainingDivergedError(FloatingPointError):
    """The weights have grown beyond all use; the message names the step size that is too large."""
