"""The deep variant: segments from replay, losses by hand and by enumeration, target copy, stored probabilities."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv, IdentityEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from agents.off_pac import OffPAC
from agents.off_pac.perceptrons import perceptrons_of
from agents.off_pac.replay_buffers import SegmentReplayBuffer, Segments
from agents.off_pac.replayed import losses
from tests.agents.off_pac.toys import Reach, SmallProcess
from tests.agents.toys import Counter


def deep(env=None, **arguments):
    kwargs = {"net_arch": [16], **arguments.pop("policy_kwargs", {})}
    defaults = {"device": "cpu", "seed": 0, "learning_starts": 10, "buffer_size": 200, "batch_size": 8}
    return OffPAC("MlpPolicy", env or SmallProcess("vector"), policy_kwargs=kwargs, **{**defaults, **arguments})


def numbered_buffer(n_added, size=10, n_envs=1, ends=(), timeouts=(), resets=(), **arguments):
    """Step t has observation t, next observation t + 1, action t, reward 10 t; ``ends`` lists t with done.

    ``resets`` lists t behind which the environments were reset though nothing had ended.
    """
    space = spaces.Box(-1e3, 1e3, (1,), dtype=np.float32)
    buffer = SegmentReplayBuffer(size * n_envs, space, space, device="cpu", n_envs=n_envs, **arguments)
    for t in range(n_added):
        if t - 1 in resets:
            buffer.mark_break()
        column = np.full((n_envs, 1), float(t))
        info = {"TimeLimit.truncated": t in timeouts}
        done = np.full(n_envs, float(t in ends or t in timeouts))
        buffer.add(column, column + 1, column, column[:, 0] * 10, done, [info] * n_envs)
    return buffer


@pytest.mark.parametrize("n_added", [6, 10, 23])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_segments_are_consecutive_and_never_cross_the_newest_step_or_an_ending(n_added, n_envs):
    ends, timeouts = {3, 15}, {5, 19}
    buffer = numbered_buffer(n_added, n_envs=n_envs, ends=ends, timeouts=timeouts)
    set_random_seed(0)
    segments = buffer.sample_segments(400, 4)
    times = segments.observations.numpy().reshape(4, 400)
    mask, cut = segments.mask.numpy().reshape(4, 400), segments.cut.numpy().reshape(4, 400)
    terminated = segments.terminated.numpy().reshape(4, 400)
    newest, oldest = n_added - 1, max(n_added - 10, 0)
    assert set(times[0].astype(int)) == set(range(oldest, n_added))
    stops = ends | timeouts | {newest}
    for column in range(400):
        start = int(times[0, column])
        expected = 1
        while expected < 4 and start + expected - 1 not in stops:
            expected += 1
        assert mask[:, column].tolist() == [1.0] * expected + [0.0] * (4 - expected)
        inside = times[:expected, column]
        np.testing.assert_array_equal(inside, start + np.arange(expected))
        assert cut[:expected, column].tolist() == [False] * (expected - 1) + [True]
        np.testing.assert_array_equal(terminated[:expected, column], [t in ends for t in inside])
    np.testing.assert_array_equal(segments.rewards.numpy(), segments.observations.numpy().ravel() * 10)
    np.testing.assert_array_equal(segments.next_observations.numpy(), segments.observations.numpy() + 1)


@pytest.mark.parametrize("n_added", [6, 10, 23])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_segments_stop_where_the_environments_were_reset_and_nothing_terminates_there(n_added, n_envs):
    resets = {2, 9, 13, 18}  # of 23 steps the ring of ten holds 13 to 22; 9's row, the last one, is 19's
    buffer = numbered_buffer(n_added, n_envs=n_envs, resets=resets)
    set_random_seed(0)
    segments = buffer.sample_segments(400, 4)
    times, mask = (part.numpy().reshape(4, 400).astype(int) for part in (segments.observations, segments.mask))
    cut = segments.cut.numpy().reshape(4, 400)
    assert not segments.terminated.any()
    assert set(times[0]) == set(range(max(n_added - 10, 0), n_added))
    for column in range(400):
        inside = times[mask[:, column] == 1, column]
        ahead = next(k for k in range(4) if k == 3 or times[0, column] + k in {*resets, n_added - 1})
        np.testing.assert_array_equal(inside, times[0, column] + np.arange(ahead + 1))
        assert cut[ahead, column]
        assert not cut[:ahead, column].any()


def test_a_break_before_the_first_step_marks_nothing():
    buffer = numbered_buffer(0)
    buffer.mark_break()
    assert not buffer.breaks.any()


def test_a_replay_buffer_pickled_before_breaks_were_marked_has_none():
    buffer = numbered_buffer(8, resets={3})
    del buffer.breaks
    loaded = pickle.loads(pickle.dumps(buffer))
    assert not loaded.breaks.any()
    assert loaded.sample_segments(5, 3).n_steps == 3
    marked = pickle.loads(pickle.dumps(numbered_buffer(8, resets={3})))
    assert np.flatnonzero(marked.breaks).tolist() == [3]


def counting(**arguments):
    """A model whose observations are (episode, step), of one episode that never ends; it stores and does not learn."""
    return deep(Counter(length=10**9), trace_decay=0.9, n_steps=6, learning_starts=1000, **arguments)


def joined_episodes(model):
    """Where an episode's number changes inside a segment; every row from which one could go on is among the drawn."""
    segments = model.replay_buffer.sample_segments(500, 6)
    assert not segments.terminated.any()
    episodes, mask = segments.observations.numpy()[:, 0].reshape(6, 500), segments.mask.numpy().reshape(6, 500)
    assert mask[1:].any()
    return int(((episodes[1:] != episodes[:-1]) & (mask[1:] == 1)).sum())


