"""A3C as users meet it: determinism, budgets, schedules, saving and going on, all policies and spaces."""

import math
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from agents.a3c.a3c import SMALLEST_STD
from agents.asynchronous.algorithm import available_cores
from tests.agents.toys import Counter, RandomEnv, Together

WORKERS = pytest.mark.parametrize("n_workers", [1, 2])


def parameters(model: Any) -> NDArray[np.float32]:
    return np.concatenate([p.detach().numpy().reshape(-1) for p in model.policy.parameters()])


def g_of(model: Any) -> NDArray[np.float32]:
    """The optimizer's squared average as its state shows it."""
    state = model.policy.optimizer.state_dict()["state"]
    return np.concatenate([state[i]["square_avg"].numpy().reshape(-1) for i in sorted(state)])


# determinism


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_one_worker_repeats_to_the_bit_for_a_seed(env: str) -> None:
    first, again, other = (
        parameters(agents.A3C("MlpPolicy", env, n_workers=1, seed=seed).learn(300)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9


@pytest.mark.parametrize("rule", ["rmsprop", "rmsprop-local", "momentum", "adam"])
def test_every_optimizer_repeats_to_the_bit_and_changes_the_parameters(rule: str) -> None:
    def train() -> NDArray[np.float32]:
        model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=3, shared_optimizer=rule)
        before = parameters(model)
        after = parameters(model.learn(100))
        assert (before != after).any()
        return after

    np.testing.assert_array_equal(train(), train())


def test_a_seed_also_fixes_the_second_call_of_learn() -> None:
    runs = []
    for _ in range(2):
        model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0).learn(100)
        halfway = parameters(model)
        model.learn(100, reset_num_timesteps=False)
        assert (parameters(model) != halfway).any()
        runs.append(parameters(model))
    np.testing.assert_array_equal(*runs)


def test_learning_in_two_calls_goes_through_the_same_environment_steps_as_going_on() -> None:
    observations: list[NDArray[Any]] = []

    def note(found: dict[str, Any], _: Any) -> bool:
        observations.append(found["new_obs"].copy())
        return True

    model = agents.A3C("MlpPolicy", Counter(length=100), n_workers=1, seed=0)
    model.learn(13, callback=note)
    model.learn(11, callback=note, reset_num_timesteps=False)
    np.testing.assert_array_equal(np.concatenate(observations)[:, 1], np.arange(1, 25))


# budgets


@WORKERS
@pytest.mark.parametrize("total", [1, 5, 64, 101])
def test_the_step_budget_is_exact(n_workers: int, total: int) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, n_steps=7)
    assert model.learn(total).num_timesteps == total


@WORKERS
def test_with_several_environments_the_budget_is_the_next_multiple(n_workers: int) -> None:
    model = agents.A3C("MlpPolicy", make_vec_env("CartPole-v1", 4), n_workers=n_workers, n_steps=3)
    assert model.learn(64).num_timesteps == 64
    assert model.learn(65).num_timesteps == 68
    assert model.learn(1, reset_num_timesteps=False).num_timesteps == 72


@WORKERS
def test_going_on_counts_on(n_workers: int) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers)
    model.learn(50)
    updates = model._n_updates
    model.learn(33, reset_num_timesteps=False)
    assert model.num_timesteps == 83
    assert model._n_updates > updates >= 10
    assert model.learn(20).num_timesteps == 20


def test_the_environment_takes_exactly_the_steps_that_are_counted() -> None:
    env = Counter(length=10**9)
    model = agents.A3C("MlpPolicy", env, n_workers=1, n_steps=6).learn(64)
    assert env.steps == model.num_timesteps == 64
    assert model._n_updates == math.ceil(64 / 6)


def test_with_one_environment_a_segment_ends_with_the_episode() -> None:
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=1, n_steps=5).learn(28)
    assert model._n_updates == 8  # 5 + 2 steps, four times
    several = agents.A3C("MlpPolicy", DummyVecEnv([lambda: Counter(7)] * 2), n_workers=1, n_steps=5).learn(60)
    assert several._n_updates == 6  # cut inside: 5 vectorized steps each


