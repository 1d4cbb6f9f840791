"""What the page of an evaluation holds."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import sphere

from tfnormals.errors import CloudError
from tfnormals.evaluation import evaluate_folder
from tfnormals.evaluation_report import EvaluationReport

BALL = sphere(60, np.random.default_rng(0))[0]
VOID = {"meta", "img"}


def inwards(points):
    return -points


def refuses_large(points):
    if np.abs(points).max() > 1.5:
        raise CloudError("too <large>")
    return points


ESTIMATORS = {"a<b": refuses_large, "inwards": inwards}


class Page(HTMLParser):
    """The tags of a page that is well nested, their attributes and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The text of a page about four clouds in two variants, and the rows it is about."""
    folder = tmp_path_factory.mktemp("clouds")
    clouds = {"ball": BALL, "tiny": BALL[:8], "big & round": 2 * BALL, "last": BALL}
    for name, points in clouds.items():
        np.savetxt(folder / f"{name}.xyz", points)
        np.savetxt(folder / f"{name}.normals", points)
    (folder / "testset_no_noise.txt").write_text("ball\ntiny\n")
    (folder / "testset_other.txt").write_text("big & round\nlast\nball")
    report = EvaluationReport(len(clouds), len(ESTIMATORS))
    rows = evaluate_folder(ESTIMATORS, folder, on_answers=report.add)
    report.write(folder / "out" / "index.html", "a & b", rows)
    return (folder / "out" / "index.html").read_text(), rows


@pytest.fixture
def page(written):
    return Page(written[0])


def text_of(page):
    return " ".join(" ".join(page.words).split())


def test_the_page_needs_nothing_else(page):
    assert {"script", "link", "iframe", "object", "a"}.isdisjoint(tag for tag, _ in page.tags)
    sources = [one[key] for _, one in page.tags for key in ("src", "href", "srcset") if key in one]
    assert sources
    assert all(re.match("data:image/(jpeg|svg[+]xml);base64,", source) for source in sources)
    assert "default-src 'none'" in [one.get("content") for one in page.named("meta")][1]


def test_every_cloud_has_its_pictures(page):
    lazy = [image for image in page.named("img") if image.get("loading") == "lazy"]

    assert len(page.named("section")) == 4
    assert len(lazy) == 5 + 0 + 3 + 5  # ball, tiny: too few points, big: one failed, last


def test_the_average_and_every_variant_has_curves(page):
    curves = [image["src"] for image in page.named("img") if image.get("class") == "curves"]

    assert len(set(curves)) == 3


def test_the_tables_hold_means_and_shapes(page):
    told = text_of(page)
    for cells in ("a<b no_noise 2 0.00 0.00", "inwards average 4 0.00 180.00 0.00 0.0 100.0"):
        assert cells in told
    assert told.count("inwards last 60 0.00 180.00") == 1


def test_what_failed_and_what_is_too_small_is_told(page):
    told = text_of(page)

    assert "a<b failed: too <large>" in told
    assert "tiny too few points for a picture" in told
    assert "a<b big & round 60 - - -" in told


def test_only_the_first_variant_is_unfolded(page):
    assert page.named("details") == [{"open": None}, {}]


def test_the_captions_are_the_figures_of_the_row(page, written):
    row = next(row for row in written[1] if row.shape == "last" and row.estimator == "inwards")

    assert row.metrics.oriented_rmse_deg == pytest.approx(180)
    assert text_of(page).count("inwards: RMSE 0.00°, oriented 180.00°, outward 0.0 %") == 3
