// Convolution of x (N, C, H, W) with filters (F, C / groups, kh, kw), its gradients, and patch matrices.
//
// No patch matrix is made. Padding and strides are done away with once, by a copy of the sample's rows at hand: zeros
// around it, and a plane for each remainder of the position modulo the stride. Then tap k of the output position p is
// at image[offset[k] + p's place]: the sum over k is a matrix product whose second factor is read from the image. An
// output of forward and dx is one chain of fused multiply-adds in ascending k, wherever rows are cut (dx by columns:
// one for each tap, added in order); one of dW is such a chain over some rows of a sample, and these sums are added in
// order.
#pragma once
#include "gemm.h"
#include "loops.h"
#include "table.h"
#include "winograd.h"

namespace FASTNN_NS {
namespace {

// Winograd's algorithm is there for float32 alone: float64 is used where exactness counts (and it halves the code).
template <class T> constexpr bool kWinograd = std::is_same_v<T, float>;

// ---- one axis -------------------------------------------------------------------------------------------------------

constexpr idx greatest_divisor(idx a, idx b) { return b == 0 ? a : greatest_divisor(b, a % b); }

struct Span {
  idx begin, end;
};
// Output position o and tap t meet at the input's o * s + t * d - p. Taps t whose t * d have the same remainder modulo
// s read the same plane, at distance t * d / s.
struct Axis {
  idx size, count, taps, s, p, d;  // of the input, of the output, of the filter
  idx period() const { return s / greatest_divisor(s, d); }
  idx planes() const { return min_of(taps, period()); }
  idx plane(idx t) const { return t % period(); }
  idx remainder(idx plane) const { return plane * d % s; }
  idx shift(idx t) const { return t * d / s; }
  idx reach() const { return shift(taps - 1); }
  bool plain() const { return s == 1 && p == 0; }
  // Output positions whose input at this tap is there.
  Span inside(idx t) const {
    const idx left = t * d - p, begin = left < 0 ? min_of((-left + s - 1) / s, count) : 0;
    return {begin, max_of(min_of(left < size ? (size - 1 - left) / s + 1 : 0, count), begin)};
  }
};
inline Axis rows_of(const ConvShape& s) { return {s.H, s.OH, s.kh, s.sh, s.ph, s.dh}; }
inline Axis columns_of(const ConvShape& s) { return {s.W, s.OW, s.kw, s.sw, s.pw, s.dw}; }

// ---- from images to images with zeros around them -------------------------------------------------------------------

// to (rows, cols) = from[h0 + i * sh][w0 + j * sw], zero outside of (H, W); without `borders` these zeros are there.
struct Window {
  idx H, W, h0, sh, w0, sw, rows, cols;
};
template <class T> __attribute__((noinline)) void copy_window(const Window& w, const T* from, T* to, bool borders) {
  const auto outside = [](idx first, idx step) { return first < 0 ? (-first + step - 1) / step : 0; };
  const auto inside = [](idx first, idx step, idx size) { return first < size ? (size - 1 - first) / step + 1 : 0; };
  const idx top = min_of(outside(w.h0, w.sh), w.rows), left = min_of(outside(w.w0, w.sw), w.cols);
  const idx bottom = max_of(min_of(inside(w.h0, w.sh, w.H), w.rows), top),
            right = max_of(min_of(inside(w.w0, w.sw, w.W), w.cols), left);
  if (borders && (top > 0 || left > 0 || bottom < w.rows || right < w.cols))
    for_vectors<T>(0, w.rows * w.cols, [=](auto at) { at.put(to, Simd<T>{}); });
  const idx n = right - left, whole = n / lanes<T> * lanes<T>;
  for (idx i = top; i < bottom; ++i) {
    const T* const row = from + (w.h0 + i * w.sh) * w.W + w.w0 + left * w.sw;
    T* const y = to + i * w.cols + left;
    if (w.sw == 1) {
      for (idx j = 0; j < whole; j += lanes<T>) store(y + j, load(row + j));
      if (whole < n) store_partial(y + whole, load_partial(row + whole, n - whole), n - whole);
    } else {
      for (idx j = 0; j < n; ++j) y[j] = row[j * w.sw];
    }
  }
}

// to[j * ts + i] = from[i * fs + j], i < rows, j < cols. `fill`: `to` has ts numbers, whole vectors of them, and those
// beyond the rows become 0; else it has only `rows`, and is added to when `accumulate`.
template <class T> __attribute__((noinline)) void transpose_to(const T* from, idx rows, idx cols, idx fs, T* to, idx ts,
                                                               bool fill, bool accumulate) {
  constexpr idx L = lanes<T>;
  for (idx i = 0; i < (fill ? ts : rows); i += L)
    for (idx j = 0; j < cols; j += L) {
      const idx n = min_of(cols - j, L), m = min_of(rows - i, L);
      Simd<T> v[L];
#pragma GCC unroll 16
      for (int q = 0; q < L; ++q)
        v[q] = n == L && m >= L ? load(from + (i + q) * fs + j)
               : q < m          ? load_partial(from + (i + q) * fs + j, n)
                                : Simd<T>{};
      transpose<T>(v);
      T* y = to + j * ts + i;
      if (fill || (m >= L && !accumulate)) {
#pragma GCC unroll 16
        for (int q = 0; q < L; ++q, y += ts)
          if (q < n) store(y, v[q]);
      } else {
#pragma GCC unroll 16
        for (int q = 0; q < L; ++q, y += ts)
          if (q < n) store_partial(y, accumulate ? v[q] + load_partial(y, m) : v[q], m);
      }
    }
}

// to[i * step] += from[i] for i of the span.
template <class T> inline void add_row(const T* from, T* to, Span span, idx step) {
  if (step == 1)
    for_vectors<T>(span.begin, span.end, [=](auto at) { at.put(to, at(to) + at(from)); });
  else
    for (idx i = span.begin; i < span.end; ++i) to[i * step] += from[i];
}

// ---- y (M, rows, cols) = A (M, K) @ image at the offsets ------------------------------------------------------------

template <class T> struct Correlation {
  idx M, K, rows, cols;
  const T* A;         // (M, K)
  const idx* offset;  // (K)
  const T* image;
  idx pitch;  // between rows of the image
  T* out;
  idx plane, row, step;  // strides of out
  const T* bias;         // (M), or null
  T floor;
  bool slack = false;        // the image may be read a vector beyond its end
  const T* ahead = nullptr;  // what is needed next, to be brought to L2 meanwhile
  idx ahead_count = 0;
};

// A tile of it: MR rows of A by NV vectors of positions.
template <class T> struct ConvTile {
  idx K, rows, n;  // rows of A that count, positions
  const T* A;      // MR rows, as apart
  idx as;
  const idx* offset;
  const T* image[kNV];  // a vector's place; it goes on `gap` further after the first joint[v] lanes
  idx gap, joint[kNV];
  T* panel;
  T* c;
  idx cs;
  const T* bias;
  T floor;
  bool resume;
};
// The patches come from the image and go to the panel (kGather), or are there.
template <class T, int MR, int NV, bool kGather> void conv_tile(const ConvTile<T>& t) {
  constexpr idx L = lanes<T>;
  const idx as = t.as, last = t.n - (NV - 1) * L, gap = t.gap;
  const T *a0 = t.A, *a3 = a0 + 3 * as, *a6 = a0 + 6 * as, *const end = a0 + t.K;  // few pointers: no spills
  const idx *offset = t.offset, joint[3] = {t.joint[0], NV > 1 ? t.joint[1] : 0, NV > 2 ? t.joint[2] : 0};
  const T* const image[3] = {t.image[0], NV > 1 ? t.image[1] : nullptr, NV > 2 ? t.image[2] : nullptr};
  T* panel = t.panel;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) __builtin_prefetch(t.c + i * t.cs + v * L, 1);
  Simd<T> acc[MR][NV] = {};
  if (t.resume)
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
      if (i < t.rows)
#pragma GCC unroll 3
        for (int v = 0; v < NV; ++v) acc[i][v] = load_partial(t.c + i * t.cs + v * L, v == NV - 1 ? last : L);
  for (; a0 < end; ++a0, ++a3, ++a6, ++offset, panel += NV * L) {
    Simd<T> b[NV];
    if constexpr (kGather) {
      const idx here = *offset, beyond = here + gap;
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        b[v] = load_joined(image[v] + here, image[v] + beyond, joint[v], v == NV - 1 ? last : L);
        store(panel + v * L, b[v]);
      }
    } else {
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) b[v] = load(panel + v * L);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Simd<T> s = broadcast<T>((i < 3 ? a0 : i < 6 ? a3 : a6)[i % 3 * as]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, b[v], acc[i][v]);
    }
  }
  const Simd<T> floor = broadcast(t.floor);
  T* c = t.c;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i, c += t.cs) {
    if (i >= t.rows) break;
    const Simd<T> bias = broadcast(t.bias ? t.bias[i] : T(-0.0));  // y + -0 is y
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store_partial(c + v * L, finished<T>(acc[i][v], bias, floor), v == NV - 1 ? last : L);
  }
}
template <class T> using ConvTileFunction = void (*)(const ConvTile<T>&);
template <class T, bool kGather, int NV = kNV> ConvTileFunction<T> pick_conv_tile(idx rows, idx vectors) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick_conv_tile<T, kGather, NV - 1>(rows, vectors);
  if constexpr (!kGather) {
    if (rows <= 4) return conv_tile<T, 4, NV, false>;
    if (kMR > 6 && rows <= 6) return conv_tile<T, 6, NV, false>;
  }
  return conv_tile<T, kMR, NV, kGather>;
}
constexpr idx conv_tile_rows(idx rows) { return rows <= 4 ? 4 : rows <= 6 ? 6 : kMR; }

