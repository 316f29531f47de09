// C = A @ B (+ C), then bias and activation on the finished rows. A (M, K), B (K, N), C (M, N), any strides.
//
// An element of C is one chain of fused multiply-adds in ascending k, whatever the tile, the packing, the strides or
// the team: these are chosen for speed alone and the bits stay the same. Two shapes add in another, as fixed, order:
// one row over few columns (narrow_row), and the last columns where they fill less than half of a vector (tail_tile).
#pragma once
#include <math.h>

#include "parallel.h"
#include "simd.h"

namespace FASTNN_NS {
namespace {

constexpr idx min_of(idx a, idx b) { return a < b ? a : b; }
constexpr idx max_of(idx a, idx b) { return a > b ? a : b; }
constexpr idx round_up(idx n, idx unit) { return (n + unit - 1) / unit * unit; }

// The sizes that depend on the machine. kMR rows of C by kNV vectors are the register tile: kMR * kNV accumulators +
// kNV of B + a broadcast of A fit the registers, 32 (AVX-512, NEON) or 16, and the accumulators outnumber what hides
// the FMA's latency (4 cycles * 2 a cycle). kKC is the depth of a panel of B (kNV vectors wide, kDepthBytes high
// or 512): with AVX-512 it streams from L2 (650x700 @ 700x2600, float32: 12.0 ms with two depths, 11.0 with one).
// kBlock bytes of A stay in L2 beside it. From kPackRows rows on a panel is copied while the first rows are computed;
// fewer read B where it is. See blocks_of for what else is cut and copied.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMR = 8, kNV = 3;
constexpr idx kDepthBytes = 3200, kPackRows = 96;
#elif defined(__AVX2__)
constexpr int kMR = 6, kNV = 2;
constexpr idx kDepthBytes = 2 << 10, kPackRows = 7;
#else
constexpr int kMR = 6, kNV = 2;
constexpr idx kDepthBytes = 2 << 10, kPackRows = 96;
#endif
constexpr idx kBlock = 384 << 10, kWholeRows = 512;
// A partial vector of B can be read where it is; in a tile only by AVX-512 (AVX2: 480x512x512 at 86 % of the FMA peak,
// 94 % without).
#if defined(__AVX512F__)
constexpr bool kMaskedLoads = true, kMaskedTiles = true;
#elif defined(__AVX2__)
constexpr bool kMaskedLoads = true, kMaskedTiles = false;
#else
constexpr bool kMaskedLoads = false, kMaskedTiles = false;
#endif
template <class T> constexpr idx kKC = max_of(kDepthBytes / idx(sizeof(T)), idx(512));
template <class T> constexpr idx kNR = kNV * lanes<T>;
template <class T> constexpr idx kMC = kBlock / (kKC<T> * idx(sizeof(T))) / kMR * kMR;
template <class T> constexpr idx kNC = (4 << 20) / (kKC<T> * idx(sizeof(T))) / kNR<T> * kNR<T>;
template <class T> constexpr idx kNarrowNC = 3 * kNR<T>;
// Parts of C that threads may compute side by side: by the work alone, so that the scratch is too.
constexpr idx max_parts(idx work) { return work < kGrain / 8 ? 1 : min_of(max_of(work / kGrain, 2), 64); }

// What happens to a finished row: bias and relu cost nothing; another activation is called on contiguous y[0, n).
template <class T> struct Epilogue {
  const T* bias = nullptr;  // (N)
  bool relu = false;
  void (*activate)(int kind, T alpha, T* y, idx n) = nullptr;
  int kind = 0;
  T alpha = 0;
  bool plain() const { return !bias && !relu && !activate; }
};
template <class T> inline Simd<T> finished(Simd<T> y, Simd<T> bias, Simd<T> floor) {
  y += bias;
  return floor > y ? floor : y;  // a NaN of y stays
}

// One tile of C: c = a @ b (+ c when `resume`), then + bias, then at least `floor`. Of MR rows; with kFewer also of
// fewer: those that are not there repeat the last one and are not stored.
template <class T> struct Tile {
  idx K, rows, last;  // `last`: lanes in use of the last vector of columns
  const T* a;         // (rows, K): rows `as` apart, k `ak` apart
  const T* b;
  idx as, ak, bs, cs;
  T* c;
  const T* bias;
  T floor;
  bool resume;
  T* panel;        // b is copied here while it is read (kPack)
  const T* ahead;  // brought to L2 meanwhile, ahead_step apart: the panel that comes next
  idx ahead_step;
  idx c_ahead;  // from c to the tile of C that comes next, which is brought to L1
};
enum class Ahead { some, pack, panel };  // of B: a vector a row, none as it is copied, or all of the next panel
template <class T, int MR, int NV, bool kFewer, Ahead kAhead> void tile(const Tile<T>& t) {
  constexpr idx L = lanes<T>;
  constexpr bool kPack = kAhead == Ahead::pack;
  const T *b = t.b, *ahead = t.ahead;
  T* panel = t.panel;
  const idx end = t.K * t.ak, ak = t.ak, bs = t.bs, cs = t.cs, last = t.last, ahead_step = t.ahead_step;
  const T *a[MR], *c_next = t.c + t.c_ahead;
  T* c[MR];
  Simd<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    const idx row = kFewer ? min_of(i, t.rows - 1) : i;
    a[i] = t.a + row * t.as;
    c[i] = t.c + row * cs;
    const T* const next = kFewer ? c[i] : c_next + i * cs;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      __builtin_prefetch(next + v * L, 1);
      acc[i][v] = !t.resume ? Simd<T>{} : v == NV - 1 ? load_partial(c[i] + v * L, last) : load(c[i] + v * L);
    }
  }
  for (idx k = 0; k != end; k += ak, b += bs) {
    Simd<T> bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      bv[v] = kMaskedTiles && v == NV - 1 ? load_partial(b + v * L, last) : load(b + v * L);
      if constexpr (kPack) store(panel + v * L, bv[v]);
    }
    if constexpr (kPack) {
      panel += NV * L;
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < (kAhead == Ahead::panel ? NV : 1); ++v) __builtin_prefetch(ahead + v * L, 0, 2);
      ahead += ahead_step;
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Simd<T> s = broadcast<T>(a[i][k]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, bv[v], acc[i][v]);
    }
  }
  const Simd<T> floor = broadcast(t.floor);
  Simd<T> bias[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v)
    bias[v] = t.bias ? load_partial(t.bias + v * L, v == NV - 1 ? last : L) : broadcast(T(-0.0));  // y + -0 is y
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
    if (kFewer && i >= t.rows) break;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const Simd<T> y = finished<T>(acc[i][v], bias[v], floor);
      if (v < NV - 1 || (!kMaskedTiles && last == L))
        store(c[i] + v * L, y);
      else
        store_partial(c[i] + v * L, y, last);
    }
  }
}
template <class T> using TileFunction = void (*)(const Tile<T>&);
constexpr int kLowMR = 4;  // another height of tiles, beside 2
template <class T, int NV = kNV> TileFunction<T> pick_tile(idx rows, idx vectors, Ahead ahead) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_tile<T, NV - 1>(rows, vectors, ahead);
  if (ahead == Ahead::panel)
    return rows <= kLowMR ? tile<T, kLowMR, NV, true, Ahead::panel> : tile<T, kMR, NV, true, Ahead::panel>;
  if (rows == 2) return tile<T, 2, NV, false, Ahead::some>;
  if (rows <= kLowMR) return tile<T, kLowMR, NV, true, Ahead::some>;
  if (rows < kMR) return tile<T, kMR, NV, true, Ahead::some>;
  return ahead == Ahead::pack ? tile<T, kMR, NV, false, Ahead::pack> : tile<T, kMR, NV, false, Ahead::some>;
}

