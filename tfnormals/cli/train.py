"""``tfnormals train``: a network from meshes, clouds and procedural shapes."""

import shlex
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import DataError, OutputExistsError
from .console import progress_bar, talk
from .options import DeviceOption
from .torchrun import launched_team, one_voice, own_device, team_command
from .training_preview import preview_training

if TYPE_CHECKING:
    from torch import device

    from ..data.sources import Source
    from ..distributed import Team
    from ..network import NetworkConfig
    from ..training import Progress as Step
    from ..training import TrainingConfig

Size = Literal["base", "small"]

RUN = "--out / --resume"
STEPS_PER_LINE = 50
"""Also the number of steps that losses are averaged over."""
LOSSES = {
    "loss": "loss {:.3f}",
    "direction": "direction {:.3f}",
    "side": "side {:.3f}",
    "sides_right": "{:.0%} right",
}
ERRORS = {
    "rmse_deg": "unoriented {:.2f} deg",
    "oriented_rmse_deg": "oriented {:.2f} deg",
    "outward_share": "outward {:.1%}",
}


def train_network(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of closed meshes (.ply .obj .off .stl) or PCPNet-layout clouds; may be "
            "repeated. Half of the shapes are procedural; all of them without it.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Folder of a new run.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run to continue, with all of its settings."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, show_default="10000", help="Length of the run."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.01, help="Length of the run in time instead."),
    ] = None,
    batch_points: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="8192",
            help="Points of a batch, about; 65536 on a GPU.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", min=0, show_default="0.002", help="At its highest."),
    ] = None,
    size: Annotated[
        Size | None,
        typer.Option(show_default="base", help="Of the network; small has half the channels."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Weights to start from: a shipped model, a model file or the folder of a run.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, show_default="0", help="Chooses all random numbers."),
    ] = None,
    device: DeviceOption = "auto",
    preview: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=500,
            help="Trains nothing; writes the first N clouds that this run would see into RUN, as "
            "PLY with true normals and as one picture, contact-sheet.png.",
        ),
    ] = None,
) -> None:
    """Train a network on shapes.

    RUN is then a model: `tfnormals predict --model RUN`. However a run was stopped, --resume RUN
    continues it as if nothing had happened. `torchrun --nproc-per-node N -m tfnormals train`
    splits every batch over N processes, on GPUs or not; the result stays the same.
    """
    run = out or resume
    if run is None or (out and resume):
        raise typer.BadParameter("give one of them: a new run or one to continue", param_hint=RUN)
    if steps and minutes:
        raise typer.BadParameter("a run has --steps or --minutes", param_hint="--minutes")
    kept = {"--data": data, "--batch-points": batch_points, "--learning-rate": learning_rate}
    for name, value in {**kept, "--size": size, "--start": start, "--seed": seed}.items():
        if resume and value not in (None, []):
            raise typer.BadParameter("a run keeps what it started with", param_hint=name)
    if resume and preview:
        raise typer.BadParameter("it goes to a new folder, --out", param_hint="--preview")
    if start and size:
        raise typer.BadParameter("a model has a size already", param_hint="--size")
    if out:
        _check_new(out)
    from ..data.sources import split
    from ..pretrained import load_model
    from ..runs import load_settings
    from ..training import GPU_BATCH_POINTS, TrainingConfig

    if resume:
        config, data = load_settings(resume)
    else:
        default = TrainingConfig()
        on_gpu = own_device(device, launched_team()).type == "cuda"
        usual_points = GPU_BATCH_POINTS if on_gpu else default.batch_points
        config = TrainingConfig(
            batch_points=batch_points or usual_points,
            learning_rate=default.learning_rate if learning_rate is None else learning_rate,
            seed=seed or default.seed,
            start=start and _lasting(start),
            network=load_model(start).config if start else _network(size or "base"),
        )
    if steps:
        config = replace(config, steps=steps, minutes=None)
    elif minutes:
        config = replace(config, minutes=minutes)
    if preview:
        preview_training(run, config, split(_sources(data or []))[0], preview)
    else:
        _train(run, config, data or [], device)


