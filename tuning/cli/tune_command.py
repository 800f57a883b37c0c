"""The command tune: a study from the search to the verdict."""

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Continuable, parse_pairs

if TYPE_CHECKING:
    from tuning.study.config import StudyConfig
    from tuning.study.pipeline import Tuned

SEARCH, RACE, OUTPUT = "Search", "Race and test", "Where and how"


class Method(StrEnum):
    """How hyperparameters are found."""

    SEARCH = "search"
    PBT = "pbt"
    EVOLVE = "evolve"


def register(app: typer.Typer) -> None:
    """Add this module's command to the application."""
    app.command("tune", cls=Continuable)(tune)


def tune(
    algo: Annotated[str | None, typer.Option(help="Algorithm, as in `actorzoo list`: a3c, ppo, ...")] = None,
    env: Annotated[str | None, typer.Option(help="Environment id, such as CartPole-v1.")] = None,
    trials: Annotated[
        int | None, typer.Option(help="End the search after so many trials; 50 where nothing else ends it.", min=1)
    ] = None,
    hours: Annotated[float | None, typer.Option(help="End it after so many hours of search.", min=0.0)] = None,
    total_steps: Annotated[
        int | None, typer.Option(help="End it after so many environment steps of all trials.", min=1)
    ] = None,
    patience: Annotated[int | None, typer.Option(help="End it when nothing improved in so many trials.", min=1)] = None,
    n_timesteps: Annotated[
        int | None,
        typer.Option(help="Environment steps of every trial, race and test run; as configured by default.", min=1),
    ] = None,
    seeds_per_trial: Annotated[
        int,
        typer.Option(
            help="Training runs a trial, each with a seed of its own, the same ones in every trial.",
            min=1,
            rich_help_panel=SEARCH,
        ),
    ] = 1,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="What a run is worth: last_mean (return over its last evaluations; default), iqm, auc, "
            "steps_to_threshold, train_seconds. Repeat it for a Pareto front of several.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="For steps_to_threshold: the return; the environment's own by default.", rich_help_panel=SEARCH
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TYPE:...",
            help="A dimension over the zoo's search space: learning_rate=log:1e-5:1e-2, n_steps=power_of_two:8:512, "
            "gamma=one_minus:0.9:0.999, use_sde=categorical:true,false, policy_kwargs.net_arch=net_arch:small,medium; "
            "n_steps=null leaves one out. Repeatable.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    space_file: Annotated[
        Path | None, typer.Option(help="A YAML file of such dimensions.", rich_help_panel=SEARCH)
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            help="tpe, gp, cmaes, random, grid, qmc, nsgaii, or package.module:Class.", rich_help_panel=SEARCH
        ),
    ] = "tpe",
    sampler_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:VALUE", help="For the sampler: n_startup_trials:20; repeatable.", rich_help_panel=SEARCH
        ),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            help="median (default), hyperband, successive_halving, percentile, wilcoxon (over seeds), none, or "
            "package.module:Class.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    pruner_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:VALUE", help="For the pruner: n_warmup_steps:5000; repeatable.", rich_help_panel=SEARCH
        ),
    ] = None,
    n_evaluations: Annotated[
        int | None,
        typer.Option(help="Evaluations a run, evenly spaced; 20 by default.", min=1, rich_help_panel=SEARCH),
    ] = None,
    eval_episodes: Annotated[
        int | None, typer.Option(help="Episodes an evaluation; 10 by default.", min=1, rich_help_panel=SEARCH)
    ] = None,
    max_train_seconds: Annotated[
        float | None,
        typer.Option(help="Configurations that train longer cannot win.", min=0.0, rich_help_panel=SEARCH),
    ] = None,
    race_top: Annotated[
        int, typer.Option(help="So many of the best configurations are raced.", min=1, rich_help_panel=RACE)
    ] = 3,
    race_seeds: Annotated[int, typer.Option(help="Fresh seeds for each of them.", min=2, rich_help_panel=RACE)] = 5,
    test_seeds: Annotated[
        int,
        typer.Option(help="More fresh seeds, for the winner and the default.", min=2, rich_help_panel=RACE),
    ] = 5,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:VALUE ...",
            help="The default, over the configured one, as for train; what the search space does not name stays so.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A configuration instead of the zoo's, as for train; search_space in it counts."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random in the study.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="Worker processes.", min=1, rich_help_panel=OUTPUT)] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database URL (postgresql://...), so that the same command on several machines works on one study; by "
            "default a journal file in the study's folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    study_name: Annotated[
        str | None,
        typer.Option(help="Derived from the settings by default: the same command continues.", rich_help_panel=OUTPUT),
    ] = None,
    runs_dir: Annotated[
        Path, typer.Option(help="The study lies in studies/NAME below it.", rich_help_panel=OUTPUT)
    ] = Path("runs"),
    method: Annotated[
        Method,
        typer.Option(
            help="search; pbt: population-based training, whose members change their hyperparameters while they train; "
            "evolve: the same with tournaments and mutations.",
            rich_help_panel=OUTPUT,
        ),
    ] = Method.SEARCH,
    population: Annotated[int, typer.Option(help="For pbt and evolve: members.", min=2, rich_help_panel=OUTPUT)] = 8,
    interval: Annotated[
        int | None,
        typer.Option(
            help="For pbt and evolve: environment steps between two selections; a 20th of the run by default.",
            min=1,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    import_module: Annotated[
        list[str] | None,
        typer.Option(help="A module that registers environments, imported first; repeatable.", rich_help_panel=OUTPUT),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...", rich_help_panel=OUTPUT)] = None,
    threads: Annotated[
        int | None, typer.Option(help="Torch threads a run; 1 by default.", min=1, rich_help_panel=OUTPUT)
    ] = None,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Serve Optuna's dashboard of the study on this machine, while it runs and then until Ctrl-C.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    progress: Annotated[bool, typer.Option(help="Show what happens.", rich_help_panel=OUTPUT)] = True,
) -> None:
    """Search hyperparameters, race the best ones, test the winner against the default.

    1. **Search**: trials train with the study's seeds; bad ones are pruned. The first trial is the default.
    2. **Race**: the best configurations train with fresh seeds, because the best of many noisy trials is lucky, too.
    3. **Test**: the winner and the default train with other fresh seeds; the verdict says how sure one can be.

    The winner is written as a file for `actorzoo train --config`. The same command continues an interrupted study, with
    a larger budget as well. If every trial fails the exit code is 1, and the first cause is shown.

    For example:

        actorzoo tune --algo a2c --env CartPole-v1 --trials 30 --n-timesteps 30000
        actorzoo tune --algo ppo --env Pendulum-v1 --hours 2 --jobs 4 --seeds-per-trial 2 --space n_epochs=int:1:30
        actorzoo tune --algo sac --env Pendulum-v1 --trials 40 --sampler gp --pruner hyperband --patience 15
    """
    if method is not Method.SEARCH:
        from tuning.cli.population_output import tune_population

        tune_population(
            method.value,
            algo,
            env,
            # what belongs to searches only, and must not be ignored
            refused={
                "trials": trials,
                "hours": hours,
                "total-steps": total_steps,
                "patience": patience,
                "objective": objective,
                "threshold": threshold,
                "sampler-option": sampler_option,
                "pruner": pruner,
                "pruner-option": pruner_option,
                "n-evaluations": n_evaluations,
                "storage": storage,
                "max-train-seconds": max_train_seconds,
                "dashboard": dashboard or None,
            },
            hyperparams=parse_pairs(hyperparams),
            config=config,
            space=space or (),
            space_file=space_file,
            n_timesteps=n_timesteps,
            eval_episodes=eval_episodes,
            seed=seed,
            population_size=population,
            interval=interval,
            name=study_name,
            n_jobs=jobs,
            runs_dir=runs_dir,
            import_modules=import_module or None,
            device=device,
            threads=threads,
            progress=progress,
        )
        return
    from tuning.study.plan import plan_study

    planned = plan_study(
        algo,
        env,
        hyperparams=parse_pairs(hyperparams),
        config=config,
        space=space or (),
        space_file=space_file,
        n_timesteps=n_timesteps,
        n_evaluations=n_evaluations,
        eval_episodes=eval_episodes,
        seed=seed,
        seeds_per_trial=seeds_per_trial,
        objective=objective or "last_mean",
        threshold=threshold,
        sampler=sampler,
        sampler_options=parse_pairs(sampler_option, "--sampler-option"),
        pruner=pruner,
        pruner_options=parse_pairs(pruner_option, "--pruner-option"),
        trials=trials,
        hours=hours,
        total_steps=total_steps,
        patience=patience,
        max_train_seconds=max_train_seconds,
        race_top=race_top,
        race_seeds=race_seeds,
        test_seeds=test_seeds,
        storage=storage,
        study_name=study_name,
        import_modules=import_module or None,
        device=device,
        threads=threads,
    )
    if dashboard:
        _run_beside_dashboard(planned, runs_dir, jobs, progress)
    else:
        _print_outcome(_run(planned, runs_dir, jobs, progress))


def _run(planned: "StudyConfig", runs_dir: Path, jobs: int, progress: bool) -> "Tuned":
    import sys

    import optuna

    from tuning import compare
    from tuning.study.pipeline import tune_study
    from tuning.study.progress import study_display

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not progress:
        return tune_study(planned, runs_dir, n_jobs=jobs)
    display = compare.Bars if sys.stderr.isatty() else compare.Lines
    watcher = study_display(planned.budget.trials, [metric.value for metric in planned.objectives])
    return tune_study(planned, runs_dir, n_jobs=jobs, display=display, watcher=watcher)


def _run_beside_dashboard(planned: "StudyConfig", runs_dir: Path, jobs: int, progress: bool) -> None:
    from tuning.study.dashboard import Dashboard
    from tuning.study.pipeline import open_folder
    from tuning.study.runner import address_of

    folder = open_folder(planned, runs_dir)
    with Dashboard(address_of(planned, folder, jobs).url) as served:
        typer.echo(f"Dashboard: {served.address}", err=True)
        _print_outcome(_run(planned, runs_dir, jobs, progress))
        typer.echo(f"The dashboard stays at {served.address} until Ctrl-C.", err=True)
        served.wait()


_SHOWN: Sequence[str] = ("candidate", "objective", "n", "failures", "mean", "std", "iqm", "iqm_low", "iqm_high", "auc")


def _print_outcome(tuned: "Tuned") -> None:
    """Race and test, the verdict, and where everything lies."""
    from tuning.cli.tables import print_table

    if len(tuned.race):
        print_table(tuned.race[list(_SHOWN)], f"Race, {tuned.config.race_seeds} seeds")
    print_table(tuned.test[list(_SHOWN)], f"Test, {tuned.config.test_seeds} other seeds")
    typer.echo(f"The winner is {tuned.verdict.sentence}.")
    typer.echo(f"Report, tables and figures: {tuned.folder}")
    typer.echo(shlex.join(["actorzoo", "train", "--config", str(tuned.winner_file)]))
