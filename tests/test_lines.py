import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, TURNS, motion, torus
from torch import nn

from tfnormals.metrics import angle_deg
from tfnormals.tensorframes.cartesian import to_traceless
from tfnormals.tensorframes.handedness import inversion_average
from tfnormals.tensorframes.lines import line_loss, principal_lines
from tfnormals.tensorframes.local_frames import cloud_frames
from tfnormals.tensorframes.message_passing import TFMessagePassing
from tfnormals.tensorframes.reps import Reps

STEPS = 60
each_dimension = pytest.mark.parametrize("d", [2, 3, 4])


def some(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def unit(count, d, seed=1):
    return nn.functional.normalize(some(count, d, seed=seed), dim=1)


def tensors_along(normals):
    """n n^T - 1/d."""
    squares = (normals[:, :, None] * normals[:, None]).flatten(1)
    return to_traceless(squares, 2, normals.shape[1])


def cosines(a, b):
    return (a * b).sum(1).abs()


# Lines


@each_dimension
def test_a_pure_line_is_found_with_certainty(d):
    normals = unit(20, d)

    directions, confidence = principal_lines(tensors_along(normals), d)

    torch.testing.assert_close(cosines(directions, normals), torch.ones(20).double())
    torch.testing.assert_close(confidence, torch.ones(20).double())


@each_dimension
@pytest.mark.parametrize("sign", [1, -1], ids=["rotation", "reflection"])
def test_lines_turn_with_tensors(d, sign):
    turn = torch.linalg.qr(some(d, d, seed=2))[0]
    turn[0] *= sign * torch.linalg.det(turn).sign()
    reps = Reps("1x2s", d)
    tensors = some(30, reps.dim) / 4

    found = principal_lines(reps.transform(tensors, turn), d)

    lines = principal_lines(tensors, d)
    torch.testing.assert_close(
        cosines(found.directions, lines.directions @ turn.T), torch.ones(30).double()
    )
    torch.testing.assert_close(found.confidence, lines.confidence, rtol=0, atol=ROUNDING)
    assert lines.confidence.min() < 0.5 < lines.confidence.max()


@each_dimension
def test_the_confidence_says_how_much_labels_agree(d):
    """Of a share p along one direction and the others along another, at a right angle."""
    along, across = torch.eye(d).double()[:2]
    agreed = 0.8 * tensors_along(along[None]) + 0.2 * tensors_along(across[None])

    directions, confidence = principal_lines(agreed, d)

    assert cosines(directions, along) == pytest.approx(1)
    assert confidence.item() == pytest.approx(0.6)


@each_dimension
def test_without_any_direction_the_confidence_is_zero(d):
    directions, confidence = principal_lines(torch.zeros(2, Reps("2s", d).dim), d)

    assert torch.equal(confidence, torch.zeros(2))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(2))


def test_two_directions_that_are_equally_good_have_no_confidence():
    flat = -tensors_along(torch.tensor([[0.0, 0.0, 1.0]]).double())

    directions, confidence = principal_lines(flat)

    assert confidence.item() == pytest.approx(0, abs=ROUNDING)
    assert directions[0, 2].item() == pytest.approx(0, abs=ROUNDING)


def test_several_lines_of_a_node_have_an_axis_of_their_own():
    tensors = some(6, 5)

    lines = principal_lines(tensors.reshape(3, 2, 5))

    assert torch.equal(lines.directions.reshape(6, 3), principal_lines(tensors).directions)
    assert lines.confidence.shape == (3, 2)


def test_a_certainty_above_one_is_one():
    assert principal_lines(3 * tensors_along(unit(1, 3))).confidence == 1


def test_autocast_does_not_make_it_coarser():
    tensors, normals = some(9, 5).bfloat16(), unit(9, 3).float()

    with torch.autocast("cpu", torch.bfloat16):
        lines, loss = principal_lines(tensors), line_loss(tensors, normals)

    assert torch.equal(lines.directions, principal_lines(tensors.float()).directions)
    assert torch.equal(loss, line_loss(tensors.float(), normals))


# The loss


@each_dimension
def test_the_loss_is_the_distance_of_matrices(d):
    normals, tensors = unit(5, d), some(5, d * d)
    wanted = normals[:, :, None] * normals[:, None] - torch.eye(d) / d
    traceless = (tensors + tensors.reshape(5, d, d).mT.flatten(1)).reshape(5, d, d) / 2
    traceless -= torch.eye(d) * traceless.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]

    loss = line_loss(to_traceless(tensors, 2, d), normals)

    expected = (traceless - wanted).square().sum((1, 2)).mean()
    torch.testing.assert_close(loss, expected, rtol=0, atol=ROUNDING)


