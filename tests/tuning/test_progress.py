"""The progress display and the training clock."""

import io
import sys
from contextlib import suppress

import pytest
from rich.console import Console

from tuning import progress
from tuning.progress import Bar, Lines, Quiet, reporter
from tuning.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on only when it is told to; the same for both modules."""
    now = [100.0]
    monkeypatch.setattr("tuning.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tuning.stopwatch.time.perf_counter", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


def test_the_bar_shows_steps_speed_and_the_mean_return_of_the_last_episodes(clock):
    screen = io.StringIO()
    with Bar("a3c CartPole-v1", 1000, Console(file=screen, force_terminal=True, width=200)) as bar:
        bar.episode(1000.0)
        for value in [10.0] * 10 + [20.0] * 10:  # the last twenty
            bar.episode(value)
        clock(1.0)
        bar.update(250, 2.0)
    shown = screen.getvalue()
    for part in ("a3c CartPole-v1", "250/1,000 steps", "125 steps/s", "return 15.0", "25%"):
        assert part in shown


def test_the_bar_ends_with_the_last_number_it_was_told(clock):
    screen = io.StringIO()
    with Bar("run", 1000, Console(file=screen, force_terminal=True, width=200)) as bar:
        bar.update(1000, 2.0)
    assert "1,000/1,000 steps" in screen.getvalue()
    assert "return -" in screen.getvalue(), "no episode has ended"


def test_lines_come_every_half_minute(clock):
    log = io.StringIO()
    with Lines("run", 1000, log) as lines:
        lines.episode(3.0)
        for step in range(1, 9):
            clock(10.0)
            lines.update(100 * step, 10.0 * step)
    assert log.getvalue().splitlines() == [
        "run: 300/1,000 steps, 10 steps/s, return 3.0, 70 s left",
        "run: 600/1,000 steps, 10 steps/s, return 3.0, 40 s left",
    ]


def test_a_terminal_gets_a_bar_a_log_gets_lines_and_who_wants_nothing_gets_nothing(monkeypatch, capsys):
    assert type(reporter("run", 10)) is Lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(reporter("run", 10)) is Bar
    with reporter("run", 10, wanted=False) as quiet:
        assert type(quiet) is Quiet
        quiet.episode(1.0)
        quiet.update(10, 1.0)
    assert capsys.readouterr() == ("", "")


def test_a_line_before_any_time_was_counted_divides_by_nothing(clock):
    log = io.StringIO()
    lines = Lines("run", 10, log)
    clock(100.0)
    lines.update(0, 0.0)
    assert "0/10 steps, 0 steps/s" in log.getvalue()


def test_the_stopwatch_leaves_pauses_out(clock):
    watch = Stopwatch(5.0)
    clock(1.0)
    assert watch.seconds == 5.0, "not started"
    watch.start()
    clock(2.0)
    with watch.paused():
        clock(50.0)
        assert watch.seconds == 7.0
    clock(1.0)
    watch.stop()
    clock(9.0)
    assert watch.seconds == 8.0


def test_a_pause_of_a_stopped_watch_does_not_start_it(clock):
    watch = Stopwatch()
    with watch.paused():
        clock(1.0)
    clock(1.0)
    assert watch.seconds == 0.0


def test_a_pause_ends_with_an_exception(clock):
    watch = Stopwatch()
    watch.start()
    with suppress(RuntimeError), watch.paused():
        clock(1.0)
        raise RuntimeError
    clock(2.0)
    assert watch.seconds == 2.0


def test_the_watch_can_be_started_late(clock):
    watch = Stopwatch()
    watch.start(seconds_ago=1.5)
    watch.start(seconds_ago=99.0)
    clock(1.0)
    assert watch.seconds == 2.5


def test_updates_between_frames_are_cheap(clock):
    shown = []

    class Counting(progress._Paced):
        def _show(self, num_timesteps, train_seconds):
            shown.append(num_timesteps)

    counting = Counting("run", 10, seconds_between=1.0)
    for step in range(10):
        counting.update(step, 0.0)
        clock(0.3)
    assert shown == [4, 8]
