"""Models travel by pickle and by ``copy.deepcopy``, to other processes or beside themselves, and learn there."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.noise import NormalActionNoise

import agents

SMALL = {"policy_kwargs": {"net_arch": [8]}}
TILES = {"n_tilings": 2, "n_tiles": 2, "low": -5.0, "high": 5.0}
SMALL_IMAGES = {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 8}}
REPLAY = {"buffer_size": 50, "learning_starts": 5}


# channel first: SB3's VecTransposeImage, as most of its wrappers, cannot be pickled


def images() -> FakeImageEnv:
    return FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=False, channel_first=True)


def dictionaries() -> SimpleMultiObsEnv:
    return SimpleMultiObsEnv(discrete_actions=False, channel_last=False)


CASES: list[tuple[Any, str, Any, dict[str, Any]]] = [
    *[
        (cls, "MlpPolicy", "CartPole-v1", {"n_workers": 1, **SMALL})
        for cls in (agents.A3C, agents.AsyncQLearning, agents.AsyncSarsa, agents.AsyncNStepQ)
    ],
    (agents.OffPAC, "LinearPolicy", "CartPole-v1", {"trace_decay": 0.5}),
    (agents.OffPAC, "TileCodingPolicy", "CartPole-v1", {"policy_kwargs": TILES}),
    (agents.OffPAC, "MlpPolicy", "CartPole-v1", {**REPLAY, **SMALL}),
    (agents.DPG, "LinearPolicy", "Pendulum-v1", {"learning_rate": 1e-5, "critic_learning_rate": 1e-4}),
    (agents.DPG, "TileCodingPolicy", "Pendulum-v1", {"policy_kwargs": {"n_tilings": 2, "n_tiles": 2}}),
    (agents.DPG, "MlpPolicy", "Pendulum-v1", SMALL),
    (agents.DPG, "CnnPolicy", images, {"policy_kwargs": SMALL_IMAGES}),
    (agents.DPG, "MultiInputPolicy", dictionaries, SMALL),
]


@pytest.mark.parametrize(
    ("cls", "policy", "env", "arguments"), CASES, ids=[f"{cls.__name__}-{policy}" for cls, policy, *_ in CASES]
)
@pytest.mark.parametrize("learned", [False, True])
def test_a_pickled_model_learns_on(cls: Any, policy: str, env: Any, arguments: dict[str, Any], learned: bool) -> None:
    model = cls(policy, env, seed=0, **arguments)
    if learned:
        model.learn(10)
    received = pickle.loads(pickle.dumps(model))
    for name, value in model.policy.state_dict().items():
        assert (received.policy.state_dict()[name] == value).all()
    received.learn(10, reset_num_timesteps=False)
    assert received.num_timesteps == (20 if learned else 10)


@pytest.mark.parametrize(
    "travel", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_a_copied_model_explores_with_its_own_noise(travel: Any) -> None:
    noise = NormalActionNoise(np.zeros(1), np.ones(1))
    model = agents.DPG("LinearPolicy", "Pendulum-v1", action_noise=noise, seed=0)
    copied = travel(model)
    copied.action_noise._sigma[:] = 0.0
    assert copied.current_behavior().act_one(None, [0.0]) == [0.0]
    assert model.current_behavior().act_one(None, [0.0]) != [0.0]