// Positions [begin, begin + n) of the taps to panel[k * width + i].
template <class T>
void pack_positions(const Correlation<T>& c, const idx* offset, idx K, idx begin, idx n, T* panel, idx width) {
  idx place[kNR<T>], count[kNR<T>], pieces = 0;
  for (idx i = 0; i < n; ++pieces) {
    const idx row = (begin + i) / c.cols, col = begin + i - row * c.cols;
    place[pieces] = row * c.pitch + col;
    i += count[pieces] = min_of(min_of(c.cols - col, n - i), lanes<T>);
  }
  for (idx k = 0; k < K; ++k) {
    T* to = panel + k * width;
    const T* const from = c.image + offset[k];
    if (c.slack)
      for (idx i = 0; i < pieces; to += count[i++]) store(to, load(from + place[i]));  // the rest is written over
    else
      for (idx i = 0; i < pieces; to += count[i++]) store(to, load_partial(from + place[i], count[i]));
  }
}

// Elements of scratch of correlate(): a tile on its way to an output with a step, a few rows of A, a panel.
template <class T> constexpr idx correlate_elements(idx K) {
  return round_up((min_of(K, kKC<T>) + kMR + 1) * kNR<T> + lanes<T>, 64) + round_up(kMR * min_of(K, kKC<T>), 64);
}
template <class T> __attribute__((noinline)) void correlate_wide(const Correlation<T>& c, T* scratch) {
  constexpr idx L = lanes<T>;
  const idx P = c.rows * c.cols, k_blocks = c.K == 0 ? 1 : (c.K + kKC<T> - 1) / kKC<T>;
  const bool contiguous = c.step == 1 && (c.row == c.cols || c.rows == 1), joined = kMaskedLoads && c.cols >= L - 1;
  T* const buffer = scratch;
  T *const rest = buffer + kMR * kNR<T>, *const panel =
                                             rest + round_up(kMR * min_of(c.K, kKC<T>), 64);  // the last rows of A
  const T* ahead = c.ahead;
  const idx tiles = (P + kNR<T> - 1) / kNR<T> * ((c.M + kMR - 1) / kMR) * k_blocks,
            ahead_step = (c.ahead_count * idx(sizeof(T)) / 64 + tiles) / tiles;
  for (idx p = 0; p < k_blocks; ++p) {
    const idx k0 = c.K * p / k_blocks, kc = c.K * (p + 1) / k_blocks - k0;
    const bool finish = p == k_blocks - 1;
    for (idx begin = 0; begin < P; begin += kNR<T>) {
      const idx n = min_of(P - begin, kNR<T>), vectors = (n + L - 1) / L;
      ConvTile<T> t;
      t.K = kc, t.n = n, t.as = c.K, t.offset = c.offset + k0, t.gap = c.pitch - c.cols, t.panel = panel;
      t.floor = finish ? c.floor : -T(INFINITY), t.resume = p > 0;
      if (joined) {
        for (idx v = 0; v < vectors; ++v) {
          const idx row = (begin + v * L) / c.cols, col = begin + v * L - row * c.cols;
          t.image[v] = c.image + row * c.pitch + col;
          t.joint[v] = min_of(min_of(c.cols - col, n - v * L), L);
        }
      } else {
        pack_positions(c, c.offset + k0, kc, begin, n, panel, vectors * L);
      }
      const idx row0 = begin / c.cols, col0 = begin - row0 * c.cols;
      for (idx m = 0; m < c.M; m += t.rows) {
        for (idx i = 0; i < ahead_step && ahead < c.ahead + c.ahead_count; ++i, ahead += 64 / sizeof(T))
          __builtin_prefetch(ahead, 0, 2);
        t.rows = min_of(c.M - m, kMR);
        t.A = c.A + m * c.K + k0, t.as = c.K;
        if (t.rows < (joined && m == 0 ? kMR : conv_tile_rows(t.rows))) {  // the tile would read beyond A
          t.A = rest, t.as = kc;
          if (begin == 0)
            for (idx i = 0; i < t.rows; ++i)
              for (idx k = 0; k < kc; ++k) rest[i * kc + k] = c.A[(m + i) * c.K + k0 + k];
        }
        t.c = c.out + m * c.plane + begin, t.cs = c.plane;
        t.bias = finish && c.bias ? c.bias + m : nullptr;
        T* const out = c.out + m * c.plane;
        const auto each = [&](auto f) {  // f(element of out, element of the tile)
          for (idx i = 0; i < t.rows; ++i)
            for (idx j = 0, row = row0, col = col0; j < n; ++j) {
              f(out[i * c.plane + row * c.row + col * c.step], buffer[i * kNR<T> + j]);
              if (++col == c.cols) col = 0, ++row;
            }
        };
        if (!contiguous) {
          t.c = buffer, t.cs = kNR<T>;
          if (t.resume) each([](T& y, T& b) { b = y; });
        }
        (joined && m == 0 ? pick_conv_tile<T, true>(t.rows, vectors) : pick_conv_tile<T, false>(t.rows, vectors))(t);
        if (!contiguous) each([](T& y, T& b) { y = b; });
      }
    }
  }
}

