"""The NumPy perceptron against autograd, over random networks, activations and batch sizes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from agents.common.flat import FlatParameters
from agents.common.mlp import Perceptron, layers_of

ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.ELU, nn.Identity)


def build(widths: list[int], activation: type[nn.Module], seed: int, scale: float = 1.0) -> nn.Sequential:
    """Linear layers with the activation between them, none at the end."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        if i:
            modules.append(activation())
        modules.append(nn.Linear(n_in, n_out))
    net = nn.Sequential(*modules)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(scale)
    return net


def perceptron_of(net: nn.Sequential, n_groups: int, rows: int) -> tuple[Perceptron, FlatParameters]:
    flat = FlatParameters(net.parameters())
    layers = layers_of(list(net))
    assert layers is not None
    return Perceptron(layers, n_groups, rows), flat


@settings(max_examples=60)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    n_groups=st.integers(1, 6),
    rows=st.integers(1, 4),
    scale=st.sampled_from([0.1, 1.0, 4.0]),
    by_group=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_forward_and_backward_are_autograds(
    widths: list[int], activation: type[nn.Module], n_groups: int, rows: int, scale: float, by_group: bool, seed: int
) -> None:
    net = build(widths, activation, seed, scale)
    perceptron, flat = perceptron_of(net, n_groups, rows)
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n_groups * rows, widths[0])).astype(np.float32)
    weights = generator.normal(size=(n_groups * rows, widths[-1])).astype(np.float32)
    if by_group:
        for group in range(n_groups):
            own = x[group * rows : (group + 1) * rows]
            answer = perceptron.forward_rows(own[0] if rows == 1 else own, group)
            assert answer.shape == ((widths[-1],) if rows == 1 else (rows, widths[-1]))
        outputs = perceptron.outputs
    else:
        outputs = perceptron.forward(x)
    expected = net(torch.from_numpy(x))
    desired = expected.detach().numpy()
    # float32 rounds to the largest terms of a sum, also where they cancel
    atol = 1e-5 * max(1.0, float(np.abs(desired).max()))
    np.testing.assert_allclose(outputs, desired, rtol=1e-4, atol=atol)
    np.testing.assert_allclose(perceptron.evaluate(x), desired, rtol=1e-4, atol=atol)

    flat.gradient.fill_(np.nan)  # every entry must be written, none added to
    perceptron.backward(x, weights.copy())
    ours = flat.gradient.clone()
    flat.zero_grad()
    (net(torch.from_numpy(x)) * torch.from_numpy(weights)).sum().backward()
    np.testing.assert_allclose(ours.numpy(), flat.gradient.numpy(), rtol=1e-3, atol=2e-4 * scale)


@settings(max_examples=60)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    rows=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_the_derivative_along_a_direction_is_that_of_torch_in_forward_mode(
    widths: list[int], activation: type[nn.Module], rows: int, seed: int
) -> None:
    net, direction = build(widths, activation, seed), build(widths, activation, seed + 1)
    net.append(nn.Tanh())
    direction.append(nn.Tanh())
    perceptron, _ = perceptron_of(net, 1, rows)
    FlatParameters(direction.parameters())
    x = np.random.default_rng(seed).normal(size=(rows, widths[0])).astype(np.float32)
    names, theta = zip(*net.named_parameters(), strict=True)

    def function(*parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (torch.from_numpy(x),))

    where, along = (tuple(p.detach().clone() for p in module.parameters()) for module in (net, direction))
    assert len(theta) == len(along)
    expected = torch.func.jvp(function, where, along)[1].numpy()
    tangents = layers_of(list(direction))
    assert tangents is not None
    perceptron.forward(x)
    np.testing.assert_allclose(perceptron.along(x, tangents), expected, rtol=1e-3, atol=1e-4)


