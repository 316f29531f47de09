// Recurrent layers: the loop over the steps of rnn, LSTM and GRU. Formulas: rnn.py of numpy_backend.
//
// Wh is packed once a call, for a predictor once; a step is its product with the states, tile by tile, and the cell's
// functions on each tile while that is in L1. States are kept in compact (N, K) buffers; of those that a product reads
// while others are written there are two. Threads take rows of the batch, which never meet, or where rows are few
// columns of Wh, with a barrier a step (second core busy with another program, GRU 650 in training: 96 ms by rows, 592
// with barriers). An element is one chain of fused multiply-adds in ascending k whatever the tile or the team.
#pragma once
#include "gemm.h"
#include "loops.h"
#include "table.h"
#include "vmath.h"

namespace FASTNN_NS {
namespace {

// The tile of a step: kStepRows rows by a group of columns, as many panels of kPanel vectors as it needs. Four vectors
// are the four gates of one vector of units.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr idx kPanel = 4;
#else
constexpr idx kPanel = 2;
#endif
constexpr int kStepRows = 6, kGroupVectors = 4;
constexpr idx kMostRows = 16;    // of a finished tile
constexpr idx kStepDepth = 512;  // of a panel that several tiles share
constexpr idx kBufferRows = 96;  // whose tiles wait for the rest of a deep product

// Columns [q * H + u, ...) of the gates q side by side: the matrix (K, gates * H), packed where `panels` is not null
// into groups of `units` units. Below it `input`, of as many columns or of no rows.
template <class T> struct Weights {
  Mat<const T> matrix{}, input{};
  idx H = 0, gates = 1, units = 0;
  T* panels = nullptr;
  idx K() const { return matrix.rows + input.rows; }
  idx row() const { return round_up(K(), lanes<T>); }  // elements from row to row of what is multiplied
  idx groups() const { return (H + units - 1) / units; }
  idx width(idx p) const { return min_of(H - p * units, units); }
  idx vectors(idx p) const { return (gates * width(p) + lanes<T> - 1) / lanes<T>; }
  T* group(idx p) const { return panels + p * K() * gates * units; }
  idx elements() const { return groups() * K() * gates * units; }
};
template <class T> Weights<T> weights(Mat<const T> matrix, Mat<const T> input, idx gates, idx H) {
  const idx vectors = gates == 1 ? (H > 16 * lanes<T> ? 3 : 4) : gates == 2 ? 2 : 1;  // of units
  return {matrix, input, H, gates, vectors * lanes<T>, nullptr};
}
// B: rows k0 and on of all.
template <class T> FASTNN_ONCE void pack_group(const Weights<T>& W, Mat<const T> B, idx k0, idx p) {
  constexpr idx L = lanes<T>;
  const idx u = p * W.units, w = W.width(p), columns = W.gates * w, vectors = W.vectors(p);
  for (idx v = 0; v < vectors; ++v) {
    const idx first = v / kPanel * kPanel, ld = min_of(vectors - first, kPanel) * L;
    T* const to = W.group(p) + W.K() * first * L + (v - first) * L + k0 * ld;
    if (w == W.units || W.gates == 1) {
      const T* const from = B.data + (v * L / w * W.H + u + v * L % w) * B.cs;
      pack_columns<T>({from, B.rows, min_of(columns - v * L, L), B.rs, B.cs}, to, ld);
    } else {  // units that do not fill a vector: their gates share it
      for (idx i = 0; i < L; ++i) {
        const idx j = min_of(v * L + i, columns - 1);
        for (idx k = 0; k < B.rows; ++k) to[k * ld + i] = B.data[k * B.rs + (j / w * W.H + u + j % w) * B.cs];
      }
    }
  }
}
template <class T> void pack(const Weights<T>& W) {
  parallel_for(W.groups(), 4 * W.elements(), [&](idx p) {
    pack_group(W, W.matrix, 0, p);
    if (W.input.rows) pack_group(W, W.input, W.matrix.rows, p);
  });
}

// c (MR rows, kGroupVectors vectors apart) = a (MR, K) @ b (K, NV vectors) (+ c when `resume`). One vector of each NV
// at `ahead` is brought to L2 meanwhile.
template <class T, int MR, int NV>
void step_tile(idx K, const T* a, idx as, const T* b, T* c, bool resume, const T* ahead) {
  constexpr idx L = lanes<T>, ld = kGroupVectors * L;
  Simd<T> acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[i][v] = resume ? load(c + i * ld + v * L) : Simd<T>{};
  for (idx k = 0; k < K; ++k, b += NV * L, ahead += NV * L) {
    __builtin_prefetch(ahead, 0, 2);
    Simd<T> bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v * L);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const Simd<T> s = broadcast<T>(a[i * as + k]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(s, bv[v], acc[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(c + i * ld + v * L, acc[i][v]);
}
template <class T> using StepTile = void (*)(idx K, const T* a, idx as, const T* b, T* c, bool resume, const T* ahead);
template <class T, int MR = kStepRows, int NV = kPanel> StepTile<T> pick_step_tile(idx rows, idx vectors) {
  if constexpr (NV > 1 && MR == kStepRows)
    if (vectors < NV) return pick_step_tile<T, MR, NV - 1>(rows, vectors);
  if constexpr (MR > 1)
    if (rows < MR) return pick_step_tile<T, MR - 1, NV>(rows, vectors);
  return step_tile<T, MR, NV>;
}

// What happens to a finished tile: f(n, rows, u, w, y, ld), rows n and on, units [u, u + w), the product for gate q at
// y[q * w], rows `ld` apart. By a pointer, so that the loops below exist once.
template <class T> class Finish {
 public:
  template <class F> Finish(const F& f)
      : f_(&f), call_([](const void* g, idx n, idx rows, idx u, idx w, const T* y, idx ld) {
          (*static_cast<const F*>(g))(n, rows, u, w, y, ld);
        }) {}
  void operator()(idx n, idx rows, idx u, idx w, const T* y, idx ld) const { call_(f_, n, rows, u, w, y, ld); }

 private:
  const void* f_;
  void (*call_)(const void* f, idx n, idx rows, idx u, idx w, const T* y, idx ld);
};

// What a thread does of a step: rows [n0, n1), and this share of each matrix's groups.
struct Part {
  idx n0, n1, column, columns;
};
// a @ W for the rows and groups of the part, K = 0 for zeros. a: (N, K), rows W.row() apart.
template <class T>
FASTNN_ONCE void product(const Weights<T>& W, const T* a, idx K, Part part, const Finish<T>& finish) {
  constexpr idx L = lanes<T>, ld = kGroupVectors * L;
  alignas(64) T y[kBufferRows * ld];
  const idx lda = W.row(), blocks = K == 0 ? 1 : (K + kStepDepth - 1) / kStepDepth, groups = W.groups();
  for (idx p = groups * part.column / part.columns; p < groups * (part.column + 1) / part.columns; ++p) {
    const idx vectors = W.vectors(p);
    for (idx r0 = part.n0; r0 < part.n1; r0 += kBufferRows) {
      const idx rows = min_of(part.n1 - r0, kBufferRows), tiles = (rows + kStepRows - 1) / kStepRows;
      for (idx block = 0; block < blocks; ++block) {
        const idx k0 = K * block / blocks, kc = K * (block + 1) / blocks - k0;
        for (idx i = 0; i < tiles; ++i) {
          const idx first = rows * i / tiles, count = rows * (i + 1) / tiles - first;
          T* const c = y + first * ld;
          for (idx v = 0; v < vectors; v += kPanel) {
            const idx n = min_of(vectors - v, kPanel);
            const T* const b = W.group(p) + (W.K() * v + k0 * n) * L;
            const T* const next = b + (blocks > 1 ? kc * n : W.K() * vectors) * L;  // what is read after these rows
            pick_step_tile<T>(count, n)(kc, a + (r0 + first) * lda + k0, lda, b, c + v * L, block > 0,
                                        i < n ? next + i * L : b);
          }
          if (block == blocks - 1) finish(r0 + first, count, p * W.units, W.width(p), c, ld);
        }
      }
    }
  }
}
// The same without packing, by one thread and the matrix product's own team; y: (N, gates * H).
template <class T> FASTNN_ONCE void plain_product(const Sequence<T>& s, const Weights<T>& W, const T* a, idx K, T* y,
                                                  const Finish<T>& finish) {
  const idx N = s.N, ld = W.gates * W.H;
  if (K)
    s.matmul({a, N, K, W.row(), 1}, W.matrix, row_major(y, N, ld), s.matmul_scratch);
  else
    std::memset(y, 0, size_t(N * ld) * sizeof(T));
  parallel_for((N + kMostRows - 1) / kMostRows, 64 * N * ld, [&](idx block) {
    const idx n = block * kMostRows;
    finish(n, min_of(N - n, kMostRows), idx(0), W.H, static_cast<const T*>(y + n * ld), ld);
  });
}

template <class T> struct Carver {  // 64-byte aligned pieces of one block; null gives null, to see the size
  T* base;
  idx used = 0;
  T* take(idx n) {
    T* const piece = base ? base + used : nullptr;
    used += round_up(n, 64);
    return piece;
  }
};

// Few products with Wh: packing costs more than it saves (one row reads Wh where it is at full speed).
template <class T> bool packs(const Sequence<T>& s, bool backward) { return s.steps > 1 && (s.N > 1 || backward); }
// Whether the steps make x @ Wx themselves, as further rows of Wh: a pass over the gates costs more than so few rows
// (float32, forward: LSTM (8,1000,1,64) 2.35 ms -> 2.25, (128,29,16,256) 11.0 -> 10.5; (20,35,100,100) 0.58 -> 0.61).
constexpr idx kFoldedInput = 32;
template <class T> bool takes_input(const Sequence<T>& s) {
  return packs(s, false) && s.D <= kFoldedInput && s.cell != Cell::gru_linear;
}
// Scratch of a call: packed weights, and states between the steps.
template <class T> struct Loop {
  const Sequence<T>& s;
  idx N, H, G;
  bool packed, narrow;          // narrow: takes_input
  Weights<T> W, candidate;      // of GRU: z and r; the candidate
  T *a[2], *b, *c, *y, *zeros;  // a: what the product with W reads, b: that with `candidate`; c: a running state
  idx used;

  Loop(const Sequence<T>& sequence, bool backward)
      : s(sequence), N(s.N), H(s.H), packed(packs(s, backward)), narrow(!backward && takes_input(s)) {
    const bool gru = s.cell == Cell::gru;
    const idx all = s.cell == Cell::rnn ? 1 : s.cell == Cell::lstm ? 4 : 3;
    G = gru ? 2 : all;
    Mat<const T> first{s.Wh, H, G * H, all * H, 1}, second{s.Wh + 2 * H, H, H, 3 * H, 1};
    const idx D = narrow ? s.D : 0;
    W = backward ? weights<T>(transposed(first), {}, 1, H) : weights<T>(first, {s.Wx, D, G * H, all * H, 1}, G, H);
    if (gru)
      candidate = backward ? weights<T>(transposed(second), {}, 1, H)
                           : weights<T>(second, {s.Wx + 2 * H, D, H, 3 * H, 1}, 1, H);
    Carver<T> carver{s.scratch}, kept{s.panels};
    if (packed) {
      Carver<T>& from = s.panels ? kept : carver;
      W.panels = from.take(W.elements());
      if (gru) candidate.panels = from.take(candidate.elements());
    }
    for (T*& each : a) each = carver.take(N * W.row());
    b = gru ? carver.take(N * candidate.row()) : nullptr;
    c = carver.take(N * H);
    y = packed ? nullptr : carver.take(N * W.gates * H);
    zeros = carver.take(narrow ? all * H : H);
    used = carver.used;
  }
  void pack_weights() const {
    if (!packed || s.panels) return;
    pack(W);
    if (candidate.H) pack(candidate);
  }
  idx time(idx step, bool backward) const { return s.reverse != backward ? s.steps - 1 - step : step; }
  // From units [u, u + w) of a row of `width` elements a step to those of the next tile: the next units, or the next
  // step.
  idx ahead(idx u, idx w, idx width, bool backward) const {
    return s.steps == 1 ? 0 : u + w < H ? w : (s.reverse != backward ? -width : width) * s.row_t - u;
  }
  idx row(idx n, idx t) const { return n * s.row_n + t * s.row_t; }
  // x of a step of sequence n behind the state in row n of `states`.
  FASTNN_ONCE void take_input(T* states, idx n, idx step) const {
    if (!narrow || step == s.steps) return;
    const T* const x = s.x + row(n, time(step, false)) * s.D;
    T* const to = states + n * W.row() + H;
    for_vectors<T>(0, s.D, [&](auto at) { at.put(to, at(x)); });
  }
  bool taken(idx n, idx t) const { return !s.lengths || t < s.lengths[n]; }
  // Whether sequence n had a gradient at the step before this one, of backward.
  bool arrives(idx n, idx step) const { return !s.lengths || (step > 0 && taken(n, time(step - 1, true))); }
  // Row of the state before step t: of `states`, or the first one.
  const T* before(const T* states, const T* first, idx n, idx t) const {
    const bool begins = s.reverse ? t == s.steps - 1 || (s.lengths && t == s.lengths[n] - 1) : t == 0;
    if (!begins) return states + row(n, s.reverse ? t + 1 : t - 1) * H;
    return first ? first + n * H : zeros;
  }
  void multiply(const Weights<T>& weights, const T* from, idx K, Part part, const Finish<T>& finish) const {
    if (packed)
      product(weights, from, K, part, finish);
    else
      plain_product(s, weights, from, K, y, finish);
  }
  // f(step, part, wait) for the steps in every thread; wait: a barrier between what some write and others read.
  template <class F> void run(idx begin, idx end, F f) const {
    const idx work = 2 * N * H * W.K() * W.gates * (end - begin);
    int threads = packed ? team(work) : 1;
    const idx groups = W.groups();
    const bool by_rows = N >= 4 * threads;
    if (threads > (by_rows ? N : groups)) threads = int(by_rows ? N : groups);
    parallel_region(threads, [&](int thread, int count) {
      const Part part =
          by_rows || count == 1 ? Part{N * thread / count, N * (thread + 1) / count, 0, 1} : Part{0, N, thread, count};
      const bool wait = part.columns > 1;
      for (idx step = begin; step < end; ++step) f(step, part, wait);
    });
  }
};

// What a gradient is multiplied with: the state, or 0 where the gradient is 0 and the state infinite. A saturated gate
// has the gradient 0 then, not NaN.
template <class T> inline Simd<T> seen_by(Simd<T> gradient, Simd<T> state) {
  return ((gradient == 0) & (abs(state) == T(__builtin_inf()))) ? Simd<T>{} : state;
}
// x, or 0 where it is so small that products of it would be denormal. Gradients fade from step to step but never reach
// 0, because the smallest denormal number times 0.7 is rounded to itself, and denormal operands take 90 cycles
// (backward of an LSTM by one thread, N 8, T 1,000, H 64, a gradient at one end only: 469 ms, with this 17).
template <class T> inline Simd<T> unless_faded(Simd<T> x) {
  constexpr T least = MathConstants<T>::min_normal * T(int64_t(2) << MathConstants<T>::bits);
  return zero_where(less(abs(x), Simd<T>{} + least), x);
}
template <class T> inline Simd<T> rnn_function(Activation kind, Simd<T> x) {
  return kind == Activation::tanh ? tanh(x) : kind == Activation::relu ? (x <= 0 ? Simd<T>{} : x) : sigmoid(x);
}
// Brings what the tile after this one reads or writes to L1: the lines are too far apart for the processor to foresee.
template <class T> inline void foresee(const T* p, idx w) {
  for (idx i = 0; i < w; i += 64 / idx(sizeof(T))) __builtin_prefetch(p + i);
}
// The cells of a tile of an LSTM, from its first row and unit on. In two rounds over the rows, since one cell waits for
// two chains of exp and a division, and the processor looks no farther than 450 instructions ahead.
template <class T> struct LstmCells {
  T *gates, *cs, *hs, *c, *next;
  const T *input, *y, *peephole;  // input + y: what the gates are given
  idx H, row, next_row, input_row, y_row, ahead, gates_ahead;
};
template <class T> FASTNN_ONCE void lstm_cells(const LstmCells<T>& tile, idx rows, idx w) {
  const LstmCells<T> t = tile;
  const idx H = t.H;
  const T* const p = t.peephole;
  for_vectors<T>(0, w, [=](auto at) {
    for (idx r = 0; r < rows; ++r) {
      const T *const input = t.input + r * t.input_row, *const y = t.y + r * t.y_row;
      T *const gates = t.gates + r * 4 * t.row, *const c = t.c + r * H, *const cs = t.cs + r * t.row;
      const T* const ahead = gates + t.gates_ahead + at.i;
      __builtin_prefetch(ahead), __builtin_prefetch(ahead + H), __builtin_prefetch(ahead + 2 * H);
      __builtin_prefetch(cs + t.ahead + at.i);
      const Simd<T> before = at(c), g = tanh(at(input + H) + at(y + w));
      Simd<T> f = at(input) + at(y), i = at(input + 2 * H) + at(y + 2 * w);
      if (p) f = fma(at(p), before, f), i = fma(at(p + H), before, i);
      f = sigmoid(f), i = sigmoid(i);
      const Simd<T> cell = fma(f, before, g * i);
      at.put(gates, f), at.put(gates + H, g), at.put(gates + 2 * H, i), at.put(c, cell), at.put(cs, cell);
    }
  });
  for_vectors<T>(0, w, [=](auto at) {
    for (idx r = 0; r < rows; ++r) {
      const T *const input = t.input + r * t.input_row, *const y = t.y + r * t.y_row;
      T *const gates = t.gates + r * 4 * t.row + 3 * H, *const hs = t.hs + r * t.row;
      __builtin_prefetch(gates + t.gates_ahead + at.i), __builtin_prefetch(hs + t.ahead + at.i);
      const Simd<T> cell = at(t.c + r * H);
      Simd<T> o = at(input + 3 * H) + at(y + 3 * w);
      if (p) o = fma(at(p + 2 * H), cell, o);
      o = sigmoid(o);
      const Simd<T> h = o * tanh(cell);
      at.put(gates, o), at.put(hs, h), at.put(t.next + r * t.next_row, h);
    }
  });
}
// The same backward; carry null, or what dh gets besides the product.
template <class T> struct LstmGradients {
  const T *y, *dhs, *gates, *cs, *c_before, *h_before, *peephole;
  T *carry, *da, *next, *dc, *before;
  idx H, row, y_row, next_row, c_row, h_row, ahead, gates_ahead;  // c_row, h_row: of c_before and h_before
};
template <class T> FASTNN_ONCE void lstm_gradients(const LstmGradients<T>& tile, idx rows, idx w) {
  const LstmGradients<T> t = tile;
  const idx H = t.H;
  const T* const p = t.peephole;
  for (idx r = 0; r < rows; ++r) {
    const T *const gates = t.gates + r * 4 * t.row, *const dhs = t.dhs + r * t.row, *const cs = t.cs + r * t.row;
    const T *const c_before = t.c_before + r * t.c_row, *const h_before = t.h_before + r * t.h_row;
    const T* const y = t.y + r * t.y_row;
    T *const da = t.da + r * 4 * t.row, *const next = t.next + r * t.next_row, *const dc = t.dc + r * H;
    T *const before = t.before + r * t.row, *const carry = t.carry ? t.carry + r * H : nullptr;
    foresee(dhs + t.ahead, w), foresee(before + t.ahead, w);
    foresee(c_before + t.ahead, w), foresee(h_before + t.ahead, w);
    for (idx q = 0; q < 4; ++q) foresee(gates + t.gates_ahead + q * H, w), foresee(da + t.gates_ahead + q * H, w);
    for_vectors<T>(0, w, [=](auto at) {
      const Simd<T> f = at(gates), g = at(gates + H), i = at(gates + 2 * H), o = at(gates + 3 * H);
      Simd<T> dh = at(dhs) + at(y);
      if (carry) dh += at(carry), at.put(carry, Simd<T>{});
      dh = unless_faded<T>(dh);
      const Simd<T> tc = tanh(at(cs));
      Simd<T> d_o = dh * tc * (o * (1 - o));
      Simd<T> d = fma(dh * o, 1 - tc * tc, at(dc));
      if (p) d = fma(at(p + 2 * H), d_o, d);
      const Simd<T> slope = d * (f * (1 - f));
      Simd<T> d_f = slope * seen_by<T>(slope, at(c_before)), d_g = d * i * (1 - g * g), d_i = d * g * (i * (1 - i));
      d *= f;
      if (p) d = fma(at(p), d_f, fma(at(p + H), d_i, d));
      at.put(dc, unless_faded<T>(d)), at.put(before, at(h_before));
      d_f = unless_faded<T>(d_f), d_g = unless_faded<T>(d_g), d_i = unless_faded<T>(d_i), d_o = unless_faded<T>(d_o);
      at.put(da, d_f), at.put(da + H, d_g), at.put(da + 2 * H, d_i), at.put(da + 3 * H, d_o);
      at.put(next, d_f), at.put(next + H, d_g), at.put(next + 2 * H, d_i), at.put(next + 3 * H, d_o);
    });
  }
}
template <class T> void clear(T* p, idx n) { std::memset(p, 0, size_t(n) * sizeof(T)); }
template <class T> void copy(const T* from, idx n, T* to) { std::memcpy(to, from, size_t(n) * sizeof(T)); }

template <class T> void rnn_forward(const Sequence<T>& s, idx begin, idx end) {
  const Loop<T> loop(s, false);
  const idx N = s.N, H = s.H, K = loop.W.K(), ld = loop.W.row(),
            gates = s.cell == Cell::rnn    ? 1
                    : s.cell == Cell::lstm ? 4
                                           : 3;
  if (begin == 0) {
    loop.pack_weights();
    clear(loop.zeros, loop.narrow ? gates * H : H);
    for (idx n = 0; n < N; ++n) {
      T* const state = loop.a[0] + n * ld;
      s.h0 ? copy(s.h0 + n * H, H, state) : clear(state, H);
      loop.take_input(loop.a[0], n, 0);
    }
    if (s.cell == Cell::lstm) s.c0 ? copy(s.c0, N * H, loop.c) : clear(loop.c, N * H);
  }
  const T* const bias = s.b ? s.b : loop.zeros;  // of narrow
  loop.run(begin, end, [&](idx step, Part part, bool wait) {
    const idx t = loop.time(step, false);
    const T* const h = loop.a[step % 2];
    T* const h_next = loop.a[(step + 1) % 2];
    // f(row, n, row of the tile) for the rows of a tile; a step that is not taken keeps the state and gives zeros.
    const auto rows = [&](idx n0, idx count, idx u, idx w, auto f) {
      for (idx n = n0; n < n0 + count; ++n) {
        const idx row = loop.row(n, t);
        if (u == 0) loop.take_input(h_next, n, step + 1);
        if (loop.taken(n, t)) {
          f(row, n, n - n0);
          continue;
        }
        const idx saved = s.cell == Cell::rnn ? 0 : s.cell == Cell::gru ? 3 : 4;
        for (idx q = 0; q < saved; ++q) clear(s.gates + (row * saved + q) * H + u, w);
        clear(s.hs + row * H + u, w);
        if (s.cell == Cell::lstm) clear(s.cs + row * H + u, w);
        copy(h + n * ld + u, w, h_next + n * ld + u);
      }
    };
    if (s.cell == Cell::rnn) {
      loop.multiply(loop.W, h, K, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        rows(n0, count, u, w, [&](idx row, idx n, idx r) {
          T *const out = s.hs + row * H + u, *const next = h_next + n * ld + u;
          const T* const input = loop.narrow ? bias + u : out;
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> v = rnn_function<T>(s.activation, at(input) + at(y + r * ly));
            at.put(out, v);
            at.put(next, v);
          });
        });
      });
    } else if (s.cell == Cell::lstm) {
      loop.multiply(loop.W, h, K, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        const auto cells = [&](idx row, idx n, idx first, idx some) {
          T* const gates = s.gates + row * 4 * H + u;
          lstm_cells<T>({.gates = gates,
                         .cs = s.cs + row * H + u,
                         .hs = s.hs + row * H + u,
                         .c = loop.c + n * H + u,
                         .next = h_next + n * ld + u,
                         .input = loop.narrow ? bias + u : gates,
                         .y = y + first * ly,
                         .peephole = s.peephole ? s.peephole + u : nullptr,
                         .H = H,
                         .row = s.row_n * H,
                         .next_row = ld,
                         .input_row = loop.narrow ? 0 : 4 * s.row_n * H,
                         .y_row = ly,
                         .ahead = loop.ahead(u, w, H, false),
                         .gates_ahead = loop.ahead(u, w, 4 * H, false)},
                        some, w);
        };
        if (s.lengths) return rows(n0, count, u, w, [&](idx row, idx n, idx r) { cells(row, n, r, 1); });
        if (u == 0)
          for (idx n = n0; n < n0 + count; ++n) loop.take_input(h_next, n, step + 1);
        cells(loop.row(n0, t), n0, 0, count);
      });
    } else if (s.cell == Cell::gru) {
      loop.multiply(loop.W, h, K, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        for (idx n = n0; n < n0 + count; ++n) {  // also where not taken: zeroed below
          T* const gates = s.gates + loop.row(n, t) * 3 * H + u;
          const T *const input = loop.narrow ? bias + u : gates, *const state = h + n * ld + u;
          const T* const sum = y + (n - n0) * ly;
          T* const reset = loop.b + n * ld + u;
          if (u == 0) loop.take_input(loop.b, n, step);
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> z = sigmoid(at(input) + at(sum)), r = sigmoid(at(input + H) + at(sum + w));
            at.put(gates, z), at.put(gates + H, r), at.put(reset, r * at(state));
          });
        }
      });
      if (wait) barrier();
      loop.multiply(loop.candidate, loop.b, K, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        rows(n0, count, u, w, [&](idx row, idx n, idx r) {
          T *const gates = s.gates + row * 3 * H + u, *const out = s.hs + row * H + u,
                   *const next = h_next + n * ld + u;
          const T* const input = (loop.narrow ? bias + u : gates) + 2 * H;
          const T *const state = h + n * ld + u, *const sum = y + r * ly;
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> z = at(gates), k = tanh(at(input) + at(sum));
            const Simd<T> v = fma(z, k, (1 - z) * at(state));
            at.put(gates + 2 * H, k), at.put(out, v), at.put(next, v);
          });
        });
      });
    } else {
      loop.multiply(loop.W, h, K, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        rows(n0, count, u, w, [&](idx row, idx n, idx q) {
          T *const gates = s.gates + row * 4 * H + u, *const out = s.hs + row * H + u,
                   *const next = h_next + n * ld + u;
          const T *const state = h + n * ld + u, *const sum = y + q * ly, *const bias = s.b_h ? s.b_h + u : loop.zeros;
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> z = sigmoid(at(gates) + at(sum)), r = sigmoid(at(gates + H) + at(sum + w));
            const Simd<T> product = at(sum + 2 * w) + at(bias), k = tanh(fma(r, product, at(gates + 2 * H)));
            const Simd<T> v = fma(z, k, (1 - z) * at(state));
            at.put(gates, z), at.put(gates + H, r), at.put(gates + 2 * H, k), at.put(gates + 3 * H, product);
            at.put(out, v), at.put(next, v);
          });
        });
      });
    }
    if (wait) barrier();
  });
}

