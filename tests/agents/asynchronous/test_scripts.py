"""Several workers from wherever Python code runs: a script without a guard, ``python -c``, a session without a file."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import agents

ENVIRONMENT = """
import gymnasium as gym
import numpy as np

class Here(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        info = {"pid": os.getpid(), "ppid": os.getppid(), "OMP": os.environ["OMP_NUM_THREADS"], "main": main_file()}
        return self.observation_space.sample(), 1.0, False, self.np_random.random() < 0.1, info

def main_file():
    import __main__
    return getattr(__main__, "marker", None)

class Complaint(Exception):
    pass
"""

SCRIPT = (
    """
import os
import agents
"""
    + ENVIRONMENT
    + """
marker = "the caller's main module"
gym.register("Here-v0", "__main__:Here")

model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2)
model.learn(100)
print("bare", model.num_timesteps)

seen = []
def look(found, _):
    seen.extend(found["infos"])
    return True

for env in (Here(), Here, "Here-v0", lambda: gym.wrappers.TimeLimit(Here(), 5)):
    print("env", agents.A3C("MlpPolicy", env, n_workers=2).learn(60, callback=look).num_timesteps)

print("caller is a worker", os.getpid() in {info["pid"] for info in seen})
print("forked from the caller", os.getpid() in {info["ppid"] for info in seen})
print("threads in workers", {info["OMP"] for info in seen}, "in the caller", os.environ["OMP_NUM_THREADS"])
print("main module in workers", {info["main"] for info in seen})
# what the worker server was started with, before it could import anything
(server,) = {info["ppid"] for info in seen}
print("server", [line for line in open(f"/proc/{server}/environ").read().split("\\0") if line.startswith("OMP")])

class Broken(Here):
    def step(self, action):
        raise Complaint("from a worker")

try:
    agents.A3C("MlpPolicy", Broken(), n_workers=2).learn(60)
except Complaint as complaint:  # the very class, although workers got it by value
    print("caught", complaint)
"""
)


# the packages under test, wherever the script lies
SETTINGS = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(agents.__file__).parents[1])}


def run(arguments: list[str], text: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env={**SETTINGS, **settings},
        check=False,
    )


def test_a_script_without_a_guard_trains_on_what_it_defines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    finished = run([str(script)], OMP_NUM_THREADS="3")
    assert finished.stdout.splitlines() == [
        "bare 100",
        "env 60",
        "env 60",
        "env 60",
        "env 60",
        "caller is a worker False",
        "forked from the caller False",
        "threads in workers {'1'} in the caller 3",
        "main module in workers {None}",
        "server ['OMP_NUM_THREADS=1']",
        "caught from a worker",
    ], finished.stderr
    assert finished.stderr == ""
    assert finished.returncode == 0


@pytest.mark.parametrize("cls", [agents.A3C, agents.AsyncNStepQ])
def test_a_worker_imports_nothing_that_its_server_could_have_imported_once(cls: Any, tmp_path: Path) -> None:
    """Imports in every worker made up most of the time that a learn call needed to start."""
    caller, found = os.getpid(), tmp_path / "modules"

    def make() -> gym.Env:
        env = gym.make("CartPole-v1")
        if os.getpid() != caller:
            found.write_text(" ".join(sys.modules))
        return env

    cls("MlpPolicy", make, n_workers=2).learn(10)
    once = run(["-c", "import sys, agents.asynchronous.preload; print(*sys.modules)"]).stdout.split()
    ours = ("agents", "wrappers", "gymnasium", "numpy", "sb3_contrib", "stable_baselines3", "torch")
    assert [name for name in found.read_text().split() if name.split(".")[0] in ours and name not in once] == []


INFOS = """
import enum
import os
import agents
from tests.agents.toys import Counter

class Phase(enum.Enum):
    OPENING = 1

class Telling(Counter):
    def step(self, action):
        *rest, info = super().step(action)
        told = {"phase": Phase.OPENING, "rule": lambda x: 2 * x, "LATE": os.environ.get("LATE")}
        return *rest, {**told, "EARLY": os.environ.get("EARLY"), "OMP": os.environ["OMP_NUM_THREADS"]}

model = agents.A3C("MlpPolicy", Telling(), n_workers=2)

def look(found, _):
    info = found["infos"][0]
    seen.add((info["phase"] is Phase.OPENING, info["rule"](21), info["EARLY"], info["LATE"], info["OMP"]))

for changes in ("os.environ['EARLY'] = '1'", "os.environ['LATE'] = '1'; del os.environ['EARLY']"):
    exec(changes)
    seen = set()
    model.learn(60, callback=look)
    print(*seen.pop(), *seen)
"""


def test_infos_and_environment_variables_travel_although_the_server_does_not_know_them() -> None:
    """What a script defines by value, and variables that were set or deleted after the worker server's start."""
    finished = run(["-c", INFOS], OMP_NUM_THREADS="3", EARLY="0")
    assert finished.stdout.splitlines() == ["True 42 1 None 1", "True 42 None 1 1"], finished.stderr
    assert finished.returncode == 0