def test_a_gradient_can_be_written_elsewhere_and_leaves_its_own_place_alone() -> None:
    net, other = build([3, 4, 2], nn.Tanh, 0), build([3, 4, 2], nn.Tanh, 1)
    perceptron, flat = perceptron_of(net, 1, 2)
    elsewhere, place = FlatParameters(other.parameters()), layers_of(list(other))
    x, weights = np.ones((2, 3), dtype=np.float32), np.array([[1.0, 2.0], [-1.0, 0.5]], dtype=np.float32)
    perceptron.forward(x)
    perceptron.backward(x, weights.copy(), place)
    assert not flat.gradient.any()
    perceptron.backward(x, weights.copy())
    assert flat.gradient.any()
    torch.testing.assert_close(elsewhere.gradient, flat.gradient)


def test_a_shorter_segment_ignores_what_older_segments_left() -> None:
    net = build([3, 5, 2], nn.Tanh, seed=0)
    perceptron, flat = perceptron_of(net, n_groups=6, rows=1)
    generator = np.random.default_rng(0)
    perceptron.forward(generator.normal(size=(6, 3)).astype(np.float32))
    x = generator.normal(size=(2, 3)).astype(np.float32)
    perceptron.forward(x)
    perceptron.backward(x, np.ones((2, 2), dtype=np.float32))
    ours = flat.gradient.clone()
    flat.zero_grad()
    net(torch.from_numpy(x)).sum().backward()
    torch.testing.assert_close(ours, flat.gradient, rtol=1e-4, atol=1e-6)


def test_evaluate_leaves_what_backward_needs() -> None:
    net = build([3, 5, 2], nn.Tanh, seed=0)
    perceptron, flat = perceptron_of(net, n_groups=2, rows=1)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    perceptron.forward(x)
    perceptron.backward(x, np.ones((2, 2), dtype=np.float32))
    before = flat.gradient.clone()
    perceptron.forward(x)
    perceptron.evaluate(100 * x)
    perceptron.backward(x, np.ones((2, 2), dtype=np.float32))
    torch.testing.assert_close(flat.gradient, before, rtol=0, atol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_saturated_inputs_neither_overflow_nor_warn(activation: type[nn.Module]) -> None:
    net = build([1, 4, 1], activation, seed=0)
    perceptron, flat = perceptron_of(net, n_groups=2, rows=1)
    x = np.array([[1e4], [-1e4]], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        outputs = perceptron.forward(x).copy()
        perceptron.backward(x, np.ones((2, 1), dtype=np.float32))
    np.testing.assert_allclose(outputs, net(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert torch.isfinite(flat.gradient).all()


def test_the_weights_are_the_torch_modules_own_memory() -> None:
    net = build([2, 3, 1], nn.ReLU, seed=0)
    perceptron, flat = perceptron_of(net, n_groups=1, rows=1)
    x = np.ones((1, 2), dtype=np.float32)
    before = perceptron.forward(x).copy()
    with torch.no_grad():
        flat.vector.mul_(2.0)
    after = perceptron.forward(x)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, net(torch.from_numpy(x)).detach().numpy(), rtol=1e-5)


class OwnTanh(nn.Tanh):
    """A subclass may do anything in its forward pass."""


@pytest.mark.parametrize(
    "modules",
    [
        [nn.Linear(2, 3, bias=False)],
        [nn.Tanh(), nn.Linear(2, 3)],
        [nn.Linear(2, 3), nn.Tanh(), nn.Tanh()],
        [nn.Linear(2, 3), nn.LeakyReLU()],
        [nn.Linear(2, 3), nn.ELU(alpha=0.5)],
        [nn.Linear(2, 3), OwnTanh()],
        [nn.Linear(2, 3), nn.Dropout()],
        [nn.Linear(2, 3), nn.LayerNorm(3)],
        [],
    ],
)
def test_anything_but_plain_layers_is_left_to_torch(modules: list[nn.Module]) -> None:
    if modules:
        FlatParameters([*nn.Sequential(*modules).parameters(), nn.Parameter(torch.zeros(1))])
    assert layers_of(modules) is None


def test_parameters_without_gradient_memory_are_left_to_torch() -> None:
    assert layers_of([nn.Linear(2, 3)]) is None
