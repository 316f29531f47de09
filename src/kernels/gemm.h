// C = A @ B (+ C), then bias and activation on the finished rows. A (M, K), B (K, N), C (M, N), any strides.
//
// Every element of C is one chain of fused multiply-adds in ascending k, whatever the tile, the packing, the strides or
// the team: so all of these may be chosen for speed alone and the bits stay the same.
#pragma once
#include "parallel.h"
#include "simd.h"

namespace FASTNN_NS {
namespace {

// The register tile: kMR rows of C by kNV vectors. kMR * kNV accumulators + kNV of B + a broadcast of A fit the 32
// (AVX-512, NEON) or 16 registers, and the accumulators outnumber latency * throughput of the FMA (4 * 2).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMR = 8, kNV = 3;
#else
constexpr int kMR = 6, kNV = 2;
#endif
template <class T> constexpr idx kNR = kNV * lanes<T>;
// Bytes: a panel of B, kKC x kNR, stays in half of L1 while the rows of A pass; kMC x kKC of A in half of L2 while the
// panels do.
template <class T> constexpr idx kKC = 24 * 1024 / (kNV * kVecBytes);
template <class T> constexpr idx kMC = 384 * 1024 / (kKC<T> * idx(sizeof(T))) / kMR * kMR;
template <class T> constexpr idx kNC = 64 * kNR<T>;
#if defined(__AVX512F__) || defined(__AVX2__)
constexpr bool kMaskedLoads = true;  // a partial vector of B can be read where it is
#else
constexpr bool kMaskedLoads = false;
#endif

// What happens to a finished row of C: the bias is added; relu is free; another activation is called on contiguous y[0,
// n).
template <class T> struct Epilogue {
  const T* bias = nullptr;  // (N)
  bool relu = false;
  void (*activate)(int kind, T alpha, T* y, idx n) = nullptr;
  int kind = 0;
  T alpha = 0;
};

// C (kMR, kNV vectors, the last of `last` lanes) = A (kMR, K) @ B (K, ...) (+ C when `resume`). kRows: A is read along
// its rows (column stride 1, `as` apart), else along its columns (row stride 1).
template <class T> struct Tile {
  idx K;
  const T* a;
  idx as;
  const T* b;
  idx bs;
  T* c;
  idx cs, last;
  bool resume, finish, relu;
  const T* bias;
};
template <class T, int MR, int NV, bool kRows> void tile(const Tile<T>& t) {
  constexpr idx L = lanes<T>;
  const T* const a = t.a;
  const T* b = t.b;
  const idx as = t.as, bs = t.bs, last = t.last;
  Simd<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      T* const c = t.c + i * t.cs + v * L;
      acc[i][v] = !t.resume ? Simd<T>{} : v == NV - 1 ? load_partial(c, last) : load(c);
    }
  for (idx k = 0; k < t.K; ++k, b += bs) {
    Simd<T> bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = kMaskedLoads && v == NV - 1 ? load_partial(b + v * L, last) : load(b + v * L);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Simd<T> s = broadcast<T>(kRows ? a[i * as + k] : a[k * as + i]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, bv[v], acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const idx n = v == NV - 1 ? last : L;
    const Simd<T> bias = t.finish && t.bias ? load_partial(t.bias + v * L, n) : Simd<T>{};
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      Simd<T> y = acc[i][v];
      if (t.finish && t.bias) y += bias;
      if (t.finish && t.relu) y = max_nan(y, Simd<T>{});
      store_partial(t.c + i * t.cs + v * L, y, n);
    }
  }
}
template <class T, bool kRows, int MR = kMR, int NV = kNV> auto pick_tile(idx rows, idx vectors)
    -> void (*)(const Tile<T>&) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_tile<T, kRows, MR, NV - 1>(rows, vectors);
  if constexpr (MR > 1)
    if (rows < MR) return pick_tile<T, kRows, MR - 1, NV>(rows, vectors);
  return tile<T, MR, NV, kRows>;
}

// y (NV vectors, the last of `last` lanes) = a (K) @ B (+ y): one row fills few registers, so k is split over 8 / NV
// chains.
template <class T, int NV> void narrow_row(idx K, const T* a, idx as, const T* b, idx bs, T* y, idx last, bool resume) {
  constexpr idx L = lanes<T>, kChains = 8 / NV;
  Simd<T> acc[kChains][NV] = {};
  const auto row = [&](Simd<T>(&sum)[NV], idx k) {
    const Simd<T> s = broadcast<T>(a[k * as]);
    const T* const r = b + k * bs;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v)
      sum[v] = fma(s, kMaskedLoads && v == NV - 1 ? load_partial(r + v * L, last) : load(r + v * L), sum[v]);
  };
  idx k = 0;
  for (; k + kChains <= K; k += kChains)