def test_nothing_to_learn_is_nothing_learned() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2)
    before = parameters(model)
    assert model.learn(0).num_timesteps == 0
    np.testing.assert_array_equal(parameters(model), before)


def test_learn_may_be_called_bare() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)

    def stop(*_: Any) -> bool:
        return False

    model.learn(callback=stop)
    assert model._total_timesteps == 100_000


def test_a_worker_a_core_by_default() -> None:
    assert agents.A3C("MlpPolicy", "CartPole-v1").n_workers == available_cores()


# schedules


def test_the_learning_rate_follows_the_global_steps_of_all_learn_calls() -> None:
    asked: list[float] = []

    def schedule(remaining: float) -> float:
        asked.append(remaining)
        return 1e-3 * remaining

    model = agents.A3C("MlpPolicy", Counter(length=10**9), n_workers=1, n_steps=10, learning_rate=schedule)
    asked.clear()
    model.learn(50, log_interval=None)
    # after each segment, as A2C's: .8, .6, .4, .2, 0; then learn's own last look
    np.testing.assert_allclose(asked[:5], [0.8, 0.6, 0.4, 0.2, 0.0], atol=1e-12)
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0
    asked.clear()
    model.learn(50, log_interval=None, reset_num_timesteps=False)
    np.testing.assert_allclose(asked[:5], [0.4, 0.3, 0.2, 0.1, 0.0], atol=1e-12)


def test_a_rate_of_zero_changes_nothing_but_statistics() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, learning_rate=0.0)
    before = parameters(model)
    model.learn(50)
    np.testing.assert_array_equal(parameters(model), before)
    assert g_of(model).max() > 0


def _only_in_the_first_half(remaining: float) -> float:
    return 1e-3 if remaining > 0.5 else 0.0