template <class T, int kCols, int kFirst, int kCount> inline Simd<T> add_pairwise(const Simd<T> (*acc)[kCols], int j) {
  if constexpr (kCount == 1)
    return acc[kFirst][j];
  else
    return add_pairwise<T, kCols, kFirst, kCount / 2>(acc, j) +
           add_pairwise<T, kCols, kFirst + kCount / 2, kCount / 2>(acc, j);
}
// The last columns of C when they are at most lanes / 2: a vector holds kGroup consecutive k of each, so no lane idles
// (float32 784x50, 100 rows: 36 us; 45 with padded columns). kGroup chains an element, added pairwise. b: see
// pack_tail.
template <class T, int kGroup, bool kRows> void tail_tile(const Tile<T>& t) {
  constexpr idx L = lanes<T>, kCols = L / kGroup;
  const idx K = t.K, as = kRows ? t.as : t.ak;
  const T* b = t.b;
  const Simd<T> floor = broadcast(t.floor);
  if constexpr (kRows) {
    const T* a[kMR];
    Simd<T> acc[kMR] = {};
    for (idx i = 0; i < kMR; ++i) a[i] = t.a + min_of(i, t.rows - 1) * as;
    idx k = 0;
    for (; k + kGroup <= K; k += kGroup, b += L)
#pragma GCC unroll 8
      for (int i = 0; i < kMR; ++i) acc[i] = fma(broadcast_group<kGroup>(a[i] + k), load(b), acc[i]);
    if (k < K)
#pragma GCC unroll 8
      for (int i = 0; i < kMR; ++i) {
        T rest[kGroup] = {};
        for (idx q = 0; k + q < K; ++q) rest[q] = a[i][k + q];
        acc[i] = fma(broadcast_group<kGroup>(rest), load(b), acc[i]);
      }
    const Simd<T> bias = t.bias ? load_partial(t.bias, t.last) : broadcast(T(-0.0));
#pragma GCC unroll 8
    for (int i = 0; i < kMR; ++i) {
      if (i >= t.rows) break;
      Simd<T> sum = acc[i];
#pragma GCC unroll 4
      for (idx step = 1; step < kGroup; step *= 2) sum += rearrange(sum, sum, [=](idx lane) { return lane ^ step; });
      sum = rearrange(sum, sum, [](idx lane) { return lane * kGroup % L; });
      T* const c = t.c + i * t.cs;
      if (t.resume) sum += load_partial(c, t.last);
      store_partial(c, finished<T>(sum, bias, floor), t.last);
    }
  } else {
    Simd<T> acc[kGroup][kCols] = {};
    const auto add_group = [&](idx k, idx count) {
#pragma GCC unroll 16
      for (int q = 0; q < kGroup; ++q) {
        const T* const a = t.a + (k + q) * as;
        const Simd<T> av = q >= count ? Simd<T>{} : kMaskedLoads || t.rows < L ? load_partial(a, t.rows) : load(a);
#pragma GCC unroll 8
        for (int j = 0; j < kCols; ++j) acc[q][j] = fma(av, broadcast<T>(b[j * kGroup + q]), acc[q][j]);
      }
    };
    idx k = 0;
    for (; k + kGroup <= K; k += kGroup, b += L) add_group(k, kGroup);
    if (k < K) add_group(k, K - k);
    T sums[kCols][L];
#pragma GCC unroll 8
    for (int j = 0; j < kCols; ++j) store(sums[j], add_pairwise<T, kCols, 0, kGroup>(acc, j));
    for (idx i = 0; t.resume && i < t.rows; ++i)
      for (idx j = 0; j < t.last; ++j) sums[j][i] += t.c[i * t.cs + j];
    for (idx j = 0; j < t.last; ++j)
      store(sums[j], finished<T>(load(sums[j]), broadcast(t.bias ? t.bias[j] : T(-0.0)), floor));
    for (idx i = 0; i < t.rows; ++i)
      for (idx j = 0; j < t.last; ++j) t.c[i * t.cs + j] = sums[j][i];
  }
}
// Columns of a tail that share a vector, a power of two.
constexpr idx tail_columns(idx n) { return n > 4 ? 8 : n > 2 ? 4 : n; }
template <class T, bool kRows, int kGroup = lanes<T>> TileFunction<T> pick_tail(idx columns) {
  if constexpr (kGroup > 2)
    if (lanes<T> / kGroup < columns) return pick_tail<T, kRows, kGroup / 2>(columns);
  return tail_tile<T, kGroup, kRows>;
}
template <class T> constexpr idx kMaxRows = lanes<T> > kMR ? lanes<T> : kMR;  // of any tile
// How many of the N columns go to tail_tile.
template <class T> constexpr idx tail_of(idx M, idx N, idx K) {
  const idx n = N % lanes<T>;
  return n > 0 && 2 * n <= lanes<T> && M >= 2 * kMR && K * lanes<T> >= 256 * tail_columns(n) ? n : 0;
}
// B (K, n) to b[k / group * lanes + j * group + k % group], zeros for the k that are missing in the last group.
template <class T> void pack_tail(Mat<const T> B, T* b) {
  const idx group = lanes<T> / tail_columns(B.cols);
  for (idx k = 0; k < B.rows; k += group, b += lanes<T>)
    for (idx j = 0; j < B.cols; ++j)
      for (idx q = 0; q < group; ++q) b[j * group + q] = k + q < B.rows ? B.data[(k + q) * B.rs + j * B.cs] : T(0);
}

template <class T> constexpr idx tail_elements(idx K, idx n) { return round_up(K * tail_columns(n), lanes<T>); }

// B (K, n) to panel[k * ld + j]; what fills the last vector up is never stored to C.
template <class T> void pack_columns(Mat<const T> B, T* panel, idx ld) {
  constexpr idx L = lanes<T>;
  for (idx j = 0; j < B.cols; j += L) {
    const idx n = min_of(B.cols - j, L);
    const auto column = [&](idx i) { return B.data + (j + min_of(i, n - 1)) * B.cs; };
    if (B.cs == 1) {
      for (idx k = 0; k < B.rows; ++k)
        store(panel + k * ld + j, n == L ? load(B.row(k) + j) : load_partial(B.row(k) + j, n));
    } else if (B.rs == 1 && B.rows >= L) {
      for (idx k = 0; k < B.rows; k += L) {
        k = min_of(k, B.rows - L);  // the last block overlaps the one before
        Simd<T> v[L];
#pragma GCC unroll 16
        for (idx i = 0; i < L; ++i) v[i] = load(column(i) + k);
        transpose<T>(v);
#pragma GCC unroll 16
        for (idx i = 0; i < L; ++i) store(panel + (k + i) * ld + j, v[i]);
      }
    } else {
      for (idx k = 0; k < B.rows; ++k)
        for (idx i = 0; i < L; ++i) panel[k * ld + j + i] = column(i)[k * B.rs];
    }
  }
}
constexpr idx kRowsAhead = 2;  // of B that are called for while a row is copied
// B (K, N) to panels of kNR columns, each K deep.
template <class T> void pack_panels(Mat<const T> B, T* panels) {
  constexpr idx L = lanes<T>;
  const idx K = B.rows, whole = B.cs == 1 ? B.cols / kNR<T> * kNR<T> : 0;
  for (idx k = 0; whole && k < K; ++k) {
    const T* row = B.row(k);
    for (T *to = panels + k * kNR<T>, *last = to + whole * K; to != last; to += kNR<T> * K, row += kNR<T>)
#pragma GCC unroll 4
      for (int v = 0; v < kNV; ++v) {
        __builtin_prefetch(row + v * L + kRowsAhead * B.rs);
        store(to + v * L, load(row + v * L));
      }
  }
  for (idx j = whole; j < B.cols; j += kNR<T>) {
    const idx n = min_of(B.cols - j, kNR<T>);
    pack_columns<T>({B.data + j * B.cs, K, n, B.rs, B.cs}, panels + j * K, round_up(n, L));
  }
}
// A (m, K) to rows[i * K + k].
template <class T> void pack_rows(Mat<const T> A, T* rows) {
  for (idx i = 0; i < A.rows; ++i)
    for (idx k = 0; k < A.cols; ++k) rows[i * A.cols + k] = A.data[i * A.rs + k * A.cs];
}
// A (m, K) of contiguous columns to tiles of kMR rows: tiles[i / kMR * kMR * K + k * kMR + i % kMR].
template <class T> void pack_tiles(Mat<const T> A, T* tiles) {
  const idx K = A.cols, whole = A.rows / kMR * kMR;
  for (idx k = 0; k < K; ++k) {
    const T* const from = A.data + k * A.cs;
    T* to = tiles + k * kMR;
    for (idx i = 0; i < whole; i += kMR, to += kMR * K) {
      __builtin_prefetch(from + i + kRowsAhead * A.cs);
      std::memcpy(to, from + i, kMR * sizeof(T));
    }
    for (idx i = whole; i < A.rows; ++i) to[i - whole] = from[i];
  }
}