#pragma GCC unroll 8
    for (idx p = 0; p < kChains; ++p) row(acc[p], k + p);
  for (; k < K; ++k) row(acc[0], k);
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    Simd<T> sum = acc[0][v];
    for (idx p = 1; p < kChains; ++p) sum += acc[p][v];
    const idx n = v == NV - 1 ? last : L;
    if (resume) sum += load_partial(y + v * L, n);
    store_partial(y + v * L, sum, n);
  }
}
template <class T, int NV = 8> auto pick_narrow_row(idx vectors)
    -> void (*)(idx, const T*, idx, const T*, idx, T*, idx, bool) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_narrow_row<T, NV - 1>(vectors);
  return narrow_row<T, NV>;
}
// y (N) = a (K) @ B (+ y) for any N: B is read once, kGroup rows side by side, while y stays in L1.
template <class T> void wide_row(idx K, const T* a, idx as, const T* b, idx bs, T* y, idx N, bool resume) {
  constexpr idx L = lanes<T>, kGroup = 4;
  for (idx k = 0; k < K; k += kGroup, b += kGroup * bs) {
    const idx rows = K - k < kGroup ? K - k : kGroup;
    Simd<T> s[kGroup];
    for (idx p = 0; p < rows; ++p) s[p] = broadcast<T>(a[(k + p) * as]);
    for (idx j = 0; j < N; j += L) {
      const idx n = N - j < L ? N - j : L;
      Simd<T> sum = k || resume ? load_partial(y + j, n) : Simd<T>{};
      if (rows == kGroup && n == L) {
#pragma GCC unroll 8
        for (idx p = 0; p < kGroup; ++p) sum = fma(s[p], load(b + p * bs + j), sum);
      } else {
        for (idx p = 0; p < rows; ++p) sum = fma(s[p], load_partial(b + p * bs + j, n), sum);
      }
      store_partial(y + j, sum, n);
    }
  }
}

// B (K, n) to panel[k * ld + j], the missing columns of the last vector 0.
template <class T> void pack_columns(Mat<const T> B, T* panel, idx ld) {
  constexpr idx L = lanes<T>;
  for (idx j = 0; j < B.cols; j += L) {
    const idx n = B.cols - j < L ? B.cols - j : L;
    idx k = 0;
    if (B.cs == 1) {
      for (; k < B.rows; ++k) store(panel + k * ld + j, n == L ? load(B.row(k) + j) : load_partial(B.row(k) + j, n));
    } else if (B.rs == 1 && n == L) {
      for (; k + L <= B.rows; k += L) {
        Simd<T> v[L];
#pragma GCC unroll 16
        for (idx i = 0; i < L; ++i) v[i] = load(B.data + (j + i) * B.cs + k);
        transpose<T>(v);
#pragma GCC unroll 16
        for (idx i = 0; i < L; ++i) store(panel + (k + i) * ld + j, v[i]);
      }
    }
    for (; k < B.rows; ++k)
      for (idx i = 0; i < L; ++i) panel[k * ld + j + i] = i < n ? B.data[k * B.rs + (j + i) * B.cs] : T(0);
  }
}
// A (m, K) to block[i * K + k].
template <class T> void pack_rows(Mat<const T> A, T* block) {
  for (idx i = 0; i < A.rows; ++i)
    for (idx k = 0; k < A.cols; ++k) block[i * A.cols + k] = A.data[i * A.rs + k * A.cs];
}

constexpr idx min_of(idx a, idx b) { return a < b ? a : b; }
constexpr idx round_up(idx n, idx unit) { return (n + unit - 1) / unit * unit; }
template <class T> constexpr idx panel_elements(idx N, idx K) {
  return round_up(min_of(N, kNC<T>), kNR<T>) * min_of(K, kKC<T>);
}

// Scratch of gemm in bytes, a multiple of 64: the packed block of B, then that of A.
template <class T> idx gemm_workspace(idx M, idx N, idx K) {
  const idx rows = min_of(M, kMC<T>) * min_of(K, kKC<T>);
  return round_up(panel_elements<T>(N, K) * idx(sizeof(T)), 64) + round_up(rows * idx(sizeof(T)), 64);
}

