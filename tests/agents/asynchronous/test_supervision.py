"""Whatever happens in a worker, a callback or at the keyboard: an error with its cause, soon, and nothing left."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

import agents
from agents.asynchronous import processes
from agents.asynchronous.errors import NonFiniteGradientError, RemoteTraceback, WorkerError, WorkerTimeoutError
from tests.agents.toys import Counter, Misbehaving, ToyError

ENDLESS = 10**9
WORKERS = pytest.mark.parametrize("n_workers", [1, 2])


class AfterFirstSegments(BaseCallback):
    """Does something once, when a few events have come; looks at no single step."""

    per_step = False

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act: Callable[[], Any] | None = act
        self.events = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.events += 1
        if self.act is not None and self.events == 3:
            act, self.act = self.act, None
            act()


def later(act: Callable[[], Any]) -> Callable[[], Any]:
    """From another thread, when the calling process waits for its workers."""
    return lambda: threading.Timer(0.2, act).start()


def workers() -> list[Any]:
    return [child for child in multiprocessing.active_children() if child.name.startswith("actorzoo-worker")]


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if str(os.getpid()) in name}


@contextlib.contextmanager
def leaving_nothing_and_a_usable_model(model: Any) -> Iterator[None]:
    memory = shared_memory()
    yield
    assert workers() == []
    assert shared_memory() == memory
    theta = np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])
    assert np.isfinite(theta).all()
    model.predict(np.zeros(model.observation_space.shape, dtype=np.float32))
    model.set_env(Counter())
    steps = model.num_timesteps
    assert model.learn(30, reset_num_timesteps=False).num_timesteps == steps + 30


def misbehaving(tmp_path: Path, what: str, when: int = 20, **arguments: Any) -> Any:
    env = Misbehaving(str(tmp_path / "once"), when, what)
    return agents.A3C("MlpPolicy", env, **{"n_workers": 2, "seed": 0, **arguments})


@WORKERS
def test_an_environments_exception_reaches_the_caller_with_its_type_and_traceback(
    tmp_path: Path, n_workers: int
) -> None:
    model = misbehaving(tmp_path, "raise", n_workers=n_workers)
    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(ToyError, match="the goblin ate step") as caught:
            model.learn(ENDLESS)
        assert caught.value.step == 20  # the exception itself, not a copy of its text
        if n_workers == 2:
            cause = caught.value.__cause__
            assert isinstance(cause, RemoteTraceback)
            assert "of 2:" in str(cause)
            assert "in _misbehave" in str(cause)
            assert 'raise ToyError("the goblin ate step"' in str(cause)
    assert model.num_timesteps >= 30


def test_an_exception_that_cannot_be_sent_still_tells_its_story(tmp_path: Path) -> None:
    model = misbehaving(tmp_path, "raise-unpicklable")
    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(
            WorkerError, match=r"Worker \d of 2 raised tests\.agents\.toys\.UnpicklableError: not to be sent, .* above"
        ) as caught:
            model.learn(ENDLESS)
        assert "UnpicklableError: not to be sent" in str(caught.value.__cause__)
        assert "could not be sent" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("kill", r"Worker \d of 2 \(process \d+\) was killed by SIGKILL.*memory runs out"),
        ("signal-40", r"Worker \d of 2 \(process \d+\) was killed by signal 40"),
        ("exit", r"Worker \d of 2 \(process \d+\) ended with exit code 3"),
    ],
)
def test_a_worker_that_ends_without_a_word_is_an_error(tmp_path: Path, what: str, message: str) -> None:
    model = misbehaving(tmp_path, what)
    with leaving_nothing_and_a_usable_model(model), pytest.raises(WorkerError, match=message):
        model.learn(ENDLESS)


def test_an_environment_that_exits_in_a_worker_does_not_end_the_callers_script(tmp_path: Path) -> None:
    model = misbehaving(tmp_path, "sys-exit")
    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(WorkerError, match=r"Worker \d of 2 called sys.exit\(0\)") as caught:
            model.learn(ENDLESS)
        assert "in _misbehave" in str(caught.value.__cause__)


def test_in_a_daemonic_process_the_error_says_what_needs_no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    with leaving_nothing_and_a_usable_model(model), monkeypatch.context() as patch:
        patch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match=r"is daemonic, as those of a multiprocessing\.Pool.*n_workers=1"):
            model.learn(ENDLESS)


@pytest.mark.parametrize("per_step", [False, True])
def test_kill_from_outside_ends_learn_within_seconds(per_step: bool) -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    killed: list[float] = []

    def kill() -> None:
        killed.append(time.monotonic())
        os.kill(workers()[1].pid, signal.SIGKILL)

    callback = AfterFirstSegments(later(kill))
    callback.per_step = per_step
    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(WorkerError, match="was killed by SIGKILL"):
            model.learn(ENDLESS, callback=callback)
        assert time.monotonic() - killed[0] < 5  # what the documentation promises; it takes a tenth of a second


class Pictures(gym.Env):
    """Its steps make messages larger than a pipe's buffer."""

    observation_space = gym.spaces.Box(0, 255, (100, 100), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros((100, 100), dtype=np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros((100, 100), dtype=np.uint8), 1.0, False, False, {}


def test_a_worker_killed_in_the_middle_of_a_message_is_named_as_any_other() -> None:
    model = agents.A3C("MlpPolicy", Pictures, n_workers=2, n_steps=20, policy_kwargs={"net_arch": [2]})
    found: list[int] = []

    def kill(*_: Any) -> bool:
        found.append(1)
        if len(found) == 41:
            time.sleep(0.5)  # both wait for their pipes to be read
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)
        return True

    with pytest.raises(WorkerError, match="was killed by SIGKILL"):
        model.learn(ENDLESS, callback=kill)


def test_an_error_while_the_environment_is_made_is_the_callers(tmp_path: Path) -> None:
    once = tmp_path / "made-in-the-caller"

    def make() -> gym.Env:
        if once.exists():
            raise ToyError("no more environments", 1)
        once.touch()
        return Counter()

    model = agents.A3C("MlpPolicy", make, n_workers=2)
    with leaving_nothing_and_a_usable_model(model), pytest.raises(ToyError, match="no more environments"):
        model.learn(ENDLESS)


@pytest.mark.parametrize("way", ["thread", "callback"])
@WORKERS
def test_ctrl_c_propagates_and_the_model_keeps_what_was_learned(n_workers: int, way: str) -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=n_workers, seed=0)
    before = model._flat.vector.clone()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(KeyboardInterrupt):
            model.learn(ENDLESS, callback=AfterFirstSegments(interrupt if way == "callback" else later(interrupt)))
        assert (model._flat.vector != before).any()
        assert 0 < model.num_timesteps < ENDLESS
        assert model._n_updates > 0


