"""Speed of the asynchronous methods beside their peers, in one run: `python -m benchmarks.asynchronous`.

Every system runs in a process of its own; systems are interleaved, so that a machine whose speed drifts treats them
alike, and each figure is the median of the repetitions with their range. With --output the benchmark can be made in
pieces (--time-limit): repetitions of the same length that are in the file already are not repeated.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks import report
from benchmarks.environments import PONG
from benchmarks.systems import SYSTEMS

Key = tuple[str, str, int, float]  # environment, system, repetition, its seconds
Result = dict[str, float]
ENVIRONMENTS = ("CartPole-v1", "Acrobot-v1", "LunarLander-v3", "Hopper-v5", PONG)
CONTINUOUS = ("Hopper-v5", "HalfCheetah-v5")
COLUMNS = {
    "decisions_per_second": ("decisions/s", "{:,.0f}"),
    "cpu_seconds_per_million": ("CPU s per million", "{:,.1f}"),
    "worker_mb": ("private MB a worker", "{:,.0f}"),
    "updates_per_second": ("updates/s", "{:,.0f}"),
    "policy_lag": ("policy lag (updates)", "{:.2f}"),
}


def serves(name: str, env_id: str) -> bool:
    """Whether a system is measured on an environment."""
    if env_id == PONG and not SYSTEMS[name].images:
        return False
    return not (env_id in CONTINUOUS and name.startswith(("q-", "nq-")))


def read(output: Path) -> dict[Key, Result]:
    """Repetitions that have been made."""
    if not output.exists():
        return {}
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    return {(row["env"], row["system"], row["repetition"], row["seconds"]): row["result"] for row in rows}


def complete(wanted: list[Key], time_limit: float, output: Path | None) -> dict[Key, Result]:
    """Make what is missing from the output file until the time limit; return what is there of what is wanted."""
    began = time.monotonic()
    done = {} if output is None else read(output)
    missing = [key for key in wanted if key not in done]
    for key in tqdm(missing, unit="run"):
        if time.monotonic() - began > time_limit:
            break
        env_id, name, repetition, seconds = key
        done[key] = measure(name, env_id, seconds)
        if output is not None:
            row = {"env": env_id, "system": name, "repetition": repetition, "seconds": seconds, "result": done[key]}
            with output.open("a") as file:
                print(json.dumps(row), file=file)
    return {key: done[key] for key in wanted if key in done}


def measure(name: str, env_id: str, seconds: float) -> Result:
    """One repetition, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.systems", name, env_id, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(env_id: str, results: dict[str, list[Result]]) -> str:
    """Markdown for one environment."""
    columns = [c for c in COLUMNS if any(c in run for runs in results.values() for run in runs)]
    ceiling = median(run["decisions_per_second"] for run in results["ceiling"]) if "ceiling" in results else None
    lines = [
        f"## {env_id}",
        "",
        "| system | " + " | ".join(COLUMNS[c][0] for c in columns) + " | of the ceiling |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for name, runs in results.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs if column in run]
            form = COLUMNS[column][1]
            if not values:
                cells.append("")
            elif column == "decisions_per_second":
                cells.append(f"{form.format(median(values))} [{form.format(min(values))}, {form.format(max(values))}]")
            else:
                cells.append(form.format(median(values)))
        share = median(run["decisions_per_second"] for run in runs) / ceiling if ceiling else None
        cells.append("" if share is None else f"{share:.0%}")
        lines.append(f"| {SYSTEMS[name].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def repetitions(results: dict[str, dict[str, list[Result]]]) -> str:
    """How many there are of each system: fewer than were asked for where a time limit came first."""
    numbers = {len(runs) for of_env in results.values() for runs in of_env.values()}
    return " to ".join(str(number) for number in sorted({min(numbers), max(numbers)}))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=list(ENVIRONMENTS), help="environment ids")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of training a repetition (default 4)")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="begin nothing after so many seconds")
    parser.add_argument("--output", type=Path, help="file that keeps repetitions; without it all are made anew")
    arguments = parser.parse_args()
    wanted = [
        (env_id, name, repetition, arguments.seconds)
        for env_id in arguments.envs
        for repetition in range(arguments.repeats)
        for name in arguments.systems
        if serves(name, env_id)
    ]
    done = complete(wanted, arguments.time_limit, arguments.output)
    results: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for (env_id, name, *_), result in done.items():
        results[env_id][name].append(result)
    parts = [
        "# Decisions per second\n",
        f"Median [range] of {repetitions(results)} interleaved repetitions of {arguments.seconds:g} s of training "
        "each. A decision is one environment step (Pong: four frames). The ceiling steps the same wrapped environment "
        "with random actions.\n",
        *(table(env_id, found) + "\n" for env_id, found in results.items()),
        report.provenance(report.command("benchmarks.asynchronous")),
        "",
    ]
    text = "\n".join(parts)
    print(text)
    report.write("asynchronous.md", text)


if __name__ == "__main__":
    main()
