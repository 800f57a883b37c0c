"""Files of named arrays: whole or not at all, and nothing is executed on reading."""

import pickle

import numpy as np
import pytest

from wrappers.statistics_file import read_arrays, write_arrays


def test_arrays_and_names_go_round(tmp_path):
    arrays = {"observation/arm/mean": np.arange(3.0), "rule": np.array("running"), "count": np.array(1e-4)}
    path = tmp_path / "statistics.anything"  # the name is kept as given
    write_arrays(path, arrays)
    assert [p.name for p in tmp_path.iterdir()] == ["statistics.anything"]
    got = read_arrays(path)
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "statistics.npz"
    write_arrays(path, {"a": np.array(1)})

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        write_arrays(path, {"a": np.array(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["statistics.npz"]
    assert read_arrays(path)["a"] == 1


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="'a' is of object type"):
        write_arrays(tmp_path / "x.npz", {"a": np.array([{}])})
    assert not list(tmp_path.iterdir())


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("content", ["pickle", "text", "empty", "object array", "single array"])
def test_other_files_are_refused_without_executing_them(tmp_path, content):
    path = tmp_path / "x.npz"
    if content == "pickle":
        path.write_bytes(pickle.dumps(Explosive()))
    elif content == "object array":
        np.savez(path, a=np.array([Explosive()], dtype=object))
    elif content == "single array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_text("hello" if content == "text" else "")
    with pytest.raises(ValueError, match=r"x\.npz is no file of named arrays"):
        read_arrays(path)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
