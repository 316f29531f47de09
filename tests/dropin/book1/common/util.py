"""Helpers with the names and results of book 1's `common.util`."""

import numpy as np


def smooth_curve(x):
    width = 11
    window = np.kaiser(width, 2)
    mirrored = np.r_[x[width - 1 : 0 : -1], x, x[-1:-width:-1]]
    y = np.convolve(window / window.sum(), mirrored, mode="valid")
    return y[5 : len(y) - 5]


def shuffle_dataset(x, t):
    order = np.random.permutation(x.shape[0])
    x = x[order, :] if x.ndim == 2 else x[order, :, :, :]
    return x, t[order]


def conv_output_size(input_size, filter_size, stride=1, pad=0):
    return (input_size + 2 * pad - filter_size) / stride + 1


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_data.shape
    OH = (H + 2 * pad - filter_h) // stride + 1
    OW = (W + 2 * pad - filter_w) // stride + 1
    image = np.pad(input_data, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    patches = np.zeros((N, C, filter_h, filter_w, OH, OW))
    for y in range(filter_h):
        for x in range(filter_w):
            patches[:, :, y, x] = image[:, :, y : y + stride * OH : stride, x : x + stride * OW : stride]
    return patches.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def col2im(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_shape
    OH = (H + 2 * pad - filter_h) // stride + 1
    OW = (W + 2 * pad - filter_w) // stride + 1
    patches = col.reshape(N, OH, OW, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    image = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for y in range(filter_h):
        for x in range(filter_w):
            image[:, :, y : y + stride * OH : stride, x : x + stride * OW : stride] += patches[:, :, y, x]
    return image[:, :, pad : H + pad, pad : W + pad]
