"""What README.md shows works, and what it lists is what there is."""

import re

import pytest

from agents import registry
from tuning import cli

CODE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
A_FEW_STEPS = "learn(200)"


@pytest.fixture
def readme(checkout):
    return (checkout / "README.md").read_text()


def blocks(text, language):
    return [code for found, code in CODE.findall(text) if found == language]


def test_the_python_examples_run_one_after_the_other(readme, tmp_path, monkeypatch):
    examples = blocks(readme, "python")
    budgets = re.compile(r"learn\([\d_]+\)")
    assert len(examples) >= 2
    assert budgets.search(examples[0])

    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for example in examples:
        exec(compile(budgets.sub(A_FEW_STEPS, example), "README.md", "exec"), namespace)

    assert namespace["model"].num_timesteps == 200
    assert (tmp_path / "cartpole.zip").is_file()


def test_the_commands_have_the_options_shown(readme, capsys):
    lines = [line for block in blocks(readme, "console") for line in block.splitlines()]
    commands = [line.removeprefix("$ actorzoo ").split() for line in lines if line.startswith("$ actorzoo ")]
    assert len(commands) >= 5

    for command, *arguments in commands:
        assert cli.run([command, "--help"]) == 0
        explanation = capsys.readouterr().out
        for option in arguments:
            assert not option.startswith("--") or re.search(rf"\B{option}\b", explanation), (command, option)


def test_the_table_of_algorithms_is_the_registry(readme):
    rows = re.findall(r"^\| `(\w+)` \| `agents\.(\w+)` \|", readme, re.MULTILINE)

    assert dict(rows) == {spec.key: spec.cls.__name__ for spec in registry}


def test_links_to_files_lead_somewhere(readme, checkout):
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in target]

    assert targets
    for target in targets:
        assert (checkout / target).exists(), target