// Few rows of A: patches are used where they are, by vectors along the rows of the output; the image may be read a
// vector beyond its end.
template <class T, int MR, int NV> void narrow_tile(const Correlation<T>& c, idx m, const idx* place, Simd<T>* y) {
  const idx K = c.K;
  const T *const a = c.A + m * K, *p[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) p[v] = c.image + place[v];
  Simd<T> acc[MR][NV] = {};
  for (idx k = 0; k < K; ++k) {
    const idx offset = c.offset[k];
    Simd<T> s[MR];
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) s[i] = broadcast<T>(a[i * K + k]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const Simd<T> b = load(p[v] + offset);
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) acc[i][v] = fma(s[i], b, acc[i][v]);
    }
  }
  const Simd<T> floor = broadcast(c.floor);
#pragma GCC unroll 4
  for (int i = 0; i < MR; ++i) {
    const Simd<T> bias = broadcast(c.bias ? c.bias[m + i] : T(-0.0));
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) y[i * NV + v] = finished<T>(acc[i][v], bias, floor);
  }
}
constexpr bool kManyRegisters = kMR == 8;
constexpr idx kNarrow = kMR;  // rows of A below which it pays
template <class T> __attribute__((noinline)) void correlate_narrow(const Correlation<T>& c) {
  constexpr idx L = lanes<T>;
  constexpr int V1 = kManyRegisters ? 8 : 6, V2 = kManyRegisters ? 8 : 4, V4 = kManyRegisters ? 6 : 2;
  const idx across = (c.cols + L - 1) / L, count = c.rows * across;
  for (idx m = 0, rows; m < c.M; m += rows) {
    rows = c.M - m >= 4 ? 4 : c.M - m >= 2 ? 2 : 1;
    const idx NV = rows == 4 ? V4 : rows == 2 ? V2 : V1;
    for (idx v0 = 0; v0 < count; v0 += NV) {
      idx place[8];
      Simd<T> y[4 * 8];
      const idx n = min_of(count - v0, NV), row0 = v0 / across, col0 = v0 - row0 * across;
      for (idx v = 0, row = row0, col = col0; v < NV; ++v) {  // the last one over and over
        place[v] = idx(row * c.pitch + col * L);
        if (v < n - 1 && ++col == across) col = 0, ++row;
      }
      if (rows == 4)
        narrow_tile<T, 4, V4>(c, m, place, y);
      else if (rows == 2)
        narrow_tile<T, 2, V2>(c, m, place, y);
      else
        narrow_tile<T, 1, V1>(c, m, place, y);
      for (idx i = 0; i < rows; ++i)
        for (idx v = 0, row = row0, col = col0; v < n; ++v) {
          T* const out = c.out + (m + i) * c.plane + row * c.row + col * L * c.step;
          const idx width = min_of(c.cols - col * L, L);
          if (c.step == 1)
            store_partial(out, y[i * NV + v], width);
          else
            for (idx j = 0; j < width; ++j) out[j * c.step] = y[i * NV + v][j];
          if (++col == across) col = 0, ++row;
        }
    }
  }
}
template <class T> void correlate(const Correlation<T>& c, T* scratch) {
  if (c.M < kNarrow)
    correlate_narrow(c);
  else
    correlate_wide(c, scratch);
}

// ---- how the work is cut --------------------------------------------------------------------------------------------

// Blocks of `rows` rows of a sample's output; a block's image has at most about `most` bytes, so that it stays in L2.
inline idx row_blocks(idx rows, idx reach, idx row_bytes, idx most) {
  const idx fit = max_of(most / max_of(row_bytes, 1) - reach, max_of(reach, 1));
  return (rows + fit - 1) / fit;
}
constexpr idx kImageBytes = 256 * 1024;

// Where tap k = (c, i, j) reads: offset (C * taps * taps).
inline void tap_offsets(const Axis& h, const Axis& w, idx C, idx plane, idx pitch, idx* offset) {
  const idx kernel = h.taps * w.taps, planes = h.planes() * w.planes();
  for (idx i = 0; i < h.taps; ++i)
    for (idx j = 0; j < w.taps; ++j)
      offset[i * w.taps + j] = (h.plane(i) * w.planes() + w.plane(j)) * plane + h.shift(i) * pitch + w.shift(j);
  for (idx k = kernel; k < C * kernel; ++k) offset[k] = offset[k - kernel] + planes * plane;
}

// ---- forward --------------------------------------------------------------------------------------------------------

template <class T> struct ForwardPlan {
  Axis h, w;
  idx Cg, Fg, K, blocks, rows, pitch, plane, image, parts, work;
  bool in_place;
  __attribute__((noinline)) explicit ForwardPlan(const ConvShape& s) : h(rows_of(s)), w(columns_of(s)) {
    Cg = s.C / s.groups, Fg = s.F / s.groups, K = Cg * s.kh * s.kw;
    work = 2 * s.N * s.F * s.OH * s.OW * K;
    in_place = h.plain() && w.plain() && Fg >= kNarrow;
    pitch = in_place ? s.W : s.OW + w.reach();
    const idx N = max_of(s.N, 1), planes = Cg * h.planes() * w.planes();  // there may be no samples
    blocks = row_blocks(s.OH, h.reach(), planes * pitch * idx(sizeof(T)), kImageBytes);
    if (N < 8) blocks = max_of(blocks, min_of(min_of(s.OH, (8 + N - 1) / N), work / N / (2 * kGrain)));
    rows = (s.OH + blocks - 1) / blocks, blocks = (s.OH + rows - 1) / rows;
    plane = in_place ? s.H * s.W : (rows + h.reach()) * pitch;
    image = in_place ? 0 : round_up(planes * plane + lanes<T>, 64);
    parts = min_of(max_parts(work), s.N * blocks);
  }
  idx part() const { return image + correlate_elements<T>(K); }
  idx bytes() const { return round_up(K * idx(sizeof(idx)), 64) + parts * part() * idx(sizeof(T)); }
};

