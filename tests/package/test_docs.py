"""What the guides show works."""

import re

import pytest

CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUDGET = re.compile(r"learn\([\d_]+\)")
A_FEW_STEPS = "learn(200)"


@pytest.mark.parametrize("guide", ["dpg.md"])
def test_each_python_example_runs_as_it_is_but_for_its_budget(guide, checkout, tmp_path, monkeypatch):
    examples = CODE.findall((checkout / "docs" / guide).read_text())
    assert len(examples) >= 2
    monkeypatch.chdir(tmp_path)
    for example in examples:
        # A namespace of its own for each: who copies one example has not copied the others.
        namespace = {"__name__": "__main__"}
        exec(compile(BUDGET.sub(A_FEW_STEPS, example), guide, "exec"), namespace)
        assert namespace["model"].num_timesteps == 200