def test_segments_do_not_join_the_episodes_of_two_learn_calls():
    model = counting()
    model.learn(20)
    model.learn(20)
    model.learn(20, reset_num_timesteps=False)
    assert set(model.replay_buffer.observations[:60, 0, 0]) == {1.0, 2.0}
    assert joined_episodes(model) == 0
    assert np.flatnonzero(model.replay_buffer.breaks).tolist() == [19]
    assert not model.replay_buffer.dones.any()


def test_segments_do_not_join_the_episodes_of_two_environments():
    model = counting()
    model.learn(20)
    other = Counter(length=10**9)
    other.episode = 5
    model.set_env(other)
    model.learn(20, reset_num_timesteps=False)
    assert set(model.replay_buffer.observations[:40, 0, 0]) == {1.0, 6.0}
    assert joined_episodes(model) == 0


@pytest.mark.parametrize(("truncate", "joined"), [(True, False), (False, True)])
def test_a_loaded_replay_buffer_goes_on_with_its_last_episode_only_where_that_is_asked_for(tmp_path, truncate, joined):
    stored, model = counting(), counting()
    stored.learn(20)
    stored.save_replay_buffer(tmp_path / "buffer")
    stored.learn(5)
    model.learn(5)
    model.env.envs[0].unwrapped.episode = 3
    model.learn(5)
    model.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=truncate)
    model.learn(20, reset_num_timesteps=False)
    assert set(model.replay_buffer.observations[:40, 0, 0]) == {1.0, 4.0}
    assert (joined_episodes(model) > 0) == joined


@pytest.mark.parametrize("n_added", [6, 10, 23])
def test_with_memory_saved_the_row_whose_observation_was_overwritten_is_not_drawn(n_added):
    # of a full buffer, the newest next observation lies where the oldest row's observation was
    buffer = numbered_buffer(n_added, optimize_memory_usage=True, handle_timeout_termination=False)
    set_random_seed(0)
    segments = buffer.sample_segments(400, 4)
    kept = segments.mask.bool()
    times = segments.observations[kept, 0]
    assert th.equal(segments.rewards[kept], times * 10)
    assert th.equal(segments.next_observations[kept, 0], times + 1)
    oldest = n_added - 9 if n_added >= 10 else 0
    assert set(segments.observations[:400, 0].int().tolist()) == set(range(oldest, n_added))


