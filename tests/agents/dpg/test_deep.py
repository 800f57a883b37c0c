"""Deep DPG against the paper's equations, with Jacobians from a loop over states and outputs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from agents.common.compatible_features import Differential, per_sample_jacobian
from agents.dpg import DPG, TrainingDivergedError
from agents.dpg.deep_policy import MlpPolicy
from agents.dpg.perceptrons import perceptron_gradients
from tests.agents.dpg.toys import HIGH, LOW, BoxProcess, scaled
from tests.agents.off_pac.tape import Tape

RATES = {"learning_rate": 0.05, "critic_learning_rate": 0.04}
VARIANTS: list[dict[str, Any]] = [
    {"variant": "copdac-q"},
    {"variant": "copdac-q", "natural_gradient": True},
    {"variant": "copdac-gq"},
    {"variant": "copdac-gq", "full_gq": True},
    {"variant": "opdac"},
    {"variant": "on-policy"},
]
each_variant = pytest.mark.parametrize("arguments", VARIANTS, ids=lambda given: "-".join(map(str, given.values())))


def plain(n_envs: int = 1, **arguments: Any) -> DPG:
    """A model with plain gradient steps, so that increments can be compared."""
    env = DummyVecEnv([lambda: BoxProcess("vector", cap=4, dtype=np.float64) for _ in range(n_envs)])
    kwargs = {"net_arch": [5], "activation_fn": nn.Tanh, "optimizer_class": th.optim.SGD}
    if "behavior_policy" not in arguments:
        arguments.setdefault("action_noise", NormalActionNoise(np.zeros(2), np.full(2, 0.9)))
    compatible = arguments.get("variant", "copdac-q").startswith("copdac")
    more = {"value_learning_rate": 0.03} if compatible else {}
    return DPG("MlpPolicy", env, policy_kwargs=kwargs, seed=1, gamma=0.9, **{**RATES, **more, **arguments})


def flat(tensors: Any) -> th.Tensor:
    return th.cat([part.detach().reshape(-1) for part in tensors])


def naive_jacobian(network: Any, obs: th.Tensor) -> th.Tensor:
    """[n, m, n_parameters] by a loop over states and outputs."""
    parameters = list(network.parameters())
    rows = []
    for state in obs:
        output = network(state[None])[0]
        rows.append(th.stack([flat(th.autograd.grad(part, parameters, retain_graph=True)) for part in output]))
    return th.stack(rows)


def test_products_with_jacobians_are_those_of_a_loop_over_states_and_outputs() -> None:
    policy: Any = plain().policy
    obs = th.rand(4, 3)
    naive = naive_jacobian(policy.actor, obs)
    parameters = list(policy.actor.parameters())
    jacobian = per_sample_jacobian(policy.actor_function(obs), parameters)
    th.testing.assert_close(th.cat([part.reshape(4, 2, -1) for part in jacobian], dim=2), naive)
    differential = Differential(policy.actor_function(obs), parameters)
    direction = [th.randn_like(part) for part in parameters]
    th.testing.assert_close(differential.along(direction), naive @ flat(direction))
    coefficients = th.randn(4, 2)
    th.testing.assert_close(flat(differential.summed(coefficients)), (coefficients[..., None] * naive).sum(dim=(0, 1)))
    th.testing.assert_close(differential.value, policy.actor(obs))


def test_one_state_with_one_output_takes_a_shortcut_to_the_same_products() -> None:
    policy: Any = DPG("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [5]}).policy
    obs, parameters = th.rand(1, 3), list(policy.actor.parameters())
    naive = naive_jacobian(policy.actor, obs)
    differential = Differential(policy.actor_function(obs), parameters)
    direction = [th.randn_like(part) for part in parameters]
    th.testing.assert_close(differential.along(direction), naive @ flat(direction))
    th.testing.assert_close(flat(differential.summed(th.tensor([[0.7]]))), 0.7 * naive[0, 0])


def spelled_out(policy: Any, transitions: Any, next_actions: Any, arguments: dict[str, Any]) -> dict[str, th.Tensor]:
    """Increments of all parts from one vector step, before step sizes."""
    actor = list(policy.actor.parameters())
    theta = flat(actor)
    changes: dict[str, Any] = {"theta": th.zeros_like(theta)}
    compatible = arguments["variant"].startswith("copdac")
    critic = policy.value if compatible else policy.critic
    changes["v"] = th.zeros_like(flat(critic.parameters()))
    changes["w"] = th.zeros_like(theta)
    n_u = len(theta) + (len(changes["v"]) if arguments.get("full_gq") else 0)
    changes["u"] = th.zeros(n_u)
    for i, t in enumerate(transitions):
        s, following = (th.as_tensor(obs, dtype=th.float32)[None] for obs in (t.observation, t.next_observation))
        a = th.as_tensor(scaled(t.action), dtype=th.float32)
        discount = 0.0 if t.terminated else 0.9
        gradient, mu = naive_jacobian(policy.actor, s)[0].T, policy.actor(s)[0].detach()
        if compatible:
            w, phi = flat(policy.w), gradient @ (a - mu)
            delta = t.reward + discount * policy.value(following).item() - (phi @ w + policy.value(s).item())
            changes["theta"] += w if arguments.get("natural_gradient") else gradient @ (gradient.T @ w)
            changes["w"] += delta * phi
            slope = flat(th.autograd.grad(policy.value(s).sum(), list(policy.value.parameters())))
            changes["v"] += delta * slope
            if arguments["variant"] == "copdac-gq":
                f = th.cat([phi, slope]) if arguments.get("full_gq") else phi
                next_slope = flat(th.autograd.grad(policy.value(following).sum(), list(policy.value.parameters())))
                changes["v"] -= discount * (f @ flat(policy.u)) * next_slope
                changes["u"] += (delta - f @ flat(policy.u)) * f
        else:
            chosen = policy.actor(following) if next_actions is None else next_actions[i][None]
            q = policy.critic.q1_forward(s, a[None])
            delta = t.reward + discount * policy.critic.q1_forward(following, chosen).item() - q.item()
            changes["v"] += delta * flat(th.autograd.grad(q.sum(), list(policy.critic.parameters())))
            point = mu[None].clone().requires_grad_()
            changes["theta"] += gradient @ th.autograd.grad(policy.critic.q1_forward(s, point).sum(), point)[0][0]
    return changes


def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain perceptrons are computed by torch, too."""
    monkeypatch.setattr("agents.dpg.deep_run.perceptron_gradients", lambda policy, n: None)


