#include <algorithm>
#include <cmath>
#include <vector>

#include "arguments.h"
#include "families.h"
#include "function.h"
#include "recurrent.h"

namespace fastnn {
namespace {

// A recurrent layer: what all operations are given, and the other arguments by the names that they have in Sequence.
struct Layer : Arguments {
  Cell cell;
  Activation activation{};
  idx G, N = 0, steps = 0, D = 0, H = 0;  // G gates of H units
  idx first = 0, second = 0;              // axes of x
  bool time_major = false, reverse = false;
  const int64_t* lengths = nullptr;
  std::vector<int64_t> own_lengths;  // a copy: the caller's array may change while the GIL is released
  const void *x = nullptr, *Wx, *Wh, *b = nullptr, *b_h = nullptr, *peephole = nullptr, *h0 = nullptr, *c0 = nullptr,
             *dhs = nullptr, *dcT = nullptr;
  void *hs = nullptr, *cs = nullptr, *gates = nullptr, *dx = nullptr, *dWx = nullptr, *dWh = nullptr, *db = nullptr,
       *dh0 = nullptr, *dc0 = nullptr, *dpeephole = nullptr, *db_h = nullptr;

  Layer(Cell kind, py::handle x_, py::handle Wx_, py::handle Wh_,
        const py::handle* tail)  // lengths, reverse, time_major
      : cell(kind),
        G(kind == Cell::rnn    ? 1
          : kind == Cell::lstm ? 4
                               : 3) {
    const ArrayProxy *array = begin(x_, 3), *states = as_array(Wh_, kPlain, 2);
    ok = ok && states;
    reverse = flag(tail[1]), time_major = flag(tail[2]);
    if (!ok) return;
    first = array->dimensions[0], second = array->dimensions[1], D = array->dimensions[2];
    N = time_major ? second : first, steps = time_major ? first : second, H = states->dimensions[0];
    note(array);
    x = array->data;
    Wx = in(Wx_, {D, G * H}), Wh = in(Wh_, {H, G * H});
    ok = ok && steps > 0;
    if (ok && !tail[0].is_none()) read_lengths(tail[0]);
  }
  void read_lengths(py::handle h) {
    const In<int64_t> given(h, 1);
    ok = given && given.dim(0) == N;
    if (!ok) return;
    own_lengths.assign(given.data(), given.data() + N);
    lengths = own_lengths.data();
    for (idx n = 0; n < N; ++n) ok = ok && lengths[n] >= 0 && lengths[n] <= steps;
  }
  bool read_activation(py::handle name) {
    return parse_activation(name, activation) &&
           (activation == Activation::tanh || activation == Activation::relu || activation == Activation::sigmoid);
  }
  idx saved() const { return cell == Cell::gru_linear ? 4 : G; }  // of H, in gates
  void* steps_in(py::handle h, idx width) { return const_cast<void*>(in(h, {first, second, width})); }
  void* steps_out(py::handle h, idx width) { return out(h, {first, second, width}); }
  void gradients(const py::handle* outs) {  // those that all operations have
    dx = steps_out(outs[0], D), dWx = out(outs[1], {D, G * H}), dWh = out(outs[2], {H, G * H});
    db = out(outs[3], {G * H}), dh0 = out(outs[4], {N, H});
  }

