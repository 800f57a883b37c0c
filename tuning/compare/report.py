"""What a comparison leaves behind beside its run folders: tables, a picture, and a report that holds both.

All of it is derived from the run folders and is written again whenever the comparison is.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tuning import plots, results
from tuning.compare.jobs import Job
from tuning.files import write_text
from tuning.runs import RunFolder, env_folder_name, make_run_id

FOLDER = "comparisons"
MAX_NAME = 64  # characters; many algorithms and environments would give a name no file system takes


@dataclass(frozen=True)
class Files:
    """Where a comparison's files lie.

    Attributes:
        folder: holds all of them.
        summary: CSV, one row an algorithm and environment, unrounded.
        runs: CSV, one row a run.
        pairwise: CSV, one row a pair of algorithms and environment.
        report: Markdown.
        curves: PNG; missing as long as no run has finished.
    """

    folder: Path
    summary: Path
    runs: Path
    pairwise: Path
    report: Path
    curves: Path


def files_of(jobs: Sequence[Job]) -> Files:
    """The comparison's files: the same for the same settings, whatever the seeds."""
    digits = sorted({make_run_id(0, job.config.to_data()) for job in jobs})
    short = hashlib.sha256(json.dumps(digits).encode()).hexdigest()[:8]
    algos = "-".join(dict.fromkeys(job.config.algo for job in jobs))
    envs = "-".join(dict.fromkeys(env_folder_name(job.config.env) for job in jobs))
    name = f"{algos}-on-{envs}"
    folder = jobs[0].runs_dir / FOLDER / (f"{name}-{short}" if len(name) <= MAX_NAME else short)
    return Files(
        folder=folder,
        summary=folder / "results.csv",
        runs=folder / "runs.csv",
        pairwise=folder / "pairwise.csv",
        report=folder / "report.md",
        curves=folder / "curves.png",
    )


def write_files(files: Files, long: pd.DataFrame, jobs: Sequence[Job], *, command: str, notes: Sequence[str]) -> None:
    """Write tables, picture and report.

    Args:
        files: where to.
        long: the long table of the comparison's runs.
        jobs: what was compared.
        command: the command line that makes the comparison again.
        notes: sentences that a reader of the table must know.
    """
    table, summary, pairwise = results.runs(long), results.summary(long), results.pairwise(long)
    results.to_file(summary, "csv", files.summary)
    results.to_file(table, "csv", files.runs)
    results.to_file(pairwise, "csv", files.pairwise)
    if table["counted"].any():
        plots.save(plots.learning_curves(long), files.curves)
    else:
        files.curves.unlink(missing_ok=True)
    algos = dict.fromkeys(job.config.algo.upper() for job in jobs)
    envs = dict.fromkeys(job.config.env for job in jobs)
    parts = [
        f"# {' against '.join(algos)} on {', '.join(envs)}",
        f"```\n{command}\n```",
        results.markdown(summary),
        " ".join([results.CAPTION, *notes]),
    ]
    if files.curves.is_file():
        parts.append(f"![Learning curves]({files.curves.name})")
    if len(pairwise):
        parts += [results.markdown(pairwise), results.IMPROVEMENT_CAPTION]
    failed = table.loc[table["status"] == "failed", ["algo", "env", "seed", "error_line", "path"]]
    if len(failed):
        parts += ["## Failed runs", results.markdown(failed.rename(columns={"error_line": "error"}))]
    parts += ["## Made with", _provenance(table["path"])]
    write_text(files.report, "\n\n".join(part.strip() for part in parts) + "\n")


def _provenance(paths: Sequence[str]) -> str:
    """Versions and hardware of all runs, each line with the number of runs it holds for where that is not all."""
    lines: Counter[str] = Counter()
    for path in paths:
        about = RunFolder(Path(path)).read()
        hardware = about["hardware"]
        lines.update(f"{name} {version}" for name, version in about["versions"].items())
        if hardware:
            lines[f"{hardware['cpu']}, {hardware['cores_available']} cores, {hardware['platform']}"] += 1
    return "\n".join(f"* {line}" + ("" if n == len(paths) else f" ({n} runs)") for line, n in sorted(lines.items()))