class Closing(Misbehaving):
    """Writes a file for every copy that is made in a worker, and another one when that is closed."""

    def __init__(self, folder: Path, what: str, when_closed: str = "") -> None:
        super().__init__(str(folder / "once"), when=20, what=what)
        self.folder = folder
        self.when_closed = when_closed
        self.caller = os.getpid()

    def reset(self, **arguments: Any) -> Any:
        if os.getpid() != self.caller:
            (self.folder / f"made-{os.getpid()}").touch()
        return super().reset(**arguments)

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()
        if self.when_closed:
            raise RuntimeError(self.when_closed)


@pytest.mark.parametrize("when_closed", ["", "the door is jammed"])
@pytest.mark.parametrize("ending", ["finished", "raised", "stopped", "callback raised"])
def test_workers_close_their_environments_however_learn_ends(tmp_path: Path, ending: str, when_closed: str) -> None:
    def after_a_while(*_: Any) -> bool:
        if ending == "callback raised" and model.num_timesteps > 100:
            raise ToyError("callback", 0)
        return ending != "stopped" or model.num_timesteps < 100

    env = Closing(tmp_path, "raise" if ending == "raised" else "nothing", when_closed)
    model = agents.A3C("MlpPolicy", env, n_workers=2, seed=0)
    fails = pytest.raises(ToyError) if "raised" in ending else contextlib.nullcontext()
    warns = when_closed and "raised" not in ending
    with fails, pytest.warns(UserWarning, match=when_closed) if warns else contextlib.nullcontext():
        model.learn(300 if ending == "finished" else ENDLESS, callback=after_a_while)
    made = {path.name.removeprefix("made-") for path in tmp_path.glob("made-*")}
    assert made
    assert made <= {path.name.removeprefix("closed-") for path in tmp_path.glob("closed-*")}