SESSION = (
    """
import ctypes
import multiprocessing
import os
import sys
import time
import agents
"""
    + ENVIRONMENT
    + """
class Sleepy(Here):
    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps > 40:
            time.sleep(600)
        return super().step(action)

class Greedy(Here):  # waits in C, without letting any other thread of its process run
    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps > 40:
            ctypes.PyDLL(None).sleep(600)
        return super().step(action)

class Told:
    def __init__(self):
        self.pids = {agents.asynchronous.processes._server._forkserver_pid}

    def __call__(self, found, _):
        self.pids |= {info["pid"] for info in found["infos"]}
        if len(self.pids) == 3:
            if sys.argv[-1] == "forked":
                multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
            print("pids", *self.pids)
            print("learning", flush=True)
            self.pids.add(None)
        return True

env = {"sleepy": Sleepy, "greedy": Greedy}.get(sys.argv[-1], Here)()
model = agents.A3C("MlpPolicy", env, n_workers=2)
try:
    model.learn(10**9, callback=Told())
except KeyboardInterrupt:
    print("interrupted", model.num_timesteps > 0, model.predict(np.zeros(2, np.float32))[0] in (0, 1))
    print("goes on", model.learn(30).num_timesteps)
"""
)


def start(*arguments: str, stdin: str | None = None) -> subprocess.Popen[str]:
    """In a process group of its own, as a shell's foreground job."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=SETTINGS,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(stdin or "")
    process.stdin.close()
    process.stdin = None
    return process


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_ctrl_c_in_a_session_without_a_file_stops_all_and_keeps_the_model() -> None:
    # the terminal sends SIGINT to the whole group: caller, workers, their server
    process = start("-", stdin=SESSION)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[1] == "learning\n", process.stderr.read() if process.stderr else ""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["interrupted True True", "goes on 30"], err
    assert err == ""  # no worker complains
    assert process.returncode == 0


STARTING = """
import sys
import time
import agents

try:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2)
    print("made", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("goes on", model.learn(30).num_timesteps)
"""


@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["at once", "soon"])
def test_ctrl_c_does_not_end_the_worker_server_while_it_imports(seconds: float) -> None:
    process = start("-c", STARTING)
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert out.splitlines() == ["goes on 30"], err
    assert err == ""


@pytest.mark.parametrize("kind", ["sleepy", "greedy"])
def test_workers_and_their_server_end_when_the_caller_is_killed(kind: str) -> None:
    # asleep in their environments, where no broken pipe wakes them
    process = start("-c", SESSION, kind)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()[1:]]
    assert len(pids) == 3
    assert process.stdout.readline() == "learning\n"
    assert not any(is_gone(pid) for pid in pids)
    process.kill()
    process.communicate(timeout=60)
    assert wait_until(lambda: all(is_gone(pid) for pid in pids))


def test_a_fork_of_the_caller_does_not_keep_workers_and_server_alive() -> None:
    # a DataLoader's workers, a process pool: they hold copies of all the caller's files
    process = start("-c", SESSION, "forked")
    try:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()[1:]]
        assert len(pids) == 3
        process.kill()
        process.wait(timeout=60)
        assert wait_until(lambda: all(is_gone(pid) for pid in pids), seconds=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


FORKING = """
import multiprocessing
import agents

agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2).learn(40)

def learn():
    print("fork", agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2).learn(30).num_timesteps, flush=True)

process = multiprocessing.get_context("fork").Process(target=learn)
process.start()
process.join()
print("caller", agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2).learn(20).num_timesteps)
"""


def test_a_fork_of_the_caller_learns_with_a_server_of_its_own() -> None:
    out, err = start("-c", FORKING).communicate(timeout=100)
    assert out.splitlines() == ["fork 30", "caller 20"], err


DAEMON = """
import os
import sys
import time
import traceback
import warnings
from multiprocessing import shared_memory
from agents import A3C

answer, before, files, caller = sys.argv[1:]
if before == "shared":
    # starts the resource tracker for others than us
    memory = shared_memory.SharedMemory(create=True, size=8)
    memory.close()
    memory.unlink()
else:
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=2)
if before == "learned":
    model.learn(40)
first = os.getpid()
if os.fork():
    os.wait()
    while caller == "stays" and not os.path.exists(answer):
        time.sleep(0.05)
    sys.exit()
os.setsid()
if os.fork():
    os._exit(0)
if files == "closed":
    os.closerange(0, 256)
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)
    # what opens next gets the numbers that multiprocessing believes to be its own
    mine = [open(f"{answer}-{n}", "w") for n in range(20)]
while caller == "exits" and os.path.exists(f"/proc/{first}"):
    time.sleep(0.05)
try:
    warnings.simplefilter("error")
    if before == "shared":
        model = A3C("MlpPolicy", "CartPole-v1", n_workers=2)
    text = str(model.learn(30).num_timesteps)
    if files == "closed":
        text += "".join(open(file.name).read() for file in mine)
except BaseException:
    text = traceback.format_exc()
with open(f"{answer}-unfinished", "w") as file:
    file.write(text)
os.replace(f"{answer}-unfinished", answer)
"""


@pytest.mark.parametrize(
    ("before", "files", "caller"),
    [
        ("fresh", "kept", "exits"),
        ("learned", "kept", "exits"),
        ("learned", "closed", "exits"),
        ("learned", "closed", "stays"),
        ("shared", "closed", "stays"),
    ],
)
def test_a_process_that_has_become_a_daemon_learns(before: str, files: str, caller: str, tmp_path: Path) -> None:
    """multiprocessing's temporary folder goes with the first process, the pipe of its tracker with the files."""
    answer = tmp_path / "answer"
    # a pipe would be held open by the daemon, and the caller, which it waits for, not be waited for before that
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", DAEMON, str(answer), before, files, caller]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100, **quiet)
    assert wait_until(answer.exists)
    assert answer.read_text() == "30"
