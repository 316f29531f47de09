// 3x3 convolution with stride 1 by Winograd's F(4x4, 3x3): a tile of 4x4 outputs takes 36 multiplications a pair of
// channels instead of 144 (Lavin, Gray: Fast algorithms for convolutional neural networks, 2016).
//   out = A^T [(G W G^T) . (B^T x B)] A,   dW = G^T [sum over tiles of (A dout A^T) . (B^T x B)] G,
// where x is a tile's patch of 6x6. The points are 0, +-sqrt(1/2), +-sqrt(2), infinity: a fifth to a quarter of the
// rounding error of the usual 0, +-1, +-2 (float32, 16 to 512 channels, normal inputs: 0.6e-6 to 2.8e-6 of the largest
// output against 2.8e-6 to 12e-6; F(6x6, 3x3): 4e-6 to 28e-6). A NaN or an infinity spreads to its tile.
#pragma once
#include "gemm.h"
#include "table.h"

namespace FASTNN_NS {
namespace {
namespace winograd {

constexpr idx kTile = 4, kPatch = 6, kPoints = kPatch * kPatch;
template <class T> constexpr T kRoot = T(0.70710678118654752440);  // the points are 0, +-kRoot, +-2 kRoot, infinity

// One dimension of each transform on vectors: of(i) is the i-th input, put(i, v) takes the i-th output.
template <class T, int kHalf, class Of, class Put> inline void patch_to_points(Of of, Put put) {  // B^T, 6 to 3 of 6
  const Simd<T> root = broadcast(kRoot<T>), centre = broadcast(T(-2.5));
  if constexpr (kHalf == 0) {
    const Simd<T> minus_two = broadcast(T(-2)), d2 = of(2), d4 = of(4);
    const Simd<T> even = fma(minus_two, d2, d4), odd = fma(minus_two, of(1), of(3)) * root;
    put(0, fma(centre, d2, of(0) + d4)), put(1, even + odd), put(2, even - odd);
  } else {
    const Simd<T> minus_half = broadcast(T(-0.5)), d1 = of(1), d3 = of(3);
    const Simd<T> even = fma(minus_half, of(2), of(4)), odd = fma(minus_half, d1, d3) * (root + root);
    put(0, even + odd), put(1, even - odd), put(2, fma(centre, d3, d1 + of(5)));
  }
}
template <class T, class Of, class Put> inline void points_to_tile(Of of, Put put) {  // A^T, 6 to 4
  const Simd<T> root = broadcast(kRoot<T>), two = broadcast(T(2)), half = broadcast(T(0.5));
  const Simd<T> s1 = of(1) + of(2), d1 = of(1) - of(2), s2 = of(3) + of(4), d2 = of(3) - of(4);
  put(0, of(0) + (s1 + s2)), put(1, root * fma(two, d2, d1));
  put(2, fma(half, s1, two * s2)), put(3, fma(root, fma(half, d1, broadcast(T(4)) * d2), of(5)));
}
template <class T, class Of, class Put> inline void tile_to_points(Of of, Put put) {  // A, 4 to 6
  const Simd<T> root = broadcast(kRoot<T>), two = broadcast(T(2)), half = broadcast(T(0.5));
  const Simd<T> y0 = of(0), y1 = of(1), y2 = of(2), y3 = of(3);
  const Simd<T> e1 = fma(half, y2, y0), o1 = fma(half, y3, y1) * root;
  const Simd<T> e2 = fma(two, y2, y0), o2 = fma(two, y3, y1) * (root + root);
  put(0, y0), put(1, e1 + o1), put(2, e1 - o1), put(3, e2 + o2), put(4, e2 - o2), put(5, y3);
}
template <class T, class Of, class Put> inline void filter_to_points(Of of, Put put) {  // G, 3 to 6
  const Simd<T> a = broadcast(T(-2.0 / 3)), b = broadcast(T(1.0 / 6)), root = broadcast(kRoot<T>);
  const Simd<T> e1 = a * fma(broadcast(T(0.5)), of(2), of(0)), o1 = a * root * of(1);
  const Simd<T> e2 = b * fma(broadcast(T(2)), of(2), of(0)), o2 = b * (root + root) * of(1);
  put(0, of(0)), put(1, e1 + o1), put(2, e1 - o1), put(3, e2 + o2), put(4, e2 - o2), put(5, of(2));
}
template <class T, class Of, class Put> inline void points_to_filter(Of of, Put put) {  // G^T, 6 to 3
  const Simd<T> a = broadcast(T(-2.0 / 3)), b = broadcast(T(1.0 / 6)), root = broadcast(kRoot<T>);
  const Simd<T> s1 = a * (of(1) + of(2)), d1 = a * (of(1) - of(2)), s2 = b * (of(3) + of(4)), d2 = b * (of(3) - of(4));
  put(0, of(0) + s1 + s2), put(1, root * fma(broadcast(T(2)), d2, d1));
  put(2, fma(broadcast(T(0.5)), s1, fma(broadcast(T(2)), s2, of(5))));
}

// How images are cut: rows of tiles into pieces of at most `width` tiles; a block is some pieces one below the other,
// then those of the next piece of the row, then those of the next image.
struct TileGrid {
  idx TY, width, across;       // rows of tiles of an image; tiles of a piece, pieces of a row
  idx pieces, blocks, height;  // in all; in all; the most pieces of a block
  idx begin(idx block) const { return pieces * block / blocks; }
};
// Bytes of a block's transformed input: with its products it stays in L2. At least 48 tiles share a panel of filters.
// Any size from 256 to 768 KiB is as fast (float32: 8x64x56x56, 64 filters, forward 2.85 to 2.98 ms; 64 KiB: 5.1 ms).
constexpr idx kBlockBytes = 384 << 10, kLeastTiles = 48, kMostTiles = 96;
inline TileGrid tile_grid(idx N, idx OH, idx OW, idx bytes_per_tile) {
  TileGrid g;
  const idx fit = kBlockBytes / bytes_per_tile;
  const idx tiles = fit < kLeastTiles ? kLeastTiles : min_of(fit, kMostTiles), TX = (OW + kTile - 1) / kTile;
  g.TY = (OH + kTile - 1) / kTile, g.across = (TX + tiles - 1) / tiles, g.width = (TX + g.across - 1) / g.across;
  g.pieces = N * g.across * g.TY;
  g.blocks = (g.pieces * g.width + tiles - 1) / tiles;
  if (g.blocks > 2) g.blocks = min_of(round_up(g.blocks, 4), g.pieces);  // as much for each thread
  g.height = g.blocks ? (g.pieces + g.blocks - 1) / g.blocks : 0;
  return g;
}
struct Segment {             // pieces of a block that lie in one image, one below the other
  idx n, y, x, count, tile;  // image; first output row and column; pieces; their first tile in the block
};
template <class F> inline void for_segments(const TileGrid& g, idx block, F f) {
  const idx begin = g.begin(block), end = g.begin(block + 1);
  for (idx piece = begin, count; piece < end; piece += count) {
    const idx ty = piece % g.TY, column = piece / g.TY;
    count = min_of(g.TY - ty, end - piece);
    f(Segment{column / g.across, ty * kTile, column % g.across * g.width * kTile, count, (piece - begin) * g.width});
  }
}

// Pixels [y, y + rows) x [x, x + cols) of lanes<T> channels of an image (channels, H, W) to p (rows, cols, lanes):
// zeros where there is no pixel or no channel.
template <class T> struct Window {
  idx H, W, y, x, rows, cols;
  T* p;
  idx r0, r1, q0, q1;  // rows and columns of p inside the image
};
template <class T> Window<T> window(idx H, idx W, idx y, idx x, idx rows, idx cols, T* p) {
  constexpr idx L = lanes<T>;
  Window<T> w{H, W, y, x, rows, cols, p, 0, 0, 0, 0};
  const auto clip = [](idx v, idx limit) { return v < 0 ? 0 : min_of(v, limit); };
  w.r0 = clip(-y, rows), w.r1 = clip(H - y, rows), w.q0 = clip(-x, cols), w.q1 = clip(W - x, cols);
  for (idx r = 0; r < rows; ++r) {
    const bool inside = w.r0 <= r && r < w.r1;
    T* const row = p + r * cols * L;
    for (idx q = 0; q < (inside ? w.q0 : cols); ++q) store(row + q * L, Simd<T>{});
    for (idx q = inside ? w.q1 : cols; q < cols; ++q) store(row + q * L, Simd<T>{});
  }
  return w;
}
// `count` pixels of each channel to p, `skip` elements left out after each `width` of them.
template <class T> void gather_pixels(const T* x, idx plane, idx channels, idx count, idx width, T* p, idx skip) {
  constexpr idx L = lanes<T>;
  idx column = 0;
  for (idx i = 0; i < count; i += L, x += L) {
    const idx n = min_of(count - i, L);
    Simd<T> v[L];
    if (n == L && channels >= L) {
#pragma GCC unroll 16
      for (idx c = 0; c < L; ++c) v[c] = load(x + c * plane);
    } else {
      for (idx c = 0; c < L; ++c) v[c] = c < channels ? load_partial(x + c * plane, n) : Simd<T>{};
    }
    transpose<T>(v);
#pragma GCC unroll 16
    for (idx c = 0; c < L; ++c) {
      if (c >= n) break;
      store(p, v[c]);
      p += L;
      if (++column == width) column = 0, p += skip;
    }
  }
}
template <class T> void gather(const Window<T>& w, const T* image, idx channels) {
  constexpr idx L = lanes<T>;
  const idx width = w.q1 - w.q0, skip = (w.cols - width) * L;
  if (width <= 0) return;
  const bool whole = width == w.W;  // rows follow each other without a gap
  const idx step = whole ? w.r1 - w.r0 : 1;
  for (idx r = w.r0; r < w.r1; r += step)
    gather_pixels<T>(image + (w.y + r) * w.W + w.x + w.q0, w.H * w.W, channels, step * width, width,
                     w.p + (r * w.cols + w.q0) * L, skip);
}

// `count` pixels (count, lanes) to the first `channels` planes of an image.
template <class T> void scatter_pixels(const T* p, idx count, idx channels, idx plane, T* out, const Epilogue<T>& end) {
  constexpr idx L = lanes<T>;
  for (idx i = 0; i < count; i += L) {
    Simd<T> v[L];
#pragma GCC unroll 16
    for (idx q = 0; q < L; ++q) v[q] = load(p + (i + q) * L);
    transpose<T>(v);
    const idx n = min_of(count - i, L);
    if (n == L && channels == L) {
#pragma GCC unroll 16
      for (idx c = 0; c < L; ++c) store(out + c * plane + i, v[c]);
    } else {
#pragma GCC unroll 16
      for (idx c = 0; c < L; ++c) {
        if (c >= channels) break;
        store_partial(out + c * plane + i, v[c], n);
      }
    }
  }
  for (idx c = 0; end.activate && c < channels; ++c) end.activate(end.kind, end.alpha, out + c * plane, count);
}

// B^T patch B for `tiles` tiles side by side: p (6, cols, lanes) to points[p * stride + tile * step].
template <class T, int kHalf>
void transform_patches_half(const T* p, idx cols, idx tiles, T* points, idx stride, idx step) {
  constexpr idx L = lanes<T>;
  Simd<T> m[3][kPatch];
  const auto column = [&](idx x, int to) {
    patch_to_points<T, kHalf>([&](idx i) { return load(p + (i * cols + x) * L); },
                              [&](int i, Simd<T> v) { m[i][to] = v; });
  };
  column(0, 4), column(1, 5);
  points += kHalf * 3 * kPatch * stride;
  for (idx t = 0; t < tiles; ++t, points += step) {
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) m[i][0] = m[i][4], m[i][1] = m[i][5];
#pragma GCC unroll 4
    for (int j = 2; j < 6; ++j) column(t * kTile + j, j);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const auto of = [&](int j) { return m[i][j]; };
      T* const row = points + i * kPatch * stride;
      patch_to_points<T, 0>(of, [&](int j, Simd<T> v) { store(row + j * stride, v); });
      patch_to_points<T, 1>(of, [&](int j, Simd<T> v) { store(row + (3 + j) * stride, v); });
    }
  }
}
template <class T> void transform_patches(const T* p, idx cols, idx tiles, T* points, idx stride, idx step) {
  transform_patches_half<T, 0>(p, cols, tiles, points, stride, step);
  transform_patches_half<T, 1>(p, cols, tiles, points, stride, step);
}
// A tile A^T: p (4, cols, lanes) to points, as above.
template <class T> void transform_gradients(const T* p, idx cols, idx tiles, T* points, idx stride, idx step) {
  constexpr idx L = lanes<T>;
  for (idx t = 0; t < tiles; ++t, p += kTile * L, points += step) {
    Simd<T> m[kPatch][kTile];
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j)
      tile_to_points<T>([&](int i) { return load(p + (i * cols + j) * L); }, [&](int i, Simd<T> v) { m[i][j] = v; });
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i)
      tile_to_points<T>([&](int j) { return m[i][j]; },
                        [&](int j, Simd<T> v) { store(points + (i * kPatch + j) * stride, v); });
  }
}
// A^T points A for `tiles` tiles side by side, finished, to y (4, cols, lanes).
template <class T>
void transform_products(const T* points, idx stride, idx step, idx tiles, T* y, idx cols, Simd<T> bias, Simd<T> floor) {
  constexpr idx L = lanes<T>;
  for (idx t = 0; t < tiles; ++t, points += step) {
    Simd<T> m[kTile][kPatch];
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j)
      points_to_tile<T>([&](int i) { return load(points + (i * kPatch + j) * stride); },
                        [&](int i, Simd<T> v) { m[i][j] = v; });
    T* const to = y + t * kTile * L;
    const idx n = cols - t * kTile;
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i)
      points_to_tile<T>([&](int j) { return m[i][j]; },
                        [&](int j, Simd<T> v) {
                          if (j < n) store(to + (i * cols + j) * L, finished<T>(v, bias, floor));
                        });
  }
}