// B (K, N) packed once, for a B that never changes: panels of kNR columns, K deep, the last one `rest` wide, where that
// is one partial vector only as wide as it is; then, for tail_tile, what pack_tail makes of each depth.
template <class T> struct Packed {
  const T *panels = nullptr, *tails = nullptr;  // null: not packed
  idx columns = 0, rest = 0;
  idx width(idx j) const { return columns - j < kNR<T> ? rest : kNR<T>; }  // of the panel of column j, the first of it
};
template <class T> constexpr idx depths_of(idx K) { return max_of((K + kKC<T> - 1) / kKC<T>, 1); }
template <class T> constexpr idx rest_of(idx N) {
  const idx n = N % kNR<T>;
  if (n >= lanes<T>) return N < kNR<T> ? round_up(n, lanes<T>) : kNR<T>;
  return kMaskedTiles && 2 * n <= lanes<T> ? n : lanes<T>;
}
template <class T> constexpr idx packed_panels(idx K, idx N) {
  return round_up((N / kNR<T> * kNR<T> + (N % kNR<T> ? rest_of<T>(N) : 0)) * K + lanes<T>, 64);  // loads reach beyond
}
template <class T> constexpr idx packed_elements(idx K, idx N) {
  return packed_panels<T>(K, N) + round_up(tail_columns(N % lanes<T>) * (K + depths_of<T>(K) * lanes<T>), 64);
}
template <class T> Packed<T> packed_at(const T* memory, idx K, idx N) {
  return {memory, memory + packed_panels<T>(K, N), N, rest_of<T>(N)};
}
template <class T> void pack_once(Mat<const T> B, T* to) {  // to: zeros
  const idx K = B.rows, N = B.cols, tail = N % lanes<T>;
  const Packed<T> packed = packed_at<T>(to, K, N);
  for (idx j = 0; j < N; j += kNR<T>)
    pack_columns<T>({B.data + j * B.cs, K, min_of(N - j, kNR<T>), B.rs, B.cs}, to + j * K, packed.width(j));
  to += packed_panels<T>(K, N);
  for (idx p = 0; tail && 2 * tail <= lanes<T> && p < depths_of<T>(K); ++p) {
    const idx k0 = K * p / depths_of<T>(K), kc = K * (p + 1) / depths_of<T>(K) - k0;
    pack_tail<T>({B.data + k0 * B.rs + (N - tail) * B.cs, kc, tail, B.rs, B.cs}, to);
    to += tail_elements<T>(kc, tail);
  }
}

// How a product is cut. Blocks of B, `depth` of K by `columns`, are multiplied with blocks of A, `rows` of them, panel
// by panel; since C continues from what is stored, its bits do not depend on the cut.
enum class Copy { none, first, all };  // of panels of B: with the first rows of A, or all of a block in a pass before
struct Blocks {
  idx depth, rows, columns;
  Copy copy;
  bool tiles;  // blocks of A are copied by pack_tiles
};
// Whether all panels of a block of B are copied first: for many rows, or where B comes from memory, along its rows.
template <class T> constexpr bool many_rows(idx M, idx K) {
  return M >= kWholeRows && K >= (M * idx(sizeof(T)) >= 4096 ? kWholeRows / 8 : kWholeRows / 4);
}
template <class T> constexpr bool from_memory(idx M, idx N, idx K) {
  return M >= 3 * kMR && N >= 4 * kNR<T> && K >= kWholeRows / 4 && N * K * idx(sizeof(T)) >= 12 << 20;
}
// Few rows and a large B of long rows, `bs` apart.
template <class T> constexpr bool streams_rows(idx M, idx N, idx K, idx bs) {
  return M < 3 * kMR && bs * idx(sizeof(T)) >= 2048 && K * N * idx(sizeof(T)) >= 3 << 19;
}
template <class T> Blocks blocks_of(Mat<const T> A, Mat<const T> B, Mat<T> C, bool packed) {
  constexpr idx size = sizeof(T);
  const idx M = C.rows, N = C.cols, K = A.cols, line = B.rs * size;
  if (many_rows<T>(M, K) && (K >= kWholeRows / 4 || N >= 4 * kNR<T>)) {
    // Columns of A lie far apart: each tile would read a line of the cache for kMR elements (dW 1024x4096x4096,
    // float32, as A @ B: 3.4 times as long without the copy).
    const bool tiles = A.cs != 1 && A.rs == 1 && M * size >= 2048 && N >= 4 * kNR<T>;
    return {kKC<T>, kMC<T>, tiles ? kNC<T> : 10 * kNR<T>, Copy::all, tiles};
  }
  if (from_memory<T>(M, N, K)) return {kKC<T>, kMC<T>, kNarrowNC<T>, Copy::all, false};
  Blocks blocks{kKC<T>, M, N, Copy::none, false};
  if (packed || B.cs != 1) return blocks;
  const idx bytes = K * N * size;
  if (K <= 48 && C.cs == 1 && C.rs * size >= 8192 && M * N * size >= 4 << 20) {
    // C goes to memory, along its rows (dW 4096x4096 of 8 rows, float32: 11.5 ms, so 6.0).
    blocks.rows = kMR, blocks.columns = (256 << 10) / (max_of(K, 8) * size) / kNR<T> * kNR<T>;
    return blocks;
  }
  // Where the rows of C share sets of the caches and B stays in L1, C is made row by row (one row of x, dW 1024x1024,
  // float32: 198 us -> 81; rows 2500 bytes apart lose 14 % by it).
  if (bytes <= 32 << 10 && C.rs * size % 4096 == 0) {
    blocks.rows = kMR;
  } else if (streams_rows<T>(M, N, K, B.rs)) {
    // B is read once to three times, a few of its rows side by side, so that the processor sees streams (8x4096x4096,
    // float32: 12.2 ms with panels of depth 800, 4.4 with 32; 8x784x625 112 us and 85 with 64).
    blocks.depth = line >= 8192 ? 32 : 64;
  } else if (M >= kPackRows || (M >= 3 * kMR && line >= 1024)) {
    blocks.copy = Copy::first;
    if (line % 4096 == 0 && M <= 8 * kMR)
      blocks.depth = 128;  // more rows of B do not fit into the sets of the caches that they share
  }
  return blocks;
}

// Elements of a part's scratch: one panel of B (gemm_row's has 8 vectors) or all of a block, and the rows of A of one
// tile or all of a block.
template <class T> constexpr idx panel_elements(idx M, idx N, idx K) {
  const idx most = many_rows<T>(M, K) ? kNC<T> : from_memory<T>(M, N, K) ? kNarrowNC<T> : 0;
  return round_up(min_of(round_up(N, lanes<T>), max_of(most + lanes<T>, 8 * lanes<T>)) * (min_of(K, kKC<T>) + lanes<T>),
                  64);
}
template <class T> constexpr idx part_elements(idx M, idx N, idx K) {
  const idx rows = many_rows<T>(M, K) ? max_of(kMC<T>, kMaxRows<T>) : kMaxRows<T>;
  return panel_elements<T>(M, N, K) + round_up(rows * min_of(K, kKC<T>), 64);
}
// Scratch of gemm in bytes (64-byte aligned); grows with each of M, N, K. As many panels of 8 vectors as parts, what
// all of them can have where B comes from memory, and what those parts with many rows can have at most: their columns
// add up to at most 2 (N + kNR) for each time that M holds kWholeRows rows (rounded to tiles).
template <class T> idx gemm_workspace(idx M, idx N, idx K) {
  const idx parts = max_parts(2 * M * N * K), depth = min_of(K, kKC<T>) + lanes<T>,
            columns = min_of(M / (kWholeRows - 32) * 2 * (N + kNR<T>), parts * kNC<T>);
  const idx some = from_memory<T>(M, N, K) ? parts * (kNarrowNC<T> + lanes<T>)*depth : 0,
            whole = many_rows<T>(M, K) ? (columns + parts * (kMC<T> + lanes<T>)) * depth : 0;
  return round_up((parts * (part_elements<T>(1, N, K) + 128) + some + whole) * idx(sizeof(T)), 64);
}