def test_segments_with_memory_saved():
    env = SmallProcess("vector")
    model = deep(
        env, trace_decay=0.9, optimize_memory_usage=True, replay_buffer_kwargs={"handle_timeout_termination": False}
    )
    model.learn(60)
    segments = model.replay_buffer.sample_segments(50, 3)
    following = segments.next_observations.reshape(3, 50, 3)[:-1]
    ahead = segments.observations.reshape(3, 50, 3)[1:]
    kept = segments.mask.reshape(3, 50)[1:].bool()
    assert th.equal(following[kept], ahead[kept])


def batch_of(observations, actions, log_behavior, rewards, terminated, next_observations=None):
    n = len(actions)
    recorded = np.column_stack([actions, log_behavior]).astype(np.float32)
    return Segments(
        th.as_tensor(observations, dtype=th.float32),
        th.as_tensor(recorded),
        th.as_tensor(observations if next_observations is None else next_observations, dtype=th.float32),
        th.as_tensor(terminated, dtype=th.float32),
        th.as_tensor(rewards, dtype=th.float32),
        th.ones(n, dtype=th.bool),
        th.ones(n),
        1,
    )


def actor_gradient(model, loss):
    parameters = model.policy.optimizer.param_groups[0]["params"]
    return th.cat([part.ravel() for part in th.autograd.grad(loss, parameters, retain_graph=True)])


@pytest.mark.parametrize("rho_bar", [0.2, 1.0, 50.0])
def test_truncation_with_bias_correction_leaves_the_expected_gradient_unchanged(rho_bar):
    # One state, b = (1/2, 1/4, 1/4) as 2 : 1 : 1 rows; what follows is known, so the sampled return is Q itself.
    model = deep(rho_bar=rho_bar, ent_coef=0.0)
    policy, state = model.policy, np.array([[0.2, 0.5, 0.9]])
    with th.no_grad():
        policy.action_net.bias.copy_(th.tensor([-1.0, 0.5, 1.5]))
        policy.value_net.bias.copy_(th.tensor([1.0, -2.0, 3.0]))
        tensor = th.as_tensor(state, dtype=th.float32)
        q = policy.critic_output(tensor)[0]
    actions = np.array([0, 0, 1, 2])
    rows = np.tile(np.log([0.5, 0.25, 0.25]), (4, 1))
    batch = batch_of(np.repeat(state, 4, axis=0), actions, rows, q.numpy()[actions], np.ones(4))
    actor_loss, critic_loss, _ = losses(model, batch)
    expected = -(policy.log_probabilities(tensor)[0].exp() * q).sum()
    th.testing.assert_close(actor_gradient(model, actor_loss), actor_gradient(model, expected), rtol=1e-4, atol=1e-6)
    assert critic_loss.item() == pytest.approx(0.0, abs=1e-9)


def test_unknown_probabilities_of_other_actions_go_without_correction():
    model = deep(ent_coef=0.0)
    rows = np.full((1, 3), np.nan)
    rows[0, 1] = np.log(0.6)
    batch = batch_of(np.full((1, 3), 0.5), np.array([1]), rows, [2.0], [1.0])
    actor_loss, _, _ = losses(model, batch)
    log_target = model.policy.log_probabilities(batch.observations)
    with th.no_grad():
        value = (log_target.exp() * model.policy.critic_output(batch.observations)).sum()
        rho = log_target[0, 1].exp() / 0.6
    assert rho < 1.0
    expected = -(rho * (2.0 - value) * log_target[0, 1])
    th.testing.assert_close(actor_gradient(model, actor_loss), actor_gradient(model, expected), rtol=1e-4, atol=1e-6)


