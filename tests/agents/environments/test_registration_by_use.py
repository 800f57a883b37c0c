"""The environments of papers are known wherever the algorithm is used."""

import subprocess
import sys


def test_naming_the_algorithm_registers_the_environments_of_its_paper():
    code = (
        "import agents, gymnasium\n"
        "assert 'actorzoo/ContinuousGridWorld-v0' not in gymnasium.registry\n"
        "agents.OffPAC('TileCodingPolicy', 'actorzoo/ContinuousGridWorld-v0').learn(10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