// The same for a strided C, at c: through a contiguous buffer.
template <class T> FASTNN_ONCE void run_strided(TileFunction<T> tile, Tile<T>& t, T* c, idx rs, idx cs, idx n,
                                                bool finish, const Epilogue<T>& end) {
  T buffer[kMaxRows<T> * kNR<T>];
  t.c = buffer, t.cs = kNR<T>, t.c_ahead = 0;
  for (idx r = 0; t.resume && r < t.rows; ++r)
    for (idx q = 0; q < n; ++q) buffer[r * kNR<T> + q] = c[r * rs + q * cs];
  tile(t);
  for (idx r = 0; r < t.rows; ++r) {
    if (finish && end.activate) end.activate(end.kind, end.alpha, buffer + r * kNR<T>, n);
    for (idx q = 0; q < n; ++q) c[r * rs + q * cs] = buffer[r * kNR<T> + q];
  }
}
// Runs `tile` on the part of C at (i, j), n columns wide.
template <class T> FASTNN_INLINE void run_tile(TileFunction<T> tile, Tile<T>& t, Mat<T> C, idx i, idx j, idx n,
                                               bool finish, const Epilogue<T>& end) {
  t.c = C.row(i) + j * C.cs;
  C.cs == 1 ? tile(t) : run_strided<T>(tile, t, t.c, C.rs, C.cs, n, finish, end);
}

// One depth of the last columns of C, by tail_tile. tail: what pack_tail makes of B.
template <class T> void multiply_tail(Mat<const T> A, const T* tail, Mat<T> C, bool resume, bool finish, const T* bias,
                                      const Epilogue<T>& end, T* a_rows) {
  const idx M = C.rows, n = C.cols;
  const bool pack_a = A.cs != 1 && (A.rs != 1 || A.cs == 0), rows = A.cs == 1 || pack_a;
  const idx step = rows ? kMR : lanes<T>;
  const auto run = rows ? pick_tail<T, true>(n) : pick_tail<T, false>(n);
  Tile<T> t{};
  t.K = A.cols, t.last = n, t.b = tail;
  t.as = pack_a ? A.cols : A.rs, t.ak = pack_a ? 1 : A.cs, t.cs = C.rs;
  t.bias = finish ? bias : nullptr, t.floor = finish && end.relu ? T(0) : -T(INFINITY);
  t.resume = resume;
  for (idx i = 0; i < M; i += step) {
    t.rows = min_of(M - i, step);
    t.a = A.data + i * A.rs;
    if (pack_a) {
      pack_rows<T>({t.a, t.rows, A.cols, A.rs, A.cs}, a_rows);
      t.a = a_rows;
    }
    run_tile<T>(run, t, C, i, 0, n, finish, end);
  }
}

// C (+)= A @ B by one thread; the last `tail` columns by tail_tile. scratch: part_elements.
template <class T> void multiply(Mat<const T> A, Mat<const T> B, Mat<T> C, idx tail, bool accumulate,
                                 const Epilogue<T>& end, T* panels, const Packed<T>& packed = {}) {
  constexpr idx L = lanes<T>;
  const idx M = C.rows, N = C.cols - tail, K = A.cols;
  const Blocks blocks = blocks_of<T>(A, B, C, packed.panels);
  const idx depths = K <= blocks.depth ? 1 : (K + blocks.depth - 1) / blocks.depth;
  const bool pack_a = A.cs != 1 && (A.rs != 1 || A.cs == 0), whole = blocks.copy == Copy::all;
  T* const a_rows = panels + panel_elements<T>(M, C.cols, K);
  const bool far = whole && N >= 4 * kNR<T>;  // a tile's part of C is not in L1
  const auto last_columns = [&](idx k0, idx kc, idx i0, idx i1, const T* columns, bool resume, bool finish) {
    multiply_tail<T>({A.data + i0 * A.rs + k0 * A.cs, i1 - i0, kc, A.rs, A.cs}, columns,
                     {C.row(i0) + N * C.cs, i1 - i0, tail, C.rs, C.cs}, resume, finish,
                     end.bias ? end.bias + N : nullptr, end, a_rows);
  };
  // The last columns are sums of their own, of depths of kKC: first where other columns are cut otherwise.
  const bool tail_first = tail && blocks.depth != kKC<T>;
  const T* packed_tail = packed.tails;
  for (idx p = 0, count = depths_of<T>(K); tail_first && p < count; ++p) {
    const idx k0 = K * p / count, kc = K * (p + 1) / count - k0;
    if (!packed.panels) pack_tail<T>({B.data + k0 * B.rs + N * B.cs, kc, tail, B.rs, B.cs}, panels);
    last_columns(k0, kc, 0, M, packed.panels ? packed_tail : panels, accumulate || p > 0, p == count - 1);
    packed_tail += packed.panels ? tail_elements<T>(kc, tail) : 0;
  }
  for (idx j0 = 0, j1; j0 < N || (j0 == 0 && tail); j0 = j1) {
    j1 = min_of(j0 + blocks.columns, N);
    for (idx p = 0; p < depths; ++p) {
      const idx k0 = K * p / depths, kc = K * (p + 1) / depths - k0;
      const bool finish = p == depths - 1;
      if (whole && !packed.panels) pack_panels<T>({B.data + k0 * B.rs + j0 * B.cs, kc, j1 - j0, B.rs, B.cs}, panels);
      const bool with_tail = tail && !tail_first && j1 == N;
      T* const own_tail = panels + (whole ? round_up(j1 - j0, L) * kc : 0);
      for (idx i0 = 0, i1; i0 < M; i0 = i1) {
        i1 = min_of(i0 + blocks.rows, M);
        if (blocks.tiles) pack_tiles<T>({A.data + i0 + k0 * A.cs, i1 - i0, kc, 1, A.cs}, a_rows);
        for (idx j = j0, n; j < j1; j += n) {
          n = min_of(j1 - j, kNR<T>);
          const idx vectors = (n + L - 1) / L, last = n - (vectors - 1) * L;
          const Mat<const T> b{B.data + k0 * B.rs + j * B.cs, kc, n, B.rs, B.cs};
          const bool in_place = b.cs == 1 && (kMaskedTiles || last == L);
          const bool pack = !packed.panels && blocks.copy == Copy::first && in_place,
                     copied = !packed.panels && (whole || !in_place),
                     streams = blocks.depth < kKC<T> && blocks.copy == Copy::none && in_place;
          T* const panel = panels + (whole ? (j - j0) * kc : 0);
          if (copied && !whole) pack_columns<T>(b, panel, vectors * L);
          // The rows of A that the next tile reads; past the last one too, where those of the caller's next batch may
          // be (10,000 images in batches of 100 through 784-50-100-10: 5.41 ms, so 4.6).
          const bool rows_ahead = j == j0 && A.cs == 1 && A.rs == kc;
          Tile<T> t{.K = kc,
                    .rows = 0,
                    .last = last,
                    .a = nullptr,
                    .b = packed.panels ? packed.panels + j * K + k0 * packed.width(j)
                         : copied      ? panel
                                       : b.data,
                    .as = blocks.tiles ? 1
                          : pack_a     ? kc
                                       : A.rs,
                    .ak = blocks.tiles ? kMR
                          : pack_a     ? 1
                                       : A.cs,
                    .bs = packed.panels ? packed.width(j)
                          : copied      ? vectors * L
                                        : b.rs,
                    .cs = C.rs,
                    .c = nullptr,
                    .bias = finish && end.bias ? end.bias + j : nullptr,
                    .floor = finish && end.relu ? T(0) : -T(INFINITY),
                    .resume = accumulate || p > 0,
                    .panel = panel,
                    .ahead = panel,
                    .ahead_step = 0,
                    .c_ahead = 0};
          // From here on tiles differ only in their place (dW of one row, 8192x10, float32: 16.5 us, so 15.0).
          const idx same = rows_ahead ? i1 : i0 + (pack ? kNV + 2 : streams ? 2 : 0) * kMR;
          const TileFunction<T> full = pick_tile<T>(kMR, vectors, Ahead::some);
          for (idx i = i0; i < i1; i += t.rows) {
            t.rows = min_of(i1 - i, idx(kMR));
            t.a = blocks.tiles ? a_rows + (i - i0) * kc : A.data + i * A.rs + k0 * A.cs;
            if (pack_a) {
              pack_rows<T>({t.a, t.rows, kc, A.rs, A.cs}, a_rows);
              t.a = a_rows;
            }
            if (far) t.c_ahead = i + kMR < i1 ? kMR * C.rs : n - (i - i0) * C.rs;
            if (i >= same && t.rows == kMR) {
              run_tile<T>(full, t, C, i, j, n, finish, end);
              continue;
            }
            const bool first = i == i0;
            if (pack && !first) t.b = panel, t.bs = vectors * L;
            const idx v = (i - i0) / kMR - 1;  // each of the next tiles calls for one vector of the next panel
            const bool all_ahead = streams && first && j + n < j1;
            if (all_ahead)
              t.ahead = b.data + n, t.ahead_step = b.rs;
            else if (pack && !first && v < kNV && j + n < j1)
              t.ahead = b.data + n + v * L, t.ahead_step = b.rs;
            else
              t.ahead = rows_ahead ? A.row(i + kMR) : panel, t.ahead_step = rows_ahead ? kMR : 0;
            const Ahead how = all_ahead ? Ahead::panel : pack && first ? Ahead::pack : Ahead::some;
            run_tile<T>(pick_tile<T>(t.rows, vectors, how), t, C, i, j, n, finish, end);
          }
        }
        if (with_tail) {
          if (i0 == 0 && !packed.panels) pack_tail<T>({B.data + k0 * B.rs + N * B.cs, kc, tail, B.rs, B.cs}, own_tail);
          last_columns(k0, kc, i0, i1, packed.panels ? packed_tail : own_tail, accumulate || p > 0, finish);
        }
        if (finish && end.activate && C.cs == 1) {
          const idx columns = (j1 == N ? C.cols : j1) - j0;
          if (C.rs == columns)  // rows without gaps (1024x100 sigmoid: 41 us -> 16)
            end.activate(end.kind, end.alpha, C.row(i0), (i1 - i0) * C.rs);
          else
            for (idx i = i0; i < i1; ++i) end.activate(end.kind, end.alpha, C.row(i) + j0, columns);
        }
      }
      if (with_tail && packed.panels) packed_tail += tail_elements<T>(kc, tail);
    }
    if (j1 == N) break;
  }
}

