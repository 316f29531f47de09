// The only argument types of kernels: non-owning views. Strides are in elements.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fastnn {

using idx = std::ptrdiff_t;

template <class T> struct Vec {
  T* data;
  idx n;
};

// Element (i, j) is data[i * rs + j * cs]; a transpose swaps two integers.
template <class T> struct Mat {
  T* data;
  idx rows, cols;
  idx rs, cs;
  T* row(idx i) const { return data + i * rs; }
};

template <class T> constexpr Mat<T> transposed(Mat<T> m) { return {m.data, m.cols, m.rows, m.cs, m.rs}; }
template <class T> constexpr Mat<T> row_major(T* data, idx rows, idx cols) { return {data, rows, cols, cols, 1}; }

// A convolution of x (N, C, H, W) with filters (F, C / groups, kh, kw) into (N, F, OH, OW); s stride, p padding, d
// dilation. Every array of it has fewer than 2^31 elements.
struct ConvShape {
  idx N, C, H, W, F, kh, kw, sh, sw, ph, pw, dh, dw, groups, OH, OW;
};

// Pooling of planes (planes, H, W) into (planes, OH, OW): windows of kh x kw, s stride, p padding. Arrays and windows
// have fewer than 2^31 elements.
struct PoolShape {
  idx planes, H, W, OH, OW, kh, kw, sh, sw, ph, pw;
};

// Channels (or some of them) of images (N, C, S); `stride` from image to image.
template <class T> struct Channels {
  T* data;
  idx N, C, S, stride;
};

// Images of G groups of K channels of S elements.
struct GroupShape {
  idx N, G, K, S;
};

}  // namespace fastnn