def test_an_environment_that_cannot_be_closed_takes_nothing_of_what_was_learned(tmp_path: Path) -> None:
    model = agents.A3C("MlpPolicy", Closing(tmp_path, "nothing", "the door is jammed"), n_workers=2, seed=0)
    before = model._flat.vector.clone()
    with pytest.warns(
        UserWarning,
        match=r"Worker \d of 2 had finished when .* close\(\) raised RuntimeError\('the door is jammed'\).* is kept",
    ):
        assert model.learn(200) is model
    assert model.num_timesteps == 200
    assert (model._flat.vector != before).any()


def test_learning_on_after_an_exception_within_a_segment_begins_an_episode(tmp_path: Path) -> None:
    """What the segment began with is no longer what the environment shows."""
    env = Misbehaving(str(tmp_path / "once"), when=8, what="raise")
    model = agents.A3C("MlpPolicy", env, n_workers=1)
    with pytest.raises(ToyError):
        model.learn(60)
    assert model.num_timesteps == 5
    model.learn(3, reset_num_timesteps=False)
    assert env.episode == 2
    assert env.steps == 3


@WORKERS
@pytest.mark.parametrize("where", ["_on_training_start", "_on_rollout_start", "_on_step", "_on_rollout_end"])
def test_a_callbacks_exception_ends_learn(n_workers: int, where: str) -> None:
    class Failing(BaseCallback):
        def _on_step(self) -> bool:
            return True

    def fail(*_: Any) -> None:
        raise ToyError("callback", 0)

    callback = Failing()
    setattr(callback, where, fail)
    model = agents.A3C("MlpPolicy", Counter, n_workers=n_workers)
    with leaving_nothing_and_a_usable_model(model), pytest.raises(ToyError, match="callback"):
        model.learn(ENDLESS, callback=callback)


@WORKERS
def test_a_callback_that_answers_false_stops_the_workers(n_workers: int) -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=n_workers)
    calls: list[int] = []

    def stop_at_33(found: dict[str, Any], _: Any) -> bool:
        calls.append(model.num_timesteps)
        return model.num_timesteps < 33

    with leaving_nothing_and_a_usable_model(model):
        model.learn(ENDLESS, callback=stop_at_33)
        assert calls == list(range(1, 34))  # and no step was delivered after it
        assert 33 <= model.num_timesteps < ENDLESS


def test_a_worker_stuck_in_its_environment_is_an_error_where_a_timeout_is_set(tmp_path: Path) -> None:
    model = misbehaving(tmp_path, "sleep", worker_timeout=0.5)
    with (
        leaving_nothing_and_a_usable_model(model),
        pytest.raises(WorkerTimeoutError, match=r"Worker \d of 2 .* worker_timeout=0.5 s; its environment's step\(\)"),
    ):
        model.learn(ENDLESS)


class Slow(Counter):
    """Needs longer for its first step than for all others together."""

    def step(self, action: Any) -> Any:
        if self.episode == 1 and self.steps == 0:
            time.sleep(0.7)
        return super().step(action)


def test_the_timeout_is_for_silence_not_for_the_whole_run() -> None:
    model = agents.A3C("MlpPolicy", Slow, n_workers=2, worker_timeout=1.5)
    started = time.monotonic()

    def hold(*_: Any) -> bool:
        # a slow callback keeps the workers waiting on their pipes: they are not stuck
        if not held:
            held.append(1)
            time.sleep(2.0)
        return True

    held: list[int] = []
    model.learn(3000, callback=hold)
    assert time.monotonic() - started > 1.5
    assert model.num_timesteps == 3000


class Leisurely(Counter):
    """Every step takes its time."""

    def step(self, action: Any) -> Any:
        time.sleep(0.1)
        return super().step(action)


def test_a_segment_may_take_longer_than_the_timeout() -> None:
    model = agents.A3C("MlpPolicy", Leisurely(length=100), n_workers=2, n_steps=30, worker_timeout=1.0)
    assert model.learn(60).num_timesteps == 60  # a segment of three seconds for each