def test_the_critic_bootstraps_from_the_target_copy_under_the_target_policy_except_at_termination():
    model = deep(gamma=0.5)
    with th.no_grad():
        for parameter in model.policy.critic_target.parameters():
            parameter.add_(0.3)
    observations, following = np.full((2, 3), 0.1), np.full((2, 3), 0.8)
    rows = np.tile(np.log([0.2, 0.3, 0.5]), (2, 1))
    batch = batch_of(observations, np.array([2, 2]), rows, [1.0, 1.0], [0.0, 1.0], following)
    _, critic_loss, _ = losses(model, batch)
    with th.no_grad():
        probabilities = model.policy.log_probabilities(batch.next_observations).exp()
        value = (probabilities * model.policy.critic_target(batch.next_observations)).sum(dim=1)[0]
        taken = model.policy.critic_output(batch.observations)[:, 2]
        targets = th.stack([1.0 + 0.5 * value, th.tensor(1.0)])
    expected = nn.functional.smooth_l1_loss(taken, targets)
    assert critic_loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_vtrace_losses_by_hand():
    model = deep(critic="vtrace", gamma=0.5, rho_bar=1.0, ent_coef=0.1)
    rows = np.tile(np.log([0.9, 0.05, 0.05]), (2, 1))
    batch = batch_of(np.full((2, 3), 0.1), np.array([0, 1]), rows, [1.0, 2.0], [0.0, 1.0], np.full((2, 3), 0.8))
    actor_loss, critic_loss, mean_entropy = losses(model, batch)
    policy = model.policy
    log_target = policy.log_probabilities(batch.observations)
    with th.no_grad():
        values, following = policy.state_values(batch.observations), policy.state_values(batch.next_observations)
        ratios = (log_target.gather(1, th.tensor([[0], [1]]))[:, 0] - th.as_tensor(rows[[0, 1], [0, 1]])).exp()
        rho = ratios.clamp(max=1.0).float()
        errors = th.tensor([1.0, 2.0]) + 0.5 * following * th.tensor([1.0, 0.0]) - values
    assert ratios[1] > 1.0 > ratios[0]
    assert critic_loss.item() == pytest.approx(
        nn.functional.smooth_l1_loss(values, values + rho * errors).item(), rel=1e-4
    )
    entropies = -(log_target.exp() * log_target).sum(dim=1).mean()
    objective = (rho * errors * log_target[[0, 1], [0, 1]]).mean() + 0.1 * entropies
    assert mean_entropy.item() == pytest.approx(entropies.item())
    th.testing.assert_close(actor_gradient(model, actor_loss), actor_gradient(model, -objective), rtol=1e-4, atol=1e-7)


def segment_of(rewards, cut, terminated, log_behavior, actions):
    """Consecutive observations [0, .], [.1, .], ... of one segment, which the first row without a successor ends."""
    n = len(rewards)
    points = np.column_stack([np.arange(n + 1) / 10, np.full(n + 1, 0.5), np.full(n + 1, 0.2)])
    batch = batch_of(points[:-1], np.array(actions), log_behavior, rewards, terminated, points[1:])
    mask = np.concatenate([[True], ~np.logical_or.accumulate(cut[:-1])])
    return batch._replace(cut=th.tensor(cut), mask=th.as_tensor(mask, dtype=th.float32), n_steps=n)


def both_ways(model, batch):
    """(actor loss, critic loss) by torch and by NumPy."""
    networks = perceptrons_of(model.policy, len(batch.rewards))
    return [float(part.detach()) for part in losses(model, batch)[:2]], list(networks.write_gradient(model, batch)[:2])


