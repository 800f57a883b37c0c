"""The paper's convolutional network as a features extractor."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv

from agents import A3C
from agents.a3c.paper_cnn import PaperCNN

ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def test_the_layers_are_the_papers():
    # 16 of 8 x 8 by 4: 84 -> 20; 32 of 4 x 4 by 2: 20 -> 9; 256 units on 32 * 9 * 9
    extractor = PaperCNN(ATARI)
    shapes = [tuple(p.shape) for p in extractor.parameters()]
    assert shapes == [(16, 4, 8, 8), (16,), (32, 16, 4, 4), (32,), (256, 2592), (256,)]
    assert extractor(th.zeros(2, 4, 84, 84)).shape == (2, 256)


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(3)])
def test_observations_that_are_no_images_are_refused(space):
    with pytest.raises(ValueError, match=r"PaperCNN takes images .* Use MlpPolicy"):
        PaperCNN(space)


def test_a3c_learns_with_it():
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    model = A3C("CnnPolicy", env, n_workers=1, policy_kwargs={"features_extractor_class": PaperCNN}, seed=0)
    before = model.policy.features_extractor.cnn[0].weight.clone()
    model.learn(20)
    assert not th.equal(before, model.policy.features_extractor.cnn[0].weight)