class Snapshots(BaseCallback):
    """Parameters at the end of every segment."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, NDArray[np.float32]]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.seen.append((self.model.num_timesteps, parameters(self.model)))


def test_workers_follow_the_schedule_of_the_global_step_not_of_their_own(tmp_path: Path) -> None:
    snapshots = Snapshots()
    env = Together(gym.make("CartPole-v1"), str(tmp_path))
    model = agents.A3C("MlpPolicy", env, n_workers=2, learning_rate=_only_in_the_first_half)
    start = parameters(model)
    model.learn(1200, callback=snapshots)
    # had each worker counted its own steps only, it would hardly have come to its second half
    late = [theta for step, theta in snapshots.seen if step > 900]
    assert (late[0] != start).any()
    for theta in late:
        np.testing.assert_array_equal(theta, late[-1])


@WORKERS
@pytest.mark.parametrize("wrong", [math.nan, -1e-3, math.inf])
def test_a_schedule_that_stops_giving_rates_is_named_before_it_spoils_the_parameters(
    n_workers: int, wrong: float
) -> None:
    model = agents.A3C(
        "MlpPolicy",
        "CartPole-v1",
        n_workers=n_workers,
        seed=0,
        learning_rate=lambda remaining: 1e-3 if remaining > 0.5 else wrong,
    )
    with pytest.raises(
        ValueError, match=rf"learning_rate\(0\.\d+\)={wrong}, but it must be a finite number of at least 0"
    ):
        model.learn(400)
    assert 0 < model.num_timesteps < 400
    assert np.isfinite(parameters(model)).all()
    assert np.isfinite(g_of(model)).all()


# saving, loading, going on


@WORKERS
@pytest.mark.parametrize("rule", ["rmsprop", "rmsprop-local", "momentum", "adam"])
def test_save_and_load_keep_parameters_and_statistics(tmp_path: Path, n_workers: int, rule: str) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, seed=0, shared_optimizer=rule, n_steps=4)
    model.learn(60)
    model.save(tmp_path / "model")
    loaded = agents.A3C.load(tmp_path / "model", env="CartPole-v1")
    np.testing.assert_array_equal(parameters(model), parameters(loaded))
    own, theirs = model.policy.optimizer.arrays, loaded.policy.optimizer.arrays
    assert own.keys() == theirs.keys()
    for name in own:
        np.testing.assert_array_equal(own[name], theirs[name], err_msg=name)
        assert own[name].any() or name == "optimizer_step"
    assert int(own["optimizer_step"][0]) == (model._n_updates if rule == "adam" else 0)
    assert (loaded.n_workers, loaded.n_steps, loaded.shared_optimizer) == (n_workers, 4, rule)
    assert loaded.num_timesteps == 60
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 80
    assert (parameters(loaded) != parameters(model)).any()


def test_a_loaded_model_goes_on_from_the_saved_statistics_to_the_bit(tmp_path: Path) -> None:
    agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0).learn(100).save(tmp_path / "model")

    def go_on(forget: bool) -> NDArray[np.float32]:
        model = agents.A3C.load(tmp_path / "model", env="CartPole-v1")
        if forget:
            model.policy.optimizer.arrays["square_avg"][:] = 0.0
        return parameters(model.learn(50, reset_num_timesteps=False))

    np.testing.assert_array_equal(go_on(forget=False), go_on(forget=False))
    assert (go_on(forget=False) != go_on(forget=True)).any()


def test_models_loaded_from_one_file_act_apart_where_no_seed_was_given(tmp_path: Path) -> None:
    agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1).learn(20).save(tmp_path / "model")

    def actions() -> list[int]:
        taken: list[int] = []
        model = agents.A3C.load(tmp_path / "model", env="CartPole-v1", learning_rate=0.0)
        model.learn(60, callback=lambda found, _: taken.append(int(found["actions"][0])) or True)
        return taken

    assert actions() != actions()


@WORKERS
def test_g_goes_on_in_the_next_learn_call(n_workers: int) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, seed=0, rms_prop_alpha=0.999)
    model.learn(100)
    first, updates = g_of(model), model._n_updates
    assert first.max() > 0
    model.learn(50, reset_num_timesteps=False)
    # begun anew it would be below this wherever the second call's gradients are smaller
    assert (g_of(model) >= 0.99 * first * 0.999 ** (model._n_updates - updates)).all()


def test_a_model_saved_by_more_workers_loads_with_fewer(tmp_path: Path) -> None:
    agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2, shared_optimizer="momentum").learn(40).save(tmp_path / "m")
    loaded = agents.A3C.load(tmp_path / "m", env="CartPole-v1", n_workers=1)
    assert loaded.learn(20, reset_num_timesteps=False).num_timesteps == 60


def test_statistics_of_another_rule_are_refused_by_name(tmp_path: Path) -> None:
    agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1).learn(20).save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"no 'exp_avg'.*shared_optimizer='adam'"):
        agents.A3C.load(tmp_path / "m", shared_optimizer="adam")


def test_load_without_env_predicts_and_learns_after_set_env(tmp_path: Path) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0).learn(40)
    model.save(tmp_path / "m")
    loaded = agents.A3C.load(tmp_path / "m")
    observation = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
    loaded.set_env("CartPole-v1")
    assert loaded.learn(30).num_timesteps == 30


def test_get_and_set_parameters_copy_into_the_one_vector() -> None:
    source = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0).learn(100)
    target = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=1)
    vector = target._flat.vector
    target.set_parameters(source.get_parameters(), exact_match=True)
    np.testing.assert_array_equal(parameters(target), parameters(source))
    np.testing.assert_array_equal(vector.numpy(), parameters(source))
    np.testing.assert_array_equal(g_of(target), g_of(source))
    assert set(target.get_parameters()) == {"policy", "policy.optimizer"}
    # the views are still views: what is learned now shows in the policy
    before = parameters(target)
    target.learn(20)
    assert (parameters(target) != before).any()
    np.testing.assert_array_equal(vector.numpy(), parameters(target))


@WORKERS
@pytest.mark.parametrize(
    "give", [lambda: "CartPole-v1", lambda: gym.make("CartPole-v1"), lambda: lambda: gym.make("CartPole-v1")]
)
def test_set_env_takes_whatever_the_constructor_takes(n_workers: int, give: Any) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers).learn(20)
    model.set_env(give())
    assert model.learn(20, reset_num_timesteps=False).num_timesteps == 40


@WORKERS
def test_set_env_replaces_what_workers_copy(n_workers: int) -> None:
    seen: list[float] = []

    def note(found: dict[str, Any], _: Any) -> bool:
        seen.extend(found["new_obs"][:, 1].tolist())
        return True

    model = agents.A3C("MlpPolicy", Counter, n_workers=n_workers).learn(20)
    model.set_env(Counter(length=30))
    model.learn(60, callback=note)
    assert max(seen) > 7  # the first environment's episodes have 7 steps


def test_set_env_with_other_spaces_is_refused() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env("Pendulum-v1")


def test_predict_is_deterministic_on_request_and_sampled_else() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0)
    observations = np.zeros((200, 4), dtype=np.float32)
    assert len(set(model.predict(observations, deterministic=True)[0].tolist())) == 1
    assert len(set(model.predict(observations)[0].tolist())) == 2


# policies and spaces

DICT = spaces.Dict({"image": spaces.Box(0, 255, (36, 36, 3), np.uint8), "vector": spaces.Box(-1, 1, (3,), np.float32)})
OBSERVATIONS = {
    "box": ("MlpPolicy", spaces.Box(-1, 1, (3,), np.float32)),
    "box of integers": ("MlpPolicy", spaces.Box(-4, 4, (2, 2), np.int64)),
    "discrete": ("MlpPolicy", spaces.Discrete(5)),
    "multi-discrete": ("MlpPolicy", spaces.MultiDiscrete([3, 4])),
    "multi-binary": ("MlpPolicy", spaces.MultiBinary(4)),
    "image": ("CnnPolicy", spaces.Box(0, 255, (36, 36, 3), np.uint8)),
    "dict": ("MultiInputPolicy", DICT),
}
ACTIONS = {
    "discrete": spaces.Discrete(3),
    "box": spaces.Box(-2, 2, (2,), np.float32),
    "matrix": spaces.Box(-1, 1, (2, 2), np.float64),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
}


def check_learns(policy: str, env: gym.Env, n_workers: int, **arguments: Any) -> None:
    model = agents.A3C(policy, env, n_workers=n_workers, seed=0, **arguments)
    before = parameters(model)
    assert model.learn(24).num_timesteps == 24
    assert (parameters(model) != before).any()
    assert np.isfinite(parameters(model)).all()
    action, _ = model.predict(env.observation_space.sample())
    assert env.action_space.contains(action if action.shape else action.item())


@WORKERS
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_observation_space_is_learned_from(name: str, n_workers: int) -> None:
    policy, space = OBSERVATIONS[name]
    check_learns(policy, RandomEnv(space, spaces.Discrete(2)), n_workers)


@WORKERS
@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_space_is_acted_in(name: str, n_workers: int) -> None:
    # the environment asserts that what it is given lies in its space
    check_learns("MlpPolicy", RandomEnv(spaces.Box(-1, 1, (3,), np.float32), ACTIONS[name]), n_workers)


@WORKERS
def test_several_environments_a_worker_learn_from_dicts(n_workers: int) -> None:
    venv = DummyVecEnv([lambda: RandomEnv(DICT, spaces.Box(-1, 1, (1,), np.float32))] * 3)
    model = agents.A3C("MultiInputPolicy", venv, n_workers=n_workers, n_steps=4)
    assert model.learn(24).num_timesteps == 24


def test_an_action_space_it_cannot_act_in_is_an_assertion_error() -> None:
    env = RandomEnv(spaces.Box(-1, 1, (3,), np.float32), spaces.Dict({"a": spaces.Discrete(2)}))
    with pytest.raises(AssertionError, match="The algorithm only supports"):
        agents.A3C("MlpPolicy", env, n_workers=1)


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_workers": 0}, "n_workers=0.*whole number of at least 1"),
        ({"n_workers": 1.5}, "n_workers=1.5"),
        ({"n_workers": True}, "n_workers=True"),
        ({"n_steps": 0}, "n_steps=0"),
        ({"gamma": 99}, "gamma=99.*write 0.99"),
        ({"gae_lambda": -1}, "gae_lambda=-1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0.0.*None does not clip"),
        ({"worker_timeout": -3}, "worker_timeout=-3.*None waits"),
        ({"shared_optimizer": "sgd"}, "shared_optimizer='sgd'.*'momentum'"),
        ({"rms_prop_eps": 0.0}, "rms_prop_eps=0.0.*positive"),
        ({"rms_prop_alpha": 1.0}, r"rms_prop_alpha=1.0.*\[0, 1\)"),
        ({"policy_kwargs": {"optimizer_class": torch.optim.Adam}}, "shared_optimizer='rmsprop'"),
    ],
)
def test_bad_arguments_are_refused_with_given_allowed_and_remedy(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agents.A3C("MlpPolicy", "CartPole-v1", **{"n_workers": 1, **arguments})


# the standard deviation


@WORKERS
def test_the_standard_deviation_has_a_floor(n_workers: int) -> None:
    # a reward for being close to 0.5 and a large rate drive log_std down without a bound
    model = agents.A3C(
        "MlpPolicy",
        lambda: Narrow(),
        n_workers=n_workers,
        seed=0,
        ent_coef=-1.0,
        learning_rate=0.5,
        policy_kwargs={"log_std_init": -5.0, "net_arch": []},
    )
    model.learn(200)
    assert float(model.policy.log_std.detach().exp().min()) == pytest.approx(SMALLEST_STD, rel=1e-5)
    assert np.isfinite(parameters(model)).all()


@WORKERS
@pytest.mark.parametrize("frozen", [True, False])
def test_a_standard_deviation_below_the_floor_stays_where_it_began(n_workers: int, frozen: bool) -> None:
    model = agents.A3C(
        "MlpPolicy",
        "Pendulum-v1",
        n_workers=n_workers,
        learning_rate=7e-4 if frozen else 0.0,
        policy_kwargs={"log_std_init": -8.0},
    )
    model.policy.log_std.requires_grad = not frozen
    model.learn(20)
    assert model.policy.log_std.item() == -8.0


class Narrow(gym.Env):
    """One state, one step; the reward falls with the distance from 0.5."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.ones(1, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.ones(1, dtype=np.float32), -abs(float(action[0]) - 0.5), True, False, {}