@each_dimension
def test_the_loss_knows_no_signs(d):
    normals, tensors = unit(8, d), some(8, Reps("2s", d).dim)
    signs = torch.tensor([1.0, -1.0]).repeat(4)[:, None]

    assert line_loss(tensors, normals * signs) == line_loss(tensors, normals)


@each_dimension
@pytest.mark.parametrize("scale", [0, 1])
def test_the_loss_is_smooth_where_eigenvalues_meet_too(d, scale):
    tensors = (scale * some(4, Reps("2s", d).dim)).requires_grad_()
    normals = unit(4, d).requires_grad_()

    assert torch.autograd.gradcheck(line_loss, (tensors, normals))
    assert torch.autograd.gradgradcheck(line_loss, (tensors, normals))


@each_dimension
def test_the_loss_is_zero_at_the_line_and_known_for_the_zero_tensor(d):
    normals = unit(8, d)
    tensors = tensors_along(normals)

    assert line_loss(tensors, normals) == 0
    assert line_loss(0 * tensors, normals).item() == pytest.approx(1 - 1 / d)


# A network with such a head


class Round(TFMessagePassing):
    """A round of messages, in the receiver's frame."""

    def __init__(self, reps, columns):
        super().__init__({"x": reps}, "mean")
        self.mlp = nn.Sequential(nn.Linear(reps.dim + 3, 16), nn.SiLU(), nn.Linear(16, columns))

    def forward(self, x, edge_index, frames, pos):
        return self.propagate(edge_index, frames, x=x, pos=pos)

    def message(self, x_j, pos_i, pos_j):
        return self.mlp(torch.cat([x_j, (pos_j - pos_i) * 5], 1))


class Network(nn.Module):
    """Two rounds, whose result has the given representation."""

    def __init__(self, out):
        super().__init__()
        hidden, self.out = Reps("6x0n+4x1n"), Reps(out)
        self.first = Round(Reps("1x0n"), hidden.dim)
        self.last = Round(hidden, self.out.dim)

    def forward(self, pos):
        """The answers at the points, in global coordinates."""
        edges = nearest(pos)

        def answer(frames):
            x = self.first(pos.new_ones(len(pos), 1), edges, frames, pos)
            return self.out.transform(self.last(x, edges, frames, pos), frames.mT)

        return inversion_average(answer, cloud_frames(pos).matrices)


def nearest(pos, count=9):
    near = torch.cdist(pos, pos).topk(count + 1, largest=False).indices[:, 1:]
    return torch.stack([near.flatten(), torch.arange(len(pos)).repeat_interleave(count)])


def labelled(count=300):
    """Points of a torus, their normals, and the same with random signs."""
    rng = np.random.default_rng(0)
    points, normals = torus(count, rng)
    signed = normals * rng.choice([-1.0, 1.0], (count, 1))
    return torch.from_numpy(points), normals, torch.from_numpy(signed)


def trained(out, loss):
    """A network, and how far it is off before and after: medians, in degrees."""
    pos, normals, signed = labelled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(out).double()

    def off():
        with torch.no_grad():
            found = direction(network(pos)).numpy()
        angle = angle_deg(found, normals)
        return np.median(np.minimum(angle, 180 - angle))

    before, optimizer = off(), torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(network(pos), signed).backward()
        optimizer.step()
    return network, before, off()


def direction(answers):
    """Unit vectors, of vectors or of coordinates of symmetric traceless tensors."""
    if answers.shape[1] == 3:
        return nn.functional.normalize(answers, dim=1)
    return principal_lines(answers).directions


@pytest.fixture(scope="module")
def line_network():
    return trained("1x2s", line_loss)


@pytest.mark.slow
def test_labels_with_random_signs_teach_lines_and_no_vectors(line_network):
    _, before, after = line_network

    _, _, vectors = trained("1x1n", nn.functional.mse_loss)

    assert after < 15 < before / 4
    assert after < vectors / 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", TURNS)
def test_lines_of_a_network_turn_with_the_cloud(line_network, kind):
    pos, _, _ = labelled()
    turn = torch.from_numpy(motion(kind, 1, np.random.default_rng(3)).matrix)
    with torch.no_grad():
        here, there = (principal_lines(line_network[0](p)) for p in (pos, pos @ turn.T))

    aligned = here.directions @ turn.T
    aligned *= (aligned * there.directions).sum(1, keepdim=True).sign()
    torch.testing.assert_close(there.directions, aligned, rtol=0, atol=LAYER)
    torch.testing.assert_close(there.confidence, here.confidence, rtol=0, atol=LAYER)
    assert here.confidence.min() > 0.1
