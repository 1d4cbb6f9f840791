"""The training loop: resumable at any moment, a function of its configuration and seed."""

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from .data.batches import Batch, TrainingBatches, validation_clouds
from .data.sources import Source
from .distributed import ALONE, Team
from .errors import DataError, ModelError
from .metrics import mean_metrics, normal_metrics
from .network import NetworkConfig, Prediction, TensorFramesPointNet, measured_levels
from .pretrained import RUN_MODEL, load_model, save_model, save_tensors
from .voting import Directions

STATE = "state.safetensors"
METRICS = "metrics.jsonl"
WARMUP_STEPS = 200
CLIP_NORM = 1.0
POINT_LIMIT = 15.0
"""Most that a mean over points may change with what is said of one of them, times their number;
a point's own direction asks for at most 5."""
EMA_DECAY = 0.999
SIDE_WEIGHT = 2.5
EASIEST = 1e-3
"""Added to the mean square of a cloud before its root, which bounds what an easy cloud weighs."""
WRONG_SINE = 0.21
"""Sine of the angle, 12 degrees, beyond which a direction is wrong, no matter by how much: beside
an edge one of two faces is a better answer than their mean."""
WRONG_WEIGHT, SINE_WEIGHT, ROOT_WEIGHT = 1.0, 0.6, 0.6
ERROR_WEIGHT = 0.2
BEFORE_WEIGHT = 0.3
VALIDATION_CLOUDS = 20
VALIDATION_POINTS = 8192
SAVE_SECONDS = 120.0
GPU_BATCH_POINTS = 65_536
"""Points of a batch that are enough for a GPU: starting its operations takes some 0.2 s a step."""


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run depends on, besides its data."""

    steps: int = 10_000
    minutes: float | None = None
    """Paces and ends the run by time spent training instead of by steps."""
    batch_points: int = 8192
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    validate_every: int = 500
    start: str | None = None
    """Model whose weights the run starts from; ``network`` describes it."""
    network: NetworkConfig = field(default_factory=NetworkConfig)


class Progress(NamedTuple):
    """What a run reports after every step."""

    step: int
    done: float
    """Share of the run behind us, 0 to 1."""
    losses: dict[str, float]
    validation: dict[str, float]
    """Empty but after validation."""


class Trainer:
    """A run in a folder: its network, optimiser, averaged weights and position.

    Args:
        run: Folder of the run, created if missing; a state in it is picked up.
        config: On resuming, only ``steps`` and ``minutes`` may differ.
        sources: What to sample besides procedural surfaces.
        held_out: What to validate on besides procedural surfaces.
        device: Where to train.
        team: The processes that split every batch; the first of them validates and writes.
    """

    def __init__(
        self,
        run: Path,
        config: TrainingConfig,
        sources: Sequence[Source],
        held_out: Sequence[Source],
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        self.run, self.config, self.device, self.team = run, config, device, team
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = TensorFramesPointNet(config.network)
        if config.start is not None and not (run / STATE).exists():
            self.network.load_state_dict(load_model(config.start).state_dict())
        self.average = deepcopy(self.network)
        self.network.to(device)
        self.average.to(device).requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=0.0, weight_decay=config.weight_decay
        )
        self.batches = TrainingBatches(sources, config.batch_points, config.seed, *team)
        self.held_out = held_out
        self.step, self.seconds, self.best = 0, 0.0, math.inf
        self.step_is_whole = False
        run.mkdir(parents=True, exist_ok=True)
        if (run / STATE).exists():
            self._restore()
        elif team.leads:  # steps of a run stopped before its first state count for nothing
            (run / METRICS).unlink(missing_ok=True)
        if team.agreed(self.step) != self.step:
            raise DataError(f"{run}: not the same for all processes; put it where all can read it")
        self.replica = team.replica(self.network)

    @property
    def done(self) -> float:
        """Share of the run behind us, 0 to 1."""
        if self.config.minutes is not None:
            return min(self.seconds / (60 * self.config.minutes), 1.0)
        return min(self.step / self.config.steps, 1.0)

    def train(self, on_progress: Callable[[Progress], None]) -> None:
        """Trains to the end; interrupted at any moment, the folder holds a state to resume.

        A ``KeyboardInterrupt`` saves the state first, unless weights are just being changed.
        """
        try:
            self._train(on_progress)
        except KeyboardInterrupt:
            if self.step_is_whole:
                self._save({})
            raise

    def _train(self, on_progress: Callable[[Progress], None]) -> None:
        saved = start = time.monotonic()
        for batch in self._upcoming():
            losses = self._learn(batch)
            self.step += 1
            self.seconds += self.team.agreed(time.monotonic() - start)
            start = time.monotonic()
            if self.team.leads:  # the others wait for it in the next step
                self._update_average()
                due = self.step % self.config.validate_every == 0 or self.done >= 1
                validation = self._validate() if due else {}
                self._log(losses, validation)
                self.step_is_whole = True
                on_progress(Progress(self.step, self.done, losses, validation))
                if due or start - saved > SAVE_SECONDS:
                    self._save(validation)
                    saved = start
            if self.done >= 1:
                return

    def _upcoming(self) -> Iterator[Batch]:
        if self.done >= 1:
            return iter(())
        workers = _workers(self.device)
        if workers > 1:  # read by processes yet to be started, each with a core of its own
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=_CountFrom(self.step),
            num_workers=workers,
            prefetch_factor=4,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=_context(),
            worker_init_fn=_end_with_parent,
            generator=torch.Generator(),  # otherwise it draws from the global one
        )
        return iter(loader)

    def _learn(self, batch: Batch) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        batch = on_device(batch, self.device)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            prediction = self.replica(batch.levels)
        rounds = self.network.voted(prediction, batch.levels)
        clouds = Clouds.of_lengths(batch.lengths, self.device)
        losses = normal_losses(rounds, prediction.side, batch.normals, batch.side_weight, clouds)
        scale = self.team.size * batch.share  # replicas take the mean
        limit_gradients(prediction, rounds, scale * POINT_LIMIT / len(batch.normals))
        self.optimizer.zero_grad()
        (scale * losses["loss"]).backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.step_is_whole = False
        self.optimizer.step()
        figures = {name: float(value.detach()) for name, value in losses.items()}
        decidable = float((batch.side_weight == 1).sum()) if batch.share else 0.0
        weights = dict.fromkeys(figures, batch.share) | {"sides_right": decidable}
        return self.team.mean(figures, weights) | {"grad_norm": float(norm)}

    def _update_average(self) -> None:
        decay = min(EMA_DECAY, self.step / (9 + self.step))
        means: list[Tensor] = list(self.average.parameters())
        values: list[Tensor] = list(self.network.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(means, values, 1 - decay)

    def _learning_rate(self) -> float:
        """Linear warm-up, then half a cosine."""
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        return self.config.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * self.done))

    def _validate(self) -> dict[str, float]:
        """Mean metrics of the averaged weights on held-out and procedural clouds."""
        self.average.eval()
        rows = []
        for cloud in validation_clouds(self.held_out, VALIDATION_CLOUDS, VALIDATION_POINTS):
            with torch.no_grad():
                answer = self.average.answer(on_device(cloud, self.device).levels)
            truth = cloud.normals.double().numpy()
            rows.append(normal_metrics(answer.normals.double().cpu().numpy(), truth))
        mean = asdict(mean_metrics(rows))
        return {name: value for name, value in mean.items() if value is not None}

    def _log(self, losses: dict[str, float], validation: dict[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.seconds, 1), "done": round(self.done, 5)}
        row |= {name: round(value, 5) for name, value in losses.items()}
        row |= {f"validation_{name}": round(value, 4) for name, value in validation.items()}
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self, validation: dict[str, float]) -> None:
        if validation and validation["oriented_rmse_deg"] + validation["rmse_deg"] < self.best:
            self.best = validation["oriented_rmse_deg"] + validation["rmse_deg"]
            trained = {"step": self.step, "seed": self.config.seed, "validation": validation}
            save_model(self.run / RUN_MODEL, self.average, self.run.name, trained)
        names = [name for name, _ in self.network.named_parameters()]
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        for index, state in moments.items():
            tensors |= {f"{key}/{names[index]}": value for key, value in state.items()}
        header = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "config": asdict(self.config),
        }
        save_tensors(
            self.run / STATE, {k: v.cpu().contiguous() for k, v in tensors.items()}, header
        )

    def _restore(self) -> None:
        path = self.run / STATE
        try:
            tensors = safetensors.torch.load_file(path)
            with safe_open(path, "pt") as file:
                header = json.loads(file.metadata()["tfnormals"])
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: damaged state ({error}); start a new run") from error
        self.step, self.seconds, self.best = header["step"], header["seconds"], header["best"]

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.network.load_state_dict(part("network/"))
        self.average.load_state_dict(part("average/"))
        state = self.optimizer.state_dict()
        names = [name for name, _ in self.network.named_parameters()]
        state["state"] = {
            index: {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(names)
        }
        self.optimizer.load_state_dict(state)
        if not self.team.leads:
            return
        rows = (self.run / METRICS).read_text().splitlines()
        kept = [row for row in rows if json.loads(row)["step"] <= self.step]
        (self.run / METRICS).write_text("".join(row + "\n" for row in kept))


def _workers(device: torch.device) -> int:
    """Processes that make batches: a CPU needs its cores to learn from them, a GPU its share."""
    learners = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of this machine, says torchrun
    return 1 if device.type == "cpu" else max(1, (os.cpu_count() or 2) // learners - 1)


def _context() -> str:
    """How they are started: as copies of a process that has imported all they need.

    A GPU's sixteen would each take seconds for it, one after the other. Windows has no copies.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload([TrainingBatches.__module__])
    return "forkserver"