@pytest.mark.timeout(60)  # a pause that waits for ever is what must not be
def test_a_pause_does_not_wait_for_a_worker_that_is_stuck(tmp_path: Path) -> None:
    def pause() -> None:
        while not (tmp_path / "once").exists():
            time.sleep(0.01)
        with model.paused():
            paused.append(model.num_timesteps)

    paused: list[int] = []
    model = misbehaving(tmp_path, "sleep", when=10, worker_timeout=0.5)
    with (
        leaving_nothing_and_a_usable_model(model),
        pytest.raises(WorkerTimeoutError, match=r"Worker \d of 2 .* worker_timeout=0.5 s"),
    ):
        model.learn(ENDLESS, callback=AfterFirstSegments(pause))
    assert paused


def test_an_environment_that_never_comes_into_being_is_an_error_where_a_timeout_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.asynchronous.supervisor._SECONDS_TO_START", 1.0)
    once = tmp_path / "made-in-the-caller"

    def make() -> gym.Env:
        if once.exists():
            time.sleep(1000)
        once.touch()
        return Counter()

    model = agents.A3C("MlpPolicy", make, n_workers=2, worker_timeout=0.2)
    with (
        leaving_nothing_and_a_usable_model(model),
        pytest.raises(WorkerTimeoutError, match=r"Worker \d of 2 .* was not ready after 1 s .*making its environment"),
    ):
        # the model's next environment is another one
        model.learn(ENDLESS)


def test_a_worker_that_is_ready_before_the_others_are_started_does_not_go_home(monkeypatch: pytest.MonkeyPatch) -> None:
    start = processes.WorkerProcess.start

    def start_slowly(process: processes.WorkerProcess) -> None:
        start(process)
        time.sleep(1.0)  # a busy machine: the first worker looks for steps before the second one is there

    monkeypatch.setattr(processes.WorkerProcess, "start", start_slowly)
    seen: set[int] = set()

    def until_both_have_worked(found: dict[str, Any], _: Any) -> bool:
        seen.add(found["worker"])
        return seen != {0, 1}

    model = agents.A3C("MlpPolicy", Counter(), n_workers=2, seed=0)
    model.learn(20_000, callback=until_both_have_worked)
    assert seen == {0, 1}


def test_a_start_may_take_longer_than_the_timeout(tmp_path: Path) -> None:
    def make() -> gym.Env:
        time.sleep(0.6)
        return Counter()

    model = agents.A3C("MlpPolicy", make, n_workers=2, worker_timeout=0.3)
    assert model.learn(40).num_timesteps == 40


def test_a_worker_stuck_after_a_callback_stopped_training_is_ended_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.asynchronous.supervisor._SECONDS_TO_FINISH", 0.5)

    def stop_when_one_sleeps(*_: Any) -> bool:
        return not (tmp_path / "once").exists()

    model = misbehaving(tmp_path, "sleep", when=10)
    with leaving_nothing_and_a_usable_model(model):
        with pytest.warns(UserWarning, match=r"1 of 2 workers had not finished their segment 0.5 s after"):
            model.learn(ENDLESS, callback=stop_when_one_sleeps)
        assert 0 < model.num_timesteps < ENDLESS


def test_a_pause_inside_a_pause_ends_with_the_outer_one() -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    seen: list[bool] = []

    def pause_twice() -> None:
        with model.paused():
            steps = model.num_timesteps
            with model.paused():
                assert model.num_timesteps == steps
            time.sleep(0.1)  # workers that had gone on would count
            with model.paused():
                seen.append(model.num_timesteps == steps)

    model.learn(20_000, callback=AfterFirstSegments(pause_twice))
    assert seen == [True]
    assert model.num_timesteps == 20_000


def test_a_worker_stuck_at_shutdown_is_ended(tmp_path: Path) -> None:
    def fail() -> None:
        while not (tmp_path / "once").exists():
            time.sleep(0.01)
        raise ToyError("while a worker sleeps", 0)

    model = misbehaving(tmp_path, "sleep", when=10)
    with leaving_nothing_and_a_usable_model(model), pytest.raises(ToyError, match="while a worker sleeps"):
        model.learn(ENDLESS, callback=AfterFirstSegments(fail))