// Distance of the 36 points in memory: an odd number of cache lines, so that they do not share sets.
template <class T> constexpr idx point_stride(idx elements) {
  constexpr idx line = 64 / sizeof(T);
  return (round_up(elements, line) / line | 1) * line;
}
// W to points (panels of kPanel columns f, kPoints, C, kPanel): element (f, c) is 9 numbers at W + f * fs + c * cs.
constexpr int kVectors = 2;  // vectors of a panel of columns
template <class T> constexpr idx kPanel = kVectors * lanes<T>;
template <class T> idx filter_panel(idx C) { return kPoints * point_stride<T>(C * kPanel<T>); }
template <class T> idx filter_points(idx F, idx C) { return (F + kPanel<T> - 1) / kPanel<T> * filter_panel<T>(C); }
template <class T> idx filter_items(idx F, idx C) { return (F + lanes<T> - 1) / lanes<T> * C; }
template <class T>  // the items [begin, end) of filter_items
void transform_filters(const T* W, idx F, idx C, idx fs, idx cs, bool flip, T* points, idx begin, idx end) {
  constexpr idx L = lanes<T>;
  const idx stride = point_stride<T>(C * kPanel<T>);
  for (idx item = begin; item < end; ++item) {
    const idx vector = item / C, c = item % C, f0 = vector * L, n = min_of(F - f0, L);
    T* const panel = points + vector / kVectors * filter_panel<T>(C) + vector % kVectors * L;
    T g[round_up(9, L)][L];
#pragma GCC unroll 3
    for (idx k = 0; k < 9; k += L) {
      Simd<T> v[L];
      for (idx f = 0; f < L; ++f)
        v[f] = f < n ? load_partial(W + (f0 + f) * fs + c * cs + k, min_of(9 - k, L)) : Simd<T>{};
      transpose<T>(v);
#pragma GCC unroll 16
      for (idx i = 0; i < L; ++i) store(g[k + i], v[i]);
    }
    Simd<T> m[kPatch][3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j)
      filter_to_points<T>(
          [&](int i) {
            const int k = i * 3 + j;
            return load(g[flip ? 8 - k : k]);
          },
          [&](int i, Simd<T> v) { m[i][j] = v; });
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i)
      filter_to_points<T>([&](int j) { return m[i][j]; },
                          [&](int j, Simd<T> v) { store(panel + (i * kPatch + j) * stride + c * kPanel<T>, v); });
  }
}

