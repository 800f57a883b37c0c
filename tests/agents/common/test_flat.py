"""One vector behind all parameters: views that stay views."""

import numpy as np
import pytest
import torch
from torch import nn

from agents.common.flat import FlatParameters


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_values_survive_and_parameters_become_views_in_order() -> None:
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    flat = FlatParameters(net.parameters())
    assert flat.vector.shape == (3 * 4 + 4 + 4 * 2 + 2,)
    torch.testing.assert_close(flat.vector, torch.cat([value.reshape(-1) for value in before]))
    for parameter, value in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), value)
    with torch.no_grad():
        flat.vector.fill_(7.0)
    assert all((parameter == 7.0).all() for parameter in net.parameters())


def test_backward_accumulates_into_the_gradient_vector() -> None:
    net, twin = network(), network()
    flat = FlatParameters(net.parameters())
    x = torch.randn(5, 3)
    for module in (net, twin):
        module(x).square().sum().backward()
    expected = torch.cat([parameter.grad.reshape(-1) for parameter in twin.parameters()])
    torch.testing.assert_close(flat.gradient, expected)
    net(x).square().sum().backward()
    torch.testing.assert_close(flat.gradient, 2 * expected)


def test_zero_grad_keeps_the_views_which_the_modules_own_would_drop() -> None:
    net = network()
    flat = FlatParameters(net.parameters())
    x = torch.ones(1, 3)
    net(x).sum().backward()
    flat.zero_grad()
    assert not flat.gradient.any()
    net(x).sum().backward()
    assert flat.gradient.any()
    # the defect itself, in torch since 2.0: the gradients live elsewhere afterwards, the vector stays behind
    net.zero_grad()
    flat.zero_grad()
    net(x).sum().backward()
    assert not flat.gradient.any()


def test_given_memory_is_used_and_filled_with_the_present_values() -> None:
    net = network()
    memory = np.full(26, 9.0, dtype=np.float32)
    first = float(next(net.parameters()).detach()[0, 0])
    flat = FlatParameters(net.parameters(), torch.from_numpy(memory))
    assert memory[0] == np.float32(first)
    memory[:] = 2.0
    assert all((parameter == 2.0).all() for parameter in net.parameters())
    assert flat.vector.data_ptr() == memory.ctypes.data


def test_slice_of_finds_a_parameter_and_refuses_a_stranger() -> None:
    net = network()
    flat = FlatParameters(net.parameters())
    assert flat.slice_of(net[2].bias) == slice(24, 26)
    assert flat.slice_of(net[0].weight) == slice(0, 12)
    with pytest.raises(KeyError):
        flat.slice_of(network()[2].bias)


def test_other_number_types_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"float64.*\.float\(\)"):
        FlatParameters(network().double().parameters())


def test_a_policy_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        FlatParameters([])
