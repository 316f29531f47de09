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

// Few rows times the transposed W. Lane l of an element's sum takes k = l, l + lanes, l + 2 lanes, ...; at the end the
// lanes are added by halves. So W is read along its rows and never transposed (one row through 512x512, float32: 24.4
// us with blocks transposed in registers, 6.9 so). Parts of a batch have 16 rows and more, so that none is taken for a
// few rows.
template <class T> constexpr bool by_dots(idx N, idx M) { return N <= 8 && M >= 16 * (N + 2); }

// v[0], of 2 * kHalf vectors: lane i is the sum of the lanes of v[i].
template <class T, int kHalf> FASTNN_INLINE void fold(Simd<T>* v) {
  constexpr idx L = lanes<T>;
  const auto low = [](idx o) { return o / (2 * kHalf) * 2 * kHalf + o % kHalf + o / kHalf % 2 * L; };
#pragma GCC unroll 8
  for (int i = 0; i < kHalf; ++i)
    v[i] = rearrange(v[i], v[i + kHalf], low) +
           rearrange(v[i], v[i + kHalf], [=](idx o) { return low(o) + kHalf; });
  if constexpr (kHalf > 1) fold<T, kHalf / 2>(v);
}
// sums[r * lanes + j]: the lanes of row r of a (R, K) times row j of w (J, K). Rows of w from `rows` on are not there;
// the last one is read instead.
template <class T, int R, int J> FASTNN_INLINE void dot_lanes(idx K, const T* a, idx as, const T* w, idx ws, idx rows,
                                                              Simd<T>* sums) {
  constexpr idx L = lanes<T>;
  const T* b[J];
  Simd<T> acc[R][J] = {};
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j) b[j] = w + min_of(j, rows - 1) * ws;
  const auto step = [&](idx k, auto get) {
    Simd<T> av[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) av[r] = get(a + r * as + k);
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      const Simd<T> bv = get(b[j] + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r][j] = fma(av[r], bv, acc[r][j]);
    }
  };
  idx k = 0;
  for (; k + L <= K; k += L) step(k, [](const T* p) { return load(p); });
  if (k < K) step(k, [n = K - k](const T* p) { return load_partial(p, n); });
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) sums[r * L + j] = acc[r][j];
}
template <class T, int R> void dots(Mat<const T> a, Mat<const T> W, Mat<T> y) {
  constexpr idx L = lanes<T>;
  constexpr int kMost = kVecBytes == 64 ? (R < 4 ? 8 : 4) : R == 1 ? 8 : R == 2 ? 4 : 2, J = min_of(kMost, L);
  for (idx j = 0; j < W.rows; j += L) {
    const idx n = min_of(W.rows - j, L);
    Simd<T> sums[R * L];
    for (idx q = 0; q < n; q += J) dot_lanes<T, R, J>(W.cols, a.data, a.rs, W.row(j + q), W.rs, n - q, sums + q);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      fold<T, L / 2>(sums + r * L);
      store_partial(y.row(r) + j, sums[r * L], n);
    }
  }
}
// The same for a W of contiguous columns.
template <class T> void dots_down(Mat<const T> a, Mat<const T> W, Mat<T> y) {
  constexpr idx L = lanes<T>;
  for (idx j = 0; j < W.rows; j += L)
    for (idx r = 0; r < a.rows; ++r) {
      const idx n = min_of(W.rows - j, L);
      Simd<T> acc[L] = {};
      for (idx k = 0; k < W.cols; k += L)
#pragma GCC unroll 16
        for (idx l = 0; l < L; ++l)
          acc[l] = k + l < W.cols
                       ? fma(broadcast<T>(a.row(r)[k + l]), load_partial(W.row(j) + (k + l) * W.cs, n), acc[l])
                       : acc[l] + Simd<T>{};
#pragma GCC unroll 4
      for (idx half = L / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (idx l = 0; l < half; ++l) acc[l] += acc[l + half];
      store_partial(y.row(r) + j, acc[0], n);
    }
}
template <class T> void multiply_by_dots(Mat<const T> dout, Mat<const T> W, Mat<T> dx) {
  constexpr idx L = lanes<T>, kBytes = 64 << 10;  // of W that all rows meet before the next
  const idx N = dout.rows, D = W.rows, M = W.cols, work = 2 * N * D * M,
            block = max_of(kBytes / (M * idx(sizeof(T))) / L, 1) * L;
  parallel_for((D + block - 1) / block, work, [=](idx part) {
    const idx j = part * block, columns = min_of(D - j, block);
    const Mat<const T> own{W.row(j), columns, M, W.rs, W.cs};
    for (idx i = 0, n; i < N; i += n) {
      n = min_of(N - i, 4) == 3 ? 2 : min_of(N - i, 4);
      const Mat<const T> a{dout.row(i), n, M, dout.rs, 1};
      const Mat<T> y{dx.row(i) + j, n, columns, dx.rs, 1};
      if (W.cs != 1)
        dots_down(a, own, y);
      else
        (n == 1 ? dots<T, 1> : n == 2 ? dots<T, 2> : dots<T, 4>)(a, own, y);
    }
  });
}

// dx = dout @ W.T, dW = x.T @ dout, db = column sums of dout (row-major); each is skipped where its data is null. dW
// and db go on from what is there when `accumulate`.
template <class T> void affine_backward(Mat<const T> dout, Mat<const T> x, Mat<const T> W, Mat<T> dx, Mat<T> dW, T* db,
                                        bool accumulate, void* scratch) {
  constexpr idx kStrip = 2048;
  const idx N = dout.rows, D = x.cols, M = dout.cols, vectors = (M + lanes<T> - 1) / lanes<T>;
  const bool few = dx.data && by_dots<T>(N, M) && dout.cs == 1 && dx.cs == 1 && (W.cs == 1 || W.rs == 1);
  constexpr idx kAlone = kFewKernels ? kFewTerms : 1;  // so many rows at most: one product after the other
  if (!dx.data || !dW.data || N <= kAlone || D <= 1 || M == 0) {
    if (dW.data) gemm<T>(transposed(x), dout, dW, accumulate, {}, scratch);
    if (db)
      parallel_for((M + kStrip - 1) / kStrip, 2 * N * M, [=](idx strip) {
        column_sums<T>(dout, db, strip * kStrip, min_of((strip + 1) * kStrip, M), accumulate);
      });
    if constexpr (kFewKernels)
      if (few) return multiply_by_dots(dout, W, dx);
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