// The register tile: rows of A by kVectors vectors. kUnit, 2 and 3 times as many rows.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kUnit = 4;
#else
constexpr int kUnit = 2;
#endif
// c (MR, NV vectors) = a @ b (+ c): a (MR, K) consecutive along k (kRows), or along the rows.
template <class T, int MR, int NV, bool kRows, bool kAdd>
void product(idx K, const T* a, idx as, const T* b, idx bs, T* c, idx cs) {
  constexpr idx L = lanes<T>;
  Simd<T> acc[MR][NV];
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) acc[i][v] = kAdd ? load(c + i * cs + v * L) : Simd<T>{};
  const T* rows[MR / kUnit];
  for (int i = 0; i < MR / kUnit; ++i) rows[i] = a + i * kUnit * as;
  for (idx k = 0; k < K; ++k, b += bs) {
    Simd<T> bv[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v * L);
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) {
      const Simd<T> s = broadcast<T>(kRows ? rows[i / kUnit][i % kUnit * as + k] : a[k * as + i]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, bv[v], acc[i][v]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) store(c + i * cs + v * L, acc[i][v]);
}
// All rows (rounded up to kUnit) of c.
template <class T, int NV, bool kRows>
void product_rows(idx rows, idx K, const T* a, idx as, const T* b, idx bs, T* c, idx cs) {
  const idx ai = kRows ? as : 1;
  for (idx i = 0, units = (rows + kUnit - 1) / kUnit, take; units > 0; units -= take, i += take * kUnit) {
    take = units == 4 || units == 2 ? 2 : units == 1 ? 1 : 3;
    const auto run = take == 3   ? product<T, 3 * kUnit, NV, kRows, !kRows>
                     : take == 2 ? product<T, 2 * kUnit, NV, kRows, !kRows>
                                 : product<T, kUnit, NV, kRows, !kRows>;
    run(K, a + i * ai, as, b, bs, c + i * cs, cs);
  }
}

