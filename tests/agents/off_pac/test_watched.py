"""What callbacks, files and the log get to see while a linear agent learns, from an environment or from data."""

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.off_pac import OffPAC
from tests.agents.off_pac.test_dataset import recorded, small_model
from tests.agents.off_pac.toys import SmallProcess

TDRC = {"critic": "tdrc", "critic_learning_rate": 0.2}


def cut(data, rows):
    return {name: column[:rows] for name, column in data.items()}


def at_row(model, row, look):
    """A callback, and the list that what ``look`` gives at a row goes to."""
    seen = []

    def callback(*_):
        if model.num_timesteps == row:
            seen.append(look())
        return True

    return callback, seen


def saved_midway(model, data, path, row=300):
    callback, saved = at_row(model, row, lambda: model.save(path) or OffPAC.load(path))
    model.learn_from(data, callback=callback)
    return saved[0]


@pytest.mark.parametrize("trace_decay", [0.0, 0.8])
def test_a_file_saved_amid_data_holds_the_secondary_weights_of_the_moment(trace_decay, tmp_path):
    data = recorded()
    model, shorter = (small_model(trace_decay=trace_decay, **TDRC) for _ in range(2))
    saved = saved_midway(model, data, tmp_path / "model")
    shorter.learn_from(cut(data, 300))
    np.testing.assert_allclose(saved.policy.table(), shorter.policy.table(), rtol=1e-10)


def test_a_callback_amid_data_sees_the_secondary_weights_of_the_moment():
    data = recorded()
    model, shorter = small_model(**TDRC), small_model(**TDRC)
    callback, seen = at_row(model, 300, lambda: model.policy.table().copy())
    model.learn_from(data, callback=callback)
    shorter.learn_from(cut(data, 300))
    np.testing.assert_allclose(seen[0], shorter.policy.table(), rtol=1e-10)


def test_a_file_saved_amid_data_knows_how_large_rewards_are(tmp_path):
    data = {**recorded(), "rewards": np.full(400, 1e6)}
    rates = {"learning_rate": 0.0, "critic_learning_rate": 0.2}
    saved = saved_midway(small_model(**rates), data, tmp_path / "model")
    assert saved.largest_reward == 1e6
    # Else its values would be taken for divergence.
    saved.learn_from({**data, "rewards": np.zeros(400)})


def test_no_traces_are_left_behind_a_data_set(tmp_path):
    model = small_model(trace_decay=0.8, emphasis=0.5)
    saved_midway(model, recorded(), tmp_path / "model")
    assert (len(model.eligibility_traces), len(model.followon_traces), model._learner) == (0, 0, None)


class Entries(KVWriter):
    def __init__(self):
        self.last = {}

    def write(self, key_values, key_excluded, step=0):
        self.last = dict(key_values)

    def close(self):
        pass


def test_learning_from_data_logs_what_learning_beside_an_environment_does():
    logged = []
    # Logged at the very end of an episode, where the traces are still those of the episode.
    data = recorded()
    data["terminations"][:] = np.arange(400) % 100 == 99
    for learn in (lambda m: m.learn(400, log_interval=1), lambda m: m.learn_from(data, log_interval=100)):
        model, entries = small_model(trace_decay=0.8), Entries()
        model.set_logger(Logger(None, [entries]))
        learn(model)
        logged.append({key for key in entries.last if key.startswith("train/")})
        assert entries.last["train/critic_trace_norm"] > 0.0
    assert logged[0] == logged[1] >= {"train/rho_mean", "train/learning_rate", "train/n_updates"}


class Looks(BaseCallback):
    """Notes the weights at every event, and what a file saved there holds."""

    def __init__(self, path):
        super().__init__()
        self.path, self.events = path, []

    def _note(self):
        weights = self.model.policy.table().copy()
        self.model.save(self.path)
        self.events.append((weights, OffPAC.load(self.path).policy.table()))

    def _on_rollout_start(self):
        self._note()

    def _on_step(self):
        self._note()
        return True

    def _on_rollout_end(self):
        self._note()


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("trace_decay", [0.0, 0.8])
def test_callbacks_see_the_secondary_weights_of_the_moment(trace_decay, n_envs, tmp_path):
    env = DummyVecEnv([SmallProcess] * n_envs)
    model, looks = OffPAC("LinearPolicy", env, seed=0, trace_decay=trace_decay, **TDRC), Looks(tmp_path / "model")
    model.learn(30, callback=looks)
    for seen, saved in looks.events:
        np.testing.assert_array_equal(seen, saved)


def test_secondary_weights_that_a_callback_sets_are_taken_as_they_are():
    # Frozen but for the regularization, which shrinks w by 1 - alpha beta in each step.
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0, learning_rate=0.0, gamma=0.9, **TDRC)
    factor = {}

    def callback(*_):
        if model.num_timesteps == 20:
            model.policy.table()[:, -1] = 1000.0
        if model.num_timesteps == 21:
            factor["seen"] = np.median(model.policy.table()[:, -1]) / 1000.0
        return True

    model.learn(25, callback=callback)
    assert factor["seen"] == pytest.approx(1.0 - 0.2)