template <class T> void conv_forward(const ConvShape& s, ConvAlgorithm algorithm, const T* x, const T* W, const T* b,
                                     Activation kind, T alpha, Activate<T> activate, T* out, void* scratch) {
  if constexpr (kWinograd<T>)
    if (algorithm == ConvAlgorithm::winograd || algorithm == ConvAlgorithm::transformed)
      return winograd::forward<T>(s, x, W, algorithm == ConvAlgorithm::transformed, b, kind, alpha, activate, out,
                                  scratch);
  const ForwardPlan<T> plan(s);
  const Axis &h = plan.h, &w = plan.w;
  idx* const offset = static_cast<idx*>(scratch);
  T* const parts_memory = reinterpret_cast<T*>(static_cast<char*>(scratch) + round_up(plan.K * idx(sizeof(idx)), 64));
  const idx row_planes = h.planes(), column_planes = w.planes();
  tap_offsets(h, w, plan.Cg, plan.plane, plan.pitch, offset);
  const idx items = s.N * plan.blocks, parts = min_of(team(plan.work), plan.parts), area = s.OH * s.OW;
  parallel_for(parts, plan.work, [&](idx part) {
    T *const image = parts_memory + part * plan.part(), *const rest = image + plan.image;
    const idx first = items * part / parts;
    for (idx item = first; item < items * (part + 1) / parts; ++item) {
      const idx n = item / plan.blocks, y0 = item % plan.blocks * plan.rows, rows = min_of(s.OH - y0, plan.rows);
      for (idx g = 0; g < s.groups; ++g) {
        const T* const from = x + (n * s.C + g * plan.Cg) * s.H * s.W;
        const bool more = plan.blocks == 1 && (n + 1 < s.N || g + 1 < s.groups);  // the next one follows in memory
        if (!plan.in_place)
          for (idx c = 0, to = 0; c < plan.Cg; ++c)
            for (idx i = 0; i < row_planes; ++i)
              for (idx j = 0; j < column_planes; ++j, to += plan.plane)
                copy_window<T>({s.H, s.W, y0 * s.sh + h.remainder(i) - s.ph, s.sh, w.remainder(j) - s.pw, s.sw,
                                plan.rows + h.reach(), plan.pitch},
                               from + c * s.H * s.W, image + to, plan.blocks > 1 || (item == first && g == 0));
        T* const y = out + (n * s.F + g * plan.Fg) * area + y0 * s.OW;
        correlate<T>({.M = plan.Fg,
                      .K = plan.K,
                      .rows = rows,
                      .cols = s.OW,
                      .A = W + g * plan.Fg * plan.K,
                      .offset = offset,
                      .image = plan.in_place ? from + y0 * s.W : image,
                      .pitch = plan.pitch,
                      .out = y,
                      .plane = area,
                      .row = s.OW,
                      .step = 1,
                      .bias = b ? b + g * plan.Fg : nullptr,
                      .floor = kind == Activation::relu ? T(0) : -T(INFINITY),
                      .slack = !plan.in_place,
                      .ahead = from + plan.Cg * s.H * s.W,
                      .ahead_count = more ? plan.Cg * s.H * s.W : 0},
                     rest);
        if (kind != Activation::identity && kind != Activation::relu)
          for (idx f = 0; f < plan.Fg; ++f) activate(int(kind), alpha, y + f * area, rows * s.OW);
      }
    }
  });
}

// ---- dx -------------------------------------------------------------------------------------------------------------

// Input position i = j * s + r - p is met by the taps with t * d % s = r, at the output j - t * d / s: a correlation of
// dout for each remainder r, whose results lie s apart.
struct Remainder {
  idx begin, end, first, taps;  // j; first tap, their number (they are period() apart)
};
inline Remainder remainder_of(const Axis& a, idx r) {
  Remainder m{(a.p - r + a.s - 1) / a.s, (a.size - 1 + a.p - r) / a.s + 1, 0, 0};
  for (idx t = 0; t < a.planes(); ++t)
    if (a.remainder(t) == r) m.first = t, m.taps = (a.taps - 1 - t) / a.period() + 1;
  return m;
}

template <class T> struct BackwardInputPlan {
  Axis h, w;
  idx Cg, Fg, kernel, K, j0, jobs, w0, blocks, rows, pitch, plane, image, parts, work;
  bool in_place;
  __attribute__((noinline)) explicit BackwardInputPlan(const ConvShape& s) : h(rows_of(s)), w(columns_of(s)) {
    Cg = s.C / s.groups, Fg = s.F / s.groups, kernel = s.kh * s.kw, K = Fg * kernel;
    work = 2 * s.N * s.F * s.OH * s.OW * (s.C / s.groups) * s.kh * s.kw;
    j0 = s.ph / s.sh, w0 = s.pw / s.sw;
    jobs = (s.H - 1 + s.ph) / s.sh - j0 + 1;
    const idx columns = (s.W - 1 + s.pw) / s.sw - w0 + 1;
    in_place = h.plain() && w.plain() && s.kh == 1 && s.kw == 1 && Cg >= kNarrow;
    pitch = columns + w.reach();
    blocks = row_blocks(jobs, h.reach(), Fg * pitch * idx(sizeof(T)), kImageBytes);
    const idx N = max_of(s.N, 1);
    if (N < 8) blocks = max_of(blocks, min_of(min_of(jobs, (8 + N - 1) / N), work / N / (2 * kGrain)));
    rows = (jobs + blocks - 1) / blocks, blocks = (jobs + rows - 1) / rows;
    plane = in_place ? s.H * s.W : (rows + h.reach()) * pitch;
    image = in_place ? 0 : round_up(Fg * plane + lanes<T>, 64);
    parts = min_of(max_parts(work), s.N * blocks);
  }
  idx filters() const { return round_up(Cg * K, 64); }  // of one group, rearranged
  idx part() const { return image + correlate_elements<T>(K); }
  idx bytes(idx groups) const {
    return round_up((K + kernel) * idx(sizeof(idx)), 64) + (groups * filters() + parts * part()) * idx(sizeof(T));
  }
};

