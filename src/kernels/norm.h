// Batch normalisation over the rows of x (N, D); statistics, gamma and beta (D).
#pragma once
#include "parallel.h"
#include "simd.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

// NV vectors of columns side by side, the last of `last` lanes.
template <class T, int NV> struct Columns {
  static constexpr int kVectors = NV;
  idx last;
  bool whole(int v) const { return v < NV - 1 || last == lanes<T>; }
  Simd<T> get(const T* p, int v) const {
    return whole(v) ? load(p + v * lanes<T>) : load_partial(p + v * lanes<T>, last);
  }
  void put(T* p, int v, Simd<T> value) const {
    whole(v) ? store(p + v * lanes<T>, value) : store_partial(p + v * lanes<T>, value, last);
  }
};

constexpr int kColumnVectors = 4;  // enough running sums to hide the latency of an addition

// f(j, columns) for the groups of columns of (N, D), in parallel; a group passes over its rows while they are in L1 or
// L2.
template <class T, class F> inline void for_columns(idx N, idx D, F f) {
  constexpr idx L = lanes<T>, kWidth = kColumnVectors * L;
  parallel_for((D + kWidth - 1) / kWidth, 4 * N * D * idx(sizeof(T)), [=](idx group) {
    const idx j = group * kWidth, n = D - j;
    if (n > 3 * L) return f(j, Columns<T, 4>{n < kWidth ? n - 3 * L : L});
    if (n > 2 * L) return f(j, Columns<T, 3>{n - 2 * L});
    if (n > L) return f(j, Columns<T, 2>{n - L});
    f(j, Columns<T, 1>{n});
  });
}

// total[v] = sum of f(i, v) over the rows: runs of 64, so that rounding does not add up.
template <class T, int NV, class F> inline void sum_rows(idx N, Simd<T> (&total)[NV], F f) {
  constexpr idx kRun = 64;
  for (auto& t : total) t = Simd<T>{};
  for (idx i = 0; i < N;) {
    const idx stop = N - i < kRun ? N : i + kRun;
    Simd<T> s[NV] = {};
    for (; i < stop; ++i)
      for (int v = 0; v < NV; ++v) s[v] += f(i, v);
    for (int v = 0; v < NV; ++v) total[v] += s[v];
  }
}

// out = (x - mean) gamma / sqrt(var + epsilon) + beta
template <class T> void batch_norm_inference(Mat<const T> x, const T* gamma, const T* beta, const T* mean, const T* var,
                                             T epsilon, Mat<T> out) {
  for_columns<T>(x.rows, x.cols, [=](idx j, auto columns) {
    constexpr int NV = columns.kVectors;
    Simd<T> m[NV], k[NV], b[NV];
    for (int v = 0; v < NV; ++v) {
      m[v] = columns.get(mean + j, v);
      k[v] = columns.get(gamma + j, v) / sqrt(columns.get(var + j, v) + epsilon);
      b[v] = columns.get(beta + j, v);
    }
    for (idx i = 0; i < x.rows; ++i)
      for (int v = 0; v < NV; ++v) columns.put(out.row(i) + j, v, fma(columns.get(x.row(i) + j, v) - m[v], k[v], b[v]));
  });
}

// The same with the batch's own mean and (biased) variance: the mean of x - x[0], then of (x - mean)^2.
template <class T>
void batch_norm_forward(Mat<const T> x, const T* gamma, const T* beta, T epsilon, Mat<T> out, T* mean, T* var) {
  const idx N = x.rows;
  const T per_row = T(1) / T(N > 0 ? N : 1);
  for_columns<T>(N, x.cols, [=](idx j, auto columns) {
    constexpr int NV = columns.kVectors;
    Simd<T> m[NV], s[NV], k[NV], b[NV];
    for (int v = 0; v < NV; ++v) m[v] = N > 0 ? columns.get(x.row(0) + j, v) : Simd<T>{};
    sum_rows<T, NV>(N, s, [&](idx i, int v) { return columns.get(x.row(i) + j, v) - m[v]; });
    for (int v = 0; v < NV; ++v) columns.put(mean + j, v, m[v] = fma(s[v], broadcast(per_row), m[v]));
    sum_rows<T, NV>(N, s, [&](idx i, int v) {
      const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
      return d * d;
    });
    for (int v = 0; v < NV; ++v) {
      columns.put(var + j, v, s[v] *= per_row);
      k[v] = columns.get(gamma + j, v) / sqrt(s[v] + epsilon);
      b[v] = columns.get(beta + j, v);
    }
    for (idx i = 0; i < N; ++i)
      for (int v = 0; v < NV; ++v) columns.put(out.row(i) + j, v, fma(columns.get(x.row(i) + j, v) - m[v], k[v], b[v]));
  });
}

// dbeta = sum(dout), dgamma = sum(dout xn), dx = gamma / std (dout - dbeta / N - xn dgamma / N), xn = (x - mean) / std.
template <class T> void batch_norm_backward(Mat<const T> dout, Mat<const T> x, const T* gamma, const T* mean,
                                            const T* var, T epsilon, Mat<T> dx, T* dgamma, T* dbeta) {
  const idx N = x.rows;
  const T per_row = T(1) / T(N > 0 ? N : 1);
  for_columns<T>(N, x.cols, [=](idx j, auto columns) {
    constexpr int NV = columns.kVectors;
    Simd<T> m[NV], sum[NV], product[NV], k[NV], a[NV], b[NV];
    for (int v = 0; v < NV; ++v) m[v] = columns.get(mean + j, v);
    sum_rows<T, NV>(N, sum, [&](idx i, int v) { return columns.get(dout.row(i) + j, v); });
    sum_rows<T, NV>(N, product, [&](idx i, int v) {
      return columns.get(dout.row(i) + j, v) * (columns.get(x.row(i) + j, v) - m[v]);
    });
    for (int v = 0; v < NV; ++v) {
      const Simd<T> inverse = 1 / sqrt(columns.get(var + j, v) + epsilon);
      product[v] *= inverse;
      columns.put(dgamma + j, v, product[v]);
      columns.put(dbeta + j, v, sum[v]);
      k[v] = columns.get(gamma + j, v) * inverse;
      a[v] = -inverse * product[v] * per_row;
      b[v] = sum[v] * per_row;
    }
    for (idx i = 0; i < N; ++i)
      for (int v = 0; v < NV; ++v) {
        const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
        columns.put(dx.row(i) + j, v, fma(d, a[v], columns.get(dout.row(i) + j, v) - b[v]) * k[v]);
      }
  });
}

}  // namespace
}  // namespace FASTNN_NS
