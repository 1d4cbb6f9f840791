"""The curves agree with the figures of the tables."""

from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import sphere

from tfnormals.evaluation_curves import draw_errors, error_shares, share_below
from tfnormals.metrics import normal_metrics

TRUTH = sphere(500, np.random.default_rng(0))[0]
NOISY = TRUTH + np.random.default_rng(1).normal(scale=0.2, size=TRUTH.shape)
TURNED = np.where(np.arange(500)[:, None] < 100, -NOISY, NOISY)


def below(degrees, *, oriented, predicted=TURNED):
    angles, shares = share_below(error_shares(predicted, TRUTH), oriented=oriented)
    return shares[angles == degrees].item()


@pytest.mark.parametrize("predicted", [TRUTH, -TRUTH, NOISY, TURNED], ids=str)
def test_the_curves_hold_the_shares_of_the_table(predicted):
    metrics = normal_metrics(predicted, TRUTH)

    assert below(5, oriented=False, predicted=predicted) == pytest.approx(metrics.pgp5)
    assert below(10, oriented=False, predicted=predicted) == pytest.approx(metrics.pgp10)
    assert below(90, oriented=True, predicted=predicted) == pytest.approx(metrics.outward_share)


@pytest.mark.parametrize(("oriented", "last"), [(True, 180), (False, 90)])
def test_the_curves_rise_from_none_to_all(oriented, last):
    angles, shares = share_below(error_shares(TURNED, TRUTH), oriented=oriented)

    assert (angles[0], angles[-1]) == (0, last)
    assert (shares[0], shares[-1]) == (0, pytest.approx(1))
    assert (np.diff(shares) >= 0).all()


def test_the_drawing_is_svg_with_a_line_for_each_estimator():
    one = error_shares(TURNED, TRUTH)

    first, both = draw_errors({"ours": one}), draw_errors({"ours": one, "theirs": one[::-1]})

    assert ElementTree.fromstring(first).tag.endswith("svg")
    lines = [drawing.count(b"stroke: #ff7f0e") for drawing in (first, both)]
    assert lines[0] == 0
    assert lines[1] >= 3
