"""What holds for every test: one thread a process, no window, no left-over process or shared memory.

The variables are set before torch, NumPy, pygame or matplotlib is imported, because these read them only once.
"""

import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
os.environ.update({"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"})
os.environ.update({"MPLBACKEND": "agg"})

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# A shared machine makes any deadline a lottery; continuous integration must give the same answer to the same commit.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

SHARED_MEMORY = Path("/dev/shm")  # Linux; elsewhere shared memory has no names to list
SECONDS_TO_EXIT = 2.0  # a process that was told to stop, or killed, may need a moment to be gone


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
