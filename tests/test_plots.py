"""Figures: what is in them, the file, what is refused."""

import importlib.util
import re
import shutil

import numpy as np
import pytest

import fastnn
from fastnn import layers, models, plots, time_layers, trainer

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


# ---- curves ----------------------------------------------------------------------------------------------------------


def lines(ax):
    return {line.get_label(): line.get_ydata().tolist() for line in ax.lines}


def test_history(tmp_path):
    recorded = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.6], "val_accuracy": [0.5, 0.75]}
    figure = plots.history(recorded, path=tmp_path / "history.svg", title="A net", xlabel="round")
    loss, accuracy = figure.axes
    assert lines(loss) == {"training (last: 0.5)": [1.0, 0.5], "validation (last: 0.6)": [1.1, 0.6]}
    assert lines(accuracy) == {"validation (last: 0.75)": [0.5, 0.75]}
    assert loss.lines[0].get_xdata()[:].tolist() == [1, 2] and figure.get_suptitle() == "A net"
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy"] and loss.get_xlabel() == "round"
    assert "<svg" in (tmp_path / "history.svg").read_text(encoding="utf-8")


def test_histories_are_compared():
    several = {"SGD": {"loss": [2.0, 1.0]}, "Adam": {"loss": [2.0, 0.5], "val_loss": [2.1, 0.7]}}
    (ax,) = plots.history(several).axes
    assert lines(ax) == {
        "SGD, training": [2.0, 1.0], "Adam, training": [2.0, 0.5], "Adam, validation": [2.1, 0.7],
    }  # fmt: skip
    colors = [line.get_color() for line in ax.lines]
    assert colors[0] != colors[1] == colors[2]
    tested = plots.history({"train_acc": [0.5, 0.75], "test_acc": [0.5, 0.7]})
    assert list(lines(tested.axes[0])) == ["training (last: 0.75)", "test (last: 0.7)"]
    assert list(lines(plots.history({"a": {"loss": [1.0]}, "b": {"loss": [2.0]}}).axes[0])) == ["a", "b"]


def test_history_of_what_was_trained(rng):
    x, t = rng.random((40, 4)).astype("f"), np.arange(40) % 3
    net = models.TwoLayerNet(4, 5, 3, rng=0)
    net.network.fit(x, t, epochs=2, progress=False, validation=(x, t))
    assert [ax.get_ylabel() for ax in plots.history(net.network).axes] == ["loss", "accuracy"]
    book1 = trainer.Trainer(net, x, t, x, t, epochs=2, mini_batch_size=20, verbose=False)
    book1.train()
    loss, accuracy = plots.history(book1, xlabel="iteration").axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[float(v) for v in book1.train_loss_list]]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [book1.train_acc_list, book1.test_acc_list]
    book2 = trainer.ModelTrainer(models.SpiralNet(4, 5, 3, rng=0), fastnn.optimizer.SGD(), rng=0)
    book2.fit(x, t, max_epoch=1, batch_size=10, eval_interval=2)
    assert plots.history(book2).axes[0].lines[0].get_ydata().tolist() == book2.loss_list


def test_axes_that_are_there(rng):
    figure, axes = plots.figure(1, 2)
    assert plots.history({"loss": [1.0], "accuracy": [0.5]}, ax=axes) is figure
    assert [len(ax.lines) for ax in axes.flat] == [1, 1]
    figure, ax = plots.figure()
    assert plots.attention(rng.random((2, 3)), "abc", "de", ax=ax, title="A map") is figure
    assert ax.get_title() == "A map" and len(ax.images) == 1
    with pytest.raises(ValueError, match="history: ax has 1 axes; there are 2 panels"):
        plots.history({"loss": [1.0], "accuracy": [0.5]}, ax=ax)


# ---- places ----------------------------------------------------------------------------------------------------------