// dpeephole (3, H) = sums of da times the c that each gate saw, over the steps that are taken.
template <class T> void peephole_gradient(const Loop<T>& loop) {
  const Sequence<T>& s = loop.s;
  const idx H = s.H;
  clear(s.dpeephole, 3 * H);
  for (idx n = 0; n < s.N; ++n)
    for (idx t = 0; t < s.steps && loop.taken(n, t); ++t) {
      const idx row = loop.row(n, t);
      const T *const da = s.da + row * 4 * H, *const before = loop.before(s.cs, s.c0, n, t),
                     *const after = s.cs + row * H;
      T* const d = s.dpeephole;
      for_vectors<T>(0, H, [&](auto at) {
        const Simd<T> d_f = at(da), d_i = at(da + 2 * H), d_o = at(da + 3 * H);
        at.put(d, fma(d_f, seen_by<T>(d_f, at(before)), at(d)));
        at.put(d + H, fma(d_i, seen_by<T>(d_i, at(before)), at(d + H)));
        at.put(d + 2 * H, fma(d_o, seen_by<T>(d_o, at(after)), at(d + 2 * H)));
      });
    }
}

// The gradients da of x @ Wx + b, dh0, dc0, and what the products over all steps read. loop.a: da of the step before
// (of GRU: z, r; gru_linear: z, r, du), loop.b: da of the candidate, loop.c: what dh gets besides the product.
template <class T> void rnn_backward(const Sequence<T>& s, idx begin, idx end) {
  const Loop<T> loop(s, true);
  const idx N = s.N, H = s.H, K = loop.W.K(), ld = loop.W.row(),
            G = s.cell == Cell::rnn    ? 1
                : s.cell == Cell::lstm ? 4
                                       : 3;
  const bool carries = s.lengths || s.cell == Cell::gru || s.cell == Cell::gru_linear;
  if (begin == 0) {
    loop.pack_weights();
    clear(loop.zeros, H);
    clear(loop.c, N * H);
    if (s.cell == Cell::lstm) s.dcT ? copy(s.dcT, N * H, s.dc0) : clear(s.dc0, N * H);
  }
  // after the last step its product with Wh, which is dh0
  loop.run(begin, end == s.steps ? end + 1 : end, [&](idx step, Part part, bool wait) {
    const idx t = loop.time(step, true), depth = step == 0 ? 0 : K;
    const T* const from = loop.a[(step + 1) % 2];
    T* const to = loop.a[step % 2];
    if (step == s.steps)
      return loop.multiply(loop.W, from, depth, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
        for (idx n = n0; n < n0 + count; ++n) {
          T* const out = s.dh0 + n * H + u;
          const T* const carry = loop.c + n * H + u;
          const T* const sum = loop.arrives(n, step) ? y + (n - n0) * ly : loop.zeros;
          for_vectors<T>(0, w, [&](auto at) { at.put(out, at(sum) + at(carry)); });
        }
      });
    loop.multiply(loop.W, from, depth, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
      const idx at_once = s.cell == Cell::lstm && !s.lengths ? count : 1;  // rows
      for (idx n = n0; n < n0 + count; n += at_once) {
        const idx row = loop.row(n, t);
        const T* const sum = loop.arrives(n, step) ? y + (n - n0) * ly : loop.zeros;
        const T* const dhs = s.dhs + row * H + u;
        T *const carry = loop.c + n * H + u, *const da = s.da + row * G * H + u, *const next = to + n * ld + u;
        const T* const h_before = loop.before(s.hs, s.h0, n, t) + u;
        const idx ahead = loop.ahead(u, w, H, true), gates_ahead = loop.ahead(u, w, G * H, true);
        if (s.cell == Cell::lstm && loop.taken(n, t)) {
          const auto to_next = [&](const T* states, const T* first) {
            return at_once > 1 ? loop.before(states, first, n + 1, t) - loop.before(states, first, n, t) : 0;
          };
          lstm_gradients<T>({.y = sum,
                             .dhs = dhs,
                             .gates = s.gates + row * 4 * H + u,
                             .cs = s.cs + row * H + u,
                             .c_before = loop.before(s.cs, s.c0, n, t) + u,
                             .h_before = h_before,
                             .peephole = s.peephole ? s.peephole + u : nullptr,
                             .carry = carries ? carry : nullptr,
                             .da = da,
                             .next = next,
                             .dc = s.dc0 + n * H + u,
                             .before = s.before + row * H + u,
                             .H = H,
                             .row = s.row_n * H,
                             .y_row = ly,
                             .next_row = ld,
                             .c_row = to_next(s.cs, s.c0),
                             .h_row = to_next(s.hs, s.h0),
                             .ahead = ahead,
                             .gates_ahead = gates_ahead},
                            at_once, w);
          continue;
        }
        foresee(dhs + ahead, w), foresee(h_before + ahead, w), foresee(s.before + row * H + u + ahead, w);
        for (idx q = 0; q < G; ++q) foresee(da + gates_ahead + q * H, w);
        if (!loop.taken(n, t)) {
          clear(s.before + row * H + u, w);
          for_vectors<T>(0, w, [&](auto at) { at.put(carry, at(carry) + at(sum)); });
          for (idx q = 0; q < G; ++q) clear(da + q * H, w);
          for (idx q = 0; q < K / H; ++q) clear(next + q * H, w);
          if (s.cell == Cell::gru) clear(loop.b + n * loop.candidate.row() + u, w);
          if (s.cell == Cell::gru_linear) clear(s.du + row * H + u, w);
          continue;
        }
        copy(h_before, w, s.before + row * H + u);
        const auto arriving = [&](auto at) {
          const Simd<T> dh = at(dhs) + at(sum);
          return unless_faded<T>(carries ? dh + at(carry) : dh);
        };
        if (s.cell == Cell::rnn) {
          const T* const out = s.hs + row * H + u;
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> dh = arriving(at), y = at(out);
            const Simd<T> d = s.activation == Activation::tanh   ? dh * (1 - y * y)
                              : s.activation == Activation::relu ? (y <= 0 ? Simd<T>{} : dh)
                                                                 : dh * (y * (1 - y));
            at.put(da, d), at.put(next, d);
            if (carries) at.put(carry, Simd<T>{});
          });
        } else {
          const bool linear = s.cell == Cell::gru_linear;
          const T* const gates = s.gates + row * (linear ? 4 : 3) * H + u;
          for_vectors<T>(0, w, [&](auto at) {
            const Simd<T> z = at(gates), k = at(gates + 2 * H), dh = arriving(at);
            const Simd<T> slope = dh * (z * (1 - z)), d_z = slope * seen_by<T>(slope, k - at(h_before));
            const Simd<T> d_k = dh * z * (1 - k * k);
            at.put(da, d_z), at.put(da + 2 * H, d_k), at.put(next, d_z);
            at.put(carry, dh * (1 - z));
            if (linear) {
              const Simd<T> r = at(gates + H), d_u = d_k * r, reset_slope = d_k * (r * (1 - r));
              const Simd<T> d_r = reset_slope * seen_by<T>(reset_slope, at(gates + 3 * H));
              at.put(da + H, d_r), at.put(next + H, d_r), at.put(next + 2 * H, d_u), at.put(s.du + row * H + u, d_u);
            } else {
              at.put(loop.b + n * loop.candidate.row() + u, d_k);
            }
          });
        }
      }
    });
    if (wait) barrier();
    if (s.cell != Cell::gru) return;
    loop.multiply(loop.candidate, loop.b, H, part, [&](idx n0, idx count, idx u, idx w, const T* y, idx ly) {
      for (idx n = n0; n < n0 + count; ++n) {
        const idx row = loop.row(n, t);
        const T *const sum = y + (n - n0) * ly, *const gates = s.gates + row * 3 * H + u;
        const T* const h_before = s.before + row * H + u;
        T *const carry = loop.c + n * H + u, *const da = s.da + row * 3 * H + u, *const next = to + n * ld + u;
        T* const reset = s.reset + row * H + u;
        if (!loop.taken(n, t)) {
          clear(reset, w);
          continue;
        }
        for_vectors<T>(0, w, [&](auto at) {
          const Simd<T> r = at(gates + H), d = at(sum), h = at(h_before), slope = d * (r * (1 - r));
          const Simd<T> d_r = slope * seen_by<T>(slope, h);
          at.put(da + H, d_r), at.put(next + H, d_r), at.put(reset, r * h);
          at.put(carry, fma(d, r, at(carry)));
        });
      }
    });
    if (wait) barrier();
  });
  if (end == s.steps && s.dpeephole) peephole_gradient(loop);
}

