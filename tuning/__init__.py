"""Around a run: configuration, training, evaluation, comparison, studies, results.

    import tuning

    run = tuning.train("a3c", "CartPole-v1", n_timesteps=200_000, seed=0)
    tuning.evaluate(run.path)["return"].mean()

Functions are imported at first use, so that `import tuning` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.config import RunConfig, resolve
    from tuning.evaluation import evaluate
    from tuning.population.training import train_population
    from tuning.runs import RunFolder, find_runs, open_run
    from tuning.study.objective import Objective
    from tuning.study.pipeline import tune
    from tuning.training import resume, train
    from tuning.watching import watch

__all__ = [
    "Objective",
    "RunConfig",
    "RunFolder",
    "evaluate",
    "find_runs",
    "open_run",
    "resolve",
    "resume",
    "train",
    "train_population",
    "tune",
    "watch",
]

_MODULE_OF = {
    "Objective": "tuning.study.objective",
    "RunConfig": "tuning.config",
    "RunFolder": "tuning.runs",
    "evaluate": "tuning.evaluation",
    "find_runs": "tuning.runs",
    "open_run": "tuning.runs",
    "resolve": "tuning.config",
    "resume": "tuning.training",
    "train": "tuning.training",
    "train_population": "tuning.population.training",
    "tune": "tuning.study.pipeline",
    "watch": "tuning.watching",
}


_SUBMODULES = ("plots", "results", "search_space", "statistics")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tuning' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