// One row a (K) @ B with few columns. Vector v of row k of B is at b + v / kNV * ps + v % kNV * L + k * bs, the last
// one, of `last` lanes, at tail + k * ts.
template <class T> struct NarrowRow {
  idx K, as;
  const T *a, *b, *tail;
  idx bs, ps, ts, last;
};
// It fills few registers, so k is cut into 8 / NV chains.
constexpr idx chain_start(idx K, idx chains, idx p) { return p == chains ? K : K / chains * p; }
template <class T, int NV> void narrow_row(const NarrowRow<T>& r, T* y) {
  constexpr idx L = lanes<T>, kChains = 8 / NV;
  const NarrowRow<T> s = r;
  Simd<T> acc[kChains][NV] = {};
  const auto row = [&](Simd<T>(&sum)[NV], idx k) {
    const Simd<T> x = broadcast<T>(s.a[k * s.as]);
#pragma GCC unroll 8
    for (int v = 0; v < NV - 1; ++v) sum[v] = fma(x, load(s.b + k * s.bs + v / kNV * s.ps + v % kNV * L), sum[v]);
    const T* const last = s.tail + k * s.ts;
    sum[NV - 1] = fma(x, kMaskedLoads ? load_partial(last, s.last) : load(last), sum[NV - 1]);
  };
  const idx steps = s.K / kChains;
  for (idx i = 0; i < steps; ++i)
#pragma GCC unroll 8
    for (idx p = 0; p < kChains; ++p) row(acc[p], steps * p + i);
  for (idx k = steps * kChains; k < s.K; ++k) row(acc[kChains - 1], k);
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    Simd<T> sum = acc[0][v];
    for (int p = 1; p < kChains; ++p) sum += acc[p][v];
    store(y + v * L, sum);
  }
}
template <class T, int NV = 8> auto pick_narrow_row(idx vectors) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_narrow_row<T, NV - 1>(vectors);
  return narrow_row<T, NV>;
}

// Writes first + i for every bit i of `bits` (16 of them) and perhaps more behind -> how many there are.
inline idx put_places(uint32_t bits, idx first, int* to) {
#if defined(__AVX512F__)
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32(int(first)));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(__mmask16(bits), places));
#else
  for (uint32_t rest = bits; rest; rest &= rest - 1) *to++ = int(first) + __builtin_ctz(rest);
#endif
  return __builtin_popcount(bits);
}
// Places of the elements of a[begin, end) that are not 0 -> how many there are.
constexpr idx kMostPlaces = 6144;
template <class T> idx find_places(const T* a, idx begin, idx end, int* at) {
  idx n = 0;
  for (idx k = begin; k < end; k += lanes<T>)
    n += put_places(to_bits(load_partial(a + k, min_of(end - k, lanes<T>)) != Simd<T>{}), k, at + n);
  return n;
}
// Whether some of a (K) are 0, by a look at its middle; else finding the places is in vain (784 columns: 0.07 us).
template <class T> bool has_zeros(const T* a, idx K) {
  const idx n = min_of(K, 4 * lanes<T>);
  int at[4 * lanes<T> + 16];
  const T* const middle = a + (K - n) / 2;
  return 10 * find_places(middle, 0, n, at) <= 9 * n;
}
// One chain of a packed row of which only n places count: the same bits where B is finite. y += it, or y = it.
template <class T, int NV> void sparse_chain(const NarrowRow<T>& r, const int* at, idx n, bool add, T* y) {
  constexpr idx L = lanes<T>;
  const NarrowRow<T> s = r;
  Simd<T> acc[NV] = {};
  for (idx i = 0; i < n; ++i) {
    const idx k = at[i];
    const Simd<T> x = broadcast<T>(s.a[k]);
#pragma GCC unroll 8
    for (int v = 0; v < NV - 1; ++v) acc[v] = fma(x, load(s.b + k * s.bs + v / kNV * s.ps + v % kNV * L), acc[v]);
    acc[NV - 1] = fma(x, load(s.tail + k * s.ts), acc[NV - 1]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) store(y + v * L, add ? load(y + v * L) + acc[v] : acc[v]);
}
template <class T, int NV = 8> auto pick_sparse_chain(idx vectors) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_sparse_chain<T, NV - 1>(vectors);
  return sparse_chain<T, NV>;
}
// The row of `packed` from column j on, N of them.
template <class T> NarrowRow<T> narrow_row_of(Mat<const T> A, const Packed<T>& packed, idx j, idx N) {
  const idx last = (N - 1) % lanes<T> + 1, place = j + N - last, panel = place / kNR<T> * kNR<T>, K = A.cols;
  return {K,
          A.cs,
          A.data,
          packed.panels + j * K,
          packed.panels + panel * K + (place - panel),
          packed.width(j),
          K * kNR<T>,
          packed.width(panel),
          last};
}

