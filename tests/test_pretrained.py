import copy
import hashlib
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from tfnormals import pretrained
from tfnormals.errors import ModelError
from tfnormals.network import NetworkConfig, TensorFramesPointNet
from tfnormals.pretrained import (
    FORMAT,
    RUN_MODEL,
    load_model,
    model_names,
    model_path,
    models_dir,
    save_model,
)

TRAINED_WITH = {"seed": 3, "command": "tfnormals train"}


@pytest.fixture
def saved(small_network, tmp_path):
    """The file of a saved network."""
    path = tmp_path / "mine.safetensors"
    save_model(path, small_network, "mine", TRAINED_WITH)
    return path


@pytest.fixture
def shipped(small_network, tmp_path, monkeypatch):
    """A folder of shipped models named one and two."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("two", "one"):
        save_model(folder / f"{name}.safetensors", small_network, name, {})
    monkeypatch.setattr(pretrained, "models_dir", lambda: folder)
    return folder


def header_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["tfnormals"])


def rewritten(path, *, header=None, metadata=None, **tensors):
    """The file with other metadata or some other tensors; those given as None are left out."""
    weights = safetensors.torch.load_file(path) | tensors
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    if metadata is None:
        metadata = {"tfnormals": json.dumps(header_of(path) | (header or {}))}
    safetensors.torch.save_file(kept, path, metadata=metadata)
    return path


def refusal(path):
    """The message with which a model is refused."""
    with pytest.raises(ModelError) as error:
        load_model(path)
    return str(error.value)


def test_a_saved_network_comes_back_bit_by_bit(saved, small_network):
    loaded = load_model(saved)

    assert loaded.config == small_network.config
    assert loaded.state_dict().keys() == small_network.state_dict().keys()
    for name, tensor in small_network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_loaded_network_is_ready_for_prediction(saved):
    network = load_model(saved)

    assert not network.training
    for parameter in network.parameters():
        assert parameter.dtype is torch.float32
        assert parameter.device.type == "cpu"
        assert not parameter.requires_grad


def test_weights_stored_in_half_precision_are_loaded_in_float32(saved):
    weights = safetensors.torch.load_file(saved)

    network = load_model(rewritten(saved, **{name: w.half() for name, w in weights.items()}))

    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_file_says_what_it_holds(saved, small_network):
    header = header_of(saved)

    assert header["format"] == FORMAT
    assert header["name"] == "mine"
    assert header["license"] == "MIT"
    assert header["trained_with"] == TRAINED_WITH
    assert header["config"]["hidden"] == list(small_network.config.hidden)


def test_the_bytes_of_a_file_depend_on_the_model_only(saved, tmp_path, small_network):
    for index in range(5):
        other = tmp_path / f"other{index}.bin"
        save_model(other, copy.deepcopy(small_network), "mine", dict(TRAINED_WITH))
        assert other.read_bytes() == saved.read_bytes()


def test_a_float64_network_is_saved_in_float32_and_kept(tmp_path, exact_network, saved):
    save_model(tmp_path / "exact", exact_network, "mine", TRAINED_WITH)

    assert (tmp_path / "exact").read_bytes() == saved.read_bytes()
    assert exact_network.stem.weight.dtype is torch.float64


def test_saving_replaces_a_file_and_leaves_nothing_else(saved, small_network, tmp_path):
    before = saved.read_bytes()

    save_model(saved, small_network, "mine", {})

    assert saved.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_a_run_folder_stands_for_its_model(saved):
    run = saved.parent / "run"
    run.mkdir()
    saved.rename(run / RUN_MODEL)

    assert model_path(run) == run / RUN_MODEL
    assert isinstance(load_model(str(run)), TensorFramesPointNet)


@pytest.mark.usefixtures("shipped")
def test_shipped_models_are_known_by_name():
    assert model_names() == ["one", "two"]
    assert isinstance(load_model("two"), TensorFramesPointNet)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("name", ["three", "models", "one.safetensors", "", "x" * 300, "a\0b"])
def test_an_unknown_name_lists_the_known_ones(name):
    assert "available: one, two" in refusal(name)


@pytest.mark.usefixtures("shipped")
def test_a_run_without_a_model_yet_is_not_a_model(tmp_path):
    (tmp_path / "run").mkdir()

    assert "available: one, two" in refusal(tmp_path / "run")


def test_without_shipped_models_a_path_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "models_dir", lambda: tmp_path)

    assert "available: none, or the path of a model" in refusal("any")


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])

    message = refusal(saved)

    assert message.startswith(f"{saved}: not a readable model")
    assert "download it again" in message


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(saved, seed):
    saved.write_bytes(np.random.default_rng(seed).bytes(5000))

    assert refusal(saved).startswith(f"{saved}: not a readable model")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"other": "1"},
        {"tfnormals": ""},
        {"tfnormals": "no json"},
        {"tfnormals": "[]"},
        {"tfnormals": "{}"},
        {"tfnormals": '{"format": "new"}'},
        {"tfnormals": '{"format": null}'},
    ],
    ids=str,
)
def test_a_file_of_something_else_is_refused(saved, metadata):
    message = refusal(rewritten(saved, metadata=metadata))

    assert message == f"{saved}: not a tfnormals model; give a file that `train` wrote"


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {"depth": [1, 2]},
        {"scalars": 3},
        {"scalars": [8, 8]},
        {"up": [1, 1]},
        {"hidden": ["a"] * 6},
        {"hidden": [-1] * 6},
        {"hidden": [16.5] * 6},
    ],
    ids=str,
)
def test_a_damaged_description_is_refused(saved, config):
    good = header_of(saved)["config"]
    wrong = good | config if isinstance(config, dict) else config

    message = refusal(rewritten(saved, header={"config": wrong}))

    assert message.startswith(f"{saved}: damaged model description")


def test_a_newer_format_asks_for_an_upgrade(saved):
    message = refusal(rewritten(saved, header={"format": FORMAT + 1, "config": "of the future"}))

    assert message == (
        f"{saved}: model format {FORMAT + 1} is newer than this version; upgrade tfnormals"
    )


def test_a_missing_tensor_is_named(saved):
    message = refusal(rewritten(saved, **{"stem.bias": None}))

    assert message == f"{saved}: tensor stem.bias is missing, the network needs (14,)"


def test_a_tensor_too_many_is_named(saved):
    message = refusal(rewritten(saved, extra=torch.zeros(2, 3)))

    assert message == f"{saved}: tensor extra is (2, 3), the network needs none"


def test_a_tensor_of_the_wrong_shape_is_named_with_both(saved):
    message = refusal(rewritten(saved, **{"stem.bias": torch.zeros(3)}))

    assert message == f"{saved}: tensor stem.bias is (3,), the network needs (14,)"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(saved, value):
    message = refusal(rewritten(saved, **{"stem.bias": torch.full((14,), value)}))

    assert message == f"{saved}: weights are not finite; train it again"


def test_a_model_error_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="unknown model"):
        load_model(tmp_path / "nothing")


def test_loading_draws_no_global_random_numbers(saved):
    before = torch.get_rng_state()

    load_model(saved)

    assert torch.equal(torch.get_rng_state(), before)


def test_the_default_configuration_describes_all_levels():
    config = NetworkConfig()

    assert len({len(sizes) for sizes in vars(config).values() if isinstance(sizes, tuple)}) == 1


def shipped_files():
    return sorted(models_dir().glob("*.safetensors"))


@pytest.mark.skipif(not shipped_files(), reason="no models in models/ yet")
def test_checksums_match_the_shipped_models():
    lines = (models_dir() / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)

    for path in models_dir().rglob("*.safetensors"):
        assert (
            listed.pop(path.relative_to(models_dir()).as_posix())
            == hashlib.sha256(path.read_bytes()).hexdigest()
        )
    assert not listed


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.stem)
def test_shipped_models_load_under_their_own_name_and_have_a_card(path):
    assert isinstance(load_model(path.stem), TensorFramesPointNet)
    assert header_of(path)["name"] == path.stem
    assert path.with_suffix(".md").is_file()
