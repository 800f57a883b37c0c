"""What holds for every test: chance that repeats, one thread a process, no window, nothing left over.

The variables are set before torch, NumPy, pygame or matplotlib is imported, because these read them only once.
"""

import multiprocessing
import os
import random
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
os.environ.update({"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"})
os.environ.update({"MPLBACKEND": "agg"})

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)

# A shared machine makes any deadline a lottery; the same commit must be given the same answer.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("searching", deadline=None)

SHARED_MEMORY = Path("/dev/shm")  # Linux; elsewhere shared memory has no names to list
SECONDS_TO_EXIT = 2.0  # a process that was told to stop, or killed, may need a moment to be gone


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--random-seed",
        type=int,
        help="let the tests draw other random numbers than they always do, to find those that rely on them",
    )


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("repeatable" if config.getoption("random_seed") is None else "searching")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let what a test draws without a seed of its own depend on nothing but its name, whatever ran before it.

    An environment or a space that was given no seed asks the operating system for one, through NumPy's SeedSequence.
    """
    seed = zlib.crc32(f"{item.config.getoption('random_seed')} {item.nodeid}".encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Stable-Baselines3 draws from it
    torch.manual_seed(seed)
    vars(np.random.bit_generator)["randbits"] = random.Random(seed).getrandbits


def shared_memory_of_this_process() -> set[str]:
    """Names under which this process, not another test process beside it, has put something in shared memory.

    multiprocessing's blocks are called pym-<process id>-..., torch's torch_<process id>_....
    """
    if not SHARED_MEMORY.is_dir():
        return set()
    own = re.compile(rf"(?<!\d){os.getpid()}(?!\d)")
    return {name for name in os.listdir(SHARED_MEMORY) if own.search(name)}


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail the test that leaves a child process or an entry in shared memory (and remove the process)."""
    children_before = set(multiprocessing.active_children())
    memory_before = shared_memory_of_this_process()
    yield
    deadline = time.monotonic() + SECONDS_TO_EXIT
    while (children := set(multiprocessing.active_children()) - children_before) and time.monotonic() < deadline:
        time.sleep(0.01)
    for child in children:
        child.kill()
        child.join()
    memory = shared_memory_of_this_process() - memory_before
    assert not children, f"child processes left running: {sorted(child.name for child in children)}"
    assert not memory, f"left in {SHARED_MEMORY}: {sorted(memory)}"