def _end_with_parent(_: int) -> None:
    """Lets a process that makes batches end when the run is killed, which cannot tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class _CountFrom(Sampler[int]):
    """Step numbers from a given one on, without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while True:
            yield step
            step += 1


def limit_gradients(
    prediction: Prediction, rounds: Sequence[Directions], limit: float | Tensor
) -> None:
    """Bounds the gradient of what is said of each point, when a loss is propagated back.

    Beside edges votes are so undecided that ten points of ten thousand had half of the squared
    gradient, which weights changed by 1e-4, or bfloat16, turned by 30 degrees and more.

    Args:
        prediction: Of a batch.
        rounds: Its directions before and after each round of votes.
        limit: Of the norm of each point's gradient of lines, doubts, sides and context.
    """

    def limited(gradient: Tensor, axis: int) -> Tensor:
        norm = gradient.norm(dim=axis, keepdim=True) if gradient.ndim > 1 else gradient.abs()
        return torch.where(norm > limit, gradient * (limit / norm), gradient)

    of_points = [(part, 0) for one in rounds for part in one]
    for said, axis in [*of_points, (prediction.side, 0), (prediction.context, 1)]:
        said.register_hook(partial(limited, axis=axis))


class Clouds(NamedTuple):
    """Which points of a batch form a cloud."""

    of: Tensor
    """(n,) the cloud of each point."""
    points: Tensor
    """(c,) number of points of each cloud; 0: they only fill up the batch and teach nothing."""

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], device: str | torch.device = "cpu") -> "Clouds":
        """Clouds of so many points, one after the other."""
        points = torch.tensor(lengths)
        of = torch.arange(len(points)).repeat_interleave(points)
        return cls(of.to(device), points.to(device))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all points that teach."""
        teaches = (self.points > 0).to(values).index_select(0, self.of)
        return (teaches * values).sum() / teaches.sum()

    def mean_root(self, squares: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over all points of the root mean of their cloud, times their weight."""
        sums = squares.new_zeros(len(self.points)).index_add(0, self.of, squares)
        means = sums / self.points.clamp(min=1).to(squares)
        roots = (means + EASIEST).sqrt().index_select(0, self.of)
        return self.mean(roots if weight is None else weight * roots)