def test_decision_regions(rng):
    x = rng.uniform(-1, 1, (50, 2))
    t = (x[:, 0] > 0) * 1 + (x[:, 1] > 0) * 1
    seen = []

    def scores(points):
        seen.append(points)
        return np.eye(3)[(points[:, 0] > 0) * 1 + (points[:, 1] > 0) * 1]

    (ax,) = plots.decision_regions(scores, x, t, resolution=40).axes
    region = np.asarray(ax.images[0].get_array())
    assert region.shape == (40, 40) and seen[0].shape == (1600, 2)
    left, right, bottom, top = ax.images[0].get_extent()
    assert left < x[:, 0].min() and right > x[:, 0].max() and bottom < x[:, 1].min() and top > x[:, 1].max()
    assert region[0, 0] == 0 and region[0, -1] == region[-1, 0] == 1 and region[-1, -1] == 2
    for k, points in enumerate(ax.collections):
        np.testing.assert_array_equal(points.get_offsets(), x[t == k])
    one_hot = plots.decision_regions(scores, x, np.eye(3)[t], resolution=40).axes[0]
    np.testing.assert_array_equal(one_hot.images[0].get_array(), region)


@pytest.mark.parametrize("t", [[-1, 1, 1], [0, 1, 10**9], [0, 1, np.nan], [0, 1, 0.5], ["a", "b", "b"]])
def test_decision_regions_of_other_classes(t):
    x = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="t has labels that are not whole numbers from 0"):
        plots.decision_regions(lambda p: p, x, np.array(t))
    with pytest.raises(ValueError, match="x has numbers that are not finite"):
        plots.decision_regions(lambda p: p, x * np.nan, np.array(t))
    with pytest.raises(ValueError, match="predict gives classes that are not whole numbers from 0"):
        plots.decision_regions(lambda p: np.where(p[:, 0] > 0, 1, -1), x, np.array([0, 1, 1]))


def test_decision_regions_of_one_score(rng):
    x = rng.uniform(-1, 1, (20, 2)).astype("f")
    t = (x[:, 0] > 0.2).astype(int)

    def left_and_right(predict, **options):
        region = np.asarray(
            plots.decision_regions(predict, x, t, resolution=20, **options).axes[0].images[0].get_array()
        )
        return region[:, 0].tolist(), region[:, -1].tolist()

    sides = [0] * 20, [1] * 20
    assert left_and_right(lambda p: p[:, :1] > 0.2) == sides
    assert left_and_right(lambda p: 0.5 + p[:, :1]) == sides
    assert left_and_right(lambda p: 5 + p[:, 0], threshold=5.0) == sides
    W, b = np.array([[1.0], [0.0]], "f"), np.zeros(1, "f")
    net = fastnn.Network([layers.Affine(W, b)], layers.SigmoidWithLoss())
    assert left_and_right(net) == sides  # the scores are 0 in the middle


def test_embedding(rng):
    vectors = rng.standard_normal((30, 3)) * [5, 2, 0.01]
    words = {i: f"word{i}" for i in range(30)}
    figure = plots.embedding(words, vectors, title="Words")
    (ax,) = figure.axes
    points = np.asarray(ax.collections[0].get_offsets())
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(points @ points.T, centred[:, :2] @ centred[:, :2].T, atol=0.3)  # distances are kept
    assert points[:, 0].std() > points[:, 1].std()
    share = re.search(r"(\d+)% of the variance", ax.get_xlabel())
    assert share and abs(int(share[1]) / 100 - points[:, 0].var() / centred.var(axis=0).sum()) < 0.01
    texts = [text for text in ax.texts if text.get_text()]
    assert [text.get_text() for text in texts] == list(words.values())
    np.testing.assert_array_equal([text.xy for text in texts], points)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_embedding_in_two_dimensions(rng):
    vectors = rng.random((4, 2))
    (ax,) = plots.embedding(list("abcd"), vectors, clusters=["x", "y", "x", "y"]).axes
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), vectors[::2])
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), vectors[1::2])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x", "y"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first number", "second number")