# what learn leaves as it was


@WORKERS
def test_torchs_threads_are_restored(n_workers: int) -> None:
    torch.set_num_threads(2)
    try:
        during: list[int] = []

        def note(*_: Any) -> bool:
            during.append(torch.get_num_threads())
            return True

        agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers).learn(20, callback=note)
        assert set(during) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_fps_does_not_count_the_start_of_processes() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2)
    called = time.time_ns()
    model.learn(20)
    assert model.start_time > called


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_schedule_that_ends_at_zero_may_fall_below_it_by_rounding(n_workers: int) -> None:
    schedule = LinearSchedule(0.003, 0.0, 0.37)
    assert schedule(0.63) < 0.0  # -4e-19
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, n_steps=1, learning_rate=schedule)
    assert model.learn(200).num_timesteps == 200


@pytest.mark.parametrize(("name", "value"), [("n_steps", 0), ("gamma", 99.0), ("learning_rate", -1.0)])
def test_attributes_are_checked_where_learn_begins(name: str, value: float) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"^{name}.*={value}"):
        model.learn(10)
    assert model.num_timesteps == 0


class WholeNumbers(gym.Env[Any, Any]):
    """Takes integers, which A3C refuses today."""

    observation_space = spaces.Box(0.0, 1.0, (2,))
    action_space = spaces.Box(0, 5, (1,), np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, dtype=np.float32), 0.0, False, True, {}


def test_an_old_model_for_integer_actions_still_predicts_but_learns_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("agents.a3c.a3c.check_floats", lambda _: None)
        agents.A3C("MlpPolicy", WholeNumbers(), n_workers=1).save(tmp_path / "old")
    model = agents.A3C.load(tmp_path / "old")
    assert model.action_space.contains(model.predict(np.zeros(2, dtype=np.float32))[0].astype(np.int64))
    model.set_env(WholeNumbers())
    with pytest.raises(AssertionError, match="only supports Box of floats"):
        model.learn(10)


def test_a_model_pickled_before_learning_rates_were_followed_learns_on() -> None:
    state = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1).__getstate__()
    del state["_scheduled"]
    model = agents.A3C.__new__(agents.A3C)
    model.__setstate__(state)
    assert model.learn(20).num_timesteps == 20