#if defined(__AVX512F__)
constexpr int kRegisterRow = 25;  // vectors of y that registers hold
#else
constexpr int kRegisterRow = 0;
#endif
// y (N) = a (K) @ B (+ y) for a y that fits into NV registers: B is read in one stream (float32 100x400 from L2: 1.2 us
// -> 0.92). Lanes behind N read on in the next row, so that only the last one needs a mask: bs + N >= NV * L.
template <class T, int NV> void register_row(idx K, const T* a, idx as, const T* b, idx bs, T* y, idx N, bool resume) {
  constexpr idx L = lanes<T>, kAhead = 4;
  const auto columns = [&](int v) { return N - v * L < 0 ? 0 : min_of(N - v * L, L); };
  Simd<T> acc[NV];
#pragma GCC unroll 32
  for (int v = 0; v < NV; ++v) acc[v] = resume ? load_partial(y + v * L, columns(v)) : Simd<T>{};
  for (idx k = 0; k < K - 1; ++k, b += bs) {
    const Simd<T> s = broadcast<T>(a[k * as]);
    const T* const ahead = b + kAhead * bs;
#pragma GCC unroll 32
    for (int v = 0; v < NV; ++v) {
      __builtin_prefetch(ahead + v * L);
      acc[v] = fma(s, load(b + v * L), acc[v]);
    }
  }
  const Simd<T> s = broadcast<T>(a[(K - 1) * as]);
#pragma GCC unroll 32
  for (int v = 0; v < NV; ++v) {
    if (columns(v) == 0) break;
    store_partial(y + v * L, fma(s, load_partial(b + v * L, columns(v)), acc[v]), columns(v));
  }
}
template <class T, int NV = kRegisterRow> auto pick_register_row(idx vectors) {
  if constexpr (NV > 13)
    if (vectors <= NV - 6) return pick_register_row<T, NV - 6>(vectors);
  return register_row<T, NV>;
}
// y (N) = a (K) @ B (+ y) for any N: B is read once, eight rows side by side, while y stays in L1 (1x512x512, float32:
// four rows with masks 14.9 us, so 11.8; AVX2 19.9 and 14.7).
template <class T> void wide_row(idx K, const T* a, idx as, const T* b, idx bs, T* y, idx N, bool resume) {
  constexpr idx L = lanes<T>, kGroup = 8;
  for (idx k = 0; k < K; k += kGroup, b += kGroup * bs) {
    const idx rows = min_of(K - k, kGroup);
    const bool add = k || resume;
    Simd<T> s[kGroup];
#pragma GCC unroll 8
    for (idx p = 0; p < kGroup; ++p) s[p] = broadcast<T>(a[(k + min_of(p, rows - 1)) * as]);
    idx j = 0;
    for (; rows == kGroup && j + L <= N; j += L) {
      Simd<T> sum = add ? load(y + j) : Simd<T>{};
#pragma GCC unroll 8
      for (idx p = 0; p < kGroup; ++p) sum = fma(s[p], load(b + p * bs + j), sum);
      store(y + j, sum);
    }
    for (; j < N; j += L) {
      const idx n = min_of(N - j, L);
      Simd<T> sum = add ? load_partial(y + j, n) : Simd<T>{};
      for (idx p = 0; p < rows; ++p) sum = fma(s[p], load_partial(b + p * bs + j, n), sum);
      store_partial(y + j, sum, n);
    }
  }
}
// The same by register_row, as many columns at a time as it takes (1x650 @ 650x2600 twice, float32, from L3: reading
// alone 123 us, so 129, wide_row 142).
constexpr idx kLong = 3 << 20;
template <class T> void long_row(idx K, const T* a, idx as, const T* b, idx bs, T* y, idx N, bool resume) {
  idx j = 0;
  if (kRegisterRow > 0 && K * N * idx(sizeof(T)) < kLong) {
    constexpr idx L = lanes<T>, kMost = kRegisterRow, kLeast = 13;
    for (idx n; j < N; j += n) {
      const idx vectors = (N - j + L - 1) / L;
      n = min_of(N - j, (vectors > kMost && vectors < kMost + kLeast ? kLeast : kMost) * L);
      if (bs + n < kMost * L) break;
      pick_register_row<T>((n + L - 1) / L)(K, a, as, b + j, bs, y + j, n, resume);
    }
  }
  if (j < N) wide_row(K, a, as, b + j, bs, y + j, N - j, resume);
}
// The same where the columns of B are contiguous (B.rs == 1): blocks of lanes x lanes are transposed in registers.
// Those of two groups of columns take turns, since each waits for its chain, and 4 * lanes of a column are read at a
// time, as columns 4 KiB apart share a set of L1 (1024x1024, float32: through packed panels 135 us, block by block 166,
// so 114).
constexpr idx kFarBytes = 1 << 20;  // B is not in L2: its next block is called for
template <class T, bool kFar> void wide_row_transposed(const T* a, idx as, Mat<const T> B, T* y, bool resume) {
  constexpr idx L = lanes<T>, kGroups = 2, kDepth = 4 * L;
  T block[kGroups * L][kDepth];
  for (idx j = 0; j < B.cols; j += kGroups * L) {
    const idx n = min_of(B.cols - j, kGroups * L), groups = (n + L - 1) / L;
    Simd<T> sum[kGroups] = {};
    for (idx g = 0; resume && g < groups; ++g) sum[g] = load_partial(y + j + g * L, min_of(n - g * L, L));
    for (idx k0 = 0; k0 < B.rows; k0 += kDepth) {
      const idx depth = min_of(B.rows - k0, kDepth);
      for (idx i = 0; i < n; ++i) {
        const T* const column = B.data + (j + i) * B.cs + k0;
        if (depth == kDepth)
#pragma GCC unroll 4
          for (idx k = 0; k < kDepth; k += L) store(block[i] + k, load(column + k));
        else
          for (idx k = 0; k < depth; k += L) store(block[i] + k, load_partial(column + k, min_of(depth - k, L)));
      }
      const T* const ahead =  // the next block, of these columns or of those that follow
          k0 + kDepth < B.rows ? B.data + j * B.cs + k0 + kDepth : B.data + (j + kGroups * L) * B.cs;
      for (idx k = 0; k < depth; k += L)
        for (idx g = 0; g < groups; ++g) {
          Simd<T> v[L];
#pragma GCC unroll 16
          for (idx i = 0; i < L; ++i) {
            if constexpr (kFar) __builtin_prefetch(ahead + (g * L + i) * B.cs + k);
            v[i] = load(block[g * L + i] + k);
          }
          transpose<T>(v);
          const T* const s = a + (k0 + k) * as;
          if (k + L <= depth) {
#pragma GCC unroll 16
            for (idx i = 0; i < L; ++i) sum[g] = fma(broadcast<T>(s[i * as]), v[i], sum[g]);
          } else {
            for (idx i = 0; k + i < depth; ++i) sum[g] = fma(broadcast<T>(s[i * as]), v[i], sum[g]);
          }
        }
    }
    for (idx g = 0; g < groups; ++g) store_partial(y + j + g * L, sum[g], min_of(n - g * L, L));
  }
}
template <class T> void finish_row(T* y, idx N, const Epilogue<T>& end) {
  const Simd<T> floor = broadcast(end.relu ? T(0) : -T(INFINITY));
  for (idx j = 0; (end.bias || end.relu) && j < N; j += lanes<T>) {
    const idx n = min_of(N - j, lanes<T>);
    const Simd<T> bias = end.bias ? load_partial(end.bias + j, n) : broadcast(T(-0.0));
    store_partial(y + j, finished<T>(load_partial(y + j, n), bias, floor), n);
  }
  if (end.activate) end.activate(end.kind, end.alpha, y, N);
}
// One row of C, bound by the reading of B. False when it is left to the tiles: same bits, since a wide row is one chain
// too.
template <class T> bool gemm_row(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, const Epilogue<T>& end,
                                 T* scratch, const Packed<T>& packed = {}, bool skip_zeros = false) {
  constexpr idx L = lanes<T>;
  const idx N = C.cols, K = A.cols, vectors = (N + L - 1) / L, last = N - (vectors - 1) * L;
  int places[kMostPlaces + 16];
  skip_zeros = skip_zeros && packed.panels && A.cs == 1 && K <= kMostPlaces && has_zeros(A.data, K);
  if (skip_zeros)  // who goes through samples one by one takes the next one then
    for (idx k = 0; k < K; k += 64 / idx(sizeof(T))) __builtin_prefetch(A.data + K + k);
  if (vectors <= 8) {
    alignas(64) T y[8 * L];
    const NarrowRow<T> r = packed.panels
                               ? narrow_row_of(A, packed, 0, N)
                               : NarrowRow<T>{K, A.cs, A.data, B.data, B.data + (N - last), B.rs, kNR<T>, B.rs, last};
    const idx chains = 8 / vectors;
    if (skip_zeros) {
      for (idx p = 0; p < chains; ++p) {
        const idx n = find_places(A.data, chain_start(K, chains, p), chain_start(K, chains, p + 1), places);
        pick_sparse_chain<T>(vectors)(r, places, n, p, y);
      }
    } else if (packed.panels || (B.cs == 1 && (kMaskedLoads || last == L))) {
      pick_narrow_row<T>(vectors)(r, y);
    } else {
      for (idx p = 0; p < chains; ++p) {  // each chain by itself
        T sum[8 * L];
        const idx k0 = chain_start(K, chains, p), k1 = chain_start(K, chains, p + 1);
        for (idx j = 0; j < vectors * L; ++j) sum[j] = 0;
        for (idx k = k0; k < k1; k += kKC<T>) {
          const idx kc = min_of(k1 - k, kKC<T>);
          pack_columns<T>({B.data + k * B.rs, kc, N, B.rs, B.cs}, scratch, vectors * L);
          wide_row<T>(kc, A.data + k * A.cs, A.cs, scratch, vectors * L, sum, vectors * L, true);
        }
        for (idx j = 0; j < vectors * L; j += L) store(y + j, p ? load(y + j) + load(sum + j) : load(sum + j));
      }
    }
    const Simd<T> floor = broadcast(end.relu ? T(0) : -T(INFINITY));
    for (idx j = 0; j < N; j += L) {
      const idx n = min_of(N - j, L);
      Simd<T> sum = load(y + j);
      if (accumulate && C.cs == 1) sum += load_partial(C.data + j, n);
      for (idx i = 0; accumulate && C.cs != 1 && i < n; ++i) sum[i] += C.data[(j + i) * C.cs];
      if (end.bias || end.relu) {
        const Simd<T> bias = end.bias ? load_partial(end.bias + j, n) : broadcast(T(-0.0));
        sum = finished<T>(sum, bias, floor);
      }
      store(y + j, sum);
    }
    if (end.activate) end.activate(end.kind, end.alpha, y, vectors * L);
    for (idx j = 0; C.cs == 1 && j < N; j += L)
      if (N - j < L)
        store_partial(C.data + j, load(y + j), N - j);
      else
        store(C.data + j, load(y + j));
    for (idx j = 0; C.cs != 1 && j < N; ++j) C.data[j * C.cs] = y[j];
    return true;
  }
  if ((B.cs != 1 && B.rs != 1) || C.cs != 1 || K == 0) return false;
  if (skip_zeros) {  // a wide row is one chain
    const idx n = find_places(A.data, 0, K, places);
    constexpr idx kColumns = 2 * kNR<T>;
    for (idx j = 0; j < N; j += kColumns) {
      T y[kColumns];
      const idx columns = min_of(N - j, kColumns);
      pick_sparse_chain<T, 2 * kNV>((columns + L - 1) / L)(narrow_row_of(A, packed, j, columns), places, n, false, y);
      for (idx i = 0; i < columns; i += L) store_partial(C.data + j + i, load(y + i), min_of(columns - i, L));
    }
    finish_row(C.data, N, end);
    return true;
  }
  const idx work = 2 * N * K, parts = team(work);
  parallel_for(parts, work, [&](idx p) {
    const idx j = vectors * p / parts * L, n = min_of(vectors * (p + 1) / parts * L, N) - j;
    Epilogue<T> epilogue = end;
    if (end.bias) epilogue.bias += j;
    if (B.cs == 1)
      long_row<T>(K, A.data, A.cs, B.data + j, B.rs, C.data + j, n, accumulate);
    else
      (K * n * idx(sizeof(T)) >= kFarBytes ? wide_row_transposed<T, true>
                                           : wide_row_transposed<T, false>)(A.data, A.cs,
                                                                            {B.data + j * B.cs, K, n, B.rs, B.cs},
                                                                            C.data + j, accumulate);
    finish_row(C.data + j, n, epilogue);
  });
  return true;
}

