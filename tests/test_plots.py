"""Figures: what is in them, the file, what is refused."""

import importlib.util

import numpy as np
import pytest

from fastnn import plots

pytest.importorskip("matplotlib")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def shown(figure):
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def test_visualize_filter(rng, tmp_path):
    W = rng.standard_normal((10, 3, 5, 4))
    figure = plots.visualize_filter(W, tmp_path / "filters.png", channel=1)
    for got, expected in zip(shown(figure), W[:, 1], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert "10 filters of 5x4, channel 1 of 3" in figure.get_suptitle()
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    limits = {ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert len(limits) == 1 and sum(limits.pop()) == 0
    each = plots.visualize_filter(W, common_scale=False)
    assert len({ax.images[0].get_clim() for ax in each.axes if ax.images}) == 10
    plots.visualize_filter(np.zeros((1, 1, 3, 3)))


def test_apply_filter(rng):
    image, W = rng.random((8, 9)), rng.standard_normal((3, 1, 3, 3))
    pictures = shown(plots.apply_filter(image, W))
    assert [p.shape for p in pictures] == [(8, 9)] + [(6, 7)] * 3
    np.testing.assert_array_equal(pictures[0], image)
    assert pictures[1][0, 0] == pytest.approx(np.sum(image[:3, :3] * W[0, 0]))
    colour = shown(plots.apply_filter(rng.random((3, 8, 9)), rng.standard_normal((2, 3, 3, 3)), np.ones(2)))
    assert colour[0].shape == (8, 9, 3) and len(colour) == 3


def test_misclassified(rng):
    x, t = rng.random((40, 1, 6, 6)), np.arange(40) % 10
    predicted = t.copy()
    predicted[[3, 5, 30]] = 7
    figure = plots.misclassified(x, t, predicted)
    for got, i in zip(shown(figure), (3, 5, 30), strict=True):
        np.testing.assert_array_equal(got, x[i, 0])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:2] == ["no. 3: is 3, seen as 7", "no. 5: is 5, seen as 7"]
    assert figure.get_suptitle() == "3 of 40 misclassified (7.50%)"
    same = plots.misclassified(x.reshape(40, 36), np.eye(10)[t], np.eye(10)[predicted], limit=2)
    assert [ax.get_title() for ax in same.axes] == titles[:2] and "the first 2" in same.get_suptitle()
    assert "0 of 40 misclassified" in plots.misclassified(x, t, t).get_suptitle()


def test_bad_input(rng):
    with pytest.raises(ValueError, match=r"visualize_filter: W is \(5, 5\)"):
        plots.visualize_filter(np.ones((5, 5)))
    with pytest.raises(IndexError, match="channel is 3"):
        plots.visualize_filter(np.ones((2, 3, 5, 5)), channel=3)
    with pytest.raises(ValueError, match=r"apply_filter: image is \(1, 1, 5, 5\)"):
        plots.apply_filter(np.ones((1, 1, 5, 5)), np.ones((2, 1, 3, 3)))
    with pytest.raises(ValueError, match=r"misclassified: x is \(4, 5\), t \(4,\), predicted \(4,\)"):
        plots.misclassified(np.ones((4, 5)), np.zeros(4), np.zeros(4))


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[plot\]'"):
        plots.visualize_filter(np.ones((2, 1, 5, 5)))
