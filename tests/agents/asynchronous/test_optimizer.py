"""The shared rule as a torch optimizer: its state is the workers' memory, and stays it through saving and loading."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.asynchronous.optimizer import SHARED_OPTIMIZERS, FlatOptimizer, UpdateRule
from agents.common.flat import FlatParameters


class Net(nn.Module):
    """With a parameter of every number of dimensions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scalar = nn.Parameter(torch.tensor(0.5))
        self.linear = nn.Linear(3, 2)


def make(name: str, n_workers: int = 1) -> tuple[Net, FlatParameters, FlatOptimizer]:
    net = Net()
    flat = FlatParameters(net.parameters())
    return net, flat, FlatOptimizer(flat, UpdateRule(name=name), lr=0.1, n_workers=n_workers)


@pytest.mark.parametrize("name", SHARED_OPTIMIZERS)
def test_a_step_is_what_worker_0_would_do(name: str) -> None:
    net, flat, optimizer = make(name, n_workers=2)
    _, twin, other = make(name, n_workers=2)
    (net.linear(torch.ones(1, 3)).sum() * net.scalar).backward()
    optimizer.step()
    other.rule.bind(twin.vector.numpy(), other.arrays, worker=0)(flat.gradient.numpy(), 0.1)
    torch.testing.assert_close(flat.vector, twin.vector, rtol=0, atol=0)
    for statistic in optimizer.rule.statistics:
        np.testing.assert_array_equal(optimizer.arrays[statistic], other.arrays[statistic])
        assert optimizer.arrays[statistic][0].any()


@pytest.mark.parametrize("name", SHARED_OPTIMIZERS)
def test_a_long_vector_changed_block_by_block_is_changed_as_a_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rule = UpdateRule(name=name)
    gradients = generator.normal(size=(3, 10)).astype(np.float32)
    found = []
    for block in (3, 100):
        monkeypatch.setattr("agents.asynchronous.optimizer._BLOCK", block)
        parameters = np.ones(10, np.float32)
        arrays = {key: np.zeros(shape, dtype) for key, (shape, dtype) in rule.layout(10, 1).items()}
        update = rule.bind(parameters, arrays, worker=0)
        for gradient in gradients:
            update(gradient, 0.1)
        found.append([parameters, *arrays.values()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (found[0][0] != 1.0).all()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rmsprop", {"alpha": 0.9, "eps": 0.2}),
        ("rmsprop-local", {"alpha": 0.9, "eps": 0.2}),
        ("momentum", {"alpha": 0.9}),
        ("adam", {"betas": (0.8, 0.95), "eps": 0.001}),
    ],
)
def test_the_parameter_group_shows_the_constants_that_the_rule_uses(name: str, shown: dict[str, Any]) -> None:
    constants = {"alpha": 0.9, "eps": 0.2, "beta1": 0.8, "beta2": 0.95, "adam_eps": 0.001}
    flat = FlatParameters(Net().parameters())
    optimizer = FlatOptimizer(flat, UpdateRule(name=name, **constants), lr=0.1)
    expected = {"lr": 0.1, **shown}
    assert {key: value for key, value in optimizer.param_groups[0].items() if key != "params"} == expected

    # a file changes neither the rule nor what is said of it, but the learning rate
    saved = optimizer.state_dict()
    saved["param_groups"][0] |= {"lr": 0.3, "alpha": 0.5, "eps": 0.5, "betas": (0.1, 0.2)}
    optimizer.load_state_dict(saved)
    group = optimizer.param_groups[0]
    assert {key: value for key, value in group.items() if key != "params"} == {**expected, "lr": 0.3}