// Whether few rows and few terms have kernels of their own; processors without AVX2 go by the tiles.
constexpr bool kFewKernels = kVecBytes >= 32;
// Two rows of C: many columns at a time, because B is read once and the accumulators of kNR
// columns are too few to hide the FMA's latency. The order of sums is that of the tiles.
constexpr int kPairNV = kVecBytes == 64 ? 8 : 4;
template <class T, int NV> void row_pair(const Tile<T>& t) {
  constexpr idx L = lanes<T>, kRowsAhead = 4;
  const T *a = t.a, *b = t.b;
  const idx as = t.as, ak = t.ak, bs = t.bs, last = t.last;
  Simd<T> acc[2][NV];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v)
      acc[i][v] = t.resume ? load_partial(t.c + i * t.cs + v * L, v < NV - 1 ? L : last) : Simd<T>{};
  for (idx k = 0; k < t.K; ++k, a += ak, b += bs) {
    const Simd<T> s0 = broadcast<T>(a[0]), s1 = broadcast<T>(a[as]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      __builtin_prefetch(b + v * L + kRowsAhead * bs);
      const Simd<T> bv = plain(kMaskedTiles && v == NV - 1 ? load_partial(b + v * L, last) : load(b + v * L));
      acc[0][v] = fma(s0, bv, acc[0][v]);
      acc[1][v] = fma(s1, bv, acc[1][v]);
    }
  }
  const Simd<T> floor = broadcast(t.floor);
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    const idx n = v < NV - 1 ? L : last;
    const Simd<T> bias = t.bias ? load_partial(t.bias + v * L, n) : broadcast(T(-0.0));
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) store_partial(t.c + i * t.cs + v * L, finished<T>(acc[i][v], bias, floor), n);
  }
}
template <class T, int NV = kPairNV> TileFunction<T> pick_pair(idx vectors) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_pair<T, NV - 1>(vectors);
  return row_pair<T, NV>;
}
template <class T> bool gemm_pair(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, const Epilogue<T>& end) {
  constexpr idx L = lanes<T>;
  const idx N = C.cols, K = A.cols, vectors = (N + L - 1) / L, strips = (vectors + kPairNV - 1) / kPairNV;
  if (B.cs != 1 || C.cs != 1 || (!kMaskedTiles && N % L != 0) || K * N * idx(sizeof(T)) >= kLong) return false;
  parallel_for(strips, 4 * N * K, [=](idx strip) {
    const idx v = vectors * strip / strips, count = vectors * (strip + 1) / strips - v, j = v * L,
              n = min_of(count * L, N - j);
    Tile<T> t{};
    t.K = K, t.rows = 2, t.last = n - (count - 1) * L;
    t.a = A.data, t.as = A.rs, t.ak = A.cs;
    t.b = B.data + j, t.bs = B.rs, t.c = C.data + j, t.cs = C.rs;
    t.bias = end.bias ? end.bias + j : nullptr, t.floor = end.relu ? T(0) : -T(INFINITY);
    t.resume = accumulate;
    pick_pair<T>(count)(t);
    for (idx i = 0; end.activate && i < 2; ++i) end.activate(end.kind, end.alpha, C.row(i) + j, n);
  });
  return true;
}

