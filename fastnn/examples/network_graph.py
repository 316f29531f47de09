"""A picture of any network: the document's neuralnet.dot from four numbers, its layers as boxes from the network."""

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.models import MultiLayerNetExtend, SimpleConvNet, TwoLayerNet


def main(run: Run) -> None:
    neuralnet = plots.graph([2, 3, 2, 2])  # inputs, two hidden layers, outputs
    run.row("neuralnet: edges", 16, neuralnet.source.count("->"))
    run.row("neuralnet: circles", 9, neuralnet.source.count("penwidth"))
    run.graph("neuralnet", neuralnet)

    small = TwoLayerNet(input_size=4, hidden_size=6, output_size=3, rng=0)
    run.graph("two_layer_net", plots.graph(small, title="TwoLayerNet(4, 6, 3)"))
    digits = TwoLayerNet(input_size=784, hidden_size=50, output_size=10, rng=0)
    run.graph("two_layer_net_mnist", plots.graph(digits, style="neurons", title="TwoLayerNet(784, 50, 10)"))
    for name, network, shape in (
        ("simple_convnet", SimpleConvNet(rng=0), (1, 28, 28)),
        ("multi_layer_net", MultiLayerNetExtend(784, [100, 100], 10, use_batchnorm=True, use_dropout=True), (784,)),
    ):
        graph = plots.graph(network, style="layers", input_shape=shape, title=type(network).__name__)
        run.row(f"{name}: boxes", None, graph.source.count("fillcolor"))
        run.graph(name, graph)


if __name__ == "__main__":
    start(main)
