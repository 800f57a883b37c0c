"""Several algorithms, environments and seeds, each run in a process of its own: trained, then compared.

A comparison is a set of runs, and a run is a folder: what has finished is kept when the comparison is started again,
what failed or was interrupted is trained again. One run's crash leaves the others alone.
"""

from tuning.compare.comparison import Comparison, compare
from tuning.compare.display import Bars, Lines, Quiet, ending, quiet
from tuning.compare.jobs import Job, job_of_file, plan
from tuning.compare.report import Files
from tuning.compare.schedule import Outcome, Progress, Watcher, run_jobs

__all__ = [
    "Bars",
    "Comparison",
    "Files",
    "Job",
    "Lines",
    "Outcome",
    "Progress",
    "Quiet",
    "Watcher",
    "compare",
    "ending",
    "job_of_file",
    "plan",
    "quiet",
    "run_jobs",
]
