"""Parameters of deep policies that do not learn, as SB3's DDPG leaves them alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import agents

VARIANTS = ("copdac-q", "copdac-gq", "opdac", "on-policy")


def small_model(variant: str, **policy_kwargs: Any) -> agents.DPG:
    return agents.DPG(
        "MlpPolicy",
        "Pendulum-v1",
        variant=variant,
        learning_rate=1e-2,
        seed=0,
        policy_kwargs=dict(net_arch=[8], **policy_kwargs),
        device="cpu",
    )


def critic_of(model: agents.DPG) -> nn.Module:
    return model.policy.value if model.policy.layout.compatible else model.policy.critic


def moved(model: agents.DPG, parameters: list[nn.Parameter], **learn: Any) -> list[bool]:
    before = [part.detach().clone() for part in parameters]
    model.learn(40, **learn)
    return [not th.equal(old, new) for old, new in zip(before, parameters, strict=True)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("part", ["first actor layer", "actor", "critic"])
def test_what_is_frozen_stands_and_the_rest_learns(variant: str, part: str) -> None:
    model = small_model(variant)
    actor, critic = list(model.policy.actor.parameters()), list(critic_of(model).parameters())
    frozen = {"first actor layer": actor[:2], "actor": actor, "critic": critic}[part]
    for parameter in frozen:
        parameter.requires_grad_(False)
    everything = [*actor, *critic]
    changed = moved(model, everything)
    for parameter, has_moved in zip(everything, changed, strict=True):
        assert has_moved == parameter.requires_grad


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_callback_may_freeze_the_actor(variant: str) -> None:
    model = small_model(variant)
    actor = list(model.policy.actor.parameters())
    seen: list[th.Tensor] = []

    def freeze(found: dict[str, Any], _: Any) -> bool:
        if found["self"].num_timesteps == 10:
            seen.extend(part.requires_grad_(False).detach().clone() for part in actor)
        return True

    assert any(moved(model, actor, callback=freeze))  # before the tenth step
    assert all(th.equal(old, new) for old, new in zip(seen, actor, strict=True))


class PartlyUsed(BaseFeaturesExtractor):
    """A frozen layer that is used, and one that learns but is not."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 4)
        self.frozen, self.unused = nn.Linear(3, 4), nn.Linear(3, 4)
        self.frozen.requires_grad_(False)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.frozen(observations)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_features_extractor_may_be_frozen_or_not_wholly_used(variant: str) -> None:
    model = small_model(variant, features_extractor_class=PartlyUsed)
    extractor = model.policy.actor.features_extractor
    changed = moved(model, [*extractor.parameters(), *model.policy.actor.mu.parameters()])
    assert not any(changed[:4])
    assert all(changed[4:])


def test_an_optimizer_that_knows_no_parts_is_refused() -> None:
    model = small_model("copdac-q")
    model.policy.optimizer = th.optim.SGD(model.policy.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match=r"policy\.optimizer has 1 parameter group.*learning_rate, critic_learning_rate"
    ):
        model.learn(10)
