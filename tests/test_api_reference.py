"""The API reference is written from the docstrings and leaves no public name out."""

import html
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "make_api_reference.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("pdoc", reason="the reference needs pdoc, see CONTRIBUTING.md")
    folder = tmp_path_factory.mktemp("api")
    runpy.run_path(str(SCRIPT))["main"](folder)
    return folder


@pytest.mark.parametrize("module", ["tfnormals", "tfnormals.tensorframes"])
def test_every_public_name_has_an_entry_with_a_description(module, pages):
    page = (pages / f"{module.replace('.', '/')}.html").read_text()
    for name in import_module(module).__all__:
        assert f'<section id="{name}">' in page, name
        if not name.isupper():
            entry = page.split(f'<section id="{name}">')[1].split("<section id=")[0]
            assert re.search(r'<div class="docstring"><p>\w', entry), name


def test_arguments_and_errors_are_sections(pages):
    text = html.unescape((pages / "tfnormals.html").read_text())
    entry = text.split('<section id="estimate_normals">')[1].split("<section id=")[0]
    for heading in ("Arguments", "Returns", "Raises"):
        assert re.search(rf"<h6[^>]*>{heading}", entry), heading
    assert "integer cloud gives float64" in entry
