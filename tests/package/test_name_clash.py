"""`agents`, `wrappers` and `tuning` are short names: whoever else has taken them is named, with the way out."""

import pytest

THEIRS = {"agents/__init__.py": "print('their code ran')\n", "agents/conversation.py": ""}


@pytest.fixture
def theirs(make_wheel):
    return make_wheel("loud-agents", THEIRS)


def assert_stops_with_one_line(result, *parts):
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""  # their code did not run
    (line,) = result.stderr.splitlines()
    assert line.startswith("actorzoo: ")
    for part in parts:
        assert part in line


def test_alone_nothing_is_said(environment, wheel):
    environment.install(wheel)

    result = environment.run("python", "-W", "error", "-c", "import agents, wrappers, tuning")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_distribution_found_first_stops_the_command(environment, wheel, theirs, tmp_path):
    environment.install(wheel)
    environment.install(theirs, "--target", str(tmp_path / "theirs"))

    result = environment.run("actorzoo", "list", PYTHONPATH=str(tmp_path / "theirs"))
    assert_stops_with_one_line(result, "loud-agents 1.0", str(tmp_path / "theirs"), "`import agents`", "python -m venv")


def test_a_distribution_found_later_is_named_by_a_warning(environment, wheel, theirs, tmp_path):
    environment.install(wheel)
    environment.install(theirs, "--target", str(tmp_path / "theirs"))
    (environment.site_packages / "theirs.pth").write_text(f"{tmp_path / 'theirs'}\n")

    result = environment.run("python", "-c", "import agents; print(agents.PPO.__name__)")
    assert (result.returncode, result.stdout) == (0, "PPO\n")
    assert "<string>:1: NameClashWarning: loud-agents 1.0 installs `agents`, too" in result.stderr
    assert "python -m venv" in result.stderr


def test_a_distribution_installed_over_ours_stops_the_command(environment, wheel, theirs):
    environment.install(wheel)
    environment.install(theirs)

    result = environment.run("actorzoo", "list")
    assert_stops_with_one_line(result, "loud-agents 1.0", "`import agents`", "python -m venv")


def test_a_distribution_installed_under_ours_is_named_by_a_warning(environment, wheel, theirs):
    environment.install(theirs)
    environment.install(wheel)

    result = environment.run("actorzoo", "list")
    assert result.returncode == 0, result.stderr
    assert "NameClashWarning: loud-agents 1.0 installs `agents`, too" in result.stderr


def test_a_distribution_installed_for_editing_is_named_although_its_files_lie_elsewhere(
    environment, wheel, make_wheel, tmp_path
):
    # as setuptools does it: a .pth file leads to the source, top_level.txt says what is there
    source = tmp_path / "source"
    (source / "agents").mkdir(parents=True)
    (source / "agents" / "__init__.py").write_text("print('their code ran')\n")
    files = {"a_loud_agents.pth": f"import sys; sys.path.insert(0, {str(source)!r})\n"}
    environment.install(wheel)
    environment.install(make_wheel("loud-agents", {**files, "loud_agents-1.0.dist-info/top_level.txt": "agents\n"}))

    result = environment.run("actorzoo", "list")
    assert_stops_with_one_line(result, "loud-agents 1.0", str(source), "python -m venv")


def test_removing_what_overwrote_us_asks_for_a_reinstallation(environment, wheel, theirs):
    environment.install(wheel)
    environment.install(theirs)
    environment.pip("uninstall", "--yes", "loud-agents")

    result = environment.run("actorzoo", "list")
    assert_stops_with_one_line(result, "agents/__init__.py is missing", "--force-reinstall")


def test_a_distribution_that_takes_wrappers_stops_the_import_of_agents(environment, wheel, make_wheel, tmp_path):
    environment.install(wheel)
    environment.install(make_wheel("gift-paper", {"wrappers.py": ""}), "--target", str(tmp_path / "theirs"))

    result = environment.run("python", "-c", "import agents", PYTHONPATH=str(tmp_path / "theirs"))
    assert result.returncode == 1
    assert "ImportError: `import wrappers` finds" in result.stderr
    assert "gift-paper 1.0" in result.stderr


def test_a_file_of_the_users_called_wrappers_is_named(environment, wheel):
    environment.install(wheel)
    (environment.outside / "wrappers.py").write_text("")
    (environment.outside / "my_script.py").write_text("import agents\n")

    result = environment.run("python", "my_script.py")
    assert result.returncode == 1
    assert f"ImportError: `import wrappers` finds {environment.outside / 'wrappers.py'}" in result.stderr
    assert "Rename that file" in result.stderr


def test_a_file_of_the_users_called_tuning_does_no_harm_to_a_script_that_needs_agents(environment, wheel):
    environment.install(wheel)
    (environment.outside / "tuning.py").write_text("import agents\n")

    result = environment.run("python", "-W", "error", "tuning.py")
    assert (result.returncode, result.stderr) == (0, "")


def test_what_is_installed_next_to_a_checkout_stops_the_command(environment, theirs, checkout):
    # as an editable installation does it: the checkout comes last on sys.path
    (environment.site_packages / "checkout.pth").write_text(f"{checkout}\n")
    environment.install(theirs)

    result = environment.run("python", "-m", "tuning", "list")
    assert_stops_with_one_line(result, "loud-agents 1.0", "`import agents`")
