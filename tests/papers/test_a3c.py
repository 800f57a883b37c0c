"""Mnih et al. (2016), "Asynchronous Methods for Deep Reinforcement Learning": the paper's claims, and known defects.

The first part holds what the paper prints. The second is named after defects that were found in public implementations
of A3C; each test shows its defect absent.
"""

import copy
import multiprocessing
import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from torch import nn

import agents
from agents.a3c.recipe import A3CRecipe
from agents.asynchronous import processes
from agents.asynchronous.errors import NonFiniteGradientError, WorkerError
from agents.asynchronous.learner import Setting
from agents.asynchronous.optimizer import UpdateRule
from agents.asynchronous.segment import Segment
from agents.asynchronous.store import MemoryStore
from agents.common.flat import FlatParameters
from tests.agents.toys import Counter, Misbehaving, RandomEnv, Together

Vector = NDArray[np.float32]
ENDLESS = 10**9
TORCH_POLICY = {"activation_fn": nn.LeakyReLU}  # an activation that only the torch path knows


def parameters(model: Any) -> Vector:
    return np.concatenate([p.detach().numpy().reshape(-1) for p in model.policy.parameters()])


# what the paper prints


def store_of(rule: UpdateRule, size: int = 2, n_workers: int = 1) -> tuple[MemoryStore, dict[str, Any]]:
    arrays: dict[str, Any] = {"parameters": np.zeros(size, np.float32)}
    arrays.update({name: np.zeros(shape, dtype) for name, (shape, dtype) in rule.layout(size, n_workers).items()})
    return MemoryStore(arrays, rule, worker=0), arrays


def test_two_shared_rmsprop_steps_by_hand() -> None:
    # equations S2 and S3 with alpha .5, eps 1: g = .5 * 4 = 2, then .5 * 2 + .5 * 16 = 9
    store, arrays = store_of(UpdateRule(name="rmsprop", alpha=0.5, eps=1.0), size=1)
    store.push(np.array([2.0], np.float32), 0.3)
    np.testing.assert_allclose(arrays["square_avg"], [[2.0]])
    np.testing.assert_allclose(arrays["parameters"], [-0.3 * 2 / np.sqrt(3)], rtol=1e-6)
    store.push(np.array([-4.0], np.float32), 0.3)
    np.testing.assert_allclose(arrays["square_avg"], [[9.0]])
    np.testing.assert_allclose(arrays["parameters"], [-0.3 * 2 / np.sqrt(3) + 0.3 * 4 / np.sqrt(10)], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shared"), [("rmsprop", True), ("adam", True), ("rmsprop-local", False), ("momentum", False)]
)
def test_statistics_are_shared_or_each_workers_own_as_compared_in_section_4(name: str, shared: bool) -> None:
    rule = UpdateRule(name=name)
    _, arrays = store_of(rule, n_workers=2)
    stores = [MemoryStore(arrays, rule, worker) for worker in range(2)]
    stores[1].push(np.ones(2, np.float32), 0.1)
    assert arrays["parameters"].all()  # the parameters are always one memory
    for statistic in rule.statistics:
        assert len(arrays[statistic]) == (1 if shared else 2)
        assert arrays[statistic][-1].all()
        if not shared:
            assert not arrays[statistic][0].any()


def test_settings_default_to_the_papers() -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)
    assert (model.n_steps, model.gamma, model.gae_lambda, model.ent_coef) == (5, 0.99, 1.0, 0.01)
    assert (model.rms_prop_alpha, model.rms_prop_eps, model.max_grad_norm, model.vf_coef) == (0.99, 0.1, 40.0, 0.5)
    assert model.shared_optimizer == "rmsprop"


