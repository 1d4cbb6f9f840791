import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import trimesh
from helpers import LAYER
from safetensors import safe_open

from tfnormals import training
from tfnormals.data.batches import validation_clouds
from tfnormals.data.surfaces import closed_surface
from tfnormals.distributed import Team
from tfnormals.errors import DataError
from tfnormals.network import NetworkConfig, Prediction
from tfnormals.pretrained import RUN_MODEL, load_model
from tfnormals.training import (
    EASIEST,
    METRICS,
    STATE,
    Clouds,
    Trainer,
    TrainingConfig,
    limit_gradients,
    normal_losses,
    on_device,
)
from tfnormals.voting import Directions

STEPS, EVERY, STOPPED = 24, 8, 19
SEED = 29071  # its first clouds happen to be small
CPU = torch.device("cpu")


def surfaces():
    meshes = trimesh.creation.box((3, 2, 1)), trimesh.creation.icosphere(2)
    return [closed_surface("shape", mesh.vertices, mesh.faces).scaled() for mesh in meshes]


def config(**changes):
    network = NetworkConfig(
        scalars=(8, 8, 12, 12, 16, 16),
        vectors=(2, 3, 3, 4, 4, 5),
        hidden=(16, 16, 24, 24, 32, 32),
        down=(1, 1, 1, 1, 1, 1),
        up=(1, 1, 1, 1, 1, 0),
    )
    usual = TrainingConfig(
        steps=STEPS,
        batch_points=500,
        learning_rate=0.1,  # warming up, so the last steps take a tenth of it
        validate_every=EVERY,
        seed=SEED,
        network=network,
    )
    return replace(usual, **changes)


def trainer_in(run, **changes):
    return Trainer(run, config(**changes), surfaces(), surfaces(), CPU)


