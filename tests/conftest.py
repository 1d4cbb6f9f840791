"""Fixtures that several test files use."""

import copy

import pytest


@pytest.fixture(scope="session")
def small_network():
    """A small float32 network with random weights. Shared: change a copy, never this one."""
    import torch  # takes seconds, and most test files do without

    from tfnormals.network import NetworkConfig, TensorFramesPointNet

    config = NetworkConfig(
        scalars=(8, 8, 12, 12, 16, 16),
        vectors=(2, 3, 3, 4, 4, 5),
        hidden=(16, 16, 24, 24, 32, 32),
        down=(1, 1, 1, 1, 1, 1),
        up=(1, 1, 1, 1, 1, 0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TensorFramesPointNet(config).eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def exact_network(small_network):
    """The same network in float64."""
    return copy.deepcopy(small_network).double()


@pytest.fixture(scope="session")
def plane_network(exact_network):
    """A float64 network that trusts the planes of its frames, as every trained one does."""
    network = copy.deepcopy(exact_network)
    network.head[-1].bias[4] = 10.0  # the third component of the direction
    return network


@pytest.fixture(scope="session")
def model(small_network, tmp_path_factory):
    """The file of the small network as a model."""
    from tfnormals.pretrained import save_model

    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_model(path, small_network, "small", {})
    return path


@pytest.fixture
def full_gpu(monkeypatch):
    """The first answer of a network finds no room, as on a GPU that is full."""
    import torch

    from tfnormals.network import TensorFramesPointNet

    answer = TensorFramesPointNet.answer

    def full(*_):
        monkeypatch.setattr(TensorFramesPointNet, "answer", answer)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TensorFramesPointNet, "answer", full)
