"""What `import agents` offers, and under which names."""

import ast
import subprocess
import sys

import pytest
import sb3_contrib
import stable_baselines3

import agents
from agents import registry
from agents.errors import MissingExtraError


@pytest.mark.parametrize("name", ["A2C", "DDPG", "DQN", "PPO", "SAC", "TD3"])
def test_classes_of_stable_baselines3_are_its_own(name):
    assert getattr(agents, name) is getattr(stable_baselines3, name)


@pytest.mark.parametrize("name", ["ARS", "CrossQ", "MaskablePPO", "QRDQN", "RecurrentPPO", "TQC", "TRPO"])
def test_classes_of_sb3_contrib_are_its_own(name):
    assert getattr(agents, name) is getattr(sb3_contrib, name)


def test_every_advertised_name_resolves_and_is_listed():
    for name in agents.__all__:
        assert getattr(agents, name) is not None
        assert name in dir(agents)


def test_type_checkers_see_exactly_the_advertised_names():
    with open(agents.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    (for_type_checkers,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for statement in for_type_checkers.body for alias in statement.names}
    assert seen == set(agents.__all__)


def test_every_class_of_the_catalogue_is_registered_under_its_name_and_the_other_way_round():
    classes = {name for name in agents.__all__ if isinstance(getattr(agents, name), type)}
    assert {name.lower() for name in classes} == set(registry.keys())
    for name in classes:
        assert registry.get(name).cls is getattr(agents, name)


@pytest.mark.parametrize(("misspelt", "nearest"), [("PPQ", "PPO"), ("ppo", "PPO"), ("maskable_ppo", "MaskablePPO")])
def test_a_misspelt_name_is_answered_with_the_nearest(misspelt, nearest):
    with pytest.raises(AttributeError, match=rf"'agents' has no attribute '{misspelt}'.*\b{nearest}\b"):
        getattr(agents, misspelt)


def test_a_name_like_no_other_is_an_attribute_error_too():
    with pytest.raises(AttributeError, match="no attribute 'zzzzzz'"):
        agents.zzzzzz  # noqa: B018
    assert not hasattr(agents, "__wrapped__")  # what inspect and doctest ask every module


def test_importing_the_package_does_not_import_torch():
    code = "import agents, sys; assert 'torch' not in sys.modules; agents.PPO; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_missing_extra_is_an_import_error_that_says_what_to_type():
    error = MissingExtraError("atari", wanted="The environment ALE/Pong-v5", package="ale-py")
    assert isinstance(error, ImportError)
    assert error.name == "ale-py"
    assert error.install_command == 'pip install "actorzoo[atari]"'
    assert str(error) == (
        "The environment ALE/Pong-v5 needs the package ale-py, which is not installed; "
        'install it with: pip install "actorzoo[atari]"'
    )