// Where the correlation would have few rows, or many zeros around a small dout: columns (C * kh * kw, positions) of
// some rows as a matrix product, added to dx where their taps lie (conv (100,1,28,28) x (30,1,5,5), dx: 1,750 us ->
// 590).
template <class T> struct ColumnsPlan {
  idx Cg, Fg, kernel, rows, channels, blocks, columns, work, items, parts;
  __attribute__((noinline)) explicit ColumnsPlan(const ConvShape& s) {
    Cg = s.C / s.groups, Fg = s.F / s.groups, kernel = s.kh * s.kw;
    work = 2 * s.N * s.F * s.OH * s.OW * Cg * kernel;
    rows = max_of(min_of(s.OH, 640 / s.OW), 1);
    const idx bytes = kernel * rows * s.OW * idx(sizeof(T));
    channels = max_of(min_of(Cg, 128 * 1024 / bytes), 1), blocks = (Cg + channels - 1) / channels;
    columns = round_up(channels * kernel * rows * s.OW, 64);
    items = s.N * s.groups * blocks, parts = min_of(max_parts(work), items);
  }
  static bool applies(const ConvShape& s) {
    const idx C = s.C / s.groups, F = s.F / s.groups;
    return F >= kMR && (C < kNarrow || s.H * s.W > 2 * s.OH * s.OW * s.sh * s.sw);
  }
  idx filters(const ConvShape& s) const { return round_up(s.F * Cg * kernel, 64); }
  idx part() const { return columns + correlate_elements<T>(Fg); }
  idx bytes(const ConvShape& s) const {
    return round_up(Fg * idx(sizeof(idx)), 64) + (filters(s) + parts * part()) * idx(sizeof(T));
  }
};
template <class T>
void backward_input_by_columns(const ConvShape& s, const T* dout, const T* W, const T* b, T* dx, void* scratch) {
  const ColumnsPlan<T> plan(s);
  const Axis w = columns_of(s);
  const idx K = plan.Cg * plan.kernel, area = s.OH * s.OW, plane = s.H * s.W;
  idx* const offset = static_cast<idx*>(scratch);
  T* const filters = reinterpret_cast<T*>(static_cast<char*>(scratch) + round_up(plan.Fg * idx(sizeof(idx)), 64));
  T* const parts_memory = filters + plan.filters(s);
  for (idx f = 0; f < plan.Fg; ++f) offset[f] = f * area;
  for (idx g = 0; g < s.groups; ++g)
    transpose_to<T>(W + g * plan.Fg * K, plan.Fg, K, K, filters + g * plan.Fg * K, plan.Fg, false, false);
  const idx parts = min_of(team(plan.work), plan.parts);
  parallel_for(parts, plan.work, [&](idx part) {
    T *const columns = parts_memory + part * plan.part(), *const rest = columns + plan.columns;
    for (idx item = plan.items * part / parts; item < plan.items * (part + 1) / parts; ++item) {
      const idx n = item / (s.groups * plan.blocks), g = item / plan.blocks % s.groups,
                c0 = item % plan.blocks * plan.channels, c1 = min_of(c0 + plan.channels, plan.Cg);
      T* const image = dx + (n * s.C + g * plan.Cg) * plane;
      for (idx c = c0; c < c1; ++c) {
        const Simd<T> start = broadcast(b ? b[g * plan.Cg + c] : T(0));
        for_vectors<T>(0, plane, [=](auto at) { at.put(image + c * plane, start); });
      }
      for (idx y0 = 0; y0 < s.OH; y0 += plan.rows) {
        const idx y1 = min_of(s.OH, y0 + plan.rows), positions = (y1 - y0) * s.OW;
        correlate_wide<T>({.M = (c1 - c0) * plan.kernel,
                           .K = plan.Fg,
                           .rows = 1,
                           .cols = positions,
                           .A = filters + (g * K + c0 * plan.kernel) * plan.Fg,
                           .offset = offset,
                           .image = dout + (n * s.F + g * plan.Fg) * area + y0 * s.OW,
                           .pitch = positions,
                           .out = columns,
                           .plane = positions,
                           .row = positions,
                           .step = 1,
                           .bias = nullptr,
                           .floor = -T(INFINITY),
                           .ahead = dout + (n * s.F + (g + 1) * plan.Fg) * area,
                           .ahead_count = plan.rows >= s.OH && item + 1 < plan.items ? plan.Fg * area : 0},
                          rest);
        for (idx k = 0; k < (c1 - c0) * plan.kernel; ++k) {
          const idx i = k / s.kw % s.kh * s.dh - s.ph, j = k % s.kw;
          const Span span = w.inside(j);
          for (idx y = y0; y < y1; ++y)
            if (const idx row = y * s.sh + i; row >= 0 && row < s.H)
              add_row(columns + k * positions + (y - y0) * s.OW,
                      image + (c0 + k / plan.kernel) * plane + row * s.W + j * s.dw - s.pw, span, s.sw);
        }
      }
    }
  });
}

// Whether all of W is finite: a product with the zeros around dout, where there is no output, is 0 then and not NaN.
template <class T> bool all_finite(const T* W, idx rows, idx width) {
  bool finite = true;
  parallel_for(rows, rows * width, [=, &finite](idx row) {
    Simd<T> differences{};  // x - x is 0 or NaN
    for_vectors<T>(row * width, (row + 1) * width, [&](auto at) { differences += at(W) - at(W); });
    if (!(horizontal_sum<T>(differences) == 0)) __atomic_store_n(&finite, false, __ATOMIC_RELAXED);
  });
  return finite;
}

template <class T> void conv_backward_input(const ConvShape& s, ConvAlgorithm algorithm, const T* dout, const T* W,
                                            const T* b, T* dx, void* scratch) {
  if constexpr (kWinograd<T>)
    if (algorithm == ConvAlgorithm::winograd) return winograd::input_gradients<T>(s, dout, W, b, dx, scratch);
  const BackwardInputPlan<T> plan(s);
  if (ColumnsPlan<T>::applies(s) || !(plan.in_place || all_finite(W, s.F, plan.Cg * plan.kernel)))
    return backward_input_by_columns(s, dout, W, b, dx, scratch);
  const Axis &h = plan.h, &w = plan.w;
  idx* const offset = static_cast<idx*>(scratch);
  T* const filters =
      reinterpret_cast<T*>(static_cast<char*>(scratch) + round_up((plan.K + plan.kernel) * idx(sizeof(idx)), 64));
  T* const parts_memory = filters + s.groups * plan.filters();
  const idx kernel = s.kh * s.kw, area = s.H * s.W;
  // For every pair of remainders: the filters' taps of it, (Cg, Fg * taps), and where they read.
  const auto for_remainders = [&](auto f) {
    idx k = 0;
    for (idx r = 0; r < min_of(s.sh, s.H + s.ph); ++r) {
      const Remainder y = remainder_of(h, r);
      if (y.begin >= y.end) continue;
      for (idx q = 0; q < min_of(s.sw, s.W + s.pw); ++q) {
        const Remainder z = remainder_of(w, q);
        if (z.begin >= z.end) continue;
        f(r, q, y, z, k);
        k += plan.Fg * y.taps * z.taps;
      }
    }
  };
  for_remainders([&](idx, idx, const Remainder& y, const Remainder& z, idx k) {
    const idx taps = y.taps * z.taps;
    idx* const source = offset + plan.K;  // where a tap is in a filter
    for (idx i = 0, q = 0; i < y.taps; ++i)
      for (idx j = 0; j < z.taps; ++j, ++q) {
        const idx ki = y.first + i * h.period(), kj = z.first + j * w.period();
        source[q] = ki * s.kw + kj;
        offset[k + q] = (h.reach() - h.shift(ki)) * plan.pitch + w.reach() - w.shift(kj);
      }
    for (idx q = taps; q < plan.Fg * taps; ++q) offset[k + q] = offset[k + q - taps] + plan.plane;
    parallel_for(s.groups * plan.Cg, s.F * plan.Cg * kernel * 8, [=, &plan](idx gc) {
      const idx g = gc / plan.Cg, c = gc % plan.Cg;
      T* to = filters + g * plan.filters() + k * plan.Cg + c * plan.Fg * taps;
      const T* from = W + (g * plan.Fg * plan.Cg + c) * kernel;
      for (idx f = 0; f < plan.Fg; ++f, from += plan.Cg * kernel)
        for (idx q = 0; q < taps; ++q) *to++ = from[source[q]];
    });
  });
  const idx items = s.N * plan.blocks, parts = min_of(team(plan.work), plan.parts);
  parallel_for(parts, plan.work, [&](idx part) {
    T *const image = parts_memory + part * plan.part(), *const rest = image + plan.image;
    const idx first = items * part / parts;
    for (idx item = first; item < items * (part + 1) / parts; ++item) {
      const idx n = item / plan.blocks, j0 = plan.j0 + item % plan.blocks * plan.rows,
                j1 = min_of(plan.j0 + plan.jobs, j0 + plan.rows);
      for (idx g = 0; g < s.groups; ++g) {
        const T* const from = dout + (n * s.F + g * plan.Fg) * s.OH * s.OW;
        const bool more = plan.blocks == 1 && (n + 1 < s.N || g + 1 < s.groups);
        if (!plan.in_place)
          for (idx f = 0; f < plan.Fg; ++f)
            copy_window<T>({s.OH, s.OW, j0 - h.reach(), 1, plan.w0 - w.reach(), 1, plan.rows + h.reach(), plan.pitch},
                           from + f * s.OH * s.OW, image + f * plan.plane,
                           plan.blocks > 1 || (item == first && g == 0));
        for_remainders([&](idx r, idx q, const Remainder& y, const Remainder& z, idx k) {
          const idx begin = max_of(y.begin, j0), end = min_of(y.end, j1);
          if (begin >= end) return;
          const idx place = (begin - j0) * plan.pitch + z.begin - plan.w0;
          correlate<T>(
              {.M = plan.Cg,
               .K = plan.Fg * y.taps * z.taps,
               .rows = end - begin,
               .cols = z.end - z.begin,
               .A = filters + g * plan.filters() + k * plan.Cg,
               .offset = offset + k,
               .image = (plan.in_place ? from + j0 * s.OW : image) + place,
               .pitch = plan.pitch,
               .out = dx + (n * s.C + g * plan.Cg) * area + (begin * s.sh + r - s.ph) * s.W + z.begin * s.sw + q - s.pw,
               .plane = area,
               .row = s.sh * s.W,
               .step = s.sw,
               .bias = b ? b + g * plan.Cg : nullptr,
               .floor = -T(INFINITY),
               .slack = !plan.in_place,
               .ahead = from + plan.Fg * s.OH * s.OW,
               .ahead_count = more ? plan.Fg * s.OH * s.OW : 0},
              rest);
        });
      }
    }
  });
}

