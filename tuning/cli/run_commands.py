"""The commands around one run: list, train, evaluate, watch, resume."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import SeveralValues, parse_pairs

if TYPE_CHECKING:
    from tuning.runs import RunFolder

Run = Annotated[Path, typer.Argument(help="The run's folder, such as runs/a3c/CartPole-v1/s0-1a2b3c4d.")]
Model = Annotated[str, typer.Option(help="Which saved model: final, best, or last (of an unfinished run).")]
Sampled = Annotated[bool, typer.Option("--sampled", help="Sample actions instead of taking the most likely ones.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the environment; derived from the run's by default.", min=0)]
ImportModules = Annotated[
    list[str] | None,
    typer.Option("--import-module", help="A module that registers environments, imported first; repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command("list")(list_)
    app.command("train", cls=SeveralValues)(train)
    app.command("evaluate")(evaluate)
    app.command("watch")(watch)
    app.command("resume")(resume)


def list_() -> None:
    """Show the algorithms, what they act in, and the environments they have settings for.

    Algorithms of other installed packages are listed, too. Settings are in zoo_configs/ALGO.yml; an environment without
    settings of its own is trained with the algorithm's defaults.
    """
    from rich.console import Console
    from rich.table import Table

    from agents import registry
    from tuning.config import zoo_environments, zoo_folder

    specs = registry.specs()
    algorithms = Table("key", "class", "actions", "paper", title="Algorithms", title_justify="left")
    configured: dict[str, list[str]] = {}
    for spec in specs:
        algorithms.add_row(spec.key, spec.cls.__name__, ", ".join(spec.action_spaces), _short_reference(spec.paper))
        for env in zoo_environments(spec.key):
            configured.setdefault(env, []).append(spec.key)
    environments = Table("environment", "algorithms", title="Environments with settings", title_justify="left")
    for env in sorted(configured):
        environments.add_row(env, ", ".join(configured[env]))
    console = Console()
    console.print(algorithms)
    console.print(environments)
    console.print(f"Settings: {zoo_folder()}")


def _short_reference(paper: str) -> str:
    """`A, B, C: Title, 2016` -> `A et al.: Title, 2016`; anything else as it is."""
    authors, colon, title = paper.partition(": ")
    first, comma, _ = authors.partition(", ")
    return f"{first} et al.: {title}" if colon and comma else paper


def train(
    algo: Annotated[str | None, typer.Option(help="Algorithm, as in `actorzoo list`: a3c, ppo, ...")] = None,
    env: Annotated[str | None, typer.Option(help="Environment id, such as CartPole-v1.")] = None,
    n_timesteps: Annotated[
        int | None, typer.Option(help="Environment steps, summed over environments; as configured by default.", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random in the run; 0 by default.", min=0)] = None,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:VALUE ...",
            help="Over the configured ones: n_steps:20 learning_rate:1e-3 policy_kwargs.net_arch:[64,64]. "
            "Also other keys of a run: n_envs:8 normalize.observation:true reward_scale:0.1.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A configuration instead of the zoo's: a run's config.yml, or a file laid out like the zoo's."
        ),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run folders lie.")] = Path("runs"),
    run_id: Annotated[
        str | None, typer.Option(help="Name of the run's folder; derived from its settings by default.")
    ] = None,
    eval_freq: Annotated[
        int | None, typer.Option(help="Steps between evaluations; a twentieth of the run by default.", min=1)
    ] = None,
    eval_episodes: Annotated[int | None, typer.Option(help="Episodes an evaluation; 10 by default.", min=1)] = None,
    import_module: ImportModules = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Torch threads; 1 by default, which suits small networks best.", min=1)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY:VALUE", help="Kept in run.json; repeatable.")] = None,
    progress: Annotated[bool, typer.Option(help="Show a bar on a terminal, a line now and then elsewhere.")] = True,
) -> None:
    """Train an algorithm on an environment, into a run folder.

    Settings come from zoo_configs/ALGO.yml and the options below. The folder holds the resolved configuration, the
    evaluations, the final and the best model with their normalization statistics, and versions and hardware.

    For example:

        actorzoo train --algo a3c --env CartPole-v1
        actorzoo train --algo ppo --env Pendulum-v1 --seed 3 --n-timesteps 50000 --hyperparams n_epochs:5 n_envs:8
        actorzoo train --config runs/ppo/Pendulum-v1/s3-1a2b3c4d/config.yml --seed 4
    """
    from tuning import training

    run = training.train(
        algo,
        env,
        n_timesteps=n_timesteps,
        seed=seed,
        hyperparams=parse_pairs(hyperparams),
        config=config,
        runs_dir=runs_dir,
        run_id=run_id,
        tags=parse_pairs(tag, "--tag"),
        progress=progress,
        eval_freq=eval_freq,
        eval_episodes=eval_episodes,
        import_modules=import_module or None,
        device=device,
        threads=threads,
    )
    _print_outcome(run)


def evaluate(
    run: Run,
    episodes: Annotated[int, typer.Option(help="How many.", min=1)] = 20,
    sampled: Sampled = False,
    model: Model = "final",
    seed: Seed = None,
) -> None:
    """Evaluate a run's model on fresh episodes; the run folder is left as it is.

    Returns are the environment's own, neither scaled nor normalized.

    For example:

        actorzoo evaluate runs/a3c/CartPole-v1/s0-1a2b3c4d
        actorzoo evaluate runs/a3c/CartPole-v1/s0-1a2b3c4d --model best --episodes 100 --sampled
    """
    from tuning import evaluation

    table = evaluation.evaluate(run, episodes, sampled=sampled, model=model, seed=seed)
    returns, lengths = table["return"], table["length"]
    how = "sampled" if sampled else "deterministic"
    typer.echo(
        f"return {returns.mean():.2f} ± {returns.std(ddof=0):.2f} (min {returns.min():.2f}, max {returns.max():.2f}), "
        f"length {lengths.mean():.1f}, {episodes} episodes, {how} actions, {model} model"
    )


def watch(
    run: Run,
    record: Annotated[
        Path | None, typer.Option(help="Write a video (.mp4 or .mkv) instead of opening a window; needs no display.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="How many, one after the other.", min=1)] = 1,
    sampled: Sampled = False,
    model: Model = "final",
    seed: Seed = None,
) -> None:
    """Watch a run's model play, in a window or as a video.

    Returns are the environment's own. A machine without a display can record only.

    For example:

        actorzoo watch runs/a3c/CartPole-v1/s0-1a2b3c4d
        actorzoo watch runs/a3c/CartPole-v1/s0-1a2b3c4d --record cartpole.mp4
    """
    from tuning import watching

    for number, episode in enumerate(
        watching.watch(run, episodes=episodes, record=record, sampled=sampled, model=model, seed=seed), start=1
    ):
        typer.echo(f"episode {number}: return {episode.value:.2f}, {episode.length} steps")
    if record is not None:
        typer.echo(f"video: {record}")


def resume(
    run: Run,
    progress: Annotated[bool, typer.Option(help="Show progress, as for train.")] = True,
) -> None:
    """Continue an interrupted or failed run to its number of steps.

    It goes on from the model of its last evaluation, or of the moment it was interrupted.

    For example:

        actorzoo resume runs/a3c/CartPole-v1/s0-1a2b3c4d
    """
    from tuning import training

    _print_outcome(training.resume(run, progress=progress))


def _print_outcome(run: "RunFolder") -> None:
    """Steps, speed, the final score, and where everything lies."""
    status = run.status
    table = run.evaluations()
    table = table[~table["sampled"]]
    final = table.loc[table["num_timesteps"] == table["num_timesteps"].max(), "return"]
    speed = f"{status['train_seconds']:.1f} s ({status['steps_per_second']:.0f} steps/s)"
    typer.echo(
        f"{status['num_timesteps']} steps in {speed}; "
        f"final return {final.mean():.2f} ± {final.std(ddof=0):.2f} ({len(final)} episodes, deterministic actions)"
    )
    typer.echo(run.path)