def normal_losses(
    rounds: Sequence[Directions],
    side: Tensor,
    normals: Tensor,
    side_weight: Tensor,
    clouds: Clouds,
) -> dict[str, Tensor]:
    """The losses of predicted directions and sides against true outward normals (n, 3).

    direction: of the angles between the last lines and the normals, the weighted sum of how many
    are large (``1 - exp(-(sine / WRONG_SINE)^2)``, Dennis and Welsch 1978), the mean sine, and
    the mean over the clouds of the root mean square; before: the same of the lines before the
    votes; side: mean over the clouds of the root of their mean binary cross-entropy of the logit
    ``side . line``; error: how far the expected sines are off. ``loss`` is their weighted sum.

    The roots are those of the figures that count, means over clouds of root mean squares: a cloud
    whose noise hides the answer teaches less than one that could still be made right.
    """
    truth = normals.T
    sines = [torch.linalg.cross(one.lines, truth, dim=0).norm(dim=0) for one in rounds]
    cosines = [(one.lines * truth).sum(0) for one in rounds]
    before, *_, direction = (
        WRONG_WEIGHT * clouds.mean(1 - torch.exp(-((sine / WRONG_SINE) ** 2)))
        + SINE_WEIGHT * clouds.mean(sine)
        + ROOT_WEIGHT * clouds.mean_root(torch.atan2(sine, cosine.abs()) ** 2)
        for sine, cosine in zip(sines, cosines, strict=True)
    )
    logit = (side * rounds[-1].lines.detach()).sum(0) * cosines[-1].detach().sign()
    wrong = clouds.mean_root(nn.functional.softplus(-logit), side_weight)
    errors = [
        clouds.mean((one.doubt.sigmoid() - sine.detach()).abs())
        for one, sine in zip(rounds, sines, strict=True)
    ]
    losses = {"direction": direction, "before": before, "side": wrong, "error": errors[-1]}
    total = direction + BEFORE_WEIGHT * before + SIDE_WEIGHT * wrong
    total = total + ERROR_WEIGHT * (errors[-1] + BEFORE_WEIGHT * errors[0])
    sure = side_weight == 1
    right = ((logit > 0) & sure).sum() / sure.sum().clamp(min=1)
    return {"loss": total, **losses, "sides_right": right}


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    levels = [level.to(device) for level in batch.levels]
    if device.type != "cpu":  # where loops measure them as fast as they could be read
        levels = measured_levels(levels)
    return batch._replace(
        levels=levels, normals=batch.normals.to(device), side_weight=batch.side_weight.to(device)
    )