// ---- dW, db ---------------------------------------------------------------------------------------------------------

// sums (MR, NV vectors) += the sum over positions of x at tap i times dout: panel (rows * cols, NV vectors).
template <class T> struct WeightTile {
  idx rows, cols, pitch;
  const T* const* x;  // a place for each of MR taps
  const T* panel;
  T* sums;
};
template <class T, int MR, int NV> void weight_tile(const WeightTile<T>& t) {
  constexpr idx L = lanes<T>;
  const T *x[MR], *panel = t.panel;
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) x[i] = t.x[i];
  Simd<T> acc[MR][NV] = {};
  const idx cols = t.cols;
  for (idx row = 0, p = 0; row < t.rows; ++row, p += t.pitch)
    for (idx j = p; j < p + cols; ++j, panel += NV * L) {
      Simd<T> d[NV];
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) d[v] = load(panel + v * L);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        const Simd<T> s = broadcast<T>(x[i][j]);
#pragma GCC unroll 3
        for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, d[v], acc[i][v]);
      }
    }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) {
      T* const y = t.sums + (i * NV + v) * L;
      store(y, load(y) + acc[i][v]);
    }
}
constexpr idx kMinTaps = kMR / 2 + 1;  // of a tile; only the last one may have fewer, and room for them
template <class T> using WeightTileFunction = void (*)(const WeightTile<T>&);
template <class T, int NV = kNV, int MR = kMR> WeightTileFunction<T> pick_weight_tile(idx taps, idx vectors) {
  if constexpr (NV > 1 && MR == kMR)
    if (vectors < NV) return pick_weight_tile<T, NV - 1>(taps, vectors);
  if constexpr (MR > kMinTaps)
    if (taps < MR) return pick_weight_tile<T, NV, MR - 1>(taps, vectors);
  return weight_tile<T, MR, NV>;
}

// Sums over samples and positions of x (N, C, area), or what is added to `sums`.
template <class T> void channel_sums(const T* x, idx N, idx C, idx area, T* sums, bool accumulate) {
  parallel_for(C, N * C * area * idx(sizeof(T)), [=](idx c) {
    double sum = 0;
    for (idx n = 0; n < N; ++n) {
      const T* const row = x + (n * C + c) * area;
      sum += double(sum_vectors<T>(0, area, [=](auto at) { return at(row); })[0]);
    }
    sums[c] = accumulate ? sums[c] + T(sum) : T(sum);
  });
}

template <class T> struct BackwardWeightPlan {
  Axis h, w;
  idx Cg, Fg, K, image_rows, rows, pitch, plane, planes, image, ones, f_blocks, vectors, sample_blocks, panel, sums,
      work;
  bool in_place;
  __attribute__((noinline)) explicit BackwardWeightPlan(const ConvShape& s) : h(rows_of(s)), w(columns_of(s)) {
    constexpr idx L = lanes<T>;
    Cg = s.C / s.groups, Fg = s.F / s.groups, K = Cg * s.kh * s.kw;
    work = 2 * s.N * s.F * s.OH * s.OW * K;
    in_place = h.plain() && w.plain();
    pitch = in_place ? s.W : s.OW + w.reach();
    planes = Cg * h.planes() * w.planes();
    rows = max_of(min_of(s.OH, 224 / max_of(s.OW, 1)), 1);
    const idx blocks = (s.OH + rows - 1) / rows;
    rows = (s.OH + blocks - 1) / blocks;
    const idx image_blocks = row_blocks(s.OH, h.reach(), planes * pitch * idx(sizeof(T)), kImageBytes);
    image_rows = round_up((s.OH + image_blocks - 1) / image_blocks, rows);
    plane = in_place ? s.H * s.W : (image_rows + h.reach()) * pitch;
    image = in_place ? 0 : round_up(planes * plane, 64);
    ones = round_up(rows * pitch, 64);
    const idx all = (Fg + L - 1) / L;
    f_blocks = (all + kNV - 1) / kNV, vectors = (all + f_blocks - 1) / f_blocks,
    f_blocks = (all + vectors - 1) / vectors;
    panel = round_up(rows * s.OW, L) * vectors * L;
    sums = (K + 1 + kMinTaps) * vectors * L;
    // Sums of some samples are kept apart, so that threads may add: as many as memory and work allow.
    const idx most = (s.N * (s.C * s.H * s.W + s.F * s.OH * s.OW) / 16 + 32768) / max_of(sums * f_blocks * s.groups, 1);
    idx wanted = max_of(min_of(min_of(s.N, 8), min_of(most, work / (2 * kGrain))), 1);
    for (sample_blocks = 1; 2 * sample_blocks <= wanted;) sample_blocks *= 2;
  }
  idx items(idx groups) const { return sample_blocks * groups * f_blocks; }
  idx parts(idx groups) const { return min_of(max_parts(work), items(groups)); }
  idx part() const { return round_up(image + panel, 64); }
  idx tables() const { return round_up(K * idx(sizeof(idx)), 64); }
  idx bytes(idx groups) const {
    return tables() + (ones + round_up(items(groups) * sums, 64) + parts(groups) * part()) * idx(sizeof(T));
  }
};

