"""Where a search space comes from: the zoo, a file, the caller, the command line; and where its mistakes are."""

import pytest

from tuning import search_space
from tuning.config import resolve
from tuning.errors import UsageError

LOG = {"type": "log", "low": 1e-4, "high": 1e-3}


@pytest.fixture
def zoo_like(tmp_path):
    def write(text):
        path = tmp_path / "zoo.yml"
        path.write_text(text)
        return path

    return write


LAYOUT = """\
defaults: {n_timesteps: 1000}
search_space:
  gamma: {type: one_minus, low: 0.9, high: 0.99}
  n_steps: {type: int, low: 1, high: 9, step: 2}
environments:
  CartPole-v1:
    n_envs: 2
    search_space:
      n_steps: {type: power_of_two, low: 4, high: 8}
"""


def test_an_environments_dimension_replaces_the_whole_dimension(zoo_like):
    path = zoo_like(LAYOUT)
    assert search_space.find("a2c", "CartPole-v1", config=path).to_data()["n_steps"] == {
        "type": "power_of_two",
        "low": 4,
        "high": 8,
    }
    assert search_space.find("a2c", "Acrobot-v1", config=path).to_data()["n_steps"]["type"] == "int"


def test_a_search_space_is_no_part_of_a_run(zoo_like):
    assert resolve("a2c", "CartPole-v1", config=zoo_like(LAYOUT)).n_envs == 2


def test_file_then_mapping_then_command_line_override_the_zoo(tmp_path):
    file = tmp_path / "space.yml"
    file.write_text(
        "gamma: {type: float, low: 0.5, high: 0.6}\nvf_coef: null\nent_coef: {type: float, low: 0, high: 1}\n"
    )
    found = search_space.find(
        "a2c", "CartPole-v1", file=file, given={"ent_coef": None}, texts=["learning_rate=log:1e-4:1e-3"]
    ).to_data()
    assert found["gamma"]["type"] == "float"
    assert found["learning_rate"] == LOG
    assert not {"vf_coef", "ent_coef"} & set(found)
    assert "n_steps" in found  # the zoo's


def test_mistakes_are_told_with_file_and_line(zoo_like):
    path = zoo_like(LAYOUT.replace("low: 0.9, high: 0.99", "low: 0.9, hihg: 0.99"))
    with pytest.raises(UsageError, match=r"zoo\.yml, line 3: gamma has no key 'hihg'; did you mean high"):
        search_space.find("a2c", "CartPole-v1", config=path)


def test_an_algorithm_without_a_space_of_its_own_has_the_common_dimensions_that_it_takes():
    off_policy = search_space.find("tqc", "Pendulum-v1")
    assert {"learning_rate", "gamma", "batch_size", "tau"} == set(off_policy.dimensions)
    assert "n_steps" in search_space.find("recurrentppo", "CartPole-v1").dimensions


def test_nothing_to_search_is_a_mistake(zoo_like):
    path = zoo_like("environments: {}\n")
    with pytest.raises(UsageError, match="--space"):
        search_space.find("a2c", "CartPole-v1", config=path)
