"""A3C's settings as they travel to a worker, and which learner serves them."""

from __future__ import annotations

from dataclasses import dataclass

from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from agents.a3c.numpy_learner import NumpyLearner
from agents.a3c.recurrent_learner import RecurrentLearner
from agents.a3c.torch_learner import TorchLearner
from agents.asynchronous.learner import Learner, Setting


@dataclass(frozen=True, kw_only=True)
class A3CRecipe:
    """The terms of A3C's loss.

    Attributes:
        gamma: discount per step.
        gae_lambda: 1 is the paper's longest return.
        ent_coef: beta, weight of the entropy.
        vf_coef: weight of the squared value error.
    """

    gamma: float
    gae_lambda: float
    ent_coef: float
    vf_coef: float

    def learner(self, setting: Setting) -> Learner:
        """NumPy for plain perceptrons, torch for every other policy; both give the same gradient."""
        if isinstance(setting.policy, RecurrentActorCriticPolicy):
            return RecurrentLearner(self, setting)
        fast = NumpyLearner.serve(self, setting)
        return TorchLearner(self, setting) if fast is None else fast