template <class T> void conv_backward_weight(const ConvShape& s, ConvAlgorithm algorithm, const T* dout, const T* x,
                                             T* dW, T* db, bool accumulate, void* scratch) {
  if constexpr (kWinograd<T>)
    if (algorithm == ConvAlgorithm::winograd) {
      if (db) channel_sums<T>(dout, s.N, s.F, s.OH * s.OW, db, accumulate);
      return winograd::filter_gradients<T>(s, dout, x, dW, accumulate, scratch);
    }
  constexpr idx L = lanes<T>;
  const BackwardWeightPlan<T> plan(s);
  const Axis &h = plan.h, &w = plan.w;
  idx* const offset = static_cast<idx*>(scratch);
  T* const ones = reinterpret_cast<T*>(static_cast<char*>(scratch) + plan.tables());
  T *const sums_memory = ones + plan.ones, *const parts_memory =
                                               sums_memory + round_up(plan.items(s.groups) * plan.sums, 64);
  for (idx i = 0; i < plan.ones; ++i) ones[i] = 1;  // db is the gradient of a tap that always reads 1
  const idx row_planes = h.planes(), column_planes = w.planes();
  tap_offsets(h, w, plan.Cg, plan.plane, plan.pitch, offset);
  const idx items = plan.items(s.groups), parts = min_of(team(plan.work), plan.parts(s.groups)), area = s.OH * s.OW;
  const idx width = plan.vectors * L, taps = plan.K + (db ? 1 : 0), tiles = (taps + kMR - 1) / kMR;
  parallel_for(parts, plan.work, [&](idx part) {
    T *const image = parts_memory + part * plan.part(), *const panel = image + plan.image;
    for (idx item = items * part / parts; item < items * (part + 1) / parts; ++item) {
      const idx block = item / (s.groups * plan.f_blocks), g = item / plan.f_blocks % s.groups,
                f0 = item % plan.f_blocks * width, filters = min_of(plan.Fg - f0, width);
      T* const sums = sums_memory + item * plan.sums;
      for (idx i = 0; i < plan.sums; ++i) sums[i] = 0;
      const idx n0 = s.N * block / plan.sample_blocks, n1 = s.N * (block + 1) / plan.sample_blocks;
      for (idx n = n0; n < n1; ++n)
        for (idx y0 = 0; y0 < s.OH; y0 += plan.rows) {
          const idx rows = min_of(s.OH - y0, plan.rows), below = y0 % plan.image_rows;
          const T* const from = x + (n * s.C + g * plan.Cg) * s.H * s.W;
          if (!plan.in_place && below == 0)
            for (idx c = 0, to = 0; c < plan.Cg; ++c)
              for (idx i = 0; i < row_planes; ++i)
                for (idx j = 0; j < column_planes; ++j, to += plan.plane)
                  copy_window<T>({s.H, s.W, y0 * s.sh + h.remainder(i) - s.ph, s.sh, w.remainder(j) - s.pw, s.sw,
                                  plan.image_rows + h.reach(), plan.pitch},
                                 from + c * s.H * s.W, image + to, plan.image_rows < s.OH || n == n0);
          transpose_to<T>(dout + (n * s.F + g * plan.Fg + f0) * area + y0 * s.OW, filters, rows * s.OW, area, panel,
                          width, true, false);
          const T* const base = plan.in_place ? from + y0 * s.W : image + below * plan.pitch;
          const bool sample_ends = y0 + rows >= s.OH, more = !sample_ends || n + 1 < n1;
          const idx next_y = sample_ends ? 0 : y0 + rows,
                    next_count = more ? min_of(s.OH - next_y, plan.rows) * s.OW : 0;
          const T* const next = dout + ((n + sample_ends) * s.F + g * plan.Fg + f0) * area + next_y * s.OW;
          for (idx tile = 0; tile < tiles; ++tile) {
            const idx k0 = (taps * tile + tiles - 1) / tiles, k1 = (taps * (tile + 1) + tiles - 1) / tiles;
            for (idx f = filters * tile / tiles; f < filters * (tile + 1) / tiles; ++f)  // meanwhile, to L2
              for (idx i = 0; i < next_count; i += 64 / sizeof(T)) __builtin_prefetch(next + f * area + i, 0, 2);
            const T* places[kMR];
            for (idx k = 0; k < kMR; ++k) places[k] = k0 + k < plan.K ? base + offset[k0 + k] : ones;
            pick_weight_tile<T>(k1 - k0, plan.vectors)({rows, s.OW, plan.pitch, places, panel, sums + k0 * width});
          }
        }
    }
  });
  // The blocks of samples in order, then back to dW (F, K).
  parallel_for(s.groups * plan.f_blocks, plan.items(s.groups) * plan.sums, [&](idx item) {
    T* const sums = sums_memory + item * plan.sums;
    for (idx block = 1; block < plan.sample_blocks; ++block) {
      const T* const more = sums + block * s.groups * plan.f_blocks * plan.sums;
      for (idx i = 0; i < plan.sums; i += L) store(sums + i, load(sums + i) + load(more + i));
    }
    const idx f0 = item / plan.f_blocks * plan.Fg + item % plan.f_blocks * width,
              filters = min_of((item / plan.f_blocks + 1) * plan.Fg - f0, width);
    transpose_to<T>(sums, plan.K, filters, width, dW + f0 * plan.K, plan.K, false, accumulate);
    if (db) transpose_to<T>(sums + plan.K * width, 1, filters, width, db + f0, 1, false, accumulate);
  });
}

// ---- the rest -------------------------------------------------------------------------------------------------------

template <class T> ConvAlgorithm conv_choose(const ConvShape& s, ConvAlgorithm wanted) {
  const bool fits = kWinograd<T> && winograd::applies(s),
             pays = wanted == ConvAlgorithm::automatic && winograd::pays(s);
  return fits && (pays || wanted == ConvAlgorithm::winograd) ? ConvAlgorithm::winograd : ConvAlgorithm::direct;
}
template <class T> idx transformed_elements(const ConvShape& s) {
  return kWinograd<T> ? winograd::filter_points<T>(s.F, s.C) : 0;
}
template <class T> void transform_weights(const ConvShape& s, const T* W, T* transformed) {
  if constexpr (kWinograd<T>)
    winograd::transform_filters<T>(W, s.F, s.C, 9 * s.C, 9, false, transformed, 0, winograd::filter_items<T>(s.F, s.C));
}
template <class T> idx conv_workspace(const ConvShape& s, ConvAlgorithm algorithm) {
  if constexpr (kWinograd<T>)
    if (algorithm == ConvAlgorithm::winograd) return winograd::workspace<T>(s);
  const idx forward = ForwardPlan<T>(s).bytes(), columns = ColumnsPlan<T>(s).bytes(s),
            dx = ColumnsPlan<T>::applies(s) ? columns : max_of(BackwardInputPlan<T>(s).bytes(s.groups), columns),
            dW = BackwardWeightPlan<T>(s).bytes(s.groups);
  return max_of(forward, max_of(dx, dW));
}

// ---- patch matrices -------------------------------------------------------------------------------------------------

