"""YAML as data that knows its lines."""

from pathlib import Path

import pytest

from tuning.errors import UsageError
from tuning.yaml_files import Located, parse_value, read_yaml


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.yml"
    path.write_text(text)
    return path


def test_each_key_knows_its_line(tmp_path):
    path = written(tmp_path, "a: 1\nb:\n  c: 2\n\n  d: [3,\n      4]\n")
    tree = read_yaml(path)
    assert tree.data == {"a": 1, "b": {"c": 2, "d": [3, 4]}}
    assert tree.place(("a",)) == f"{path}, line 1"
    assert tree.place(("b", "c")) == f"{path}, line 3"
    assert tree.place(("b", "d", "1")) == f"{path}, line 6"
    assert tree.place(("b", "unknown", "key")) == f"{path}, line 2", "the nearest key around it"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E5", -2e5),
        ("3", 3),
        ("true", True),
        ("[1, episode]", [1, "episode"]),
        ("", None),
        ("1e", "1e"),
    ],
)
def test_exponents_without_a_dot_are_numbers(text, value):
    # PyYAML's safe_load reads 1e-3 as text, which then fails far away, as a learning rate that is no number
    result = parse_value(text)
    assert result == value
    assert type(result) is type(value)


def test_a_key_given_twice_is_refused_instead_of_the_first_being_lost(tmp_path):
    path = written(tmp_path, "a:\n  b: 1\n  b: 2\n")
    with pytest.raises(UsageError, match=r"file\.yml, line 3: the key 'b' was given in line 2 already"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "line 2: this is no valid YAML"),
        ("a: 1\n b: 2\n", "line 2: this is no valid YAML"),
        ("a: !!python/object/apply:os.system [date]\n", "line 1: this is no valid YAML"),
        ("a: &x {b: *x}\n", "contains itself"),
        ("- 1\n", "holds no mapping"),
        ("", "holds no mapping"),
    ],
)
def test_what_is_no_mapping_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        read_yaml(written(tmp_path, text))
    assert "file.yml" in str(error.value)


def test_anchors_and_merge_keys_work(tmp_path):
    tree = read_yaml(written(tmp_path, "base: &base {a: 1, b: 2}\nmore:\n  <<: *base\n  b: 3\n"))
    assert tree.data["more"] == {"a": 1, "b": 3}


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yml cannot be read"):
        read_yaml(tmp_path / "nowhere.yml")


def test_layers_merge_mappings_and_replace_everything_else():
    below = Located.written_at("below", {"a": {"x": 1, "y": [1, 2]}, "b": 1})
    above = Located.written_at("above", {"a": {"y": [3]}, "c": {"z": 1}})
    merged = below.under(above)
    assert merged.data == {"a": {"x": 1, "y": [3]}, "b": 1, "c": {"z": 1}}
    assert [merged.place(path) for path in (("a", "x"), ("a", "y"), ("b",), ("c", "z"))] == [
        "below",
        "above",
        "below",
        "above",
    ]


@pytest.mark.parametrize("above", [{"schedule": "linear", "initial": 1.0}, 0.5, None])
def test_a_value_of_a_kind_is_replaced_as_a_whole(above):
    # merged, a schedule over a schedule would keep the old one's `final`
    below = Located.written_at("below", {"rate": {"schedule": "linear", "initial": 2.0, "final": 1.0}})
    assert below.under(Located.written_at("above", {"rate": above})).data == {"rate": above}


def test_merging_leaves_the_layers_alone():
    below = Located.written_at("below", {"a": {"x": 1}})
    below.under(Located.written_at("above", {"a": {"x": 2}}))
    assert below.data == {"a": {"x": 1}}
