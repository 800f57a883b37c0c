"""Update rules by hand and against torch where torch has the same rule."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.common.optimizers import adam_update, clip_gradient, momentum_update, rmsprop_update

Vector = NDArray[np.float64]


def vectors(*columns: list[float]) -> list[Vector]:
    return [np.array(column, dtype=np.float64) for column in columns]


def test_two_rmsprop_steps_by_hand() -> None:
    theta, g, scratch = vectors([1.0], [0.0], [0.0])
    rmsprop_update(theta, np.array([2.0]), g, scratch, learning_rate=0.5, alpha=0.75, eps=0.25)
    # g = .25 * 4 = 1;  theta = 1 - .5 * 2 / sqrt(1.25)
    np.testing.assert_allclose(g, [1.0])
    np.testing.assert_allclose(theta, [1.0 - 1.0 / math.sqrt(1.25)])
    rmsprop_update(theta, np.array([-1.0]), g, scratch, learning_rate=0.5, alpha=0.75, eps=0.25)
    # g = .75 * 1 + .25 * 1 = 1
    np.testing.assert_allclose(g, [1.0])
    np.testing.assert_allclose(theta, [1.0 - 1.0 / math.sqrt(1.25) + 0.5 / math.sqrt(1.25)])


def test_epsilon_stands_inside_the_root() -> None:
    # torch's RMSprop puts it outside: 1e-4 / (sqrt(1e-10) + .1), a step three times as long
    theta, g, scratch = vectors([0.0], [0.0], [0.0])
    rmsprop_update(theta, np.array([1e-4]), g, scratch, learning_rate=1.0, alpha=0.99, eps=0.1)
    np.testing.assert_allclose(theta, [-1e-4 / math.sqrt(0.01 * 1e-8 + 0.1)], rtol=1e-12)
    twin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    twin.grad = torch.tensor([1e-4], dtype=torch.float64)
    torch.optim.RMSprop([twin], lr=1.0, alpha=0.99, eps=0.1).step()
    assert float(twin.detach()) < 3 * theta[0]


def test_momentum_averages_gradients_with_weight_one_minus_momentum() -> None:
    theta, m, scratch = vectors([0.0], [0.0], [0.0])
    momentum_update(theta, np.array([4.0]), m, scratch, learning_rate=0.5, momentum=0.75)
    np.testing.assert_allclose([m[0], theta[0]], [1.0, -0.5])
    momentum_update(theta, np.array([4.0]), m, scratch, learning_rate=0.5, momentum=0.75)
    np.testing.assert_allclose([m[0], theta[0]], [1.75, -1.375])


gradients = st.lists(
    st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=3, max_size=3), min_size=1, max_size=6
)


@given(gradients=gradients, learning_rate=st.floats(1e-5, 0.1))
def test_adam_is_torchs(gradients: list[list[float]], learning_rate: float) -> None:
    theta, m, v, scratch = vectors([1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0])
    twin = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([twin], lr=learning_rate, betas=(0.9, 0.999), eps=1e-5)
    for step, gradient in enumerate(gradients, start=1):
        adam_update(theta, np.array(gradient), m, v, scratch, step, learning_rate, 0.9, 0.999, 1e-5)
        twin.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    np.testing.assert_allclose(theta, twin.detach().numpy(), rtol=1e-9, atol=1e-12)


@given(gradients=gradients, alpha=st.floats(0, 0.999), eps=st.floats(1e-8, 1))
def test_rmsprop_is_its_formula(gradients: list[list[float]], alpha: float, eps: float) -> None:
    theta, g, scratch = vectors([1, 2, 3], [0, 0, 0], [0, 0, 0])
    expected, average = theta.copy(), g.copy()
    for gradient in map(np.array, gradients):
        before = gradient.copy()
        rmsprop_update(theta, gradient, g, scratch, 0.01, alpha, eps)
        np.testing.assert_array_equal(gradient, before)  # the caller's gradient is left alone
        average = alpha * average + (1 - alpha) * gradient**2
        expected = expected - 0.01 * gradient / np.sqrt(average + eps)
    np.testing.assert_allclose(g, average, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(theta, expected, rtol=1e-10, atol=1e-12)


def test_clipping_scales_to_the_norm_and_answers_the_norm_it_had() -> None:
    gradient = np.array([3.0, 4.0], dtype=np.float32)
    assert clip_gradient(gradient, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("max_norm", [5.0, 40.0, None])
def test_a_gradient_within_the_norm_is_left_to_the_bit(max_norm: float | None) -> None:
    gradient = np.array([3.0, 4.0], dtype=np.float32)
    assert clip_gradient(gradient, max_norm) == pytest.approx(5.0)
    np.testing.assert_array_equal(gradient, [3.0, 4.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_is_answered_and_the_gradient_left_alone(bad: float) -> None:
    gradient = np.array([1.0, bad], dtype=np.float32)
    assert not math.isfinite(clip_gradient(gradient, 1.0))
    np.testing.assert_array_equal(gradient, np.array([1.0, bad], dtype=np.float32))


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_large_finite_gradient_is_clipped_although_its_square_overflows_float32() -> None:
    gradient = np.array([3e30, 4e30], dtype=np.float32)
    assert clip_gradient(gradient, 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-6)