// What the two passes share: the padded channels, the cut, the scratch of a thread.
template <class T> struct Plan {
  static constexpr idx L = lanes<T>;
  idx columns, others;  // of a tile's row: channels of its transformed input; of its products (or gradients)
  TileGrid grid;
  idx in, out, pixels, total;  // elements of scratch: a point of either; pixels of outputs; all of a thread
  idx parts, parts_total;  // threads at most, by size alone: their scratch is no larger than the images; grows with N
  Plan(const ConvShape& s, bool filters) {
    columns = round_up(s.C, L), others = filters ? round_up(s.F, L) : min_of(round_up(s.F, L), kPanel<T>);
    grid = tile_grid(s.N, s.OH, s.OW, (columns + (filters ? others : 0)) * kPoints * idx(sizeof(T)));
    const idx tiles = round_up(grid.height * grid.width, kUnit), high = min_of(grid.height, grid.TY) * kTile;
    const idx wide = grid.width * kTile;
    in = point_stride<T>(tiles * columns), out = point_stride<T>(tiles * others);
    pixels = round_up(high * wide, L) * L;
    total = kPoints * (in + out) + pixels + (high + 2) * (wide + 2) * L;
    const idx images = image_elements(s), most = max_parts(work(s));
    parts = min_of(most, images / total), parts = parts < 1 ? 1 : parts;
    parts_total = min_of(most * total, images > total ? images : total);
  }
  static idx image_elements(const ConvShape& s) { return s.N * (s.C * s.H * s.W + s.F * s.OH * s.OW); }
  static idx work(const ConvShape& s) { return 5 * s.N * s.OH * s.OW * s.F * s.C; }
  int threads(const ConvShape& s) const { return int(min_of(team(work(s)), parts)); }
  // x (N, C, H, W) of a segment to the points of its tiles.
  void transform_input(const ConvShape& s, const Segment& part, const T* x, T* points, T* patch) const {
    const idx cols = grid.width * kTile + 2;
    const Window<T> w = window<T>(s.H, s.W, part.y - s.ph, part.x - s.pw, part.count * kTile + 2, cols, patch);
    for (idx c = 0; c < s.C; c += L) {
      gather<T>(w, x + (part.n * s.C + c) * s.H * s.W, s.C - c);
      for (idx r = 0; r < part.count; ++r)
        transform_patches<T>(patch + r * kTile * cols * L, cols, grid.width,
                             points + (part.tile + r * grid.width) * columns + c, in, columns);
    }
  }
};