@WORKERS
def test_a_gradient_that_is_not_finite_is_refused_with_worker_and_step(tmp_path: Path, n_workers: int) -> None:
    model = misbehaving(tmp_path, "nan", n_workers=n_workers)
    with (
        leaving_nothing_and_a_usable_model(model),
        pytest.raises(NonFiniteGradientError, match=r"Worker \d computed a gradient of norm nan at global step \d+"),
    ):
        model.learn(ENDLESS)


class Blinded(Counter):
    """Shows NaN once: after its tenth step, the last one of a segment."""

    lived = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        self.lived += 1
        return observation * np.nan if self.lived == 10 else observation, *rest


@pytest.mark.parametrize("cls", [agents.A3C, agents.AsyncQLearning])
def test_learning_goes_on_with_a_reset_where_the_environment_may_have_spoiled_the_gradient(cls: Any) -> None:
    """From the observation that spoiled it the next gradient would be as bad."""
    env = Blinded(length=ENDLESS)
    model = cls("MlpPolicy", env, n_workers=1, seed=0)
    with pytest.raises(NonFiniteGradientError):
        model.learn(100)
    steps, episodes = model.num_timesteps, env.episode
    assert model.learn(100, reset_num_timesteps=False).num_timesteps == steps + 100
    assert env.episode == episodes + 1


def test_the_next_learn_works_when_the_worker_server_was_killed() -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    model.learn(20)
    os.kill(processes._server._forkserver_pid, signal.SIGKILL)
    time.sleep(0.2)
    assert model.learn(20).num_timesteps == 20


def test_a_model_that_is_loaded_only_to_predict_starts_no_worker_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr("agents.asynchronous.algorithm.warm_up", lambda: started.append(1))
    agents.A3C("MlpPolicy", Counter(), n_workers=2).save(tmp_path / "model")
    assert started == [1]
    agents.A3C.load(tmp_path / "model").predict(np.zeros(2, dtype=np.float32))
    assert started == [1]
    agents.A3C.load(tmp_path / "model", env=Counter())
    assert started == [1, 1]


@pytest.mark.parametrize("stuck", [False, True], ids=["acting", "stuck in step"])
def test_no_worker_outlives_the_server_that_is_killed_while_they_learn(tmp_path: Path, stuck: bool) -> None:
    model = misbehaving(tmp_path, "sleep" if stuck else "nothing", when=10)
    pids: list[int] = []

    def kill() -> None:
        while stuck and not (tmp_path / "once").exists():
            time.sleep(0.01)
        pids.extend(worker.pid for worker in workers())
        os.kill(processes._server._forkserver_pid, signal.SIGKILL)

    with leaving_nothing_and_a_usable_model(model):
        with pytest.raises(WorkerError, match="The process that workers are forked from was killed"):
            model.learn(ENDLESS, callback=AfterFirstSegments(kill))
        assert len(pids) == 2
        deadline = time.monotonic() + 10  # a killed process is gone a moment after the signal
        while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left


def is_running(pid: int) -> bool:
    """Whether there is a process that is more than its exit status, which only its parent could collect."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.timeout(900)  # four hundred processes are started: a minute on a quiet machine, more on a busy one
def test_200_learn_calls_leak_nothing() -> None:
    model = agents.A3C("MlpPolicy", Counter, n_workers=2)
    model.learn(10)
    before = belongings()
    for _ in range(200):
        model.learn(10)
    assert belongings() == before


def belongings() -> dict[str, Any]:
    """What this process has of all that could leak; semaphores are files in shared memory, too."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "workers": len(workers()),
        "shared memory": shared_memory(),
        "semaphores": {name for name in os.listdir("/dev/shm") if name.startswith("sem.")},
        "files in memory": len([line for line in Path("/proc/self/maps").read_text().splitlines() if "pym-" in line]),
    }


def test_a_model_can_learn_while_another_threads_model_learns() -> None:
    done: list[int] = []

    def train() -> None:
        done.append(agents.A3C("MlpPolicy", Counter, n_workers=2).learn(200).num_timesteps)

    thread = threading.Thread(target=train)
    thread.start()
    train()
    thread.join(60)
    assert done == [200, 200]
