"""Steps are granted and counted exactly, whoever asks; the lock over them does not outlive its holder."""

import contextlib
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.asynchronous.budget import StepBudget
from agents.asynchronous.memory import FileLock, SharedArrays
from agents.asynchronous.processes import WorkerProcess


def make_budget(n_workers: int, steps: int) -> StepBudget:
    arrays = SharedArrays(StepBudget.layout(n_workers), shared=False).arrays
    budget = StepBudget(arrays["counters"], contextlib.nullcontext())
    budget.open(steps)
    return budget


@given(
    total=st.integers(1, 300),
    n_steps=st.integers(1, 20),
    n_envs=st.integers(1, 4),
    orders=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), min_size=1, max_size=80),
)
def test_steps_granted_less_steps_returned_are_the_budget(
    total: int, n_steps: int, n_envs: int, orders: list[tuple[int, int]]
) -> None:
    budget = make_budget(3, total)
    taken = 0
    # the given order first, then worker after worker until none is granted any more
    for worker, cut in [*orders, *((0, n_steps) for _ in range(400))]:
        granted = budget.reserve(n_steps, n_envs)
        assert 0 <= granted <= n_steps
        used = min(granted, cut)
        budget.give_back((granted - used) * n_envs)
        budget.count(worker, used * n_envs)
        taken += used * n_envs
        assert budget.steps == budget.reserved == taken
    assert taken == -(-total // n_envs) * n_envs


def test_counters_hold_more_than_32_bits() -> None:
    budget = make_budget(2, 2**40)
    for worker in range(2):
        budget.count(worker, 2**33)
    assert budget.steps == 2**34
    assert budget.reserve(5, 1) == 5


def test_after_stop_nothing_is_granted() -> None:
    budget = make_budget(1, 100)
    assert budget.reserve(5, 1) == 5
    budget.stop()
    assert budget.stopped
    assert budget.reserve(5, 1) == 0


def test_each_worker_has_its_own_slots() -> None:
    budget = make_budget(3, 10)
    budget.beat(0)
    budget.beat(2)
    budget.beat(2)
    budget.count_update(1)
    assert budget.beats() == [1, 0, 2]
    assert budget.updates == 1


def run_together(work: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    processes = [WorkerProcess(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def take_all(index: int, shared: SharedArrays, lock: FileLock) -> None:
    """Take everything in segments, giving some back, as fast as possible and all at once."""
    budget = StepBudget(shared.arrays["counters"], lock)
    ready = shared.arrays["ready"]
    ready[index] = 1
    while not ready.all():
        pass
    while granted := budget.reserve(5, 1):
        used = 1 + (granted - 1) % (2 + index)
        budget.give_back(granted - used)
        budget.count(index, used)


def test_processes_that_race_for_the_last_step_take_exactly_the_budget() -> None:
    shared, lock = SharedArrays({**StepBudget.layout(2), "ready": ((2,), np.int64)}), FileLock()
    budget = StepBudget(shared.arrays["counters"], lock)
    budget.open(40_001)
    assert run_together(take_all, [(i, shared, lock) for i in range(2)]) == [0, 0]
    assert budget.steps == budget.reserved == 40_001
    lock.close()


def hold_and_die(shared: SharedArrays, lock: FileLock) -> None:
    with lock:
        shared.arrays["flag"][0] = 1
        os.kill(os.getpid(), 9)


def test_a_lock_is_free_again_when_its_holder_is_killed() -> None:
    shared, lock = SharedArrays({"flag": ((1,), np.int64)}), FileLock()
    assert run_together(hold_and_die, [(shared, lock)]) == [-9]
    assert shared.arrays["flag"][0] == 1
    with lock:  # a semaphore would wait for ever here
        pass
    lock.close()


def add_one(shared: SharedArrays, lock: FileLock) -> None:
    for _ in range(200):
        with lock:
            before = int(shared.arrays["number"][0])
            time.sleep(0)
            shared.arrays["number"][0] = before + 1


def test_the_lock_excludes_other_processes() -> None:
    shared, lock = SharedArrays({"number": ((1,), np.int64)}), FileLock()
    assert run_together(add_one, [(shared, lock)] * 2) == [0, 0]
    assert shared.arrays["number"][0] == 400
    lock.close()


def test_a_closed_lock_gives_its_file_descriptor_back_once() -> None:
    before = len(os.listdir("/proc/self/fd"))
    lock = FileLock()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    lock.close()
    lock.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_arrays_start_at_zero_apart_from_each_other_in_shape_and_type() -> None:
    arrays = SharedArrays({"a": ((3,), np.float32), "b": ((2, 2), np.int64), "c": ((), np.int8)}, shared=False).arrays
    assert [(a.shape, a.dtype) for a in arrays.values()] == [((3,), "f4"), ((2, 2), "i8"), ((), "i1")]
    assert not any(array.any() for array in arrays.values())
    arrays["a"][:] = 1
    arrays["c"][...] = 1
    assert not arrays["b"].any()
    addresses = sorted(array.ctypes.data for array in arrays.values())
    assert all(address % 64 == 0 for address in addresses)
    assert all(second - first >= 64 for first, second in pairwise(addresses))


def double(shared: SharedArrays) -> None:
    shared.arrays["a"] *= 2


def test_shared_arrays_are_the_same_memory_in_another_process() -> None:
    shared = SharedArrays({"a": ((4,), np.float32)})
    shared.arrays["a"][:] = 21
    assert run_together(double, [(shared,)]) == [0]
    np.testing.assert_array_equal(shared.arrays["a"], [42] * 4)


@pytest.mark.parametrize("n_workers", [1, 5])
def test_the_layout_has_a_cache_line_a_worker_and_one_for_all(n_workers: int) -> None:
    (shape, dtype) = StepBudget.layout(n_workers)["counters"]
    assert shape == ((n_workers + 1) * 8,)
    assert dtype is np.int64