// A product of few terms, C = A @ B (+ C) with K of at most kFewTerms and a C that fits in L2: tiles would spend their
// time on beginnings and ends (two rows, dW 512x512, float32: 33 us, so 18; 1000x10 2.0 us, so 0.7). The same order of
// sums. kTerms at a time, because then their factors for kOuterRows rows of C stay in registers. More than two terms
// walk through C twice and more, which pays while it lies near (784x625 with 8 rows: 104 us by tiles, 160 so).
constexpr idx kFewTerms = 8;
constexpr int kTerms = 4, kOuterRows = kVecBytes == 64 ? 4 : 2;
template <class T> constexpr bool by_outer(idx M, idx N, idx K) {
  return K > 0 && K <= kFewTerms && M * N * idx(sizeof(T)) < (K <= 2 ? kLong : kLong / 2) &&
         (K <= kTerms || N <= lanes<T> || N >= 8 * lanes<T>);
}
template <class T, int K, int R> void outer_rows(Mat<const T> A, Mat<const T> B, Mat<T> C, idx i, bool resume) {
  constexpr idx L = lanes<T>;
  const T *const b = B.data, *const a = A.row(i);
  T* const c = C.row(i);
  const idx N = C.cols, bs = B.rs, cs = C.rs, as = A.rs, ak = A.cs;
  Simd<T> s[R][K];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) s[r][k] = plain(broadcast<T>(a[r * as + k * ak]));
  const auto columns = [&](idx j, auto get, auto put) {
    Simd<T> acc[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) acc[r] = resume ? get(c + r * cs + j) : Simd<T>{};
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
      const Simd<T> bv = plain(get(b + k * bs + j));
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r] = fma(s[r][k], bv, acc[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) put(c + r * cs + j, acc[r]);
  };
  idx j = 0;
  for (; j + L <= N; j += L) columns(j, [](const T* p) { return load(p); }, [](T* p, Simd<T> v) { store(p, v); });
  if (const idx n = N - j; n > 0)
    columns(j, [=](const T* p) { return load_partial(p, n); }, [=](T* p, Simd<T> v) { store_partial(p, v, n); });
}
// Rows of NV vectors: B stays in registers.
template <class T, int NV, int K = kFewTerms> void outer_narrow(Mat<const T> A, Mat<const T> B, Mat<T> C, bool resume) {
  if constexpr (K > 1)
    if (A.cols < K) return outer_narrow<T, NV, K - 1>(A, B, C, resume);
  constexpr idx L = lanes<T>;
  const idx last = C.cols - (NV - 1) * L;
  Simd<T> b[NV][K];
#pragma GCC unroll 2
  for (int v = 0; v < NV; ++v)
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) b[v][k] = plain(load_partial(B.row(k) + v * L, v < NV - 1 ? L : last));
#pragma GCC unroll 2
  for (idx i = 0; i < C.rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      const idx n = v < NV - 1 ? L : last;
      T* const c = C.row(i) + v * L;
      Simd<T> sum = resume ? load_partial(c, n) : Simd<T>{};
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) sum = fma(broadcast<T>(A.data[i * A.rs + k * A.cs]), b[v][k], sum);
      store_partial(c, sum, n);
    }
}
template <class T, int K = kTerms> void outer_terms(Mat<const T> A, Mat<const T> B, Mat<T> C, bool resume) {
  if constexpr (K > 1)
    if (A.cols < K) return outer_terms<T, K - 1>(A, B, C, resume);
  idx i = 0;
  for (; i + kOuterRows <= C.rows; i += kOuterRows) outer_rows<T, K, kOuterRows>(A, B, C, i, resume);
  for (; i < C.rows; ++i) outer_rows<T, K, 1>(A, B, C, i, resume);
}
template <class T> void outer(Mat<const T> A, Mat<const T> B, Mat<T> C, bool resume) {
  constexpr idx L = lanes<T>;
  const idx K = A.cols, columns = (24 << 10) / (K * idx(sizeof(T))) / L * L,
            rows = K <= kTerms ? C.rows : 2 * kOuterRows;
  if (C.cols <= L) return outer_narrow<T, 1>(A, B, C, resume);
  if constexpr (kVecBytes == 64)
    if (C.cols <= 2 * L) return outer_narrow<T, 2>(A, B, C, resume);
  for (idx j = 0, n; j < C.cols; j += n) {  // these columns of B, and some rows of C, stay in L1
    n = min_of(C.cols - j, columns);
    for (idx i = 0, m; i < C.rows; i += m) {
      m = min_of(C.rows - i, rows);
      for (idx k = 0; k < K; k += kTerms) {
        const idx terms = min_of(K - k, kTerms);
        outer_terms<T>({A.row(i) + k * A.cs, m, terms, A.rs, A.cs}, {B.row(k) + j, terms, n, B.rs, 1},
                       {C.row(i) + j, m, n, C.rs, 1}, resume || k > 0);
      }
    }
  }
}

constexpr idx kSharedBytes = 512 << 10;  // of B that each thread may read for itself
// A product that is cut into parts, one for each thread: along the rows of C, so that a thread writes the same rows in
// every operation on a batch; along the columns where that reads less, B being large, and each part keeps two panels.
// Where the columns of C are contiguous it is C.T = B.T @ A.T, without tails, unless C has one, whose order of sums
// stays (gemm_workspace<T>(N, M, K) bytes may be needed then).
template <class T> struct Parts {
  Mat<const T> A, B;
  Mat<T> C;
  bool accumulate;
  Epilogue<T> end;
  T* scratch;
  Packed<T> packed;
  idx tail, across_units, down_units, across, count, elements;

  Parts(Mat<const T> a, Mat<const T> b, Mat<T> c, bool accumulate, const Epilogue<T>& end, void* scratch,
        const Packed<T>& packed = {})
      : A(a), B(b), C(c), accumulate(accumulate), end(end), scratch(static_cast<T*>(scratch)), packed(packed) {
    const idx K = A.cols;
    tail = tail_of<T>(C.rows, C.cols, K);
    if (C.cs != 1 && tail == 0) A = transposed(b), B = transposed(a), C = transposed(c);
    const idx M = C.rows, N = C.cols;
    count = min_of(team(2 * M * N * K), max_parts(2 * M * N * K));
    across_units = (N - tail + kNR<T> - 1) / kNR<T>, down_units = (M + kMR - 1) / kMR;
    across = N > M || K * N * idx(sizeof(T)) > kSharedBytes ? count : 1;
    while (across > 1 && (count % across || across_units < 2 * across)) --across;
    const idx down = min_of(count / across, down_units);
    count = across * down;
    const idx rows = min_of((down_units + down - 1) / down * kMR, M),
              columns = across == 1 ? N : (across_units + across - 1) / across * kNR<T> + tail;  // of a part, at most
    elements = part_elements<T>(rows, columns, K);
  }
  void run(idx part) const {
    const idx M = C.rows, N = C.cols, K = A.cols, p = part % across, q = part / across, down = count / across;
    const idx i0 = down_units * q / down * kMR, i1 = min_of(down_units * (q + 1) / down * kMR, M);
    const idx j0 = across_units * p / across * kNR<T>,
              j1 = p == across - 1 ? N : across_units * (p + 1) / across * kNR<T>;
    Epilogue<T> epilogue = end;
    if (end.bias) epilogue.bias += j0;
    Packed<T> part_of_packed = packed;
    if (packed.panels) part_of_packed.panels += j0 * K, part_of_packed.columns -= j0;
    multiply<T>({A.row(i0), i1 - i0, K, A.rs, A.cs}, {B.data + j0 * B.cs, K, j1 - j0, B.rs, B.cs},
                {C.row(i0) + j0 * C.cs, i1 - i0, j1 - j0, C.rs, C.cs}, p == across - 1 ? tail : 0, accumulate, epilogue,
                scratch + part * elements, part_of_packed);
  }
};

// C = A @ B, or C += A @ B, with what `end` does to it. scratch: gemm_workspace<T>(M, N, K) bytes.
// packed: B as pack_once leaves it. skip_zeros: of one row, for finite B.
template <class T> void gemm(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, const Epilogue<T>& end,
                             void* scratch, const Packed<T>& packed = {}, bool skip_zeros = false) {
  const idx M = C.rows, N = C.cols;
  if (M == 0 || N == 0 || (M == 1 && gemm_row(A, B, C, accumulate, end, static_cast<T*>(scratch), packed, skip_zeros)))
    return;
  if constexpr (kFewKernels) {
    if (M == 2 && gemm_pair(A, B, C, accumulate, end)) return;
    if (const idx K = A.cols; by_outer<T>(M, N, K) && B.cs == 1 && C.cs == 1 && end.plain()) {
      const idx parts = min_of(team(2 * M * N * K), (M + kMR - 1) / kMR);
      parallel_for(parts, 2 * M * N * K, [=](idx part) {
        const idx i0 = M * part / parts, i1 = M * (part + 1) / parts;
        outer<T>({A.row(i0), i1 - i0, K, A.rs, A.cs}, B, {C.row(i0), i1 - i0, N, C.rs, 1}, accumulate);
      });
      return;
    }
  }
  // So few rows stream through B as it is (8x650x10000, float32: 2.6 ms by packed panels, so 1.7).
  const bool streams = M < 2 * kMR && B.cs == 1 && streams_rows<T>(M, N, A.cols, B.rs);
  const Parts<T> parts(A, B, C, accumulate, end, scratch, streams ? Packed<T>{} : packed);
  parallel_for(parts.count, 2 * M * N * A.cols, [=](idx part) { parts.run(part); });
}

// The same by the calling thread. scratch: product_workspace<T>(M, N, K) bytes.
template <class T> idx product_workspace(idx M, idx N, idx K) { return part_elements<T>(M, N, K) * idx(sizeof(T)); }
template <class T> void product(Mat<const T> A, Mat<const T> B, Mat<T> C, bool accumulate, void* scratch) {
  const idx M = C.rows, N = C.cols;
  T* const panels = static_cast<T*>(scratch);
  if (M == 0 || N == 0 || (M == 1 && gemm_row<T>(A, B, C, accumulate, {}, panels))) return;
  multiply<T>(A, B, C, tail_of<T>(M, N, A.cols), accumulate, {}, panels);
}

}  // namespace
}  // namespace FASTNN_NS