def test_gradients_are_sums_so_that_a2cs_learning_rate_is_n_steps_times_larger() -> None:
    steps = 6
    a2c = agents.A2C(
        "MlpPolicy",
        "CartPole-v1",
        n_steps=steps,
        seed=0,
        learning_rate=1.0,
        ent_coef=0.02,
        max_grad_norm=1e9,
        policy_kwargs={"optimizer_class": torch.optim.SGD},
        use_rms_prop=False,
    )
    policy = copy.deepcopy(a2c.policy)
    before = parameters(a2c)
    a2c.learn(steps)
    mean_gradient = before - parameters(a2c)  # one plain step with rate 1
    rollout = a2c.rollout_buffer

    flat = FlatParameters(policy.parameters())
    segment = Segment(policy.observation_space, policy.action_space, steps, 1)
    recipe = A3CRecipe(gamma=0.99, gae_lambda=1.0, ent_coef=0.02, vf_coef=0.5)
    seed = np.random.SeedSequence(0)
    learner = recipe.learner(Setting(policy, flat, flat.vector.numpy(), flat.gradient.numpy(), segment, 0, seed, {}))
    segment.begin()
    learner.begin(0, 0.0)
    for t in range(steps):
        segment.observations[t] = rollout.observations[t]
        learner.act(t)
        segment.actions[t] = rollout.actions[t]
        segment.rewards[t] = rollout.rewards[t]
    segment.length = steps
    segment.observations[steps] = a2c._last_obs
    assert not a2c._last_episode_starts.any()
    np.testing.assert_allclose(learner.gradient(), steps * mean_gradient, rtol=1e-3, atol=1e-5)


class OneState(gym.Env):
    """Nothing to see, nothing to choose, a reward of 1 a step: every gradient follows from the parameters."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(1)

    def __init__(self, length: int | None = None) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.array([0.5, -0.25, 1.0], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.array([0.5, -0.25, 1.0], np.float32), 1.0, self.steps == self.length, False, {"pid": os.getpid()}


class TakingTurns(OneState):
    """Two workers' copies step in turn, so that their updates come in a known order: 0, 1, 0, 1, ...

    A worker's n-th entry into ``step`` tells that its update n - 1 is done. The first worker's n-th step then waits for
    the second one's n-th entry, the second one's for the first one's entry n + 1, or for its end.
    """

    def __init__(self, folder: str, turns: int) -> None:
        super().__init__()
        self.folder, self.turns = folder, turns
        self.entries = 0
        self.role = -1

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.role < 0:
            self.role = self._take_role()
        self.entries += 1
        self._write(self.role, b"x")
        other = 1 - self.role
        awaited = self.entries + (1 if self.role == 1 else 0)
        if awaited <= self.turns:
            while os.path.getsize(self._file(other)) < awaited:
                time.sleep(0.0005)
        else:
            time.sleep(0.3)  # the first worker's last update
        return super().step(action)

    def _take_role(self) -> int:
        for role in range(2):
            try:
                os.close(os.open(os.path.join(self.folder, f"taken{role}"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            while not all(os.path.exists(self._file(i)) for i in range(2)):
                self._write(role, b"")
                time.sleep(0.0005)
            return role
        raise AssertionError("a third worker")

    def _file(self, role: int) -> str:
        return os.path.join(self.folder, f"turns{role}")

    def _write(self, role: int, what: bytes) -> None:
        with open(self._file(role), "ab") as file:
            file.write(what)


class Replay:
    """The two workers of `TakingTurns` in one process, in plain torch and NumPy: every update of a run, in order."""

    def __init__(self, model: Any) -> None:
        self.policy = copy.deepcopy(model.policy)
        self.theta = parameters(model).astype(np.float64)
        self.rule = model.shared_optimizer
        self.rate = model.learning_rate
        rows = 2 if self.rule in ("momentum", "rmsprop-local") else 1
        self.first, self.second = np.zeros((rows, len(self.theta))), np.zeros((rows, len(self.theta)))
        self.updates = 0

    def gradient_at(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of one step in the one state: R = 1 + gamma V; with a single action only the value has a gradient."""
        nn.utils.vector_to_parameters(torch.as_tensor(theta, dtype=torch.float32), self.policy.parameters())
        observation = torch.tensor([[0.5, -0.25, 1.0]])
        value = self.policy.predict_values(observation).squeeze()
        target = 1.0 + 0.99 * float(value.detach())
        loss = 0.5 * (target - value) ** 2
        gradients = torch.autograd.grad(loss, list(self.policy.parameters()), allow_unused=True)
        found = [
            np.zeros(p.numel()) if g is None else g.numpy().reshape(-1).astype(np.float64)
            for p, g in zip(self.policy.parameters(), gradients, strict=True)
        ]
        return np.concatenate(found)

    def push(self, gradient: NDArray[np.float64], worker: int) -> None:
        self.updates += 1
        m, v = self.first[worker % len(self.first)], self.second[worker % len(self.second)]
        if self.rule == "adam":
            m[:] = 0.9 * m + 0.1 * gradient
            v[:] = 0.999 * v + 0.001 * gradient**2
            corrected = m / (1 - 0.9**self.updates)
            self.theta -= self.rate * corrected / (np.sqrt(v / (1 - 0.999**self.updates)) + 1e-5)
        elif self.rule == "momentum":
            m[:] = 0.99 * m + 0.01 * gradient
            self.theta -= self.rate * m
        else:
            v[:] = 0.99 * v + 0.01 * gradient**2
            self.theta -= self.rate * gradient / np.sqrt(v + 0.1)

    def run(self, turns: int) -> None:
        # a worker pulls, then acts: its gradient belongs to the parameters before the other one's last update
        pulled = [self.theta.copy(), self.theta.copy()]
        for _ in range(turns):
            for worker in range(2):
                self.push(self.gradient_at(pulled[worker]), worker)
                pulled[worker] = self.theta.copy()


