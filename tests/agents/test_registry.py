"""Look-up of algorithms, and algorithms of other packages."""

import subprocess
import sys
import textwrap
import warnings
import zipfile
from importlib.metadata import EntryPoint

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO

from agents import registry
from agents.registry import AgentSpec
from agents.registry.builtin import BUILTIN_SPECS
from agents.registry.lookup import Registry
from agents.registry.plugins import GROUP, Plugins

ACTION_SPACES = {
    "Box": spaces.Box(-1, 1, (2,), np.float32),
    "Discrete": spaces.Discrete(3),
    "MultiBinary": spaces.MultiBinary(3),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
}


class OneStep(gymnasium.Env):
    def __init__(self, action_space):
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 0.0, True, False, {}


class Mine(A2C):
    """My own agent.

    Paper: Me: How I Did It, 2026
    """


@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.key)
@pytest.mark.parametrize("name", ACTION_SPACES)
def test_action_spaces_are_those_the_class_accepts(spec, name):
    env = OneStep(ACTION_SPACES[name])
    if name in spec.action_spaces:
        assert spec.cls(spec.default_policy, env, device="cpu").action_space == env.action_space
    else:
        with pytest.raises(AssertionError, match="only supports"):
            spec.cls(spec.default_policy, env, device="cpu")


@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.key)
def test_the_paper_ends_in_title_and_year(spec):
    assert ": " in spec.paper
    assert any(str(year) in spec.paper for year in range(1990, 2030))


def test_recurrent_ppo_has_an_lstm_by_default_and_the_others_an_mlp():
    lstm = {spec.key for spec in BUILTIN_SPECS if spec.default_policy != "MlpPolicy"}
    assert lstm == {"recurrentppo"}
    assert registry.get("recurrentppo").default_policy == "MlpLstmPolicy"


@pytest.mark.parametrize("name", ["qrdqn", "QRDQN", "QrDqn"])
def test_names_are_found_in_any_case(name):
    assert registry.get(name).key == "qrdqn"


def test_an_unknown_name_is_answered_with_the_nearest_keys():
    with pytest.raises(ValueError, match=r"Unknown algorithm 'trpoo'; the nearest are trpo\b"):
        registry.get("trpoo")
    with pytest.raises(ValueError, match=r"Unknown algorithm 'zzzz'; there are a2c, a3c, ars, asyncnstepq"):
        registry.get("zzzz")


def test_something_else_than_a_name_is_a_type_error():
    with pytest.raises(TypeError, match="string such as 'ppo'"):
        registry.get(PPO)


def test_the_registry_is_a_sorted_collection_of_specs():
    keys = [spec.key for spec in registry]
    assert keys == sorted(keys) == registry.keys() == [spec.key for spec in registry.specs()]
    assert len(registry) == len(keys)
    assert "ppo" in registry
    assert "pppo" not in registry


def test_key_of_takes_models_and_classes():
    assert registry.key_of(PPO) == "ppo"
    assert registry.key_of(DQN("MlpPolicy", OneStep(spaces.Discrete(2)), buffer_size=1, device="cpu")) == "dqn"


def test_a_subclass_is_not_the_algorithm_it_inherits_from():
    with pytest.raises(ValueError, match=r"Mine is not registered.*AgentSpec\('mine', Mine"):
        registry.key_of(Mine)


def test_key_of_refuses_what_is_no_algorithm():
    with pytest.raises(TypeError, match="derived from SB3's BaseAlgorithm"):
        registry.key_of(OneStep)


MINE = AgentSpec("mine", Mine, "MlpPolicy", "Me, 2026", ("Discrete",))


@pytest.fixture
def fresh():
    """A registry of its own, so that tests leave the real one alone."""
    return Registry(BUILTIN_SPECS, Plugins(find=list))


def test_a_registered_algorithm_is_found_by_key_and_class(fresh):
    fresh.register(MINE)
    assert fresh.get("MINE") is MINE
    assert fresh.key_of(Mine) == "mine"
    assert "mine" in fresh


def test_a_notebook_cell_that_registers_can_be_run_twice(fresh):
    fresh.register(MINE)
    again = type("Mine", (A2C,), {"__module__": Mine.__module__, "__qualname__": Mine.__qualname__})
    fresh.register(AgentSpec("mine", again, "MlpPolicy", "", ("Discrete",)))
    assert fresh.get("mine").cls is again


def test_nobody_takes_a_key_from_another_class(fresh):
    fresh.register(MINE)
    with pytest.raises(ValueError, match=r"'mine' belongs to .*Mine already and cannot be given to .*DQN; choose"):
        fresh.register(AgentSpec("mine", DQN, "MlpPolicy", "", ("Discrete",)))
    with pytest.raises(ValueError, match=r"'ppo' belongs to stable_baselines3"):
        fresh.register(AgentSpec("ppo", Mine, "MlpPolicy", "", ("Discrete",)))
    with pytest.raises(TypeError, match="AgentSpec"):
        fresh.register(Mine)
    assert fresh.get("mine").cls is Mine
    assert fresh.get("ppo").cls is PPO