  template <class T> RecurrentLayer<T> plain() const {
    return {static_cast<const T*>(x), row_major(static_cast<const T*>(Wx), D, G * H), G, N, steps, D, H};
  }
  template <class T> Sequence<T> sequence() const {
    const auto in = [](const void* p) { return static_cast<const T*>(p); };
    const auto out = [](void* p) { return static_cast<T*>(p); };
    Sequence<T> s{};
    s.cell = cell, s.activation = activation;
    s.N = N, s.steps = steps, s.H = H;
    s.row_n = time_major ? 1 : steps, s.row_t = time_major ? N : 1;
    s.reverse = reverse;
    s.lengths = lengths;
    s.Wh = in(Wh), s.b_h = in(b_h), s.peephole = in(peephole), s.h0 = in(h0), s.c0 = in(c0);
    s.hs = out(hs), s.cs = out(cs), s.gates = out(gates);
    s.dhs = in(dhs), s.dcT = in(dcT), s.dh0 = out(dh0), s.dc0 = out(dc0), s.dpeephole = out(dpeephole);
    return s;
  }
};

// Pieces of one scratch block, 64-byte aligned: sizes first, then the block.
struct Pieces {
  size_t used = 0;
  size_t add(idx bytes) {
    const size_t at = used;
    used += (size_t(bytes) + 63) / 64 * 64;
    return at;
  }
};
template <class T> idx partial_sums(const RecurrentLayer<T>& layer) {
  return sum_blocks_of_rows(layer.rows()) * (std::min(layer.D, kNarrowInput) + 1) * layer.G * layer.H;
}
template <class T> struct Layout {
  Pieces pieces;
  size_t loop = 0, product = 0, da = 0, before = 0, other = 0, x = 0;
  Layout(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, Sequence<T> s, bool backward) {
    s.D = layer.D;
    loop = pieces.add(kernels.rnn.workspace(s, backward));
    const auto& affine = kernels.affine;
    const idx rows = layer.rows(), H = layer.H, width = layer.G * H, size = idx(sizeof(T));
    product = pieces.add(
        backward
            ? std::max({affine.backward_workspace(rows, layer.D, width), affine.matmul_workspace(layer.N, H, width),
                        affine.matmul_workspace(H, width, rows), partial_sums(layer) * size})
            : std::max(affine.forward_workspace(rows, layer.D, width), affine.matmul_workspace(layer.N, width, H)));
    if (!backward) return;
    da = pieces.add(rows * width * size), before = pieces.add(rows * H * size);
    x = pieces.add(rows * layer.D * size);
    if (s.cell == Cell::gru || s.cell == Cell::gru_linear) other = pieces.add(rows * H * size);
  }
};

// f(begin, end) over the steps, in order; a long call in chunks with a look for Ctrl-C after each.
template <class F> void run_steps(idx steps, double work, F&& f) {
  const double chunks = work / active_table->chunk_work;
  const idx step = chunks > 1 ? std::max(idx(double(steps) / chunks), idx(1)) : steps;
  if (step == steps) return run(work, [&] { f(idx(0), steps); });
  for (idx begin = 0; begin < steps; begin += step) {
    {
      const WithoutGil without;
      f(begin, std::min(begin + step, steps));
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}
struct Runner {
  bool interruptible;
  template <class F> void rows(idx n, double work, F&& f) const { interruptible ? run_rows(n, work, f) : f(0, n); }
  template <class F> void steps(idx n, double work, F&& f) const { interruptible ? run_steps(n, work, f) : f(0, n); }
};

// The steps that are not taken: 0 in x (N * steps rows of `width`).
template <class T> void clear_padding(const Sequence<T>& s, T* x, idx width) {
  for (idx n = 0; n < s.N; ++n)
    for (idx t = s.lengths[n]; t < s.steps; ++t) std::fill_n(x + (n * s.row_n + t * s.row_t) * width, width, T(0));
}
template <class T> void clear_infinities(T* x, idx n) {
  std::replace_if(x, x + n, [](T v) { return std::isinf(v); }, T(0));
}

template <class T> Mat<T> part(Mat<T> m, idx begin, idx end) { return {m.row(begin), end - begin, m.cols, m.rs, m.cs}; }

}  // namespace

template <class T> idx recurrent_workspace(const Kernels<T>& kernels, const RecurrentLayer<T>& layer,
                                           const Sequence<T>& s, bool backward) {
  return idx(Layout<T>(kernels, layer, s, backward).pieces.used);
}

// Elements of packed Wx, before Wh.
template <class T> idx packed_input(const Kernels<T>& kernels, const RecurrentLayer<T>& layer) {
  return (kernels.affine.packed_elements(layer.D, layer.G * layer.H) + 63) / 64 * 64;
}
template <class T>
std::unique_ptr<void, GiveBack> recurrent_pack(const Kernels<T>& kernels, RecurrentLayer<T> layer, Sequence<T> s) {
  s.N = 2, s.D = layer.D;
  s.x = s.Wx = layer.Wx.data, s.row_n = s.row_t = 0, s.h0 = s.c0 = nullptr;  // looked at, to no purpose
  const idx input = packed_input(kernels, layer), size = sizeof(T);
  const size_t bytes = size_t(input * size + kernels.rnn.workspace(s, false));
  std::unique_ptr<void, GiveBack> memory(pool::take(bytes));
  if (!memory) throw std::bad_alloc();
  T* const to = static_cast<T*>(std::memset(memory.get(), 0, bytes));
  kernels.affine.pack(layer.Wx, to);
  s.scratch = to + input;
  kernels.rnn.forward(s, 0, 0);
  return memory;
}

template <class T> void recurrent_forward(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, Sequence<T>& s,
                                          const T* b, Mat<T> out, void* scratch, bool interruptible) {
  const auto& affine = kernels.affine;
  const auto& rnn = kernels.rnn;
  const Layout<T> layout(kernels, layer, s, false);
  char* const base = static_cast<char*>(scratch);
  const Runner runner{interruptible};
  s.matmul = affine.matmul;
  s.scratch = reinterpret_cast<T*>(base + layout.loop);
  s.matmul_scratch = base + layout.product;
  s.x = layer.x, s.Wx = layer.Wx.data, s.b = b, s.D = layer.D;
  if (layer.packed) s.panels = const_cast<T*>(layer.packed) + packed_input(kernels, layer);
  const idx rows = layer.rows();
  const Mat<const T> x = row_major(layer.x, rows, layer.D);
  if (!rnn.takes_input(s))
    runner.rows(rows, layer.input_work(), [&](idx begin, idx end) {
      const Mat<const T> from = part(x, begin, end);
      const Mat<T> to = part(out, begin, end);
      if (layer.packed)
        affine.forward_packed(from, layer.Wx, layer.packed, b, Activation::identity, T(0), nullptr, false, to,
                              s.matmul_scratch);
      else
        affine.forward(from, layer.Wx, b, Activation::identity, T(0), nullptr, to, s.matmul_scratch);
    });
  if (layer.N && layer.H)
    runner.steps(layer.steps, layer.step_work(), [&](idx begin, idx end) { rnn.forward(s, begin, end); });
}

template <class T> void recurrent_backward(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, Sequence<T>& s,
                                           const RecurrentGradients<T>& g, void* scratch, bool interruptible) {
  const auto& affine = kernels.affine;
  const auto& rnn = kernels.rnn;
  const idx rows = layer.rows(), H = layer.H, width = layer.G * H;
  const bool gru = s.cell == Cell::gru, linear = s.cell == Cell::gru_linear;
  const Layout<T> layout(kernels, layer, s, true);
  const auto piece = [&](size_t at) { return reinterpret_cast<T*>(static_cast<char*>(scratch) + at); };
  const Runner runner{interruptible};
  s.matmul = affine.matmul;
  s.scratch = piece(layout.loop);
  s.matmul_scratch = piece(layout.product);
  s.da = piece(layout.da), s.before = piece(layout.before);
  (gru ? s.reset : s.du) = gru || linear ? piece(layout.other) : nullptr;
  if (layer.N && H)
    runner.steps(layer.steps, layer.step_work(), [&](idx begin, idx end) { rnn.backward(s, begin, end); });
  else if (s.dpeephole)
    std::fill_n(s.dpeephole, 3 * H, T(0));

  // What the products with da read of x and of the states: nothing at steps that are not taken, and no infinity that
  // saturated the gates, whose gradients are 0.
  const T* x = layer.x;
  const bool saturates = s.cell != Cell::rnn || s.activation != Activation::relu;
  const bool infinite = saturates && rnn.any_infinite(x, rows * layer.D);
  if (s.lengths || infinite) {
    T* const copy = piece(layout.x);
    std::copy_n(x, rows * layer.D, copy);
    if (s.lengths) clear_padding(s, copy, layer.D);
    if (infinite) clear_infinities(copy, rows * layer.D);
    x = copy;
  }
  if (saturates && s.h0 && rnn.any_infinite(s.h0, layer.N * H)) {
    clear_infinities(s.before, rows * H);
    if (gru) clear_infinities(s.reset, rows * H);
  }

  const auto sums = [&](const InputGradients<T>& of) {
    runner.rows(sum_blocks_of_rows(rows), double(rows) * double(of.width) * double(of.D + 1) * 4,
                [&](idx begin, idx end) { rnn.input_gradients(of, begin, end); });
  };
  T* const partial = static_cast<T*>(s.matmul_scratch);
  const bool narrow = layer.D <= kNarrowInput;
  sums({s.da, x, layer.Wx.data, g.dx, g.dWx, g.db, rows, narrow ? layer.D : 0, width, partial});
  if (!narrow) {
    const Mat<const T> dout = row_major(static_cast<const T*>(s.da), rows, width);
    const Mat<T> dx = row_major(g.dx, rows, layer.D), dWx = row_major(g.dWx, layer.D, width);
    if (g.dx)
      runner.rows(rows, layer.input_work(), [&](idx begin, idx end) {
        affine.backward(part(dout, begin, end), {}, layer.Wx, part(dx, begin, end), {}, nullptr, false,
                        s.matmul_scratch);
      });
    runner.rows(layer.D, layer.input_work(), [&](idx begin, idx end) {
      const Mat<const T> columns{x + begin, rows, end - begin, layer.D, 1};
      affine.backward(dout, columns, {}, {}, part(dWx, begin, end), nullptr, false, s.matmul_scratch);
    });
  }
  if (s.lengths && g.dx) clear_padding(s, g.dx, layer.D);
  // dWh for the gates whose product reads the state, then that of GRU's candidate
  const auto weight_gradient = [&](const T* states, const T* d, idx ld, idx first, idx columns) {
    runner.rows(H, 2.0 * double(rows) * double(H) * double(columns), [&](idx begin, idx end) {
      const Mat<const T> a{states + begin, end - begin, rows, 1, H};
      affine.matmul(a, {d, rows, columns, ld, 1}, {g.dWh + begin * width + first, end - begin, columns, width, 1},
                    s.matmul_scratch);
    });
  };
  if (!gru && !linear) return weight_gradient(s.before, s.da, width, 0, width);
  weight_gradient(s.before, s.da, width, 0, 2 * H);
  if (gru) return weight_gradient(s.reset, s.da + 2 * H, width, 2 * H, H);
  weight_gradient(s.before, s.du, H, 2 * H, H);
  if (g.db_h) sums({s.du, nullptr, nullptr, nullptr, nullptr, g.db_h, rows, 0, H, partial});
}

#define FASTNN_INSTANTIATE(T)                                                                                         \
  template std::unique_ptr<void, GiveBack> recurrent_pack(const Kernels<T>&, RecurrentLayer<T>, Sequence<T>);         \
  template idx recurrent_workspace(const Kernels<T>&, const RecurrentLayer<T>&, const Sequence<T>&, bool);            \
  template void recurrent_forward(const Kernels<T>&, const RecurrentLayer<T>&, Sequence<T>&, const T*, Mat<T>, void*, \
                                  bool);                                                                              \
  template void recurrent_backward(const Kernels<T>&, const RecurrentLayer<T>&, Sequence<T>&,                         \
                                   const RecurrentGradients<T>&, void*, bool);
FASTNN_INSTANTIATE(float)
FASTNN_INSTANTIATE(double)
#undef FASTNN_INSTANTIATE

namespace {

template <class T> void forward(const Layer& layer) {
  const RecurrentLayer<T> plain = layer.plain<T>();
  Sequence<T> s = layer.sequence<T>();
  const Scratch scratch(size_t(recurrent_workspace(active<T>(), plain, s, false)));
  recurrent_forward(active<T>(), plain, s, static_cast<const T*>(layer.b),
                    {s.cell == Cell::rnn ? s.hs : s.gates, plain.rows(), layer.G * layer.H, layer.saved() * layer.H, 1},
                    scratch, true);
}
template <class T> void backward(const Layer& layer) {
  const RecurrentLayer<T> plain = layer.plain<T>();
  Sequence<T> s = layer.sequence<T>();
  const auto out = [](void* p) { return static_cast<T*>(p); };
  const Scratch scratch(size_t(recurrent_workspace(active<T>(), plain, s, true)));
  recurrent_backward(active<T>(), plain, s,
                     {out(layer.dx), out(layer.dWx), out(layer.dWh), out(layer.db), out(layer.db_h)}, scratch, true);
}
py::object run(Layer& layer, void (*f32)(const Layer&), void (*f64)(const Layer&)) {
  if (layer.ok) (layer.size == sizeof(float) ? f32 : f64)(layer);
  return layer.result();
}
py::object run_forward(Layer& layer) { return run(layer, forward<float>, forward<double>); }
py::object run_backward(Layer& layer) { return run(layer, backward<float>, backward<double>); }

py::object rnn_forward(const py::handle* a) {  // x, Wx, Wh, b, h0, activation, lengths, reverse, time_major, hs
  Layer l(Cell::rnn, a[0], a[1], a[2], a + 6);
  l.b = l.optional(a[3], {l.H}), l.h0 = l.optional(a[4], {l.N, l.H});
  l.ok = l.ok && l.read_activation(a[5]);
  l.hs = l.steps_out(a[9], l.H);
  return run_forward(l);
}

py::object rnn_backward(const py::handle* a) {  // dhs, x, Wx, Wh, h0, hs, activation, ..., dx, dWx, dWh, db, dh0
  Layer l(Cell::rnn, a[1], a[2], a[3], a + 7);
  l.dhs = l.steps_in(a[0], l.H), l.h0 = l.optional(a[4], {l.N, l.H}), l.hs = l.steps_in(a[5], l.H);
  l.ok = l.ok && l.read_activation(a[6]);
  l.gradients(a + 10);
  return run_backward(l);
}

py::object lstm_forward(const py::handle* a) {  // x, Wx, Wh, b, h0, c0, peephole, ..., hs, cs, gates
  Layer l(Cell::lstm, a[0], a[1], a[2], a + 7);
  l.b = l.optional(a[3], {4 * l.H}), l.h0 = l.optional(a[4], {l.N, l.H}), l.c0 = l.optional(a[5], {l.N, l.H});
  l.peephole = l.optional(a[6], {3 * l.H});
  l.hs = l.steps_out(a[10], l.H), l.cs = l.steps_out(a[11], l.H), l.gates = l.steps_out(a[12], 4 * l.H);
  return run_forward(l);
}

// dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole, ..., dx, dWx, dWh, db, dh0, dc0, dpeephole
py::object lstm_backward(const py::handle* a) {
  Layer l(Cell::lstm, a[2], a[3], a[4], a + 11);
  l.dhs = l.steps_in(a[0], l.H), l.dcT = l.optional(a[1], {l.N, l.H});
  l.h0 = l.optional(a[5], {l.N, l.H}), l.c0 = l.optional(a[6], {l.N, l.H});
  l.hs = l.steps_in(a[7], l.H), l.cs = l.steps_in(a[8], l.H), l.gates = l.steps_in(a[9], 4 * l.H);
  l.peephole = l.optional(a[10], {3 * l.H});
  l.gradients(a + 14);
  l.dc0 = l.out(a[19], {l.N, l.H});
  l.ok = l.ok && (l.peephole || a[20].is_none());
  if (l.peephole)
    l.dpeephole = l.out(a[20], {3 * l.H});
  else
    l.no_result();
  return run_backward(l);
}

py::object gru_forward(const py::handle* a) {  // x, Wx, Wh, b, h0, linear_before_reset, b_h, ..., hs, gates
  const bool linear = a[5].ptr() == Py_True;
  Layer l(linear ? Cell::gru_linear : Cell::gru, a[0], a[1], a[2], a + 7);
  l.flag(a[5]);
  l.ok = l.ok && (linear || a[6].is_none());
  l.b = l.optional(a[3], {3 * l.H}), l.h0 = l.optional(a[4], {l.N, l.H}), l.b_h = l.optional(a[6], {l.H});
  l.hs = l.steps_out(a[10], l.H), l.gates = l.steps_out(a[11], l.saved() * l.H);
  return run_forward(l);
}

// dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset, ..., dx, dWx, dWh, db, dh0, db_h
py::object gru_backward(const py::handle* a) {
  const bool linear = a[7].ptr() == Py_True;
  Layer l(linear ? Cell::gru_linear : Cell::gru, a[1], a[2], a[3], a + 8);
  l.flag(a[7]);
  l.ok = l.ok && (linear || a[16].is_none());
  l.dhs = l.steps_in(a[0], l.H), l.h0 = l.optional(a[4], {l.N, l.H});
  l.hs = l.steps_in(a[5], l.H), l.gates = l.steps_in(a[6], l.saved() * l.H);
  l.gradients(a + 11);
  if (linear)
    l.db_h = l.out(a[16], {l.H});
  else
    l.no_result();
  return run_backward(l);
}

}  // namespace

void bind_rnn(py::module_& m) {
  const py::object none = py::none(), no = py::bool_(false), tanh = py::str("tanh");
  define(m, "rnn_forward", "x Wx Wh b h0 activation lengths reverse time_major hs", {tanh, none, no, no, none},
         rnn_forward);
  define(m, "rnn_backward", "dhs x Wx Wh h0 hs activation lengths reverse time_major dx dWx dWh db dh0",
         {tanh, none, no, no, none, none, none, none, none}, rnn_backward);
  define(m, "lstm_forward", "x Wx Wh b h0 c0 peephole lengths reverse time_major hs cs gates",
         {none, none, no, no, none, none, none}, lstm_forward);
  define(m, "lstm_backward",
         "dhs dcT x Wx Wh h0 c0 hs cs gates peephole lengths reverse time_major dx dWx dWh db dh0 dc0 dpeephole",
         {none, none, no, no, none, none, none, none, none, none, none}, lstm_backward);
  define(m, "gru_forward", "x Wx Wh b h0 linear_before_reset b_h lengths reverse time_major hs gates",
         {no, none, none, no, no, none, none}, gru_forward);
  define(m, "gru_backward",
         "dhs x Wx Wh h0 hs gates linear_before_reset lengths reverse time_major dx dWx dWh db dh0 db_h",
         {no, none, no, no, none, none, none, none, none, none}, gru_backward);
}

}  // namespace fastnn