def test_attention(rng):
    layer = time_layers.TimeAttention()
    layer.forward(rng.random((1, 5, 4)), rng.random((1, 3, 4)))
    figure = plots.attention(layer.attention_weights, "abcde", ["x", "y", "z"])
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array().sum(axis=1), 1)
    assert [t.get_text() for t in ax.get_xticklabels()] == list("abcde")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x", "y", "z"]


def test_images(rng):
    x = rng.random((7, 1, 5, 6))
    figure = plots.images(x, titles=range(7), columns=4, title="Seven")
    for got, expected in zip(shown(figure), x[:, 0], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert [ax.get_title() for ax in figure.axes][:7] == list("0123456") and figure.get_suptitle() == "Seven"
    assert [p.shape for p in shown(plots.images(rng.random((2, 36))))] == [(6, 6)] * 2
    colours = shown(plots.images(2 * rng.random((2, 3, 4, 5))))
    assert colours[0].shape == (4, 5, 3) and colours[0].max() == 1


# ---- graphs ----------------------------------------------------------------------------------------------------------


def affine(D, M):
    return layers.Affine(np.zeros((D, M), "f"), np.zeros(M, "f"))


def edges(graph):
    return re.findall(r"^  (\w+) -> (\w+)", graph.source, re.M)


def test_graph_of_neurons(tmp_path):
    net = fastnn.Network([affine(2, 3), layers.Relu(), affine(3, 2)], layers.SoftmaxWithLoss())
    graph = plots.graph(net, path=tmp_path / "net.dot")
    hidden = ["a2_1", "a2_2", "a2_3"]
    assert edges(graph) == [(x, a) for x in ("x1", "x2") for a in hidden] + [
        (a, y) for a in hidden for y in ("y1", "y2")
    ]
    assert '"layer 2\\nRelu"' in graph.source
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == graph.source
    assert edges(plots.graph([2, 3, 2])) == edges(graph)
    wide = plots.graph([784, 3], style="neurons")
    assert len(edges(wide)) == 8 * 3 and "x784" in wide.source and "x5 " not in wide.source


def test_graph_of_layers():
    graph = plots.graph(models.SimpleConvNet(hidden_size=7), input_shape=(1, 28, 28), title='A "net"')
    for text in ("(N, 1, 28, 28)", "(N, 30, 12, 12)", "780 parameters", "SoftmaxWithLoss", '\\"net\\"'):
        assert text in graph.source, text
    assert len(edges(graph)) == 8
    assert "(N, 50)" in plots.graph(models.TwoLayerNet(784, 50, 10)).source  # the first layer says what it takes
    block = layers.Add([], [affine(4, 4), layers.Relu()])
    net = fastnn.Network([affine(4, 4), block])
    assert edges(plots.graph(net)) == [("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n2", "n5"), ("n4", "n5")]
    assert net.input_shape is None


def test_drawing_changes_no_statistics():
    layer = layers.BatchNormalization(np.ones(4, "f"), np.zeros(4, "f"))
    plots.graph([affine(4, 4), layer], style="layers")
    assert layer.running_mean is None


def test_computational_graph():
    mul, add = layers.MulLayer(), layers.AddLayer()
    apple, number, tax = 100, 2, 5.0
    cost = mul.forward(apple, number)
    price = add.forward(cost, tax)
    dprice = 1
    dcost, dtax = add.backward(dprice)
    dapple, dnumber = mul.backward(dcost)
    graph = plots.computational_graph([(mul, ("apple", "number"), "cost"), (add, ("cost", "tax"), "price")], vars())
    assert (price, dapple, dnumber, dtax) == (205, 2, 100, 1)
    for above, below in (("100", dapple), ("2", dnumber), ("cost = 200", dcost), ("5", dtax), ("205", dprice)):
        below = f"{below:g}"
        assert f'<TD>{above}</TD></TR><HR/><TR><TD><FONT COLOR="#C44E00">{below}</FONT>' in graph.source
    assert graph.source.count("&times;") == 1 and "label=<+>" in graph.source
    without = plots.computational_graph([("exp", "x", "y")], path=None)
    assert edges(without) == [("s0", "o0"), ("o0", "end0")]


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graphs_are_drawn(tmp_path):
    graph = plots.graph([2, 3, 2], path=tmp_path / "net.png", title="A net")
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    names = [(layers.MatMul(np.zeros((2, 2))), ("x", "W"), "a<b"), ("+", ("a<b", "b"), "y")]
    for drawn in (graph, plots.computational_graph(names, {"x": 1, "dx": 2.5, "a<b": np.ones((2, 3))}, title="a & b")):
        text = drawn.save(tmp_path / "graph.svg").read_text(encoding="utf-8")
        assert "<svg" in text and text.count("<!-- ") > 3 and drawn._repr_svg_() == text


def test_graphviz_missing_or_refusing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"the suffix must be \.dot"):
        plots.graph([2, 2], path=tmp_path / "net.jpg")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(plots.Missing, match="Graphviz, whose program `dot` is not installed"):
        plots.graph([2, 2], path=tmp_path / "net.png")
    plots.graph([2, 2], path=tmp_path / "net.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["net.dot"] and plots.graph([2, 2])._repr_svg_() is None


def test_bad_input_of_curves_and_places(rng):
    for bad in (3, {"loss": 3}, {"loss": ["a"]}, {"a": {"b": {"c": [1]}}}):
        with pytest.raises(TypeError, match="history: history is a"):
            plots.history(bad)
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.history({"loss": []})
    with pytest.raises(ValueError, match=r"decision_regions: x is \(4, 3\) and t \(4,\)"):
        plots.decision_regions(len, np.ones((4, 3)), np.zeros(4))
    with pytest.raises(ValueError, match=r"predict gives \(5,\) for points"):
        plots.decision_regions(lambda p: p[:5, 0], np.ones((4, 2)), np.zeros(4, int))
    with pytest.raises(TypeError, match="predict is a int"):
        plots.decision_regions(3, np.ones((4, 2)), np.zeros(4, int))
    with pytest.raises(ValueError, match=r"embedding: vectors is \(3, 4\) for 2 words"):
        plots.embedding(["a", "b"], np.ones((3, 4)))
    with pytest.raises(ValueError, match="not finite"):
        plots.embedding(["a"], np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match="clusters has 1 entries for 2 words"):
        plots.embedding(["a", "b"], np.ones((2, 4)), clusters=[0])
    with pytest.raises(ValueError, match=r"attention: weights is \(2, 3\) but there are 2 ys and 2 xs"):
        plots.attention(np.ones((2, 3)), "ab", "cd")
    with pytest.raises(ValueError, match=r"images: x is \(2, 2, 5, 5\)"):
        plots.images(np.ones((2, 2, 5, 5)))
    with pytest.raises(ValueError, match="but there are 1 titles"):
        plots.images(np.ones((2, 5, 5)), titles=["a"])


def test_graph_of_shared_weights_and_sequences():
    model = models.BetterRnnlm(100, 20, 20)
    source = plots.graph(model, input_shape=(35,)).source
    assert 'label="8,660 parameters"' in source and "(N, 35, 100)" in source
    with pytest.raises(ValueError, match=r"graph: input_shape is \(2, 28, 28\): Network: layer 1"):
        plots.graph(models.SimpleConvNet(), input_shape=(2, 28, 28))


def test_bad_input_of_graphs():
    with pytest.raises(TypeError, match="graph: net is a int"):
        plots.graph(3)
    with pytest.raises(ValueError, match="style is 'circles'"):
        plots.graph([2, 2], style="circles")
    with pytest.raises(ValueError, match="not of Convolution, Relu"):
        plots.graph([layers.Convolution(np.zeros((2, 1, 3, 3)), None), layers.Relu()], style="neurons")
    with pytest.raises(ValueError, match="widths must be at least two"):
        plots.graph([2])
    with pytest.raises(ValueError, match="'y' is the output of node 2"):
        plots.computational_graph([("+", "x", "y"), ("+", "x", "y")])
    with pytest.raises(ValueError, match="no nodes"):
        plots.computational_graph([])