def test_a_class_name_that_several_algorithms_share_has_to_be_made_clear(fresh):
    one = type("Twin", (A2C,), {"__qualname__": "one"})
    two = type("Twin", (A2C,), {"__qualname__": "two"})
    fresh.register(AgentSpec("first", one, "MlpPolicy", "", ("Box",)))
    assert fresh.get("twin").cls is one
    fresh.register(AgentSpec("second", two, "MlpPolicy", "", ("Box",)))
    with pytest.raises(
        ValueError, match="'Twin' is the class name of several algorithms; use one of the keys first, sec"
    ):
        fresh.get("Twin")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"key": "My Agent"}, ValueError, "key 'My Agent' is not allowed.*try 'mine'"),
        ({"key": "../mine"}, ValueError, "key '../mine' is not allowed"),
        ({"cls": "agents.PPO"}, TypeError, "must be a subclass of"),
        ({"cls": OneStep}, TypeError, "must be a subclass of"),
        ({"default_policy": "MlpLstmPolicy"}, ValueError, "default_policy='MlpLstmPolicy', but Mine has .'CnnPolicy'"),
        ({"action_spaces": ()}, ValueError, r"action_spaces=\(\)"),
        ({"action_spaces": ("Continuous",)}, ValueError, "'Continuous'.*spell them as Gymnasium"),
    ],
)
def test_a_wrong_spec_says_what_is_allowed(changed, error, message):
    fields = {"key": "mine", "cls": Mine, "default_policy": "MlpPolicy", "paper": "", "action_spaces": ("Box",)}
    with pytest.raises(error, match=message):
        AgentSpec(**fields | changed)


# --- algorithms of other packages ---------------------------------------------------------------------------------


@pytest.fixture
def with_plugins(tmp_path, monkeypatch):
    """Make a registry that sees entry points {name: target} into a module with the given source."""
    modules = []

    def make(source, **entry_points):
        module = f"plugin_{tmp_path.name}_{len(modules)}".replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        found = [EntryPoint(name, f"{module}:{target}", GROUP) for name, target in entry_points.items()]
        return Registry(BUILTIN_SPECS, Plugins(find=lambda: found))

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for module in modules:
        sys.modules.pop(module, None)


AGENTS_WITHOUT_SPEC = """
    from gymnasium import spaces
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from sb3_contrib import RecurrentPPO

    class PPO(PPO):
        '''Another PPO.

        Paper: https://arxiv.org/abs/1707.06347
        Code: elsewhere
        '''

    class Binary(A2C):
        def __init__(self, policy, env, **kwargs):
            super().__init__(policy, env, **kwargs)
            if not isinstance(self.action_space, spaces.MultiBinary):
                raise ValueError("only switches")

    class Lstm(RecurrentPPO):
        policy_aliases = {k: v for k, v in RecurrentPPO.policy_aliases.items() if k != "MlpPolicy"}

    class Nothing(A2C):
        def __init__(self, policy, env, **kwargs):
            raise NotImplementedError("not yet")

    class Nameless(A2C):
        policy_aliases = {}

    NUMBER = 3
"""


def test_a_bare_class_gets_its_policy_spaces_and_paper_from_the_class(with_plugins):
    found = with_plugins(AGENTS_WITHOUT_SPEC, sbx_ppo="PPO", switches="Binary", lstm="Lstm")
    spec = found.get("sbx_ppo")
    assert (spec.key, spec.cls.__doc__.split(".")[0]) == ("sbx_ppo", "Another PPO")
    assert spec.default_policy == "MlpPolicy"
    assert spec.action_spaces == ("Box", "Discrete", "MultiBinary", "MultiDiscrete")
    assert spec.paper == "https://arxiv.org/abs/1707.06347"
    assert not spec.asynchronous
    assert found.get("switches").action_spaces == ("MultiBinary",)
    assert found.get("switches").paper == ""
    assert found.get("lstm").default_policy == "MlpLstmPolicy"
    assert set(found.keys()) == {*(spec.key for spec in BUILTIN_SPECS), "sbx_ppo", "switches", "lstm"}
    assert found.key_of(spec.cls) == "sbx_ppo"


def test_a_key_wins_over_another_packages_class_name(with_plugins):
    found = with_plugins(AGENTS_WITHOUT_SPEC, sbx_ppo="PPO")
    assert found.get("PPO").cls is PPO


def test_an_entry_point_may_give_a_spec(with_plugins):
    found = with_plugins(
        """
        from stable_baselines3 import A2C
        from agents.registry import AgentSpec

        class Theirs(A2C):
            pass

        SPEC = AgentSpec("theirs", Theirs, "CnnPolicy", "They, 2026", ("Discrete",), asynchronous=True)
        """,
        Theirs="SPEC",
        other="SPEC",
    )
    spec = found.get("theirs")
    assert (spec.default_policy, spec.paper, spec.asynchronous) == ("CnnPolicy", "They, 2026", True)
    with pytest.raises(ValueError, match=r"entry point other = .* gives an AgentSpec with the key 'theirs'"):
        found.get("other")


