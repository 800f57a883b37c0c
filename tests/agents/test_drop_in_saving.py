"""Saving and loading as SB3's tests ask of A2C and DQN: files, parameters, optimizers, policies, environments."""

import io
import zipfile

from stable_baselines3 import A2C

import agents


def test_a_file_is_no_larger_than_a2cs() -> None:
    """The optimizer's statistics are views of one vector; written once a view they would be the bulk of the file."""
    sizes = []
    for model in (A2C("MlpPolicy", "CartPole-v1"), agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)):
        model.learn(20)
        stream = io.BytesIO()
        model.save(stream)
        sizes.append(zipfile.ZipFile(stream).getinfo("policy.optimizer.pth").file_size)
    assert sizes[1] < 1.1 * sizes[0]
