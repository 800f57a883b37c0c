"""The fixture that watches every test fails the one that leaves something behind, and only that one."""

import shutil
import subprocess
import sys
from pathlib import Path

TIDY_AND_UNTIDY = """
import multiprocessing, os, time
from pathlib import Path

fork_server = multiprocessing.get_context("forkserver")

def test_tidy():
    child = fork_server.Process(target=time.sleep, args=(0,))
    child.start()
    child.join()

def test_memory_of_another_process():
    Path(f"/dev/shm/pym-{os.getpid()}0-test").touch()

def test_child():
    fork_server.Process(target=time.sleep, args=(1000,), name="forgotten").start()

def test_memory():
    Path(f"/dev/shm/pym-{os.getpid()}-test").touch()
"""


def test_a_forgotten_child_and_forgotten_memory_fail_their_test(tmp_path):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(TIDY_AND_UNTIDY)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    before = set(Path("/dev/shm").iterdir())
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    for path in set(Path("/dev/shm").glob("pym-*-test")) - before:
        path.unlink()

    assert "4 passed, 2 errors" in result.stdout, result.stdout
    assert "ERROR test_it.py::test_child" in result.stdout
    assert "child processes left running: ['forgotten']" in result.stdout
    assert "ERROR test_it.py::test_memory " in result.stdout
    assert "left in /dev/shm: ['pym-" in result.stdout
