"""The speed benchmark can be made in pieces, and says how it was made."""

from benchmarks import asynchronous, report


def test_repetitions_in_the_file_are_not_made_again(tmp_path, monkeypatch):
    output = tmp_path / "runs.jsonl"
    made = []

    def measure(name, env_id, seconds):
        made.append((env_id, name))
        return {"decisions_per_second": float(len(made))}

    monkeypatch.setattr(asynchronous, "measure", measure)
    keys = [("CartPole-v1", name, repetition, 1.0) for repetition in range(2) for name in ("ceiling", "a3c-2-5")]
    first = asynchronous.complete(keys[:3], float("inf"), output)
    both = asynchronous.complete(keys, float("inf"), output)
    assert made == [key[:2] for key in keys]
    assert both == {key: {"decisions_per_second": float(i + 1)} for i, key in enumerate(keys)}
    assert {key: both[key] for key in first} == first
    longer = [(*keys[0][:3], 2.0)]
    assert asynchronous.complete(longer, float("inf"), output) == {longer[0]: {"decisions_per_second": 5.0}}


def test_nothing_begins_after_the_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(asynchronous, "measure", lambda *_: {"decisions_per_second": 1.0})
    assert asynchronous.complete([("CartPole-v1", "ceiling", 0, 1.0)], -1.0, tmp_path / "runs.jsonl") == {}


def test_without_a_file_everything_is_measured_anew(monkeypatch):
    speeds = iter((1.0, 2.0))
    monkeypatch.setattr(asynchronous, "measure", lambda *_: {"decisions_per_second": next(speeds)})
    key = ("CartPole-v1", "ceiling", 0, 1.0)
    found = [asynchronous.complete([key], float("inf"), None)[key]["decisions_per_second"] for _ in range(2)]
    assert found == [1.0, 2.0]


def test_the_command_below_a_table_names_no_file_of_the_machine(monkeypatch):
    given = ["asynchronous.py", "--envs", "A", "B", "--output", "runs.jsonl", "--seconds", "3", "--time-limit=9"]
    monkeypatch.setattr("sys.argv", given)
    assert report.command("benchmarks.asynchronous") == "python -m benchmarks.asynchronous --envs A B --seconds 3"