// Blocks [begin, end) of all; with the last one dWx and db, the sums of all blocks in order. da is read once, 16 rows
// at a time in L1.
template <class T> void input_gradients(const InputGradients<T>& given, idx begin, idx end) {
  const InputGradients<T> g = given;
  const idx D = g.D, width = g.width;
  parallel_for(end - begin, 2 * (end - begin) * kSumRows * width * idx(sizeof(T)), [=](idx i) {
    const idx first = (begin + i) * kSumRows, last = min_of(first + kSumRows, g.rows);
    T* const sums = g.partial + (begin + i) * (D + 1) * width;  // of dWx, then of db
    constexpr idx kRows = 16;
    for (idx r0 = first; r0 < last; r0 += kRows) {
      const idx rows = min_of(last - r0, kRows);
      const T* const da = g.da + r0 * width;
      if (last - r0 > kRows) foresee(da + rows * width, min_of(last - r0 - rows, kRows) * width);
      for (idx r = 0; g.dx && r < rows; ++r)
        for (idx d = 0; d < D; ++d) {
          const T *const row = da + r * width, *const W = g.Wx + d * width;
          g.dx[(r0 + r) * D + d] = sum_vectors<T>(0, width, [=](auto at) { return at(row) * at(W); })[0];
        }
      for (idx d = 0; d <= D; ++d) {
        T x[kRows];
        for (idx r = 0; r < rows; ++r) x[r] = d == D ? T(1) : g.x[(r0 + r) * D + d];
        T* const sum = sums + d * width;
        for_vectors<T>(0, width, [=, &x](auto at) {
          Simd<T> acc[4] = {};
          if (r0 > first) acc[0] = at(sum);
          idx r = 0;
          for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
            for (idx i = 0; i < 4; ++i) acc[i] = fma(broadcast(x[r + i]), at(da + (r + i) * width), acc[i]);
          for (; r < rows; ++r) acc[0] = fma(broadcast(x[r]), at(da + r * width), acc[0]);
          at.put(sum, (acc[0] + acc[1]) + (acc[2] + acc[3]));
        });
      }
    }
  });
  const idx blocks = sum_blocks_of_rows(g.rows);
  if (end < blocks) return;
  for (idx d = 0; d <= D; ++d) {
    T* const out = d == D ? g.db : g.dWx ? g.dWx + d * width : nullptr;
    const T* const sums = g.partial + d * width;
    if (!out) continue;
    for_vectors<T>(0, width, [=](auto at) {
      Simd<T> sum{};
      for (idx i = 0; i < blocks; ++i) sum += at(sums + i * (D + 1) * width);
      at.put(out, sum);
    });
  }
}

// NaN does not count.
template <class T> bool any_infinite(const T* x, idx n) {
  constexpr idx kBlock = 1 << 14;
  bool found = false;
  for (idx begin = 0; begin < n && !found; begin += kBlock) {
    Simd<T> most{};
    for_vectors<T>(begin, min_of(begin + kBlock, n), [&](auto at) { most = larger(abs(at(x)), most); });
    found = max_of_lanes<T>(most)[0] == T(__builtin_inf());
  }
  return found;
}

template <class T> idx rnn_workspace(const Sequence<T>& s, bool backward) {
  return Loop<T>(s, backward).used * idx(sizeof(T));
}

}  // namespace
}  // namespace FASTNN_NS
