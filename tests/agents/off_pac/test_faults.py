"""What goes wrong is said to be the fault of what is at fault: the environment, a step size, a space."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformAction
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.dpg import DPG
from agents.off_pac import OffPAC, TrainingDivergedError
from agents.online.unusable import unusable_observations
from tests.agents.off_pac.toys import Reach, SmallProcess


class Breaks(SmallProcess):
    """Gives something that is not finite in one step of its life, counted from 1; step 0 is the first reset.

    Args:
        step: which step.
        what: "reward" or "observation".
        value: what is given.
        ending: end the episode there.
        as_dict: show a dictionary with the key "point".
    """

    def __init__(self, step, what, value=np.nan, ending=False, as_dict=False):
        super().__init__("vector", cap=1000)
        self.broken, self.what, self.value, self.ending, self.lived = step, what, value, ending, 0
        self.as_dict = as_dict
        if as_dict:
            self.observation_space = spaces.Dict({"point": self.observation_space})

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return self._shown(observation), info

    def step(self, action):
        self.lived += 1
        observation, reward, _, _, info = super().step(action)
        self.state %= 5
        now = self.lived == self.broken
        reward = self.value if now and self.what == "reward" else reward
        return self._shown(observation), reward, now and self.ending, False, info

    def _shown(self, observation):
        if self.lived == self.broken and self.what == "observation":
            observation[1] = self.value
        return {"point": observation} if self.as_dict else observation


def deep(env, **arguments):
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    return OffPAC(policy, env, policy_kwargs={"net_arch": [16]}, device="cpu", seed=0, buffer_size=200, **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_deep_agent_refuses_a_reward_that_is_not_finite_when_it_comes(value):
    model = deep(Breaks(1, "reward", value))
    with pytest.raises(ValueError, match=f"reward {value} in environment 0 at step 1, but .* finite; mend"):
        model.learn(300)
    assert model.replay_buffer.size() == 0


@pytest.mark.parametrize("normalized", [False, True])
def test_a_deep_agent_names_the_environment_of_several(normalized):
    env = DummyVecEnv([lambda: Breaks(99, "reward"), lambda: Breaks(5, "reward")])
    with pytest.raises(ValueError, match=r"reward nan in environment 1 at step 10,"):
        deep(VecNormalize(env) if normalized else env).learn(300)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_deep_agent_refuses_an_observation_that_is_not_finite_when_it_comes(step, normalized, ending, as_dict):
    env = DummyVecEnv([lambda: Breaks(step, "observation", ending=ending, as_dict=as_dict)])
    model = deep(VecNormalize(env, norm_reward=False) if normalized else env, behavior_policy="target")
    key = "'point' of the " if as_dict else ""
    with pytest.raises(ValueError, match=rf"{key}observation .*nan.* in environment 0 at step {step}, but .* finite"):
        model.learn(300)
    assert model.replay_buffer.size() == max(step - 1, 0)


@pytest.mark.parametrize("algorithm", [OffPAC, DPG])
@pytest.mark.parametrize(("what", "given"), [("reward", "reward inf in"), ("observation", r"observation .*inf.* in")])
def test_a_linear_agent_names_what_the_environment_gave_and_not_what_a_normalization_made_of_it(what, given, algorithm):
    def make(step):
        env = Breaks(step, what, np.inf)
        if algorithm is DPG:
            env.action_space = spaces.Box(0.0, 1.0, (1,))
            env = TransformAction(env, lambda action: int(action[0] > 0.5), env.action_space)
        return env

    env = VecNormalize(DummyVecEnv([lambda: make(99), lambda: make(5)]))
    with pytest.raises(ValueError, match=rf"{given} environment 1 at step 10, but .* finite"):
        algorithm("LinearPolicy", env, seed=0).learn(30)


@pytest.mark.parametrize("critic", ["gtd", "tdrc"])
@pytest.mark.parametrize("callback", [None, lambda *_: True])
@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_a_linear_agent_does_not_take_an_observation_that_is_nan_for_divergence(trace_decay, callback, critic):
    env = Breaks(7, "observation")
    model = OffPAC("LinearPolicy", env, seed=0, trace_decay=trace_decay, critic=critic)
    with pytest.raises(ValueError, match=r"observation holds NaN .* in environment 0 at step 7"):
        model.learn(30, callback=callback)
    assert np.isfinite(model.policy.table()).all()


@pytest.mark.parametrize("algorithm", [OffPAC, DPG])
@pytest.mark.parametrize("policy", ["LinearPolicy", "TileCodingPolicy"])
@pytest.mark.parametrize("callback", [None, lambda *_: True])
@pytest.mark.parametrize(("step", "what"), [(0, "observation"), (7, "observation"), (7, "reward")])
def test_a_linear_agent_says_where_and_when(step, what, callback, policy, algorithm):
    env = Breaks(step, what)
    if algorithm is DPG:
        env = TransformAction(env, lambda action: int(action[0] > 0.5), spaces.Box(0.0, 1.0, (1,)))
    kwargs = {"low": -3.0, "high": 3.0} if policy == "TileCodingPolicy" else {}
    model = algorithm(policy, env, policy_kwargs=kwargs, seed=0)
    with pytest.raises(ValueError, match=rf"{what}.* in environment 0 at step {step}, but it must be finite"):
        model.learn(30, callback=callback)


@pytest.mark.parametrize("algorithm", [OffPAC, DPG])
@pytest.mark.parametrize("callback", [None, lambda *_: True])
@pytest.mark.parametrize(("step", "what"), [(0, "observation"), (7, "observation"), (7, "reward")])
@pytest.mark.parametrize("ending", [False, True])
def test_a_linear_agent_goes_on_with_a_new_episode_after_what_was_not_finite(ending, step, what, callback, algorithm):
    """It would go on from what it refused to learn from, or step an episode that is over, without ever resetting."""
    env = Breaks(step, what, ending=ending)
    resets = []
    reset, env.reset = env.reset, lambda **kwargs: resets.append(env.lived) or reset(**kwargs)
    wrapped = env
    if algorithm is DPG:
        wrapped = TransformAction(env, lambda action: int(action[0] > 0.5), spaces.Box(0.0, 1.0, (1,)))
    model = algorithm("LinearPolicy", wrapped, seed=0)
    with pytest.raises(ValueError, match="it must be finite"):
        model.learn(30, callback=callback)
    env.broken = None
    model.learn(30, callback=callback, reset_num_timesteps=False)
    assert resets[-1] == step
    assert model.num_timesteps == step + 30 == env.lived


@pytest.mark.parametrize("callback", [None, lambda *_: True])
def test_a_linear_agent_goes_on_after_an_episode_began_with_what_is_not_finite(callback):
    class BeginsBroken(Breaks):
        def reset(self, *, seed=None, options=None):
            observation, info = super().reset(seed=seed, options=options)
            return (observation * np.nan if self.lived == self.broken else observation), info

    env = BeginsBroken(7, "nothing", ending=True)
    model = OffPAC("LinearPolicy", env, seed=0)
    with pytest.raises(ValueError, match="observation holds NaN"):
        model.learn(30, callback=callback)
    env.broken = None
    model.learn(30, callback=callback, reset_num_timesteps=False)
    assert env.lived == 37


def test_what_is_not_finite_in_an_observation_without_axes_has_no_index():
    error = unusable_observations(np.array([0.0, np.inf], np.float32), step=3)
    assert "NaN or infinity (inf) in environment 1 at step 3" in str(error)


def test_an_observation_that_is_no_array_is_not_hidden_by_the_search_for_what_is_not_finite():
    class Ragged(SmallProcess):
        def step(self, action):
            observation, *rest = super().step(action)
            return [observation, observation.tolist()[1:]], *rest

    with pytest.raises(ValueError, match="inhomogeneous"):
        OffPAC("LinearPolicy", Ragged("vector", cap=9), seed=0).learn(30)


def test_what_diverges_with_the_regularized_critic_is_not_advised_to_use_it():
    model = OffPAC("LinearPolicy", SmallProcess("vector"), seed=0, critic="tdrc", critic_learning_rate=9.0)
    with pytest.raises(TrainingDivergedError) as failure:
        model.learn(50_000)
    assert 'use critic="tdrc"' not in str(failure.value)
    # its second step size was never given: it is the critic's
    assert "critic_learning_rate" in str(failure.value)
    plain = OffPAC("LinearPolicy", SmallProcess("vector"), seed=0, critic_learning_rate=9.0)
    with pytest.raises(TrainingDivergedError, match='use critic="tdrc"'):
        plain.learn(50_000)


@pytest.mark.parametrize("log_interval", [1, 100, 3000, None])
def test_a_policy_that_left_what_the_behavior_does_is_warned_of_once(log_interval):
    # The mean lies far outside of the box after the first step, every density there is 0, and nothing moves any more.
    model = OffPAC("LinearPolicy", Reach(), learning_rate=1e6, seed=0)
    with pytest.warns(UserWarning, match="importance ratios") as found:
        model.learn(5000, log_interval=log_interval)
    ours = [str(warning.message) for warning in found if "importance ratios" in str(warning.message)]
    assert len(ours) == 1
    assert "nothing is learned" in ours[0]
    assert "learning_rate=1e+06" in ours[0]
    assert "behavior_policy" in ours[0]


def test_data_of_a_behavior_that_the_policy_has_left_are_warned_of():
    n = 1500
    data = {"observations": np.ones((n, 1)), "actions": np.full((n, 1), 4.0), "rewards": np.ones(n)}
    data |= {"next_observations": np.ones((n, 1)), "terminations": np.ones(n, bool), "truncations": np.zeros(n, bool)}
    data["behavior_probabilities"] = np.full(n, 1 / 8)
    model = OffPAC("LinearPolicy", Reach(), seed=0)
    model.policy.table()[0, 0] = 1e6
    with pytest.warns(UserWarning, match="nothing is learned"):
        model.learn_from(data)


def test_the_warning_comes_after_a_thousand_ratios_whenever_the_last_entry_was_logged():
    model = OffPAC("LinearPolicy", Reach(), learning_rate=0.0, seed=0)

    def callback(*_):
        if model.num_timesteps == 500:
            model.policy.table()[0, 0] = 1e6
        return model.num_timesteps < 1510

    with pytest.warns(UserWarning, match="nothing is learned"):
        model.learn(10_000, callback=callback, log_interval=700)


@pytest.mark.parametrize("env", [Reach, SmallProcess])
def test_nobody_else_is_warned_of_small_ratios(env, recwarn):
    OffPAC("LinearPolicy", env(), learning_rate=0.001, seed=0).learn(3000, log_interval=10)
    # A softmax that is saturated has ratios of 0 as well, but not only such.
    OffPAC("LinearPolicy", SmallProcess(), learning_rate=1e6, seed=0).learn(3000, log_interval=10)
    assert not [warning for warning in recwarn if "nothing is learned" in str(warning.message)]


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_box_actions_with_an_entry_that_cannot_move_are_refused_with_the_entry(policy):
    env = Reach(3)
    env.action_space = spaces.Box(np.array([0, 2, 0], np.float32), np.array([1, 2, 1], np.float32))
    with pytest.raises(ValueError, match=r"entry 1 .*low=2 and high=2, but .* density .*leave"):
        OffPAC(policy, env)