// A part of C: rows [i0, i1) by columns [j0, j1).
struct Part {
  idx i0, i1, j0, j1;
};
// The t-th of `threads` parts of C: cut along the columns while each thread keeps two panels, else along the rows.
template <class T> Part part_of(idx M, idx N, int t, int threads) {
  const idx panels = (N + kNR<T> - 1) / kNR<T>, blocks = (M + kMR - 1) / kMR;
  idx across = threads;
  while (across > 1 && (threads % across || panels < 2 * across)) --across;
  const idx down = threads / across, p = t % across, q = t / across;
  return {min_of(blocks * q / down * kMR, M), min_of(blocks * (q + 1) / down * kMR, M),
          min_of(panels * p / across * kNR<T>, N), min_of(panels * (p + 1) / across * kNR<T>, N)};
}

// C[part] (+)= A @ B over one block of k; packed: B lies in panels, panel p at B.data + p * K * kNR.
template <class T> void multiply_part(Mat<const T> A, Mat<const T> B, bool packed, Mat<T> C, Part part, bool resume,
                                      bool finish, const Epilogue<T>& end) {
  constexpr idx L = lanes<T>;
  const idx K = A.cols;
  const bool rows = A.cs == 1;
  T buffer[kMR * kNR<T>];
  for (idx j = part.j0; j < part.j1; j += kNR<T>) {
    const idx n = min_of(part.j1 - j, kNR<T>), vectors = (n + L - 1) / L;
    Tile<T> t{.K = K,
              .a = nullptr,
              .as = rows ? A.rs : A.cs,
              .b = packed ? B.data + j * K : B.data + j,
              .bs = packed ? kNR<T> : B.rs,
              .c = nullptr,
              .cs = C.rs,
              .last = n - (vectors - 1) * L,
              .resume = resume,
              .finish = finish,
              .relu = end.relu,
              .bias = end.bias ? end.bias + j : nullptr};
    for (idx i = part.i0; i < part.i1; i += kMR) {
      const idx m = min_of(part.i1 - i, kMR);
      t.a = A.data + i * A.rs;
      t.c = C.row(i) + j * C.cs;
      const auto run = rows ? pick_tile<T, true>(m, vectors) : pick_tile<T, false>(m, vectors);
      if (C.cs == 1) {
        run(t);
        continue;
      }
      T* const c = t.c;  // a strided C goes through a contiguous tile
      for (idx r = 0; resume && r < m; ++r)
        for (idx q = 0; q < n; ++q) buffer[r * kNR<T> + q] = c[r * C.rs + q * C.cs];
      t.c = buffer, t.cs = kNR<T>;
      run(t);
      for (idx r = 0; r < m; ++r) {
        if (finish && end.activate) end.activate(end.kind, end.alpha, buffer + r * kNR<T>, n);
        for (idx q = 0; q < n; ++q) c[r * C.rs + q * C.cs] = buffer[r * kNR<T> + q];
      }
    }
  }
  if (finish && end.activate && C.cs == 1)
    for (idx i = part.i0; i < part.i1; ++i) end.activate(end.kind, end.alpha, C.row(i) + part.j0, part.j1 - part.j0);
}

template <class T> void finish_row(T* y, idx n, const Epilogue<T>& end) {
  for (idx j = 0; j < n && (end.bias || end.relu); j += lanes<T>) {
    const idx count = min_of(n - j, lanes<T>);
    Simd<T> v = load_partial(y + j, count);
    if (end.bias) v += load_partial(end.bias + j, count);
    if (end.relu) v = max_nan(v, Simd<T>{});
    store_partial(y + j, v, count);
  }
  if (end.activate) end.activate(end.kind, end.alpha, y, n);
}