def apart(model):
    """Give the target critic values far from those of the critic that learns."""
    with th.no_grad():
        for parameter in model.policy.critic_target.parameters():
            parameter.mul_(-2.0).add_(0.7)


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
def test_on_policy_the_targets_are_returns_that_know_of_the_target_network_only_where_the_data_end(critic):
    model = deep(critic=critic, trace_decay=1.0, gamma=0.9, ent_coef=0.0)
    apart(model)
    policy, actions = model.policy, [2, 0, 1]
    with th.no_grad():
        for part in (policy.action_net.weight, policy.action_net.bias):
            part.zero_()  # one third each, as the behavior has it
        for part in policy.critic_target[-1].parameters():
            part[:] = part[0].clone()  # Retrace's E Q' - Q'(a), zero on average, is zero
    rows, taken = np.full((3, 3), np.log(1 / 3)), th.tensor(actions)[:, None]
    for cut, terminated, kept in (
        ([False, False, True], [0.0, 0.0, 0.0], 3),
        ([False, False, True], [0.0, 0.0, 1.0], 3),
        ([False, True, True], [0.0, 0.0, 0.0], 2),
        ([False, True, True], [0.0, 1.0, 0.0], 2),
    ):
        batch = segment_of([0.5, -1.0, 2.0], cut, terminated, rows, actions)
        with th.no_grad():
            online = policy.critic_output(batch.observations)
            ahead = policy.critic_output(batch.next_observations, target=True).mean(dim=1)[kept - 1].item()
        returns, future = [], 0.0 if any(terminated) else ahead
        for reward in [0.5, -1.0, 2.0][:kept][::-1]:
            future = reward + 0.9 * future
            returns.insert(0, future)
        values, predicted = online.mean(dim=1), online[:, 0]
        if critic == "retrace":
            predicted = online.gather(1, taken)[:, 0]
        errors = nn.functional.smooth_l1_loss(predicted[:kept], th.tensor(returns))
        # every ratio is 1 and log pi is log 1/3
        objective = np.log(1 / 3) * (th.tensor(returns) - values[:kept]).mean()
        for actor_loss, critic_loss in both_ways(model, batch):
            assert critic_loss == pytest.approx(errors.item(), rel=1e-5)
            assert actor_loss == pytest.approx(-objective.item(), rel=1e-5)


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
def test_off_policy_targets_follow_the_papers_recursion_with_the_target_network_where_it_bootstraps(critic):
    model = deep(critic=critic, trace_decay=0.8, gamma=0.9, ent_coef=0.0, rho_bar=0.9)
    apart(model)
    policy, actions = model.policy, [2, 0, 1]
    rows = np.log([[0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [0.4, 0.2, 0.4]])
    batch = segment_of([0.5, -1.0, 2.0], [False, False, True], [0.0, 0.0, 0.0], rows, actions)
    with th.no_grad():
        pi = policy.log_probabilities(batch.observations).exp().numpy()
        pi_ahead = policy.log_probabilities(batch.next_observations).exp().numpy()
        q, slow, ahead = (
            policy.critic_output(observed, target=target).numpy()
            for observed, target in (
                (batch.observations, False),
                (batch.observations, True),
                (batch.next_observations, True),
            )
        )
    rho = pi[np.arange(3), actions] / np.exp(rows[np.arange(3), actions])
    trace = 0.8 * np.minimum(rho, 1.0)
    assert (rho > 1.0).any()
    assert (rho < 0.9).any()
    r = [0.5, -1.0, 2.0]
    if critic == "retrace":
        bootstrap = (pi_ahead * ahead).sum(axis=1)
        r2 = r[2] + 0.9 * bootstrap[2]
        r1 = r[1] + 0.9 * (bootstrap[1] + trace[2] * (r2 - slow[2, 1]))
        r0 = r[0] + 0.9 * (bootstrap[0] + trace[1] * (r1 - slow[1, 0]))
        targets, predicted = [r0, r1, r2], q[np.arange(3), actions]
    else:
        value, bootstrap, weight = q[:, 0], ahead[:, 0], np.minimum(rho, 0.9)
        v2 = value[2] + weight[2] * (r[2] + 0.9 * bootstrap[2] - value[2])
        v1 = value[1] + weight[1] * (r[1] + 0.9 * bootstrap[1] - value[1]) + 0.9 * trace[1] * (v2 - bootstrap[1])
        v0 = value[0] + weight[0] * (r[0] + 0.9 * bootstrap[0] - value[0]) + 0.9 * trace[0] * (v1 - bootstrap[0])
        targets, predicted = [v0, v1, v2], value
    expected = nn.functional.smooth_l1_loss(th.as_tensor(predicted), th.as_tensor(np.array(targets, dtype=np.float32)))
    for _, critic_loss in both_ways(model, batch):
        assert critic_loss == pytest.approx(expected.item(), rel=1e-5)


class Chain(gym.Env):
    """Five states in a row, whatever is done; leaving the last one gives 1."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return 0, {}

    def step(self, action):
        self.state += 1
        ended = self.state == 5
        return min(self.state, 4), float(ended), ended, False, {}


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
def test_a_chain_is_learned_in_whole_between_two_copies_of_the_target_network(critic):
    # lambda = 1 on policy, segments that reach the end: a target network that still holds 0 has no say
    model = deep(
        Chain(),
        critic=critic,
        trace_decay=1.0,
        n_steps=5,
        behavior_policy="target",
        learning_rate=0.0,
        critic_learning_rate=0.02,
        gamma=1.0,
        train_freq=1,
        buffer_size=2000,
        target_update_interval=10_000,
        policy_kwargs={"net_arch": []},
    )
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.zero_()
    model.learn(700)
    np.testing.assert_allclose(model.policy.predict_values(th.arange(5))[:, 0].detach(), 1.0, atol=0.05)


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
def test_actor_and_critic_gradients_do_not_mix(critic):
    model = deep(critic=critic)
    model.learn(40)
    batch = model.replay_buffer.sample_segments(8, 1)
    actor_loss, critic_loss, _ = losses(model, batch)
    actor, critic_parameters = (group["params"] for group in model.policy.optimizer.param_groups)
    assert all(g is None for g in th.autograd.grad(actor_loss, critic_parameters, allow_unused=True, retain_graph=True))
    assert all(g is None for g in th.autograd.grad(critic_loss, actor, allow_unused=True))


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
@pytest.mark.parametrize(
    ("frozen", "prefixes"),
    [
        ("learning_rate", ("pi_", "mlp_extractor.policy", "action_net")),
        ("critic_learning_rate", ("vf_", "mlp_extractor.value", "value_net", "critic.")),
    ],
)
def test_a_step_size_of_zero_freezes_its_part_bit_for_bit(frozen, prefixes, critic):
    model = deep(critic=critic, **{frozen: 0.0})
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(100)
    for name, value in model.policy.state_dict().items():
        if not name.startswith("critic_target") and not name.startswith("features_extractor"):
            assert th.equal(value, before[name]) == name.startswith(prefixes), name


def test_probabilities_are_those_of_the_moment_of_acting():
    model = deep(behavior_policy="target", learning_starts=20, train_freq=20)
    seen = []

    def watch(locals_, _):
        with th.no_grad():
            tensors = th.as_tensor(model._last_obs, dtype=th.float32)
            seen.append(model.policy.log_probabilities(tensors)[0].numpy())
        return True

    model.learn(100, callback=watch)
    stored = model.replay_buffer.actions[:100, 0]
    np.testing.assert_allclose(stored[:, 1:], seen, rtol=1e-5)
    assert set(stored[:, 0]) <= {0.0, 1.0, 2.0}
    assert np.abs(stored[0, 1:] - stored[-1, 1:]).max() > 1e-3


def test_a_fixed_behavior_needs_no_network_to_act():
    model = deep(learning_starts=1000)
    model.policy.log_probabilities = None
    model.learn(20)
    np.testing.assert_allclose(model.replay_buffer.actions[:20, 0, 1:], np.log(1 / 3), rtol=1e-6)


@pytest.mark.parametrize(("interval", "copies"), [(0, 0), (10, 5), (25, 2)])
def test_the_target_critic_is_copied_at_its_interval(interval, copies):
    model = deep(target_update_interval=interval, learning_starts=5, train_freq=1)
    versions = []

    def watch(*_):
        weights = model.policy.critic_target[-1].weight.detach().clone()
        if not versions or not th.equal(versions[-1], weights):
            versions.append(weights)
        return True

    model.learn(51, callback=watch)
    assert len(versions) == copies + 1


def test_soft_copies_move_a_part_of_the_way():
    from agents.off_pac.replayed import copy_target

    model = deep(tau=0.25)
    with th.no_grad():
        model.policy.value_net.bias.fill_(4.0)
        model.policy.critic_target[-1].bias.fill_(0.0)
    copy_target(model)
    assert model.policy.critic_target[-1].bias.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("trace_decay", [0.0, 0.9])
def test_normalization_happens_when_sampling(trace_decay, n_envs):
    env = VecNormalize(DummyVecEnv([lambda: SmallProcess("vector") for _ in range(n_envs)]))
    model = deep(env, trace_decay=trace_decay)
    model.learn(80)
    stored = model.replay_buffer.observations[: 80 // n_envs]
    points = SmallProcess("vector").points
    assert all(np.isclose(points, row, atol=1e-6).all(axis=1).any() for row in stored.reshape(-1, 3))
    segments = model.replay_buffer.sample_segments(30, 2, env)
    assert segments.observations.abs().max() > 1.05
    np.testing.assert_allclose(model.replay_buffer.sample_segments(30, 1, env).rewards.std(), 1.0, atol=0.9)


def test_sb3s_replay_buffers_can_be_used():
    deep(replay_buffer_class=ReplayBuffer).learn(40)
    with pytest.raises(ValueError, match="draws single ones"):
        deep(replay_buffer_class=ReplayBuffer, trace_decay=0.9)
    with pytest.raises(ValueError, match="without importance ratios"):
        deep(replay_buffer_class=NStepReplayBuffer)


def test_hindsight_replay():
    env = BitFlippingEnv(n_bits=3, continuous=False)
    model = OffPAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 2, "goal_selection_strategy": "future"},
        policy_kwargs={"net_arch": [16]},
        learning_starts=20,
        buffer_size=200,
        device="cpu",
        seed=0,
    )
    model.learn(80)
    assert model._n_updates == 15


def test_the_replay_buffer_can_be_saved(tmp_path):
    model = deep()
    model.learn(50)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = OffPAC.load(tmp_path / "model", env=SmallProcess("vector"))
    assert loaded.replay_buffer.size() == 0
    loaded.load_replay_buffer(tmp_path / "buffer")
    np.testing.assert_array_equal(loaded.replay_buffer.actions, model.replay_buffer.actions)
    loaded.learn(20, reset_num_timesteps=False)


def test_the_optimizer_travels_with_the_model(tmp_path):
    model = deep()
    model.learn(60)
    model.save(tmp_path / "model")
    loaded = OffPAC.load(tmp_path / "model")
    ours, theirs = (m.policy.optimizer.state_dict()["state"] for m in (model, loaded))
    assert ours.keys() == theirs.keys()
    assert all(th.equal(ours[k]["exp_avg"], theirs[k]["exp_avg"]) for k in ours)
    assert len(ours) > 4


class Normalizing(BaseFeaturesExtractor):
    """A features extractor whose output depends on the mode."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, observations):
        return self.norm(observations)


def test_batch_normalization_learns_in_training_and_the_target_copy_takes_its_statistics():
    model = deep(policy_kwargs={"features_extractor_class": Normalizing}, target_update_interval=20, learning_starts=5)
    start = model.policy.critic[0].norm.running_mean.clone()
    model.learn(4, reset_num_timesteps=False)
    assert th.equal(model.policy.critic[0].norm.running_mean, start)
    model.learn(56, reset_num_timesteps=False)
    assert not th.equal(model.policy.critic[0].norm.running_mean, start)
    assert not model.policy.critic_target.training
    assert not th.equal(model.policy.critic_target[0].norm.running_mean, start)
    before = model.policy.critic[0].norm.running_mean.clone()
    model.predict(np.zeros((4, 3)))
    assert th.equal(model.policy.critic[0].norm.running_mean, before)


def test_a_gradient_that_is_not_finite_is_not_applied():
    model = deep()
    model.learn(40)
    before = model.policy.parameters_to_vector()
    model.replay_buffer.rewards[:] = np.inf
    with pytest.raises(FloatingPointError, match="not finite and was not applied"):
        model.train(1, 8)
    np.testing.assert_array_equal(model.policy.parameters_to_vector(), before)


@pytest.mark.parametrize(
    "arguments", [{}, {"critic": "vtrace"}, {"trace_decay": 0.9}, {"critic": "vtrace", "trace_decay": 0.9}]
)
def test_it_learns_from_uniform_actions(arguments):
    model = deep(
        IdentityEnv(dim=4, ep_length=20),
        learning_rate=3e-3,
        critic_learning_rate=1e-2,
        gamma=0.2,
        train_freq=1,
        buffer_size=2000,
        ent_coef=0.05,
        **{"batch_size": 16, **arguments},
    )
    model.learn(700)
    actions, _ = model.predict(np.arange(4), deterministic=True)
    np.testing.assert_array_equal(actions, np.arange(4))


def test_box_actions():
    model = deep(
        Reach(),
        learning_rate=3e-3,
        critic_learning_rate=1e-2,
        train_freq=1,
        buffer_size=5000,
        batch_size=32,
        ent_coef=0.0,
    )
    model.learn(1500)
    action, _ = model.predict(np.ones(1), deterministic=True)
    assert abs(action[0] - 4.0) < 1.0
    with pytest.raises(ValueError, match='critic="vtrace"'):
        deep(Reach(), critic="retrace")


def test_box_actions_are_stored_before_clipping():
    env = Reach()
    model = deep(
        env,
        behavior_policy=lambda o: th.distributions.Normal(th.full((len(o), 1), 6.0), th.full((len(o), 1), 1.0)),
        learning_starts=1000,
    )
    model.learn(40)
    stored = model.replay_buffer.actions[:40, 0]
    assert (stored[:, 0] > 6.0).any()
    np.testing.assert_allclose(np.array(env.received).ravel(), np.clip(stored[:, 0], -2, 6), rtol=1e-6)
    expected = -0.5 * (stored[:, 0] - 6.0) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(stored[:, 1], expected, rtol=1e-4, atol=1e-5)


def test_steps_of_the_last_rollout_are_cut_to_the_budget():
    model = deep(train_freq=4)
    model.learn(42)
    assert model.num_timesteps == 42
    episodes = deep(gym.wrappers.TimeLimit(SmallProcess("vector"), 50), train_freq=(1, "episode"))
    episodes.learn(10)
    assert episodes._episode_num >= 1


def test_box_actions_are_stored_as_they_were_drawn_with_their_density_and_executed_clipped():
    env = Reach()
    model = OffPAC(
        "MlpPolicy", env, behavior_policy="target", learning_starts=1000, buffer_size=100, device="cpu", seed=0
    )
    with th.no_grad():
        model.policy.log_std.fill_(2.0)  # wider than the box
    model.learn(60)
    drawn, log_density = model.replay_buffer.actions[:60, 0].T
    outside = (drawn < -2.0) | (drawn > 6.0)
    assert outside.sum() > 10
    np.testing.assert_allclose(np.ravel(env.received), np.clip(drawn, -2.0, 6.0), rtol=1e-6)
    with th.no_grad():
        distribution = model.policy.get_distribution(th.ones(60, 1))
        own = distribution.log_prob(th.as_tensor(drawn).unsqueeze(1)).numpy()
    np.testing.assert_allclose(log_density, own, rtol=1e-5, atol=1e-6)


def test_ratios_of_box_actions_are_of_the_stored_density():
    model = OffPAC("MlpPolicy", Reach(), critic="vtrace", device="cpu", seed=0)
    actions = th.tensor([[0.0], [5.0]])
    with th.no_grad():
        log_target = model.policy.get_distribution(th.ones(2, 1)).log_prob(actions)
    # stored as half and a quarter as likely as the policy finds them now
    stored = th.cat([actions, log_target.unsqueeze(1) - th.tensor([[2.0], [4.0]]).log()], dim=1)
    ones, zeros = th.ones(2), th.zeros(2)
    losses(model, Segments(th.ones(2, 1), stored, th.ones(2, 1), ones, zeros, ones.bool(), ones, 1))
    assert model.ratio_statistics.mean == pytest.approx(3.0, rel=1e-5)
    assert model.ratio_statistics.largest == pytest.approx(4.0, rel=1e-5)