def test_adams_shown_epsilon_is_the_one_of_its_step() -> None:
    net, flat, optimizer = make("adam")
    group = optimizer.param_groups[0]
    before = flat.vector.clone()
    (net.scalar * 1e-6).backward()
    optimizer.step()
    # a first step has both averages corrected to the gradient g and g^2: lr g / (|g| + eps) = .1 / 11
    assert group["eps"] == 1e-5
    where = flat.slice_of(net.scalar)
    torch.testing.assert_close(before[where] - flat.vector[where], torch.tensor([0.1 / 11]), rtol=1e-3, atol=0)


def test_a_closure_is_evaluated_and_answered() -> None:
    net, _, optimizer = make("rmsprop")

    def closure() -> float:
        loss = net.scalar.square()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 0.25
    assert float(net.scalar.detach()) < 0.5


@pytest.mark.parametrize("clear", ["optimizer", "module"])
def test_a_users_loop_of_clearing_backward_and_step_changes_the_parameters(clear: str) -> None:
    """Both clear by dropping the gradients, since torch 2.0."""
    net, flat, optimizer = make("rmsprop")
    for _ in range(2):
        before = flat.vector.clone()
        (optimizer if clear == "optimizer" else net).zero_grad()
        net.scalar.square().backward()
        optimizer.step()
        assert (flat.vector != before).sum() == 1
        assert net.scalar.data_ptr() == flat.vector[flat.slice_of(net.scalar)].data_ptr()


@pytest.mark.parametrize("name", SHARED_OPTIMIZERS)
@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_state_is_views_by_parameter_before_and_after_loading(name: str, n_workers: int) -> None:
    _, _, source = make(name, n_workers)
    for statistic in source.rule.statistics:
        source.arrays[statistic][:] = np.arange(source.arrays[statistic].size).reshape(source.arrays[statistic].shape)
    source.arrays["optimizer_step"][0] = 7
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)

    net, flat, target = make(name, n_workers)
    target.load_state_dict(torch.load(file, weights_only=True))
    assert target.arrays["optimizer_step"][0] == 7
    for statistic in source.rule.statistics:
        np.testing.assert_array_equal(target.arrays[statistic], source.arrays[statistic])
        target.arrays[statistic][:] = 3.0
        for parameter in net.parameters():
            shown = target.state[parameter][statistic]
            assert (shown == 3.0).all()
            rows = () if name in ("rmsprop", "adam") else (n_workers,)
            assert shown.shape == (*rows, *parameter.shape)
    assert len(flat.vector) == 9


def test_the_file_holds_the_statistics_once() -> None:
    # a view brings all the memory behind it; torch.save must not write that once a parameter
    sizes = []
    for width in (100, 1000):
        net = nn.Sequential(*(nn.Linear(width, 10) for _ in range(10)))
        optimizer = FlatOptimizer(FlatParameters(net.parameters()), UpdateRule(), lr=0.1)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        sizes.append(len(file.getvalue()))
    assert sizes[1] - sizes[0] < 1.1 * 4 * 900 * 10 * 10


def test_more_or_fewer_workers_repeat_the_rows_that_were_saved() -> None:
    _, _, source = make("momentum", n_workers=2)
    source.arrays["momentum_buffer"][0], source.arrays["momentum_buffer"][1] = 1.0, 2.0
    for n_workers, expected in ((1, [1.0]), (3, [1.0, 2.0, 1.0])):
        _, _, target = make("momentum", n_workers)
        target.load_state_dict(source.state_dict())
        assert [float(row[0]) for row in target.arrays["momentum_buffer"]] == expected
        assert all((row == row[0]).all() for row in target.arrays["momentum_buffer"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sgd"}, "shared_optimizer='sgd'.*'rmsprop', 'rmsprop-local', 'momentum', 'adam'"),
        ({"alpha": 1.0}, r"rms_prop_alpha=1.0.*\[0, 1\)"),
        ({"eps": 0.0}, "rms_prop_eps=0.0.*positive"),
        ({"beta2": 1.5}, r"beta2=1.5.*\[0, 1\)"),
    ],
)
def test_constants_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UpdateRule(**arguments)