// One row of C: memory decides, so B is not packed (but a transposed one, when narrow: its bits must be those of a
// plain one). False when the tiles have to do it: same bits, since a wide row is the same chain of additions.
template <class T>
bool gemm_row(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, const Epilogue<T>& end, T* scratch) {
  constexpr idx L = lanes<T>;
  const idx N = C.cols, K = A.cols, vectors = (N + L - 1) / L;
  if (vectors <= 8) {
    T buffer[8 * L];
    T* const y = C.cs == 1 ? C.data : buffer;
    for (idx j = 0; accumulate && y == buffer && j < N; ++j) y[j] = C.data[j * C.cs];
    const auto run = pick_narrow_row<T>(vectors);
    const idx last = N - (vectors - 1) * L;
    for (idx k = 0; k < K || k == 0; k += kKC<T>) {
      Mat<const T> b{B.data + k * B.rs, min_of(K - k, kKC<T>), N, B.rs, B.cs};
      if (b.cs != 1 || (!kMaskedLoads && last < L)) {
        pack_columns<T>(b, scratch, vectors * L);
        b.data = scratch, b.rs = vectors * L;
      }
      run(b.rows, A.data + k * A.cs, A.cs, b.data, b.rs, y, last, accumulate || k > 0);
    }
    finish_row(y, N, end);
    for (idx j = 0; y == buffer && j < N; ++j) C.data[j * C.cs] = y[j];
    return true;
  }
  if (B.cs != 1 || C.cs != 1 || K == 0) return false;
  const int parts = team(2 * N * K);
  parallel_for(parts, 2 * N * K, [&](idx t) {
    const idx j0 = vectors * t / parts * L, j1 = min_of(vectors * (t + 1) / parts * L, N);
    wide_row<T>(K, A.data, A.cs, B.data + j0, B.rs, C.data + j0, j1 - j0, accumulate);
    Epilogue<T> epilogue = end;
    if (end.bias) epilogue.bias += j0;
    finish_row(C.data + j0, j1 - j0, epilogue);
  });
  return true;
}

template <class T>
void gemm(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, const Epilogue<T>& end, void* scratch) {
  const idx M = C.rows, N = C.cols, K = A.cols;
  T* const panels = static_cast<T*>(scratch);
  if (M == 0 || N == 0 || (M == 1 && gemm_row(A, B, C, accumulate, end, panels))) return;
  T* const block = panels + round_up(panel_elements<T>(N, K) * idx(sizeof(T)), 64) / idx(sizeof(T));
  const bool pack_b = B.cs != 1 || M > 4 * kMR || (!kMaskedLoads && N % lanes<T> != 0);
  const bool pack_a = A.cs != 1 && A.rs != 1;
  const idx k_blocks = K == 0 ? 1 : (K + kKC<T> - 1) / kKC<T>;
  parallel_region(team(2 * M * N * K), [&](int thread, int threads) {
    for (idx j0 = 0; j0 < N; j0 += kNC<T>) {
      const idx nc = min_of(N - j0, kNC<T>), panel_count = (nc + kNR<T> - 1) / kNR<T>;
      for (idx p = 0; p < k_blocks; ++p) {
        const idx k0 = K * p / k_blocks, kc = K * (p + 1) / k_blocks - k0;
        Mat<const T> b{B.data + k0 * B.rs + j0 * B.cs, kc, nc, B.rs, B.cs};
        if (pack_b) {
          for (idx q = panel_count * thread / threads; q < panel_count * (thread + 1) / threads; ++q)
            pack_columns<T>({b.data + q * kNR<T> * b.cs, kc, min_of(nc - q * kNR<T>, kNR<T>), b.rs, b.cs},
                            panels + q * kNR<T> * kc, kNR<T>);
          b.data = panels;
          barrier();
        }
        for (idx i0 = 0; i0 < M; i0 += kMC<T>) {
          const idx mc = min_of(M - i0, kMC<T>);
          Mat<const T> a{A.data + i0 * A.rs + k0 * A.cs, mc, kc, A.rs, A.cs};
          if (pack_a) {
            const idx r0 = mc * thread / threads, r1 = mc * (thread + 1) / threads;
            pack_rows<T>({a.row(r0), r1 - r0, kc, a.rs, a.cs}, block + r0 * kc);
            a = {block, mc, kc, kc, 1};
            barrier();
          }
          Epilogue<T> epilogue = end;
          if (end.bias) epilogue.bias = end.bias + j0;
          multiply_part<T>(a, b, pack_b, {C.row(i0) + j0 * C.cs, mc, nc, C.rs, C.cs},
                           part_of<T>(mc, nc, thread, threads), accumulate || p > 0, p == k_blocks - 1, epilogue);
          if (pack_a) barrier();
        }
        if (pack_b) barrier();
      }
    }
  });
}

}  // namespace
}  // namespace FASTNN_NS