template <class T> idx convolve_workspace(const ConvShape& s) {
  const Plan<T> plan(s, false);
  return (filter_points<T>(s.F, s.C) + plan.parts_total) * idx(sizeof(T));
}
// out (N, F, OH, OW) from x (N, C, H, W); element (f, c) of W is 9 numbers at W + f * fs + c * cs, back to front if
// `flip`. transformed: W is what transform_filters makes of it.
template <class T> void convolve(const ConvShape& s, const T* x, const T* W, idx fs, idx cs, bool flip,
                                 const Epilogue<T>& end, T* out, void* scratch, bool transformed = false) {
  constexpr idx L = lanes<T>;
  const Plan<T> plan(s, false);
  const TileGrid& g = plan.grid;
  const idx wide = plan.others;
  T *const points = static_cast<T*>(scratch), *const own = points + filter_points<T>(s.F, s.C);
  const T* const filters = transformed ? W : points;
  const idx items = filter_items<T>(s.F, s.C);
  parallel_region(plan.threads(s), [&](int thread, int team) {
    if (!transformed) {
      transform_filters<T>(W, s.F, s.C, fs, cs, flip, points, items * thread / team, items * (thread + 1) / team);
      barrier();
    }
    T *const in = own + thread * plan.total, *const products = in + kPoints * plan.in,
             *const pixels = products + kPoints * plan.out, *const patch = pixels + plan.pixels;
    const Simd<T> floor = broadcast(end.relu ? T(0) : -T(INFINITY));
    for (idx block = g.blocks * thread / team; block < g.blocks * (thread + 1) / team; ++block) {
      const idx tiles = (g.begin(block + 1) - g.begin(block)) * g.width;
      for_segments(g, block, [&](const Segment& part) { plan.transform_input(s, part, x, in, patch); });
      for (idx f0 = 0; f0 < s.F; f0 += kPanel<T>) {
        const T* const panel = filters + f0 / kPanel<T> * filter_panel<T>(s.C);
        const auto multiply = s.F - f0 > L ? product_rows<T, kVectors, true> : product_rows<T, 1, true>;
        for (idx p = 0; p < kPoints; ++p)
          multiply(tiles, s.C, in + p * plan.in, plan.columns, panel + p * point_stride<T>(s.C * kPanel<T>), kPanel<T>,
                   products + p * plan.out, wide);
        for (idx f = f0; f < min_of(f0 + kPanel<T>, s.F); f += L) {
          const idx channels = min_of(s.F - f, L);
          const Simd<T> bias = end.bias ? load_partial(end.bias + f, channels) : broadcast(T(-0.0));
          for_segments(g, block, [&](const Segment& part) {
            const idx width = min_of(s.OW - part.x, g.width * kTile), used = (width + kTile - 1) / kTile;
            for (idx r = 0; r < part.count; ++r) {
              const idx y = part.y + r * kTile, rows = min_of(s.OH - y, kTile), step = width == s.OW ? rows : 1;
              transform_products<T>(products + (part.tile + r * g.width) * wide + f - f0, plan.out, wide, used, pixels,
                                    width, bias, floor);
              for (idx row = 0; row < rows; row += step)
                scatter_pixels<T>(pixels + row * width * L, step * width, channels, s.OH * s.OW,
                                  out + ((part.n * s.F + f) * s.OH + y + row) * s.OW + part.x, end);
            }
          });
        }
      }
    }
  });
}

