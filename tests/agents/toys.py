"""Small environments for tests. Workers import this module by name, so it imports nothing heavy."""

import copy
import os
import sys
import threading
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class RandomEnv(gym.Env):
    """Samples of any observation space, random rewards, random ends of both kinds; all by the seed of its reset."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        terminate: float = 0.1,
        truncate: float = 0.1,
    ) -> None:
        # its own, because a space draws from a generator of its own
        self.observation_space = copy.deepcopy(observation_space)
        self.action_space = action_space
        self._ends = (terminate, truncate)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        terminated, truncated = (self.np_random.random(2) < self._ends).tolist()
        return self.observation_space.sample(), float(self.np_random.normal()), terminated, truncated, {}


class Counter(gym.Env):
    """Shows the number of its episode and of the step in it; ends an episode after ``length`` steps."""

    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int = 7, truncates: bool = False, **options: Any) -> None:
        self.length = length
        self.truncates = truncates
        self.episode = 0
        self.steps = 0
        self.options = options

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.steps = 0
        return np.array([self.episode, 0], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        ended = self.steps == self.length
        observation = np.array([self.episode, self.steps], dtype=np.float32)
        return observation, 1.0, ended and not self.truncates, ended and self.truncates, {"pid": os.getpid()}


class Together(gym.Wrapper):
    """Copies in two workers begin together and take their time, so that both get some of the steps.

    Else one worker may have taken a small budget before the other one has started.
    """

    def __init__(self, env: gym.Env, folder: str) -> None:
        super().__init__(env)
        self.folder = folder
        self.caller = os.getpid()

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        if os.getpid() != self.caller:
            open(os.path.join(self.folder, f"process-{os.getpid()}"), "w").close()
            while len(os.listdir(self.folder)) < 2:
                time.sleep(0.001)
        return self.env.reset(**arguments)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(0.0005)
        return self.env.step(action)


class Misbehaving(Counter):
    """Does something bad at its ``when``-th step: see ``_misbehave``.

    Only one of all copies does: the first that creates the file ``once``.
    """

    def __init__(self, once: str, when: int = 20, what: str = "raise", **options: Any) -> None:
        super().__init__(length=10**9, **options)
        self.once = once
        self.when = when
        self.what = what

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        if self.steps == self.when and self._first():
            return self._misbehave(result)
        return result

    def _first(self) -> bool:
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _misbehave(self, result: Any) -> Any:
        if self.what == "nothing":
            return result
        if self.what == "raise":
            raise ToyError("the goblin ate step", self.when)
        if self.what == "raise-unpicklable":
            raise UnpicklableError("not to be sent")
        if self.what == "kill":
            os.kill(os.getpid(), 9)
        if self.what == "signal-40":
            os.kill(os.getpid(), 40)
        if self.what == "exit":
            os._exit(3)
        if self.what == "sys-exit":
            sys.exit(0)
        if self.what == "sleep":
            time.sleep(600)
        if self.what == "nan":
            return result[0], float("nan"), *result[2:]
        raise AssertionError(self.what)


class ToyError(Exception):
    """With two arguments, so that a careless copy by ``type(error)(str(error))`` would fail."""

    def __init__(self, text: str, step: int) -> None:
        super().__init__(text, step)
        self.step = step


class UnpicklableError(Exception):
    """Holds a lock."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unpicklable(Counter):
    """Cannot travel by value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handle = threading.Lock()
