// The fully connected layer: out = f(x @ W + b), x (N, D), W (D, M), b (M).
#pragma once
#include "gemm.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

template <class T> void matmul(Mat<const T> a, Mat<const T> b, Mat<T> out, void* scratch) {
  gemm<T>(a, b, out, false, {}, scratch);
}

template <class T> idx affine_forward_workspace(idx N, idx D, idx M) { return gemm_workspace<T>(N, M, D); }

// b may be null.
template <class T> Epilogue<T> affine_epilogue(const T* b, Activation kind, T alpha, Activate<T> activate) {
  Epilogue<T> end{.bias = b, .relu = kind == Activation::relu, .alpha = alpha};
  if (kind != Activation::identity && kind != Activation::relu) {
    end.activate = activate;
    end.kind = int(kind);
  }
  return end;
}
template <class T> void affine_forward(Mat<const T> x, Mat<const T> W, const T* b, Activation kind, T alpha,
                                       Activate<T> activate, Mat<T> out, void* scratch) {
  gemm<T>(x, W, out, false, affine_epilogue(b, kind, alpha, activate), scratch);
}
// The same with a W that never changes, packed by `pack_once`; skip_zeros: those of a single row, for finite W.
template <class T> void affine_forward_packed(Mat<const T> x, Mat<const T> W, const T* packed, const T* b,
                                              Activation kind, T alpha, Activate<T> activate, bool skip_zeros,
                                              Mat<T> out, void* scratch) {
  gemm<T>(x, W, out, false, affine_epilogue(b, kind, alpha, activate), scratch, packed_at(packed, W.rows, W.cols),
          skip_zeros);
}

template <class T> idx affine_backward_workspace(idx N, idx D, idx M) {
  return gemm_workspace<T>(N, D, M) + max_of(gemm_workspace<T>(D, M, N), gemm_workspace<T>(M, D, N));
}

// db[j] = sum of column j of dout (N, M), in order, for j in [begin, end); + what is there when `accumulate`. Eight
// rows at a time, along them (700x10000, float32: column by column 2.0 ms, so 0.6).
template <class T> void column_sums(Mat<const T> dout, T* db, idx begin, idx end, bool accumulate) {
  constexpr idx L = lanes<T>, kRows = 8;
  for (idx i = 0; i < dout.rows || i == 0; i += kRows) {
    const idx rows = min_of(dout.rows - i, kRows);
    const bool resume = accumulate || i > 0;
    const auto add = [&](idx j, auto get, auto put) {
      Simd<T> sum = resume ? get(db + j) : Simd<T>{};
      if (rows == kRows)
#pragma GCC unroll 8
        for (idx r = 0; r < kRows; ++r) sum += get(dout.row(i + r) + j);
      else
        for (idx r = 0; r < rows; ++r) sum += get(dout.row(i + r) + j);
      put(db + j, sum);
    };
    idx j = begin;
    for (; j + L <= end; j += L) add(j, [](const T* p) { return load(p); }, [](T* p, Simd<T> v) { store(p, v); });
    if (const idx n = end - j; n > 0)
      add(j, [=](const T* p) { return load_partial(p, n); }, [=](T* p, Simd<T> v) { store_partial(p, v, n); });
  }
}

// dx = dout @ W.T, dW = x.T @ dout, db = column sums of dout (row-major); each is skipped where its data is null. dW
// and db go on from what is there when `accumulate`.
template <class T> void affine_backward(Mat<const T> dout, Mat<const T> x, Mat<const T> W, Mat<T> dx, Mat<T> dW, T* db,
                                        bool accumulate, void* scratch) {
  constexpr idx kStrip = 2048;
  const idx N = dout.rows, D = x.cols, M = dout.cols, vectors = (M + lanes<T> - 1) / lanes<T>;
  if (!dx.data || !dW.data || N <= 1 || D <= 1 || M == 0) {
    if (dW.data) gemm<T>(transposed(x), dout, dW, accumulate, {}, scratch);
    if (db)
      parallel_for((M + kStrip - 1) / kStrip, 2 * N * M, [=](idx strip) {
        column_sums<T>(dout, db, strip * kStrip, min_of((strip + 1) * kStrip, M), accumulate);
      });
    if (dx.data) gemm<T>(dout, transposed(W), dx, false, {}, scratch);
    return;
  }
  // All at once: a thread waits for the others once. The sums go with the parts of dW, which read dout too.
  const Parts<T> weight(transposed(x), dout, dW, accumulate, {}, scratch);
  const Parts<T> input(dout, transposed(W), dx, false, {},
                       static_cast<char*>(scratch) + max_of(gemm_workspace<T>(D, M, N), gemm_workspace<T>(M, D, N)));
  parallel_for(2 * max_of(weight.count, input.count), 4 * N * D * M, [=](idx block) {
    const idx part = block / 2, begin = vectors * part / weight.count, end = vectors * (part + 1) / weight.count;
    if (block % 2) return part < input.count ? input.run(part) : void();
    if (part >= weight.count) return;
    weight.run(part);
    if (db) column_sums<T>(dout, db, begin * lanes<T>, min_of(end * lanes<T>, M), accumulate);
  });
}

}  // namespace
}  // namespace FASTNN_NS