// Parts of the sum over tiles, by size alone; their scratch is at most half of the images.
template <class T> idx gradient_parts(const ConvShape& s, const Plan<T>& plan) {
  const idx each = kPoints * point_stride<T>(plan.columns * plan.others);
  idx parts = 8;
  while (parts > 1 && (2 * parts > plan.grid.blocks || 2 * parts * each > plan.image_elements(s))) parts /= 2;
  return parts;
}
template <class T> idx filter_gradients_workspace(const ConvShape& s) {
  const Plan<T> plan(s, true);
  const idx sums = gradient_parts<T>(s, plan) * kPoints * point_stride<T>(plan.columns * plan.others);
  return (sums + plan.parts_total) * idx(sizeof(T));
}
// dW (F, C, 3, 3), or what is added to it: the blocks are dealt to parts, whose sums over tiles are added in order.
template <class T>
void filter_gradients(const ConvShape& s, const T* dout, const T* x, T* dW, bool accumulate, void* scratch) {
  constexpr idx L = lanes<T>;
  const Plan<T> plan(s, true);
  const TileGrid& g = plan.grid;
  const idx Cp = plan.columns, Fp = plan.others, stride = point_stride<T>(Cp * Fp), parts = gradient_parts<T>(s, plan);
  T *const sums = static_cast<T*>(scratch), *const own = sums + parts * kPoints * stride;
  parallel_region(plan.threads(s), [&](int thread, int team) {
    T *const in = own + thread * plan.total, *const gradients = in + kPoints * plan.in,
             *const pixels = gradients + kPoints * plan.out, *const patch = pixels + plan.pixels;
    for (idx item = parts * thread / team; item < parts * (thread + 1) / team; ++item) {
      T* const sum = sums + item * kPoints * stride;
      for (idx i = 0; i < kPoints * stride; i += L) store(sum + i, Simd<T>{});
      for (idx block = g.blocks * item / parts; block < g.blocks * (item + 1) / parts; ++block) {
        const idx tiles = (g.begin(block + 1) - g.begin(block)) * g.width;
        for_segments(g, block, [&](const Segment& part) {
          const idx width = g.width * kTile;
          plan.transform_input(s, part, x, in, patch);
          const Window<T> w = window<T>(s.OH, s.OW, part.y, part.x, part.count * kTile, width, pixels);
          for (idx f = 0; f < s.F; f += L) {
            gather<T>(w, dout + (part.n * s.F + f) * s.OH * s.OW, s.F - f);
            for (idx r = 0; r < part.count; ++r)
              transform_gradients<T>(pixels + r * kTile * width * L, width, g.width,
                                     gradients + (part.tile + r * g.width) * Fp + f, plan.out, Fp);
          }
        });
        for (idx p = 0; p < kPoints; ++p)
          for (idx f = 0; f < Fp; f += kPanel<T>) {
            const auto multiply = Fp - f > L ? product_rows<T, kVectors, false> : product_rows<T, 1, false>;
            multiply(Cp, tiles, in + p * plan.in, Cp, gradients + p * plan.out + f, Fp, sum + p * stride + f, Fp);
          }
      }
    }
    barrier();
    for (idx c = s.C * thread / team; c < s.C * (thread + 1) / team; ++c)
      for (idx f = 0; f < s.F; f += L) {
        const auto point = [&](idx p) {
          const T* const from = sums + p * stride + c * Fp + f;
          Simd<T> v = load(from);
          for (idx part = 1; part < parts; ++part) v += load(from + part * kPoints * stride);
          return v;
        };
        Simd<T> m[3][kPatch];
#pragma GCC unroll 6
        for (int j = 0; j < kPatch; ++j) {
          const Simd<T> u[kPatch] = {point(j),      point(6 + j),  point(12 + j),
                                     point(18 + j), point(24 + j), point(30 + j)};
          points_to_filter<T>([&](int i) { return u[i]; }, [&](int i, Simd<T> v) { m[i][j] = v; });
        }
        T g[9][L];
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i)
          points_to_filter<T>([&](int j) { return m[i][j]; }, [&](int j, Simd<T> v) { store(g[i * 3 + j], v); });
        for (idx q = 0; q < min_of(s.F - f, L); ++q)
          for (idx k = 0; k < 9; ++k) {
            T& w = dW[((f + q) * s.C + c) * 9 + k];
            w = accumulate ? w + g[k][q] : g[k][q];
          }
      }
  });
}