# defects of public implementations


@pytest.mark.parametrize("policy_kwargs", [{}, TORCH_POLICY], ids=["numpy", "torch"])
@pytest.mark.parametrize("rule", ["rmsprop", "rmsprop-local", "momentum", "adam"])
def test_zero_grad_none_trick_accumulates_gradients_or_freezes_the_first(
    tmp_path: Path, rule: str, policy_kwargs: dict[str, Any]
) -> None:
    """True gradients 1, 2, 3, 4 were applied as 1, 3, 6, 10 or 1, 1, 1, 1: here updates of two processes are replayed.

    The same run shows that statistics are shared or private as the rule says and that Adam counts everybody's steps.
    """
    turns = 6
    model = agents.A3C(
        "MlpPolicy",
        lambda: TakingTurns(str(tmp_path / "turns"), turns),
        n_workers=2,
        n_steps=1,
        ent_coef=0.0,
        learning_rate=0.03,
        seed=0,
        shared_optimizer=rule,
        policy_kwargs=policy_kwargs,
    )
    (tmp_path / "turns").mkdir()
    before = parameters(model)
    replay = Replay(model)
    model.learn(2 * turns)
    replay.run(turns)
    assert model._n_updates == 2 * turns
    assert np.abs(replay.theta - before).max() > 1e-4
    np.testing.assert_allclose(parameters(model) - before, replay.theta - before, rtol=2e-3, atol=1e-6)
    arrays = model.policy.optimizer.arrays
    if rule == "adam":
        assert arrays["optimizer_step"][0] == 2 * turns
    expected = {"square_avg": replay.second, "momentum_buffer": replay.first}
    expected |= {"exp_avg": replay.first, "exp_avg_sq": replay.second}
    for name in model.policy.optimizer.rule.statistics:
        scale = np.abs(expected[name]).max()
        rows = arrays[name] if arrays[name][0].max() >= arrays[name][-1].max() else arrays[name][::-1]
        wanted = expected[name] if expected[name][0].max() >= expected[name][-1].max() else expected[name][::-1]
        np.testing.assert_allclose(rows, wanted, rtol=2e-3, atol=1e-4 * scale)


def test_optimizer_state_created_lazily_in_each_process_is_private(tmp_path: Path) -> None:
    env = Together(OneState(), str(tmp_path))
    model = agents.A3C("MlpPolicy", env, n_workers=2, n_steps=1, learning_rate=0.0, ent_coef=0.0, seed=0)
    state = model.policy.optimizer.state_dict()["state"]
    assert len(state) == len(list(model.policy.parameters()))  # there before any process is
    gradient = Replay(model).gradient_at(parameters(model).astype(np.float64))
    by_worker: dict[int, int] = {}

    def count(found: dict[str, Any], _: Any) -> bool:
        by_worker[found["worker"]] = by_worker.get(found["worker"], 0) + 1
        return True

    model.learn(300, callback=count)
    assert len(by_worker) == 2
    # the rate is 0, so every gradient is the same: g after k updates of whomever is (1 - alpha^k) gradient^2
    g = model.policy.optimizer.arrays["square_avg"][0]
    where = np.abs(gradient) > 0.1 * np.abs(gradient).max()
    k = np.log1p(-g[where] / gradient[where] ** 2) / np.log(0.99)
    # a race may lose one of 300; a private g would hold one worker's share only
    assert np.median(k) > max(by_worker.values()) + 0.5 * min(by_worker.values())