def rows_of(run):
    return [json.loads(row) for row in (run / METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def small_validation():
    """Validation on two small clouds instead of twenty large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATION_CLOUDS", 2)
        patch.setattr(training, "VALIDATION_POINTS", 500)
        yield


@pytest.fixture(scope="module")
def finished(small_validation, tmp_path_factory):
    """A run that was never stopped, what it reported, and its folder as it was on the way."""
    run, copied = (tmp_path_factory.mktemp(name) / "run" for name in ("whole", "stopped"))
    before = torch.get_rng_state()
    trainer, seen = trainer_in(run), []

    def on_progress(progress):
        seen.append(progress)
        if progress.step == STOPPED:
            shutil.copytree(run, copied)

    trainer.train(on_progress)
    drawn = not torch.equal(torch.get_rng_state(), before)
    return SimpleNamespace(run=run, trainer=trainer, seen=seen, copied=copied, drawn=drawn)


@pytest.fixture(scope="module")
def resumed(finished):
    """The same run as it goes on from what a power cut would have left of it."""
    left = rows_of(finished.copied)
    trainer = trainer_in(finished.copied)
    position = trainer.step
    trainer.train(lambda _: None)
    return SimpleNamespace(run=finished.copied, trainer=trainer, position=position, left=left)


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
def test_resuming_gives_the_same_weights_as_never_stopping(finished, resumed):
    assert resumed.position == STOPPED // EVERY * EVERY
    for one, other in zip(
        (finished.trainer.network, finished.trainer.average),
        (resumed.trainer.network, resumed.trainer.average),
        strict=True,
    ):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.slow
def test_resuming_gives_the_same_model_file_as_never_stopping(finished, resumed):
    assert (resumed.run / RUN_MODEL).read_bytes() == (finished.run / RUN_MODEL).read_bytes()


@pytest.mark.slow
def test_resuming_repeats_the_losses_and_logs_every_step_once(finished, resumed):
    assert [row["step"] for row in resumed.left] == list(range(1, STOPPED + 1))
    assert without_seconds(rows_of(resumed.run)) == without_seconds(rows_of(finished.run))


@pytest.mark.slow
def test_every_step_is_logged_and_some_are_validated(finished):
    rows = rows_of(finished.run)

    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["done"] for row in rows] == [round(i / STEPS, 5) for i in range(1, STEPS + 1)]
    for row in rows:
        assert {"seconds", "loss", "direction", "side", "error", "grad_norm"} <= row.keys()
        assert all(math.isfinite(value) for value in row.values())
        validated = row["step"] % EVERY == 0
        assert ("validation_oriented_rmse_deg" in row) is validated
        assert ("validation_rmse_deg" in row) is validated


@pytest.mark.slow
def test_progress_is_reported_after_every_step(finished):
    assert [progress.step for progress in finished.seen] == list(range(1, STEPS + 1))
    assert finished.seen[-1].done == 1
    assert finished.seen[0].losses["loss"] > 0
    assert [bool(progress.validation) for progress in finished.seen] == [
        step % EVERY == 0 for step in range(1, STEPS + 1)
    ]


def loss_of(network, clouds):
    with torch.no_grad():
        losses = []
        for one in clouds:
            found = network(one.levels)
            rounds = network.voted(found, one.levels)
            truth = one.normals, one.side_weight, Clouds.of_lengths(one.lengths)
            losses.append(normal_losses(rounds, found.side, *truth)["loss"])
    return float(torch.stack(losses).mean())


@pytest.mark.slow
def test_training_lowers_the_loss(small_validation, tmp_path):
    clouds = validation_clouds(surfaces(), 3, 500)
    fresh, trainer = trainer_in(tmp_path).network, trainer_in(tmp_path / "run", steps=2 * STEPS)

    trainer.train(lambda _: None)

    assert loss_of(trainer.network, clouds) < 0.95 * loss_of(fresh, clouds)
    assert loss_of(trainer.average, clouds) < loss_of(fresh, clouds)


@pytest.mark.slow
def test_a_run_folder_is_a_model_with_the_best_averaged_weights(finished):
    network = load_model(finished.run)
    with safe_open(finished.run / RUN_MODEL, "pt") as file:
        trained_with = json.loads(file.metadata()["tfnormals"])["trained_with"]

    validated = [row for row in rows_of(finished.run) if "validation_rmse_deg" in row]
    best = min(
        validated, key=lambda r: r["validation_rmse_deg"] + r["validation_oriented_rmse_deg"]
    )
    assert network.config == config().network
    assert trained_with["step"] == best["step"]
    assert trained_with["seed"] == SEED
    assert trained_with["validation"]["rmse_deg"] == pytest.approx(
        best["validation_rmse_deg"], abs=1e-4
    )


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(finished):
    again, seen = trainer_in(finished.run), []
    before = {path.name: path.read_bytes() for path in finished.run.iterdir()}

    again.train(seen.append)

    assert again.step == STEPS
    assert not seen
    assert {path.name: path.read_bytes() for path in finished.run.iterdir()} == before
    assert before.keys() == {RUN_MODEL, STATE, METRICS}


@pytest.mark.slow
def test_a_finished_run_may_be_lengthened(finished):
    assert trainer_in(finished.run, steps=2 * STEPS).done == 0.5


@pytest.mark.slow
def test_training_draws_no_global_random_numbers(finished):
    assert not finished.drawn


def test_a_trainer_draws_no_global_random_numbers(tmp_path):
    before = torch.get_rng_state()

    trainer_in(tmp_path)

    assert torch.equal(torch.get_rng_state(), before)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_first_weights_depend_on_the_seed_only(tmp_path):
    one, same, other = (
        weights(trainer_in(tmp_path / str(i), seed=seed).network)
        for i, seed in enumerate((1, 1, 2))
    )

    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_average_starts_at_the_first_weights(tmp_path):
    trainer = trainer_in(tmp_path)

    assert torch.equal(weights(trainer.network), weights(trainer.average))


def test_a_run_may_be_paced_by_minutes(tmp_path):
    trainer = trainer_in(tmp_path, minutes=2.0)

    trainer.seconds = 30.0

    assert trainer.done == 0.25


class Elsewhere(Team):
    """A process that found another state than the first one."""

    def agreed(self, value):
        return value + 500


def test_processes_that_do_not_share_the_run_are_told(tmp_path):
    with pytest.raises(DataError, match="not the same for all processes; put it where all"):
        Trainer(tmp_path, config(), [], [], CPU, Elsewhere(1, 2))


NORMALS = torch.nn.functional.normalize(
    torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1
)
ONES = torch.ones(50, dtype=torch.float64)


def losses(direction, side, error=0.5, side_weight=ONES, before=None, lengths=(50,)):
    """Of directions (n, 3), after votes that changed nothing unless ``before`` is given."""
    doubt = torch.full((50,), error, dtype=torch.float64).logit()
    first, last = (
        Directions(d.T, doubt) for d in (direction if before is None else before, direction)
    )
    clouds = Clouds.of_lengths(lengths)
    return normal_losses([first, last], side.T, NORMALS, side_weight, clouds)


def tilted(degrees):
    """Directions at an angle from the normals."""
    across = torch.linalg.cross(NORMALS, NORMALS.roll(1, 0))
    across = torch.nn.functional.normalize(across, dim=1)
    angle = math.radians(degrees)
    return math.cos(angle) * NORMALS + math.sin(angle) * across


def test_no_point_teaches_more_than_the_limit():
    rng = torch.Generator().manual_seed(0)
    first, last = (
        Directions(torch.randn(3, 9, generator=rng), torch.randn(9, generator=rng))
        for _ in range(2)
    )
    side, context = torch.randn(3, 9, generator=rng), torch.randn(9, 4, generator=rng)
    said = [*first, *last, side, context]
    for part in said:
        part.requires_grad_()
    limit_gradients(Prediction(first, side, context), [first, last], 1.5)

    sum((part**2).sum() / 2 for part in said).backward()  # each part is its gradient

    for part in said:
        axis = {(3, 9): 0, (9,): (), (9, 4): 1}[tuple(part.shape)]
        norm = part.abs() if axis == () else part.norm(dim=axis, keepdim=True)
        assert norm.min() < 1.5 < norm.max()
        torch.testing.assert_close(part.grad, part * (1.5 / norm).clamp(max=1))


def test_right_normals_have_the_smallest_direction_loss():
    smallest = training.ROOT_WEIGHT * math.sqrt(EASIEST)

    assert losses(NORMALS, NORMALS)["direction"].item() == pytest.approx(smallest)


@pytest.mark.parametrize("degrees", [1, 30, 60, 90])
def test_the_direction_loss_grows_with_the_angle(degrees):
    angle = math.radians(degrees)
    expected = (
        training.WRONG_WEIGHT * (1 - math.exp(-((math.sin(angle) / training.WRONG_SINE) ** 2)))
        + training.SINE_WEIGHT * math.sin(angle)
        + training.ROOT_WEIGHT * math.sqrt(angle**2 + EASIEST)
    )

    assert losses(tilted(degrees), NORMALS)["direction"].item() == pytest.approx(expected)
    assert losses(NORMALS, NORMALS, before=tilted(degrees))["before"].item() == pytest.approx(
        expected
    )


def test_the_sign_of_a_direction_does_not_matter():
    rest = losses(tilted(20), 2 * NORMALS)
    sign = torch.where(torch.arange(50) % 2 == 0, 1.0, -1.0)[:, None]

    for name, value in losses(sign * tilted(20), 2 * NORMALS).items():
        torch.testing.assert_close(value, rest[name], rtol=0, atol=LAYER)


def test_the_side_loss_is_lower_for_the_right_side():
    right, unsure, wrong = (losses(NORMALS, factor * NORMALS)["side"] for factor in (3, 0, -3))

    assert right < unsure < wrong
    assert unsure.item() == pytest.approx(math.sqrt(math.log(2) + EASIEST))


def test_one_of_two_faces_is_a_better_answer_than_their_mean():
    on_one_face = torch.arange(50)[:, None] < 25
    between = losses(tilted(45), NORMALS)["direction"]
    either = losses(torch.where(on_one_face, NORMALS, tilted(90)), NORMALS)["direction"]

    assert either < between


def test_clouds_count_by_the_root_of_their_mean_square():
    half = torch.arange(50)[:, None] < 25
    mixed = torch.where(half, tilted(40), NORMALS)
    one, two = (losses(mixed, NORMALS, lengths=lengths) for lengths in ((50,), (25, 25)))
    apart = [losses(tilted(degrees), NORMALS)["direction"].item() for degrees in (0, 40)]

    assert two["direction"].item() == pytest.approx(sum(apart) / 2)
    assert one["direction"].item() > two["direction"].item()


def test_the_share_of_right_sides_counts_decidable_points_only():
    side = NORMALS * torch.where(torch.arange(50) < 20, 1.0, -1.0)[:, None]
    decidable = torch.where(torch.arange(50) < 25, 1.0, 0.2).double()

    assert losses(NORMALS, side)["sides_right"].item() == pytest.approx(0.4)
    assert losses(NORMALS, side, side_weight=decidable)["sides_right"].item() == pytest.approx(0.8)
    assert losses(NORMALS, side, side_weight=0.2 * ONES)["sides_right"] == 0


def test_undecidable_points_count_less_for_the_side():
    full, fifth = (losses(NORMALS, -NORMALS, side_weight=w * ONES)["side"] for w in (1.0, 0.2))

    assert fifth.item() == pytest.approx(0.2 * full.item())


def test_the_error_loss_is_zero_for_the_true_sine():
    assert losses(tilted(30), NORMALS, error=0.5)["error"] < LAYER
    assert losses(tilted(30), NORMALS, error=0.1)["error"].item() == pytest.approx(0.4)


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_gradients_are_finite_even_for_perfect_directions(degrees):
    direction, side = tilted(degrees).requires_grad_(), NORMALS.clone().requires_grad_()

    losses(direction, side)["loss"].backward()

    assert torch.isfinite(direction.grad).all()
    assert torch.isfinite(side.grad).all()


def test_the_side_teaches_the_direction_nothing():
    direction = tilted(30).requires_grad_()
    found = losses(direction, NORMALS.clone().requires_grad_())

    (found["side"] + found["error"].detach()).backward()

    assert direction.grad is None


def test_a_batch_moved_to_its_own_device_is_the_same():
    batch = validation_clouds([], 1, 200)[0]

    moved = on_device(batch, CPU)

    assert torch.equal(moved.normals, batch.normals)
    assert torch.equal(moved.levels[1].receivers.frames, batch.levels[1].receivers.frames)
