"""What is public, and that it stays cheap to import."""

import subprocess
import sys

import pytest

import tfnormals
from tfnormals import tensorframes


@pytest.mark.parametrize("package", [tfnormals, tensorframes], ids=lambda p: p.__name__)
def test_every_public_name_is_there(package):
    missing = [name for name in package.__all__ if not hasattr(package, name)]

    assert not missing
    assert len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("package", [tfnormals, tensorframes], ids=lambda p: p.__name__)
def test_other_names_are_not(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no .*'nothing'"):
        _ = package.nothing


def test_tensor_frames_do_not_import_pyg_before_it_is_used():
    code = "import sys, tfnormals.tensorframes; print('torch_geometric' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"
