"""From run folders to tables: a tidy long table, one row a run, one row an algorithm and environment.

Everything here is derived by reading run folders and can be deleted and made again. The unit of replication is the
training run: a score is the return of the model at the end of training, the mean over that evaluation's deterministic
episodes, never the best checkpoint. Episodes with sampled actions have metrics of their own and are never mixed in.
Runs of one algorithm with different settings are variants with rows of their own. Failed runs stay visible.
"""

from tuning.results.aggregates import aggregate, pairwise
from tuning.results.formats import FORMATS, markdown, render, to_file
from tuning.results.normalization import REFERENCES, Reference
from tuning.results.per_run import runs
from tuning.results.readable import AGGREGATE_CAPTION, CAPTION, IMPROVEMENT_CAPTION, Readable, readable
from tuning.results.summaries import summary
from tuning.results.table import COLUMNS, load

__all__ = [
    "AGGREGATE_CAPTION",
    "CAPTION",
    "COLUMNS",
    "FORMATS",
    "IMPROVEMENT_CAPTION",
    "REFERENCES",
    "Readable",
    "Reference",
    "aggregate",
    "load",
    "markdown",
    "pairwise",
    "readable",
    "render",
    "runs",
    "summary",
    "to_file",
]