def test_adams_step_not_shared_makes_each_worker_correct_its_bias_alone() -> None:
    rule = UpdateRule(name="adam", adam_eps=1e-8)
    _, arrays = store_of(rule, n_workers=2)
    stores = [MemoryStore(arrays, rule, worker) for worker in range(2)]
    for step in range(1, 4):
        stores[step % 2].push(np.ones(2, np.float32), 0.1)
        assert arrays["optimizer_step"][0] == step
        # a constant gradient moves Adam by its rate each step, if and only if the step is everybody's
        np.testing.assert_allclose(arrays["parameters"], -0.1 * step, rtol=1e-5)


def test_omp_num_threads_set_after_importing_torch_has_no_effect() -> None:
    seen: list[dict[str, Any]] = []

    class Telling(Counter):
        def step(self, action: Any) -> Any:
            *rest, _ = super().step(action)
            return *rest, {"threads": torch.get_num_threads(), "ppid": os.getppid()}

    def note(found: dict[str, Any], _: Any) -> bool:
        seen.extend(found["infos"])
        return True

    agents.A3C("MlpPolicy", Telling, n_workers=2).learn(20, callback=note)
    assert {info["threads"] for info in seen} == {1}
    # the environment with which the process was started that imports torch for all workers
    started_with = Path(f"/proc/{seen[0]['ppid']}/environ").read_text().split("\0")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        assert f"{name}=1" in started_with


def test_fork_after_openmp_start_deadlocks_so_workers_are_forked_from_a_clean_server() -> None:
    parents: set[int] = set()

    class Telling(Counter):
        def step(self, action: Any) -> Any:
            *rest, _ = super().step(action)
            return *rest, {"ppid": os.getppid(), "start": multiprocessing.current_process()._start_method}

    def note(found: dict[str, Any], _: Any) -> bool:
        parents.update(info["ppid"] for info in found["infos"])
        assert {info["start"] for info in found["infos"]} == {"forkserver"}
        return True

    torch.ones(200, 200).matmul(torch.ones(200, 200))  # what must not be forked
    agents.A3C("MlpPolicy", Telling, n_workers=2).learn(20, callback=note)
    assert parents == {processes._server._forkserver_pid}
    assert os.getpid() not in parents


WRAPPINGS = {
    "stepped directly": lambda env: env,
    "in a vector environment": lambda env: VecMonitor(DummyVecEnv([lambda: env])),
    "two at once": lambda env: DummyVecEnv([lambda: copy.deepcopy(env)] * 2),
}


