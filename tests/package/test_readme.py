"""What README.md shows works, and what it lists is what there is."""

import re

import pytest

from agents import registry

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


def test_the_table_of_algorithms_is_the_registry(readme):
    rows = re.findall(r"^\| `(\w+)` \| `agents\.(\w+)` \|", readme, re.MULTILINE)

    assert dict(rows) == {spec.key: spec.cls.__name__ for spec in registry}


def test_links_to_files_lead_somewhere(readme, checkout):
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in target]

    assert targets
    for target in targets:
        assert (checkout / target).exists(), target