@each_variant
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("by", ["numpy", "torch"])
def test_every_step_is_that_of_the_paper(
    arguments: dict[str, Any], n_envs: int, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "torch":
        by_torch(monkeypatch)
    given = dict(arguments)
    if given["variant"] == "on-policy":
        given["behavior_policy"] = lambda observations: np.stack(
            [3.0 * np.sin(9.0 * observations[:, 0]), 0.5 * observations[:, 1]], axis=1
        )
    if given["variant"] == "copdac-gq":
        given["secondary_learning_rate"] = 0.02
    model = plain(n_envs, **given)

    def next_actions(_: Any, following: np.ndarray) -> Any:
        if arguments["variant"] != "on-policy":
            return None
        units = np.clip(given["behavior_policy"](following), LOW, HIGH)
        return th.as_tensor(scaled(units), dtype=th.float32)

    assert_steps_of_the_paper(model, n_envs, arguments, next_actions)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("by", ["numpy", "torch"])
def test_sarsas_noise_is_added_to_the_mean_at_the_next_state(
    n_envs: int, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "torch":
        by_torch(monkeypatch)
    # Noise that is always the same tells what it was added to.
    always = np.array([0.6, -0.4])
    arguments = {"variant": "on-policy"}
    model = plain(n_envs, action_noise=NormalActionNoise(always, np.zeros(2)), **arguments)

    def next_actions(policy: Any, following: np.ndarray) -> th.Tensor:
        with th.no_grad():
            return (policy(th.as_tensor(following, dtype=th.float32)) + th.as_tensor(always).float()).clamp(-1.0, 1.0)

    assert_steps_of_the_paper(model, n_envs, arguments, next_actions)


def assert_steps_of_the_paper(model: DPG, n_envs: int, arguments: dict[str, Any], next_actions: Any) -> None:
    """25 steps, of which some end an episode in each of the two ways.

    Args:
        model: from ``plain``.
        n_envs, arguments: what it was made with.
        next_actions: (policy before the step, [n, 3] s') -> [n, 2] a', or None.
    """
    policy: Any = model.policy
    assert perceptron_gradients(policy, n_envs) is not None
    with th.no_grad():
        for part in [*policy.w, *policy.u]:
            part.copy_(0.3 * th.randn_like(part))
    seen = set()
    for _ in range(25):
        before, tape = copy.deepcopy(policy), Tape()
        model.learn(n_envs, callback=tape, reset_num_timesteps=False)
        (transitions,) = tape.steps
        following = np.stack([t.next_observation for t in transitions])
        changes = spelled_out(before, transitions, next_actions(before, following), arguments)
        critic = "value" if policy.layout.compatible else "critic"
        rates = {"theta": 0.05, "w": 0.04, "u": 0.02, "v": 0.03 if critic == "value" else 0.04}
        for name, part in {"theta": "actor", "v": critic, "w": "w", "u": "u"}.items():
            new = list(getattr(policy, part).parameters())
            if new:
                old = flat(getattr(before, part).parameters())
                th.testing.assert_close(flat(new), old + rates[name] * changes[name], rtol=1e-4, atol=1e-5, msg=name)
        seen |= {(t.terminated, t.truncated) for t in transitions}
    assert seen == {(False, False), (True, False), (False, True)}


@each_variant
def test_learning_does_not_depend_on_who_computes_the_gradients(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learned() -> th.Tensor:
        return flat(DPG("MlpPolicy", BoxProcess("vector"), seed=0, **arguments).learn(200).policy.parameters())

    fast = learned()
    by_torch(monkeypatch)
    th.testing.assert_close(learned(), fast, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize(
    "disturb",
    [
        lambda policy: policy.optimizer.zero_grad(),
        lambda policy: policy.load_from_vector(policy.parameters_to_vector() * 0.5),
        lambda policy: policy.load_state_dict({name: 0.5 * part for name, part in policy.state_dict().items()}),
    ],
    ids=["gradients dropped", "parameters replaced", "parameters overwritten"],
)
def test_a_callback_may_load_weights_or_drop_gradients(disturb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned() -> th.Tensor:
        model = plain(2)

        def callback(*_: Any) -> bool:
            if model.num_timesteps == 10:
                disturb(model.policy)
            return True

        return flat(model.learn(40, callback=callback).policy.parameters())

    fast = learned()
    by_torch(monkeypatch)
    th.testing.assert_close(learned(), fast, rtol=1e-4, atol=1e-5)


class Doubled(FlattenExtractor):
    """Not what a perceptron starts with."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return 2.0 * super().forward(observations)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DPG("MlpPolicy", BoxProcess("index")),
        lambda: DPG("MlpPolicy", BoxProcess("vector"), policy_kwargs={"features_extractor_class": Doubled}),
        lambda: DPG("MlpPolicy", BoxProcess("vector"), policy_kwargs={"activation_fn": nn.Softplus}),
        lambda: DPG("CnnPolicy", FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=False)),
        lambda: DPG(type("Own", (MlpPolicy,), {}), BoxProcess("vector")),
    ],
    ids=["one-hot", "features extractor", "activation", "images", "policy class"],
)
def test_everything_but_plain_perceptrons_is_left_to_torch(make: Any) -> None:
    model = make()
    assert perceptron_gradients(model.policy, 1) is None
    before = flat(model.policy.parameters()).clone()
    model.learn(3)
    assert not th.equal(before, flat(model.policy.parameters()))


@pytest.mark.parametrize(
    ("name", "part"), [("learning_rate", "actor"), ("critic_learning_rate", "w"), ("value_learning_rate", "value")]
)
def test_a_step_size_of_zero_freezes_its_part_bit_for_bit(name: str, part: str) -> None:
    model = DPG("MlpPolicy", BoxProcess("vector"), seed=0, policy_kwargs={"net_arch": [8]}, **{name: 0.0})
    policy: Any = model.policy
    with th.no_grad():
        for weight in policy.w:
            weight.normal_()
    parts = ("actor", "w", "value")
    before = [flat(getattr(policy, key).parameters()).clone() for key in parts]
    model.learn(30)
    for key, old in zip(parts, before, strict=True):
        assert th.equal(old, flat(getattr(policy, key).parameters())) == (key == part)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("learning_rate", "actor"),
        ("critic_learning_rate", "w"),
        ("value_learning_rate", "value"),
        ("secondary_learning_rate", "u"),
    ],
)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_schedule_that_ends_halfway_ends_the_learning_of_its_part_there(name: str, part: str, n_envs: int) -> None:
    # Of 40 steps the first 20 begin with more than half of the way ahead: 1, 0.975, ..., 0.525.
    model = plain(n_envs, variant="copdac-gq", **{name: lambda progress: 0.02 if progress > 0.5 else 0.0})
    parts = ("actor", "w", "value", "u")
    seen: dict[str, list[th.Tensor]] = {key: [] for key in parts}

    def watch(*_: Any) -> bool:
        # Called before the step is learned from: the k-th entry is what k updates have made.
        for key in parts:
            seen[key].append(flat(getattr(model.policy, key).parameters()).clone())
        return True

    model.learn(40 * n_envs, callback=watch)
    for key, weights in seen.items():
        assert not th.equal(weights[19], weights[20])
        assert th.equal(weights[20], weights[39]) == (key == part)
        assert th.equal(weights[20], weights[21]) == (key == part)


@each_variant
def test_images_and_dictionaries_are_learned_from(arguments: dict[str, Any]) -> None:
    image = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=False)
    kwargs: dict[str, Any] = {"net_arch": [4], "features_extractor_kwargs": {"features_dim": 4}}
    model = DPG("CnnPolicy", image, policy_kwargs=kwargs, seed=0, **arguments)
    before = flat(model.policy.parameters()).clone()
    model.learn(4)
    assert not th.equal(before, flat(model.policy.parameters()))
    env = SimpleMultiObsEnv(random_start=True, discrete_actions=False, channel_last=False)
    kwargs = {"net_arch": [4], "features_extractor_kwargs": {"cnn_output_dim": 4}}
    model = DPG("MultiInputPolicy", env, policy_kwargs=kwargs, seed=0, **arguments)
    model.learn(4)
    observation, _ = env.reset()
    action, _ = model.predict(observation)
    assert env.action_space.contains(action)


def test_nothing_is_shared_between_actor_and_critic() -> None:
    for variant in ("copdac-q", "opdac"):
        policy: Any = DPG("MlpPolicy", "Pendulum-v1", variant=variant).policy
        critic = policy.value if variant == "copdac-q" else policy.critic
        assert not {id(part) for part in policy.actor.parameters()} & {id(part) for part in critic.parameters()}


@pytest.mark.parametrize("by", ["numpy", "torch"])
def test_divergence_stops_the_run_and_keeps_the_parameters_finite(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "torch":
        by_torch(monkeypatch)
    kwargs = {"net_arch": [8], "optimizer_class": th.optim.SGD}
    model = DPG("MlpPolicy", BoxProcess("vector"), value_learning_rate=1e3, policy_kwargs=kwargs, seed=0)
    with pytest.raises(TrainingDivergedError, match="learning_rate is too large"):
        model.learn(2000)
    assert th.isfinite(flat(model.policy.parameters())).all()


def test_adam_is_one_optimizer_with_a_group_for_each_part() -> None:
    groups = {"copdac-q": 3, "copdac-gq": 4, "opdac": 2, "on-policy": 2}
    for variant, n_groups in groups.items():
        optimizer = DPG("MlpPolicy", "Pendulum-v1", variant=variant).policy.optimizer
        assert isinstance(optimizer, th.optim.Adam)
        assert len(optimizer.param_groups) == n_groups


def test_adam_goes_on_after_loading_where_it_stopped(tmp_path: Path) -> None:
    model = DPG("MlpPolicy", BoxProcess("vector"), policy_kwargs={"net_arch": [5]}, seed=0)
    model.learn(30).save(tmp_path / "model")
    loaded = DPG.load(tmp_path / "model", env=BoxProcess("vector"))
    kept, found = (part.policy.optimizer.state_dict()["state"] for part in (model, loaded))
    # mu's and v's weights and biases of two layers, and w's, of mu's shapes
    assert kept.keys() == found.keys() == set(range(12))
    for index, entries in kept.items():
        assert entries["step"] == 30
        assert entries["exp_avg_sq"].any()
        for name, value in entries.items():
            assert th.equal(th.as_tensor(value), th.as_tensor(found[index][name])), (index, name)
    loaded.learn(1, reset_num_timesteps=False)
    assert loaded.policy.optimizer.state_dict()["state"][0]["step"] == 31