@pytest.mark.parametrize("policy_kwargs", [{}, TORCH_POLICY], ids=["numpy", "torch"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize(("end", "value"), [("truncated", 5.0), ("terminated", 1.0)])
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_return_bootstrapped_with_zero_at_the_time_limit(
    end: str, value: float, wrapping: str, policy_kwargs: dict[str, Any]
) -> None:
    """Every episode has one step with reward 1: cut off it would go on for ever, V = 1 / (1 - .8); ended V = 1."""
    env = TimeLimit(OneState(), 1) if end == "truncated" else OneState(length=1)
    model = agents.A3C(
        "MlpPolicy",
        WRAPPINGS[wrapping](env),
        n_workers=1,
        gamma=0.8,
        seed=0,
        learning_rate=0.03,
        shared_optimizer="adam",
        policy_kwargs={"net_arch": [8], **policy_kwargs},
    )
    model.learn(400)
    observation, _ = model.policy.obs_to_tensor(env.reset()[0])
    with torch.no_grad():
        assert float(model.policy.predict_values(observation)) == pytest.approx(value, rel=0.15)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_global_step_counter_raced_or_32_bits(n_envs: int, tmp_path: Path) -> None:
    counted: dict[int, int] = {}

    def count(found: dict[str, Any], _: Any) -> bool:
        counted[found["worker"]] = counted.get(found["worker"], 0) + n_envs
        return True

    env = DummyVecEnv([lambda: Together(Counter(7), str(tmp_path))] * n_envs)
    model = agents.A3C("MlpPolicy", env, n_workers=2)
    model.learn(602, callback=count)
    assert model.num_timesteps == sum(counted.values()) == 602
    assert len(counted) == 2
    # from a count beyond 32 bits it goes on exactly
    model.num_timesteps = 2**33
    model.learn(102, reset_num_timesteps=False)
    assert model.num_timesteps == 2**33 + 102


@pytest.mark.parametrize("per_step", [True, False])
def test_a_dead_worker_noticed_only_at_join_or_never(per_step: bool) -> None:
    killed: list[float] = []

    def kill_one() -> None:
        victim = multiprocessing.active_children()[0]
        killed.append(time.monotonic())
        os.kill(victim.pid, signal.SIGKILL)

    class Assassin(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            if not killed:
                killed.append(0.0)
                threading.Timer(0.1, kill_one).start()

    callback = Assassin()
    callback.per_step = per_step
    memory = [name for name in os.listdir("/dev/shm") if str(os.getpid()) in name]
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        model.learn(ENDLESS, callback=callback)
    assert time.monotonic() - killed[-1] < 5
    assert multiprocessing.active_children() == []
    assert [name for name in os.listdir("/dev/shm") if str(os.getpid()) in name] == memory
    assert np.isfinite(parameters(model)).all()


class Watched(EvalCallback):
    """Evaluates slowly, so that workers go on meanwhile, and remembers what it evaluated."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.evaluated: list[Vector] = []
        self.best: list[Vector] = []
        self.overtaken = 0

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            snapshot, record = parameters(self.model), self.best_mean_reward
            time.sleep(0.05)
            super()._on_step()
            np.testing.assert_array_equal(parameters(self.model), snapshot)
            self.overtaken += int((self.model._beside.arrays["parameters"] != snapshot).any())
            self.evaluated.append(snapshot)
            if self.best_mean_reward != record:
                self.best.append(snapshot)
        return True


def test_eval_callback_saves_another_model_than_it_evaluated(tmp_path: Path) -> None:
    evaluation = Watched(
        gym.make("CartPole-v1"),
        eval_freq=500,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        verbose=0,
        warn=False,
    )
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0, learning_rate=1e-3)
    model.learn(3000, callback=evaluation)
    assert evaluation.overtaken > 0  # workers had gone on when an evaluation was through
    assert (evaluation.evaluated[0] != parameters(model)).any()
    best = agents.A3C.load(tmp_path / "best_model")
    np.testing.assert_array_equal(parameters(best), evaluation.best[-1])


def first_segments(seed: int | None) -> dict[int, list[list[float]]]:
    """What each worker saw first."""
    seen: dict[int, list[list[float]]] = {0: [], 1: []}

    def note(found: dict[str, Any], _: Any) -> bool:
        step = [*found["new_obs"][0].tolist(), *found["actions"][0].tolist()]
        seen[found["worker"]].append(step)
        return min(map(len, seen.values())) < 10

    space = spaces.Box(-1, 1, (2,), np.float32)
    env = RandomEnv(space, space, terminate=0.0, truncate=0.0)
    # with a rate of 0 the actions depend on nothing but the worker's own streams
    agents.A3C("MlpPolicy", env, n_workers=2, seed=seed, learning_rate=0.0).learn(ENDLESS, callback=note)
    return {worker: steps[:10] for worker, steps in seen.items()}


def test_worker_seeds_from_the_clock_or_none() -> None:
    first, again, other = first_segments(1), first_segments(1), first_segments(2)
    assert first == again
    for worker in range(2):
        assert first[worker] != other[worker]
    # observations and actions of both workers: four streams, and no number twice
    numbers = np.array([first[0], first[1]]).transpose(2, 0, 1).reshape(8, 10)
    assert len(np.unique(numbers)) == numbers.size


def test_unseeded_runs_differ() -> None:
    assert first_segments(None) != first_segments(None)


def test_what_a_worker_pulls_is_never_below_its_bound() -> None:
    """Between another worker's update and its bound, the shared parameters are."""
    rule = UpdateRule(name="rmsprop")
    _, arrays = store_of(rule, size=3)
    arrays["parameters"][:] = [-9.0, -9.0, 2.0]
    store = MemoryStore(arrays, rule, worker=0, lower_bounds=((slice(1, 3), np.array([-7.0, -8.0], np.float32)),))
    own = np.zeros(3, np.float32)
    store.pull(own)
    np.testing.assert_array_equal(own, [-9.0, -7.0, 2.0])
    np.testing.assert_array_equal(arrays["parameters"], [-9.0, -9.0, 2.0])


@pytest.mark.parametrize("n_workers", [1, 2])
def test_sigma_collapses_to_nan_in_continuous_control(n_workers: int) -> None:
    sigmas: list[float] = []

    def note(found: dict[str, Any], _: Any) -> bool:
        sigmas.append(float(found["self"].policy.log_std.detach().exp().min()))
        return True

    model = agents.A3C(
        "MlpPolicy",
        "Pendulum-v1",
        n_workers=n_workers,
        seed=0,
        ent_coef=-10.0,  # drives sigma to 0 as fast as can be
        learning_rate=0.5,
        policy_kwargs={"net_arch": []},
    )
    model.learn(600, callback=note)
    assert np.isfinite(parameters(model)).all()
    # it came down towards the floor, with one worker onto it, and never below; who looks from outside while two workers
    # write may meet an update before its bound (what workers act with: the test of the store's pull)
    seen = sigmas if n_workers == 1 else [float(model.policy.log_std.detach().exp().min())]
    assert min(seen) >= 1e-3 * (1 - 1e-5)
    assert min(sigmas) < (1e-3 * (1 + 1e-5) if n_workers == 1 else 0.1)


@pytest.mark.parametrize("policy_kwargs", [{}, TORCH_POLICY], ids=["numpy", "torch"])
@pytest.mark.parametrize("n_workers", [1, 2])
def test_non_finite_gradients_are_applied(tmp_path: Path, n_workers: int, policy_kwargs: dict[str, Any]) -> None:
    env = Misbehaving(str(tmp_path / "once"), 23, "nan")
    model = agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0, policy_kwargs=policy_kwargs)
    before = parameters(model)
    with pytest.raises(
        NonFiniteGradientError, match=r"Worker [01] computed a gradient .* at global step (\d+)"
    ) as error:
        model.learn(ENDLESS)
    assert np.isfinite(parameters(model)).all()
    assert all(np.isfinite(array).all() for array in model.policy.optimizer.arrays.values())
    assert (parameters(model) != before).any()
    if n_workers == 1:
        assert "Worker 0 computed a gradient of norm nan at global step 20 (update 4)" in str(error.value)
        assert model.num_timesteps == 20


def _linear(remaining: float) -> float:
    return 1e-3 * remaining


def test_learning_rate_never_annealed() -> None:
    theta: list[Vector] = []

    def note(found: dict[str, Any], _: Any) -> bool:
        if found["n_steps"] == 0:
            theta.append(parameters(found["self"]))
        return True

    model = agents.A3C(
        "MlpPolicy",
        OneState,
        n_workers=1,
        n_steps=5,
        ent_coef=0.0,
        rms_prop_alpha=0.0,
        rms_prop_eps=1e-12,  # with alpha 0 and no eps a step is the rate times the gradient's sign
        learning_rate=_linear,
        seed=0,
    )
    model.learn(100, callback=note)
    theta.append(parameters(model))
    lengths = [float(np.abs(b - a).max()) for a, b in pairwise(theta)]
    # the k-th of 20 updates comes when k / 20 of all steps are done; the last one has rate 0
    np.testing.assert_allclose(lengths, [1e-3 * (1 - k / 20) for k in range(1, 21)], rtol=2e-3, atol=1e-7)
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0