def test_other_packages_are_imported_only_when_asked_for(with_plugins):
    found = with_plugins("raise RuntimeError('imported')", heavy="Heavy")
    assert found.get("ppo").cls is PPO
    assert found.key_of(PPO) == "ppo"


@pytest.mark.parametrize(
    ("source", "target", "cause"),
    [
        ("import a_package_that_does_not_exist", "Agent", "ModuleNotFoundError: No module named 'a_package_that"),
        ("raise RuntimeError('no driver')", "Agent", "RuntimeError: no driver"),
        ("def (", "Agent", "SyntaxError"),
        ("", "Agent", "AttributeError: .* no attribute 'Agent'"),
        (AGENTS_WITHOUT_SPEC, "NUMBER", "TypeError: got 3, but an AgentSpec or a subclass of BaseAlgorithm"),
        (AGENTS_WITHOUT_SPEC, "Nothing", "ValueError: Nothing takes none of these action spaces .Box: not yet;"),
        (AGENTS_WITHOUT_SPEC, "Nameless", "ValueError: Nameless names no policy in policy_aliases"),
    ],
)
def test_a_broken_package_is_named_in_one_warning_and_the_others_stay(with_plugins, source, target, cause):
    found = with_plugins(source, broken=target)
    message = rf"entry point broken = plugin_.*:{target} of an unknown package gives no algorithm: {cause}"
    with pytest.warns(UserWarning, match=message):
        assert found.keys() == [spec.key for spec in BUILTIN_SPECS]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.get("ppo").cls is PPO
        assert len(found) == len(BUILTIN_SPECS)
    with pytest.raises(ValueError, match=message):
        found.get("broken")


def test_an_entry_point_cannot_take_a_built_in_key_and_whoever_uses_the_key_is_told(with_plugins):
    found = with_plugins(AGENTS_WITHOUT_SPEC, ppo="PPO")
    with pytest.warns(UserWarning, match="entry point ppo = .* is left out: 'ppo' is a built-in algorithm"):
        assert found.get("ppo").cls is PPO
    assert found.keys() == [spec.key for spec in BUILTIN_SPECS]


def test_a_registered_key_stays_when_an_entry_point_has_it_too(with_plugins):
    found = with_plugins(AGENTS_WITHOUT_SPEC, mine="PPO")
    found.register(MINE)
    with pytest.warns(UserWarning, match="entry point mine = .* is left out: 'mine' is registered for .*Mine"):
        assert "mine" in found
    assert found.get("mine") is MINE


def test_two_packages_with_one_key_are_both_named_and_neither_is_taken(with_plugins, tmp_path):
    with_plugins(AGENTS_WITHOUT_SPEC)
    module = f"plugin_{tmp_path.name}_0".replace("-", "_")
    found = Registry(
        BUILTIN_SPECS,
        Plugins(find=lambda: [EntryPoint("same", f"{module}:{name}", GROUP) for name in ("PPO", "Binary", "PPO")]),
    )
    message = rf"key 'same' is claimed by entry point same = {module}:PPO .* and entry point same = {module}:Binary "
    with pytest.raises(ValueError, match=message):
        found.get("same")
    with pytest.warns(UserWarning, match=message):
        assert "same" not in found


PACKAGE = """
import numpy as np
from stable_baselines3 import A2C


class Dummy(A2C):
    '''Always takes the first action.'''

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.array(0), None
"""
USER = """
import sys
import agents

spec = agents.registry.get("throwaway")
assert spec.cls.__module__ == "actorzoo_throwaway", spec
assert (spec.default_policy, len(spec.action_spaces)) == ("MlpPolicy", 4), spec
assert "throwaway" in agents.registry.keys()
model = spec.cls(spec.default_policy, "CartPole-v1")
agents.save(model, sys.argv[1])
loaded = agents.load(sys.argv[1], env="CartPole-v1")
assert type(loaded) is spec.cls
assert agents.predict(loaded, loaded.get_env().reset()[0])[0] == 0
"""


def test_a_package_that_is_installed_brings_its_algorithm_to_every_part(tmp_path):
    wheel = tmp_path / "actorzoo_throwaway-1.0-py3-none-any.whl"
    info = "actorzoo_throwaway-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("actorzoo_throwaway.py", PACKAGE)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: actorzoo-throwaway\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", f"[{GROUP}]\nthrowaway = actorzoo_throwaway:Dummy\n")
        archive.writestr(f"{info}/RECORD", "")
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    run_user = f"import sys; sys.path.insert(0, {str(installed)!r})\n{USER}"
    user = [sys.executable, "-c", run_user, str(tmp_path / "model.zip")]
    subprocess.run(user, check=True, timeout=120)
    # and without the package, the file says what is missing
    absent = "import agents, sys; agents.load(sys.argv[1])"
    failed = subprocess.run([sys.executable, "-c", absent, user[-1]], capture_output=True, text=True, timeout=120)
    assert failed.returncode == 1
    last_line = failed.stderr.strip().splitlines()[-1]
    assert "holds a model of the algorithm 'throwaway' (class actorzoo_throwaway.Dummy)" in last_line
    assert "Install the package that provides it" in last_line