def _check_new(run: Path) -> None:
    if run.exists() and not (run.is_dir() and not any(run.iterdir())):
        raise OutputExistsError(f"{run}: exists already; --resume continues a run")


def _network(size: Size) -> "NetworkConfig":
    from ..network import NetworkConfig

    base = NetworkConfig()
    if size == "base":
        return base
    scalars, vectors, hidden = (
        tuple(width // 2 for width in widths)
        for widths in (base.scalars, base.vectors, base.hidden)
    )
    return replace(base, scalars=scalars, vectors=vectors, hidden=hidden)


def _lasting(model: str) -> str:
    """The name or absolute path of a model, so that a run can be resumed from anywhere."""
    from ..pretrained import model_names

    return model if model in model_names() else str(Path(model).resolve())


def _train(run: Path, config: "TrainingConfig", data: Sequence[Path], device: str) -> None:
    from ..distributed import connected
    from ..pretrained import RUN_MODEL
    from ..training_report import training_curves

    team = launched_team()
    place = own_device(device, team)
    with one_voice(team), connected(team, place):
        pace = _run_of(team, place, run, config, data)
    if not team.leads:
        return
    if not (run / RUN_MODEL).exists():
        raise DataError(f"{run}: learned nothing finite; lower --learning-rate")
    talk.print(f"{run}: {pace}; model {run / RUN_MODEL}, curves {training_curves(run)}")


def _run_of(
    team: "Team", place: "device", run: Path, config: "TrainingConfig", data: Sequence[Path]
) -> str:
    """Trains to the end and tells how long it took; what the team shares ends with it."""
    from ..data.sources import split
    from ..runs import save_settings
    from ..training import Trainer

    sources, held_out = split(_sources(data))
    if team.leads:
        save_settings(run, config, data)
    trainer = Trainer(run, config, sources, held_out, place, team)
    if trainer.done >= 1:
        talk.print(f"{run}: was complete; --steps or --minutes makes it longer")
    try:
        with _display(trainer.done) as show:
            trainer.train(show)
    except KeyboardInterrupt:
        command = shlex.join([*team_command(team), "train", "--resume", str(run)])
        talk.print(f"stopped at step {trainer.step:,}; to go on: {command}")
        raise
    return f"{trainer.step:,} steps in {trainer.seconds / 60:.1f} min"


def _sources(folders: Sequence[Path]) -> list["Source"]:
    from ..data.sources import load_sources

    if not folders:
        return []
    with progress_bar("reading shapes") as on_progress:
        sources, skipped = load_sources(folders, on_progress)
    for path, reason in skipped:
        talk.print(f"skipped {path}: {reason}")
    talk.print(f"{len(sources):,} shapes to learn from, {len(skipped):,} files skipped")
    if not sources:
        raise DataError(f"{', '.join(map(str, folders))}: no file can be used; see the reasons")
    return sources


@contextmanager
def _display(done: float) -> Iterator[Callable[["Step"], None]]:
    """What shows the steps of a run: a bar on a terminal, otherwise a line now and then."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=talk,
        transient=True,
        disable=talk.quiet or not talk.is_terminal,
    )
    task = bar.add_task("starting", total=1.0)
    bar.update(task, completed=done)
    recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=STEPS_PER_LINE))

    def show(step: "Step") -> None:
        for name, value in step.losses.items():
            recent[name].append(value)
        means = _told({name: fmean(values) for name, values in recent.items()}, LOSSES)
        bar.update(task, completed=step.done, description=f"step {step.step:,}: {means}")
        line = f"step {step.step:,}, {step.done:.1%}"
        if step.validation:
            talk.print(f"{line}: validation {_told(step.validation, ERRORS)}")
        elif bar.disable and step.step % STEPS_PER_LINE == 0:
            talk.print(f"{line}: {means}")

    with bar:
        yield show


def _told(figures: Mapping[str, float], formats: Mapping[str, str]) -> str:
    return ", ".join(told.format(figures[name]) for name, told in formats.items())
