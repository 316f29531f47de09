// Attention: what is done to the scores between the products. Rows of scores belong to queries, columns to keys; row i
// looks at the first `allowed` + i columns (all, none) that `open` (n numbers, or null) does not have 0 at.
#pragma once
#include <math.h>

#include "softmax.h"

namespace FASTNN_NS {
namespace {

template <class T> void scale_row(T* x, idx n, T factor) {
  for_vectors<T>(0, n, [=](auto at) { at.put(x, at(x) * factor); });
}
template <class T> void clear(T* x, idx n) { std::memset(x, 0, size_t(n) * sizeof(T)); }
inline idx cut(idx n, idx most) { return n < 0 ? 0 : n > most ? most : n; }

// x becomes exp((x - shift) scale), 0 where `open` is 0 -> the sum. kPlain: as exp_of_negative has it.
template <bool kPlain, class T> FASTNN_ONCE T exp_row(T* x, idx n, const T* open, T shift, T scale) {
  return sum_vectors<T, 1>(0, n, [=](auto at) {
    const Simd<T> e = exp_of_negative<kPlain>((at(x) - shift) * scale), p = open ? (at(open) != 0 ? e : Simd<T>{}) : e;
    at.put(x, p);
    return p;
  })[0];
}

// x becomes exp((x - top) scale), 0 where a row does not look; the largest score `top` and the `sum` of each row go on,
// and the rows of `out`, made with earlier ones, are scaled to them.
template <class T> void attention_weights(Mat<T> x, idx allowed, const T* open, T scale, T* top, T* sum, Mat<T> out) {
  const T low = -T(INFINITY);
  for (idx i = 0; i < x.rows; ++i) {
    T* const row = x.row(i);
    const idx n = cut(allowed + i, x.cols);
    Simd<T> most = broadcast(top[i]), least = Simd<T>{} - low;
    for_vectors<T>(0, n, [&](auto at) {
      const Simd<T> v = at.keep(at(row), low);
      most = larger(most, open ? (at(open) != 0 ? v : Simd<T>{} + low) : v);
      least = smaller(least, at.keep(v, -low));
    });
    T factor = top[i];
    top[i] = max_of_lanes<T>(most)[0];
    const T shift = top[i] == low ? T(0) : top[i];
    const auto fill = is_plain<T>(broadcast(shift), least, scale) ? exp_row<true, T> : exp_row<false, T>;
    const T total = fill(row, n, open, shift, scale);
    clear(row + n, x.cols - n);
    if (out.data && factor != top[i]) {
      exp_row<false, T>(&factor, 1, nullptr, shift, scale);
      sum[i] *= factor;
      scale_row(out.row(i), out.cols, factor);
    }
    sum[i] += total;
  }
}

// Rows by their sums; the first `blind` rows, which look at nothing, are 0.
template <class T> void attention_divide(Mat<T> out, const T* sum, idx blind) {
  for (idx i = 0; i < out.rows; ++i)
    i < blind ? clear(out.row(i), out.cols) : scale_row(out.row(i), out.cols, 1 / sum[i]);
}

// p becomes the softmax p / sum, g (its gradient) that of the products of queries and keys, p (g - sum(p g)) scale;
// both 0 where a row does not look, whatever g was there.
template <class T>
void attention_gradients(Mat<T> p, Mat<T> g, idx allowed, const T* open, const T* sum, idx blind, T scale) {
  for (idx i = 0; i < p.rows; ++i) {
    T *const w = p.row(i), *const d = g.row(i);
    const idx n = i < blind ? 0 : cut(allowed + i, p.cols);
    const Simd<T> inverse = broadcast(1 / sum[i]);
    const auto seen = [=](auto at, Simd<T> v) { return open ? (at(open) != 0 ? v : Simd<T>{}) : v; };
    const Simd<T> dot = sum_vectors<T, 1>(0, n, [=](auto at) {
      const Simd<T> y = seen(at, at(w) * inverse);
      at.put(w, y);
      return seen(at, y * at(d));
    });
    for_vectors_long<T>(0, n, [=](auto at) { at.put(d, seen(at, at(w) * (at(d) - dot) * scale)); });
    clear(d + n, g.cols - n);
  }
}

// Whether there is neither NaN nor infinity in x.
template <class T> bool attention_finite(Mat<const T> x) {
  auto bad = Simd<T>{} != 0;
  for (idx i = 0; i < x.rows; ++i)
    for_vectors<T>(0, x.cols, [&, row = x.row(i)](auto at) {
      const Simd<T> v = at(row);
      bad |= v - v != 0;  // 0, or NaN
    });
  return max_of_lanes<T>(bad ? Simd<T>{} + 1 : Simd<T>{})[0] == 0;
}

// out = the sum of `count` matrices without gaps, `stride` apart, in order.
template <class T> void attention_total(Mat<T> out, const T* parts, idx count, idx stride) {
  for (idx i = 0; i < out.rows; ++i, parts += out.cols)
    for_vectors_long<T>(0, out.cols, [=](auto at) {
      Simd<T> sum{};
      for (idx part = 0; part < count; ++part) sum += at(parts + part * stride);
      at.put(out.row(i), sum);
    });
}

}  // namespace
}  // namespace FASTNN_NS
