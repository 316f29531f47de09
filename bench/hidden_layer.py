"""30,000 steps on MNIST with and without a hidden layer: 784-625-10 with sigmoid, and 784-10.

The networks of a tutorial on TensorFlow 1 (batch 100, plain gradient descent at 0.001 on the summed loss, which is 0.1
on the mean): 8 minutes 23 on a MacBook Air of 2014, 97.0 % of the training and 96.6 % of the test images; without the
hidden layer 44 s, 94.0 and 92.2 %.

    FASTNN_DATA=folder python bench/hidden_layer.py [threads]        both networks, the seconds of 30,000 steps
"""

import sys
import time

import numpy as np

import fastnn
from fastnn import layers, optimizer
from fastnn.dataset.mnist import load_mnist

STEPS, BATCH = 30_000, 100


def affine(rng, D, M, deviation):
    return layers.Affine((deviation * rng.standard_normal((D, M))).astype(np.float32), np.zeros(M, np.float32))


def networks():
    rng = np.random.default_rng(0)
    yield "without", [affine(rng, 784, 10, 0.0)]
    yield "625, sigmoid", [affine(rng, 784, 625, 0.05), layers.Sigmoid(), affine(rng, 625, 10, 0.05)]


def main(threads=1):
    fastnn.set_num_threads(int(threads))
    (x, t), test = load_mnist()
    print("| hidden layer | 30,000 steps | a step | training images | test images |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, stack in networks():
        net = fastnn.Network(stack, layers.SoftmaxWithLoss(), rng=1)
        began = time.perf_counter()
        net.fit(x, t, STEPS * BATCH // len(x), BATCH, optimizer.SGD(0.1), progress=False)
        seconds = time.perf_counter() - began
        shares = " | ".join(f"{100 * net.accuracy(*part):.1f} %" for part in ((x, t), test))
        print(f"| {name} | {seconds:.1f} s | {1e6 * seconds / STEPS:.0f} us | {shares} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
