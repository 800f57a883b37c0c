"""The section `normalize` of a run's configuration, and the wrappers that it stands for.

    normalize:
      observation: true                          # running statistics for every Box, as SB3's VecNormalize
      observation: auto                          # or one rule for all keys: running, bounds, image, one_hot, pass, auto
      observation: {joints: bounds, goal: pass}  # or rules by key; keys left out are auto
      observation: {rule: bounds, low: -2, high: 2}
      reward: true                               # by the deviation of the return; or return, reward, episode_maximum
      action: true                               # [-1, 1] to the environment's bounds

`wrappers.rules` says what each rule does and `wrappers.reward_scale` what rewards can be divided by.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import gymnasium as gym
from gymnasium import spaces
from pydantic import BeforeValidator, Field
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecTransposeImage

from tuning.errors import UsageError, did_you_mean
from tuning.fields import Positive, Section, Whole
from tuning.yaml_files import KeyPath
from wrappers import NormalizeAction, VecNormalize
from wrappers.reward_scale import MEASURES
from wrappers.rules import RULES

_DEFAULT_MEASURE = "return"


class MisfitError(UsageError):
    """A part of `normalize` does not fit the environment.

    Attributes:
        path: the keys that lead to it in a configuration.
    """

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


def _observation(value: Any) -> Any:
    if isinstance(value, bool | str | dict):
        return value
    raise ValueError(f"it must be true, false, a rule ({', '.join(RULES)}), or a mapping from keys to rules")


def _reward(value: Any) -> Any:
    if isinstance(value, bool) or value in MEASURES:
        return value
    hint = did_you_mean(value, MEASURES) if isinstance(value, str) else f"allowed: {', '.join(MEASURES)}"
    raise ValueError(f"it must be true, false or what rewards are divided by; {hint}")


class Normalize(Section):
    """What is normalized; the statistics are saved with each model.

    Attributes:
        observation: true (running statistics), a rule, or rules by key.
        reward: true (by the standard deviation of the discounted return), or one of `wrappers.reward_scale.MEASURES`.
        action: whether the agent acts in [-1, 1], which is mapped to the environment's bounds.
        clip_observation: largest observation under the rule `running`, in standard deviations.
        clip_reward: largest normalized reward.
        epsilon: added to variances.
        decay: factor by which running statistics weigh older samples less with each new one.
        warmup: samples to be seen before running statistics are used.
    """

    observation: Annotated[bool | str | dict[str, Any], BeforeValidator(_observation)] = False
    reward: Annotated[bool | str, BeforeValidator(_reward)] = False
    action: bool = False
    clip_observation: Positive = 10.0
    clip_reward: Positive = 10.0
    epsilon: Positive = 1e-8
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup: Annotated[Whole, Field(ge=0)] = 0

    @property
    def has_statistics(self) -> bool:
        """Whether observations or rewards are normalized, which a VecNormalize does."""
        return self.observation is not False or self.reward is not False

    def of_actions_only(self) -> "Normalize":
        """For evaluation: actions are part of the environment, while a model brings its statistics along."""
        return Normalize(action=self.action)


def normalize_actions(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """One environment, with actions in [-1, 1].

    Raises:
        MisfitError: its actions are no Box with finite bounds.
    """
    try:
        return NormalizeAction(env)
    except ValueError as error:
        raise MisfitError(("normalize", "action"), f"normalize.action is true, but {error}") from error


def normalize_statistics(venv: VecEnv, normalize: Normalize, gamma: float) -> VecEnv:
    """Environments inside the VecNormalize that a configuration describes.

    Args:
        venv: monitored environments.
        normalize: the configuration; without observations and rewards `venv` comes back as it is.
        gamma: discount of the return whose deviation scales rewards.

    Raises:
        MisfitError: a rule or a key does not fit the observation space.
    """
    if not normalize.has_statistics:
        return venv
    space = venv.observation_space
    rules = normalize.observation
    if isinstance(space, spaces.Dict) and isinstance(rules, Mapping):
        for key, rule in rules.items():  # one at a time, to know whose line is wrong
            path = ("normalize", "observation", str(key))
            _wrapped(_only_spaces(venv), normalize.model_copy(update={"observation": {key: rule}}), gamma, path)
    venv = _channels_first(venv, rules)
    return _wrapped(venv, normalize, gamma, ("normalize", "observation"))


def _wrapped(venv: VecEnv, normalize: Normalize, gamma: float, path: KeyPath) -> VecNormalize:
    is_on, is_scaled = normalize.observation is not False, normalize.reward is not False
    try:
        return VecNormalize(
            venv,
            norm_obs=is_on,
            norm_reward=is_scaled,
            clip_obs=normalize.clip_observation,
            clip_reward=normalize.clip_reward,
            epsilon=normalize.epsilon,
            gamma=gamma,
            rules=None if isinstance(normalize.observation, bool) else normalize.observation,
            reward_by=normalize.reward if isinstance(normalize.reward, str) else _DEFAULT_MEASURE,
            decay=normalize.decay,
            warmup=normalize.warmup,
        )
    except (TypeError, ValueError) as error:
        raise MisfitError(path, f"{'.'.join(path)}: {' '.join(str(error).split())}") from error


def _channels_first(venv: VecEnv, rules: bool | str | Mapping[str, Any]) -> VecEnv:
    """Images that are normalized lose the type by which SB3 knows that it has to put their channels first."""
    space = venv.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    images = {key for key, part in parts.items() if is_image_space(part)}
    to_turn = {key for key in images if not is_image_space_channels_first(parts[key])}  # type: ignore[arg-type]
    return VecTransposeImage(venv) if any(_is_scaled(rules, key) for key in to_turn) else venv


def _is_scaled(rules: bool | str | Mapping[str, Any], key: str) -> bool:
    """Whether the rule of a key that holds an image changes it; `auto` leaves images to SB3's policies."""
    if isinstance(rules, bool):
        return rules
    rule = rules if isinstance(rules, str) or "rule" in rules else rules.get(key, "auto")
    return rule not in ("pass", "auto")


def _only_spaces(venv: VecEnv) -> VecEnv:
    stand_in: gym.Env[Any, Any] = gym.Env()
    stand_in.observation_space, stand_in.action_space = venv.observation_space, venv.action_space
    return DummyVecEnv([lambda: stand_in])