// col (N * OH * OW, C * kh * kw): runs of kw elements, moved in pieces of 16 or 32 bytes; what a piece moves too much
// is written over by the next run, or left out of what is taken from the buffer.
template <class T> struct PatchPlan {
  static constexpr idx kPiece = 32 / sizeof(T);
  idx rows, blocks, pitch, plane, image, width, runs, positions, buffer, work, items, parts;
  idx panel_row, channels, channel_blocks, panel, add_parts;  // of col2im
  __attribute__((noinline)) explicit PatchPlan(const ConvShape& s) {
    width = s.C * s.kh * s.kw, runs = s.C * s.kh;
    work = s.N * s.OH * s.OW * width * idx(sizeof(T));
    pitch = s.W + 2 * s.pw;
    rows = min_of(s.OH, 8), blocks = (s.OH + rows - 1) / rows;
    plane = ((rows - 1) * s.sh + s.kh) * pitch;
    image = round_up(s.C * plane + kPiece, 64);
    positions = max_of(min_of(s.OW, 16384 / (width * idx(sizeof(T)))), 1);
    buffer = round_up(positions * width + kPiece, 64);
    items = s.N * blocks, parts = min_of(max_parts(work), items);
    panel_row = round_up(s.OW, lanes<T>);
    channels = min_of(max_of(32768 / (s.kh * s.kw * panel_row * idx(sizeof(T))), 1), s.C);
    channel_blocks = (s.C + channels - 1) / channels;
    panel = round_up(channels * s.kh * s.kw * panel_row, 64);
    add_parts = min_of(max_parts(work), s.N * channel_blocks);
  }
  idx part() const { return image + buffer; }
  idx bytes() const {
    return round_up(runs * idx(sizeof(idx)), 64) + max_of(parts * part(), add_parts * panel) * idx(sizeof(T));
  }
  // Where run r = (c, i) of a position begins in the image.
  void offsets(const ConvShape& s, idx* offset) const {
    for (idx r = 0; r < runs; ++r) offset[r] = r / s.kh * plane + r % s.kh * pitch;
  }
};
template <class T> idx patch_workspace(const ConvShape& s) { return PatchPlan<T>(s).bytes(); }

template <class T, int kBytes> inline void copy_runs(const T* from, const idx* offset, idx runs, idx length, T* to) {
  typedef T Piece __attribute__((vector_size(kBytes)));
  constexpr idx kPiece = kBytes / sizeof(T);
  const auto copy = [](const T* p, T* y) {
    Piece v;
    std::memcpy(&v, p, sizeof v);
    std::memcpy(y, &v, sizeof v);
  };
  if (length <= kPiece) {
#pragma GCC unroll 4
    for (idx r = 0; r < runs; ++r, to += length) copy(from + offset[r], to);
  } else {
    for (idx r = 0; r < runs; ++r, to += length)
      for (idx p = 0; p < length; p += kPiece) copy(from + offset[r] + p, to + p);
  }
}

// to [0, n) = from, past the caches.
template <class T> void stream_copy(const T* from, idx n, T* to) {
  idx i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % kVecBytes; ++i) to[i] = from[i];
  for (; i + lanes<T> <= n; i += lanes<T>) stream(to + i, load(from + i));
  for (; i < n; ++i) to[i] = from[i];
}

template <class T> void im2col(const ConvShape& s, const T* x, T* col, void* scratch) {
  const PatchPlan<T> plan(s);
  idx* const offset = static_cast<idx*>(scratch);
  T* const parts_memory =
      reinterpret_cast<T*>(static_cast<char*>(scratch) + round_up(plan.runs * idx(sizeof(idx)), 64));
  plan.offsets(s, offset);
  const bool past_caches = s.N * s.OH * s.OW * plan.width * idx(sizeof(T)) >= kStreamBytes;
  const idx parts = min_of(team(plan.work), plan.parts);
  parallel_for(parts, plan.work, [&](idx part) {
    T *const image = parts_memory + part * plan.part(), *const buffer = image + plan.image;
    for (idx item = plan.items * part / parts; item < plan.items * (part + 1) / parts; ++item) {
      const idx n = item / plan.blocks, y0 = item % plan.blocks * plan.rows, y1 = min_of(s.OH, y0 + plan.rows);
      for (idx c = 0; c < s.C; ++c)
        copy_window<T>({s.H, s.W, y0 * s.sh - s.ph, 1, -s.pw, 1, plan.plane / plan.pitch, plan.pitch},
                       x + (n * s.C + c) * s.H * s.W, image + c * plan.plane, true);
      for (idx y = y0; y < y1; ++y)
        for (idx z = 0, count; z < s.OW; z += count) {
          count = min_of(s.OW - z, plan.positions);
          T* to = buffer;
          for (idx q = 0; q < count; ++q) {
            const T* const from = image + (y - y0) * s.sh * plan.pitch + (z + q) * s.sw;
            if (s.kw * sizeof(T) <= 16)
              copy_runs<T, 16>(from, offset, plan.runs, s.kw, to);
            else
              copy_runs<T, 32>(from, offset, plan.runs, s.kw, to);
            to += plan.width;
          }
          T* const out = col + ((n * s.OH + y) * s.OW + z) * plan.width;
          if (past_caches)
            stream_copy(buffer, count * plan.width, out);
          else
            for_vectors<T>(0, count * plan.width, [=](auto at) { at.put(out, at(buffer)); });
        }
    }
    if (past_caches) stream_fence();
  });
}

// x = the sum of the patches where they overlap: the patches of a row of positions are turned to columns, whose numbers
// then lie as those of x do (adding runs of kw numbers where they lie waits for the stores before: (100,16,28,28),
// 3x3, 14.3 ms -> 6.6).
template <class T> void col2im(const ConvShape& s, const T* col, T* x, void* scratch) {
  const PatchPlan<T> plan(s);
  const idx area = s.H * s.W, kernel = s.kh * s.kw, parts = min_of(team(plan.work), plan.add_parts);
  const Axis w = columns_of(s);
  parallel_for(parts, plan.work, [&](idx part) {
    T* const panel = static_cast<T*>(scratch) + part * plan.panel;
    const idx items = s.N * plan.channel_blocks;
    for (idx item = items * part / parts; item < items * (part + 1) / parts; ++item) {
      const idx n = item / plan.channel_blocks, c0 = item % plan.channel_blocks * plan.channels,
                count = min_of(s.C - c0, plan.channels);
      T* const image = x + (n * s.C + c0) * area;
      for_vectors<T>(0, count * area, [=](auto at) { at.put(image, Simd<T>{}); });
      for (idx y = 0; y < s.OH; ++y) {
        transpose_to<T>(col + (n * s.OH + y) * s.OW * plan.width + c0 * kernel, s.OW, count * kernel, plan.width, panel,
                        plan.panel_row, true, false);
        for (idx j = 0; j < s.kw; ++j) {  // numbers that overlap are far apart in time
          const Span z = w.inside(j);
          for (idx r = 0; r < count * s.kh; ++r) {
            const idx row = y * s.sh + r % s.kh - s.ph;
            if (row < 0 || row >= s.H) continue;
            add_row(panel + (r * s.kw + j) * plan.panel_row, image + r / s.kh * area + row * s.W + j - s.pw, z, s.sw);
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace FASTNN_NS