constexpr bool applies(const ConvShape& s) {
  return s.kh == 3 && s.kw == 3 && s.sh == 1 && s.sw == 1 && s.dh == 1 && s.dw == 1 && s.groups == 1;
}
// Where it is faster than the direct way, and the same on every instruction set (float32, AVX-512, 100x28x28, forward
// and backward: 8 to 8 channels 1.1 and 1.3 times as fast, 16 to 16 2.2 and 2.4, 4 to 16 1.1 and 0.7).
constexpr bool pays(const ConvShape& s) { return s.C >= 8 && s.F >= 8; }
// dx is the convolution of dout with the filters turned round and their axes swapped.
inline ConvShape input_gradient_shape(ConvShape s) {
  ConvShape t = s;
  t.C = s.F, t.F = s.C, t.H = s.OH, t.W = s.OW, t.OH = s.H, t.OW = s.W, t.ph = 2 - s.ph, t.pw = 2 - s.pw;
  return t;
}
template <class T> void forward(const ConvShape& s, const T* x, const T* W, bool transformed, const T* b,
                                Activation kind, T alpha, Activate<T> activate, T* out, void* scratch) {
  Epilogue<T> end{.bias = b, .relu = kind == Activation::relu, .kind = int(kind), .alpha = alpha};
  if (kind != Activation::identity && kind != Activation::relu) end.activate = activate;
  convolve<T>(s, x, W, 9 * s.C, 9, false, end, out, scratch, transformed);
}
template <class T>  // b (C) is added to every channel, if not null
void input_gradients(const ConvShape& s, const T* dout, const T* W, const T* b, T* dx, void* scratch) {
  convolve<T>(input_gradient_shape(s), dout, W, 9, 9 * s.C, true, {.bias = b}, dx, scratch);
}
// Scratch of each in bytes; grows with N.
template <class T> idx workspace(const ConvShape& s) {
  const idx forward = convolve_workspace<T>(s), dx = convolve_workspace<T>(input_gradient_shape(s)),
            dW = filter_gradients_workspace<T>(s), images = forward > dx ? forward : dx;
  return images > dW ? images : dW;
}

}  // namespace winograd
}  // namespace
}  // namespace FASTNN_NS
