#include <algorithm>

#include "array.h"
#include "families.h"
#include "recurrent.h"

namespace fastnn {
namespace {
using namespace py::literals;

// An array (rows, columns) of dtype T that may be None: data() is then null.
template <class T> class OptionalMat {
 public:
  OptionalMat(py::handle h, idx rows, idx columns)
      : none_(h.is_none()), in_(h, 2), ok_(none_ || (in_ && in_.dim(0) == rows && in_.dim(1) == columns)) {}
  explicit operator bool() const { return ok_; }
  const T* data() const { return none_ ? nullptr : in_.data(); }
  Range range() const { return none_ ? Range{} : in_.range(); }

 private:
  bool none_;
  In<T> in_;
  bool ok_;
};

bool parse_bool(py::handle h, bool& value) {
  value = h.ptr() == Py_True;
  return value || h.ptr() == Py_False;
}

// What all operations are given. G gates of H units.
template <class T> struct Layer {
  In<T> x, Wx, Wh;
  idx G, N = 0, steps = 0, D = 0, H = 0, n_axis = 0;
  bool reverse = false, ok = false;
  In<int64_t> lengths;

  Layer(idx gates, py::handle x_, py::handle Wx_, py::handle Wh_, py::handle lengths_, py::handle reverse_,
        py::handle time_major_)
      : x(x_, 3), Wx(Wx_, 2), Wh(Wh_, 2), G(gates), lengths(lengths_, 1) {
    bool time_major;
    if (!x || !Wx || !Wh || !parse_bool(reverse_, reverse) || !parse_bool(time_major_, time_major)) return;
    n_axis = time_major;
    N = x.dim(int(n_axis)), steps = x.dim(1 - int(n_axis)), D = x.dim(2), H = Wh.dim(0);
    if (steps == 0 || Wx.dim(0) != D || Wh.dim(1) != G * H || Wx.dim(1) != G * H) return;
    if (!lengths_.is_none()) {
      if (!lengths || lengths.dim(0) != N) return;
      for (idx n = 0; n < N; ++n)
        if (lengths.data()[n] < 0 || lengths.data()[n] > steps) return;
    }
    ok = true;
  }
  bool fits(const In<T>& a, idx width) const {  // an array of steps
    return a && a.dim(0) == x.dim(0) && a.dim(1) == x.dim(1) && a.dim(2) == width;
  }
  idx rows() const { return N * steps; }
  RecurrentLayer<T> plain() const { return {x.data(), Wx.mat(), G, N, steps, D, H}; }
  Sequence<T> sequence(Cell cell) const {
    Sequence<T> s{};
    s.cell = cell;
    s.N = N, s.steps = steps, s.H = H;
    s.row_n = n_axis ? 1 : steps, s.row_t = n_axis ? N : 1;
    s.reverse = reverse;
    s.lengths = lengths ? lengths.data() : nullptr;
    s.Wh = Wh.data();
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
template <class T> struct Layout {
  Pieces pieces;
  size_t loop, product, da = 0, before = 0, other = 0;
  Layout(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, const Sequence<T>& s, bool backward)
      : loop(pieces.add(kernels.rnn.workspace(s, backward))) {
    const auto& affine = kernels.affine;
    const idx rows = layer.rows(), H = layer.H, width = layer.G * H, size = idx(sizeof(T));
    product = pieces.add(
        backward
            ? std::max({affine.backward_workspace(rows, layer.D, width), affine.matmul_workspace(layer.N, H, width),
                        affine.matmul_workspace(H, width, rows)})
            : std::max(affine.forward_workspace(rows, layer.D, width), affine.matmul_workspace(layer.N, width, H)));
    if (!backward) return;
    da = pieces.add(rows * width * size), before = pieces.add(rows * H * size);
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
      py::gil_scoped_release release;
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

template <class T> Mat<T> part(Mat<T> m, idx begin, idx end) { return {m.row(begin), end - begin, m.cols, m.rs, m.cs}; }

}  // namespace

template <class T> idx recurrent_workspace(const Kernels<T>& kernels, const RecurrentLayer<T>& layer,
                                           const Sequence<T>& s, bool backward) {
  return idx(Layout<T>(kernels, layer, s, backward).pieces.used);
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
  const idx rows = layer.rows();
  const Mat<const T> x = row_major(layer.x, rows, layer.D);
  runner.rows(rows, layer.input_work(), [&](idx begin, idx end) {
    affine.forward(part(x, begin, end), layer.Wx, b, Activation::identity, T(0), part(out, begin, end),
                   s.matmul_scratch);
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

  const Mat<const T> dout = row_major(static_cast<const T*>(s.da), rows, width);
  const Mat<T> dx = row_major(g.dx, rows, layer.D), dWx = row_major(g.dWx, layer.D, width);
  if (g.dx)
    runner.rows(rows, layer.input_work(), [&](idx begin, idx end) {
      affine.backward(part(dout, begin, end), {}, layer.Wx, part(dx, begin, end), {}, nullptr, s.matmul_scratch);
    });
  runner.rows(layer.D, layer.input_work(), [&](idx begin, idx end) {
    const Mat<const T> columns{layer.x + begin, rows, end - begin, layer.D, 1};
    affine.backward(dout, columns, {}, {}, part(dWx, begin, end), begin ? nullptr : g.db, s.matmul_scratch);
  });
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
  affine.backward(row_major(static_cast<const T*>(s.du), rows, H), {}, {}, {}, {}, g.db_h, nullptr);
}

#define FASTNN_INSTANTIATE(T)                                                                                         \
  template idx recurrent_workspace(const Kernels<T>&, const RecurrentLayer<T>&, const Sequence<T>&, bool);            \
  template void recurrent_forward(const Kernels<T>&, const RecurrentLayer<T>&, Sequence<T>&, const T*, Mat<T>, void*, \
                                  bool);                                                                              \
  template void recurrent_backward(const Kernels<T>&, const RecurrentLayer<T>&, Sequence<T>&,                         \
                                   const RecurrentGradients<T>&, void*, bool);
FASTNN_INSTANTIATE(float)
FASTNN_INSTANTIATE(double)
#undef FASTNN_INSTANTIATE

namespace {

template <class T> void forward(const RecurrentLayer<T>& layer, Sequence<T>& s, const T* b, Mat<T> out) {
  const Scratch scratch(size_t(recurrent_workspace(active<T>(), layer, s, false)));
  recurrent_forward(active<T>(), layer, s, b, out, scratch, true);
}

// Outputs that all backward operations have.
template <class T> struct Gradients {
  Out<T> dx, dWx, dWh, db, dh0;
  Gradients(const Layer<T>& l, std::initializer_list<Range> in, py::handle dx_, py::handle dWx_, py::handle dWh_,
            py::handle db_, py::handle dh0_)
      : dx(dx_, 3, l.x.shape(), in),
        dWx(dWx_, {l.D, l.G * l.H}, in),
        dWh(dWh_, {l.H, l.G * l.H}, in),
        db(db_, {l.G * l.H}, in),
        dh0(dh0_, {l.N, l.H}, in) {}
  bool ok() const {
    const Out<T>* const all[] = {&dx, &dWx, &dWh, &db, &dh0};
    for (int i = 0; i < 5; ++i) {
      if (!*all[i]) return false;
      for (int j = 0; j < i; ++j)
        if (all[i]->range().overlaps(all[j]->range())) return false;
    }
    return true;
  }
  bool overlap(const Out<T>& other) const {
    for (const Out<T>* out : {&dx, &dWx, &dWh, &db, &dh0})
      if (out->range().overlaps(other.range())) return true;
    return false;
  }
  void run(const Layer<T>& l, Sequence<T>& s, T* db_h = nullptr) {
    s.dh0 = dh0.data();
    const Scratch scratch(size_t(recurrent_workspace(active<T>(), l.plain(), s, true)));
    recurrent_backward(active<T>(), l.plain(), s, {dx.data(), dWx.data(), dWh.data(), db.data(), db_h}, scratch, true);
  }
};

bool parse_rnn_activation(py::handle name, Activation& kind) {
  return parse_activation(name, kind) &&
         (kind == Activation::tanh || kind == Activation::relu || kind == Activation::sigmoid);
}

py::object rnn_forward(py::handle x_, py::handle Wx_, py::handle Wh_, py::handle b_, py::handle h0_,
                       py::handle activation, py::handle lengths_, py::handle reverse, py::handle time_major,
                       py::handle hs_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(1, x_, Wx_, Wh_, lengths_, reverse, time_major);
    if (!l.ok) return py::none();
    Sequence<T> s = l.sequence(Cell::rnn);
    const OptionalVec<T> b(b_, l.H);
    const OptionalMat<T> h0(h0_, l.N, l.H);
    if (!b || !h0 || !parse_rnn_activation(activation, s.activation)) return py::none();
    Out<T> hs(hs_, {l.x.dim(0), l.x.dim(1), l.H}, {l.x.range(), l.Wx.range(), l.Wh.range(), b.range(), h0.range()});
    if (!hs) return py::none();
    s.h0 = h0.data(), s.hs = hs.data();
    forward<T>(l.plain(), s, b.data(), row_major(hs.data(), l.rows(), l.H));
    return hs.object();
  });
}

py::object rnn_backward(py::handle dhs_, py::handle x_, py::handle Wx_, py::handle Wh_, py::handle h0_, py::handle hs_,
                        py::handle activation, py::handle lengths_, py::handle reverse, py::handle time_major,
                        py::handle dx_, py::handle dWx_, py::handle dWh_, py::handle db_, py::handle dh0_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(1, x_, Wx_, Wh_, lengths_, reverse, time_major);
    if (!l.ok) return py::none();
    Sequence<T> s = l.sequence(Cell::rnn);
    const In<T> dhs(dhs_, 3), hs(hs_, 3);
    const OptionalMat<T> h0(h0_, l.N, l.H);
    if (!l.fits(dhs, l.H) || !l.fits(hs, l.H) || !h0 || !parse_rnn_activation(activation, s.activation))
      return py::none();
    Gradients<T> g(l, {dhs.range(), l.x.range(), l.Wx.range(), l.Wh.range(), h0.range(), hs.range()}, dx_, dWx_, dWh_,
                   db_, dh0_);
    if (!g.ok()) return py::none();
    s.h0 = h0.data(), s.hs = const_cast<T*>(hs.data()), s.dhs = dhs.data();
    g.run(l, s);
    return py::make_tuple(g.dx.object(), g.dWx.object(), g.dWh.object(), g.db.object(), g.dh0.object());
  });
}

py::object lstm_forward(py::handle x_, py::handle Wx_, py::handle Wh_, py::handle b_, py::handle h0_, py::handle c0_,
                        py::handle peephole_, py::handle lengths_, py::handle reverse, py::handle time_major,
                        py::handle hs_, py::handle cs_, py::handle gates_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(4, x_, Wx_, Wh_, lengths_, reverse, time_major);
    if (!l.ok) return py::none();
    const OptionalVec<T> b(b_, 4 * l.H), peephole(peephole_, 3 * l.H);
    const OptionalMat<T> h0(h0_, l.N, l.H), c0(c0_, l.N, l.H);
    if (!b || !peephole || !h0 || !c0) return py::none();
    const Range in[] = {l.x.range(), l.Wx.range(), l.Wh.range(), b.range(), h0.range(), c0.range(), peephole.range()};
    const ssize_t A = l.x.dim(0), B = l.x.dim(1), H = l.H;
    Out<T> hs(hs_, {A, B, H}, {in[0], in[1], in[2], in[3], in[4], in[5], in[6]});
    if (!hs) return py::none();
    Out<T> cs(cs_, {A, B, H}, {in[0], in[1], in[2], in[3], in[4], in[5], in[6], hs.range()});
    if (!cs) return py::none();
    Out<T> gates(gates_, {A, B, 4 * H}, {in[0], in[1], in[2], in[3], in[4], in[5], in[6], hs.range(), cs.range()});
    if (!gates) return py::none();
    Sequence<T> s = l.sequence(Cell::lstm);
    s.peephole = peephole.data(), s.h0 = h0.data(), s.c0 = c0.data();
    s.hs = hs.data(), s.cs = cs.data(), s.gates = gates.data();
    forward<T>(l.plain(), s, b.data(), row_major(gates.data(), l.rows(), 4 * l.H));
    return py::make_tuple(hs.object(), cs.object(), gates.object());
  });
}

py::object lstm_backward(py::handle dhs_, py::handle dcT_, py::handle x_, py::handle Wx_, py::handle Wh_,
                         py::handle h0_, py::handle c0_, py::handle hs_, py::handle cs_, py::handle gates_,
                         py::handle peephole_, py::handle lengths_, py::handle reverse, py::handle time_major,
                         py::handle dx_, py::handle dWx_, py::handle dWh_, py::handle db_, py::handle dh0_,
                         py::handle dc0_, py::handle dpeephole_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(4, x_, Wx_, Wh_, lengths_, reverse, time_major);
    if (!l.ok) return py::none();
    const In<T> dhs(dhs_, 3), hs(hs_, 3), cs(cs_, 3), gates(gates_, 3);
    const OptionalVec<T> peephole(peephole_, 3 * l.H);
    const OptionalMat<T> dcT(dcT_, l.N, l.H), h0(h0_, l.N, l.H), c0(c0_, l.N, l.H);
    if (!l.fits(dhs, l.H) || !l.fits(hs, l.H) || !l.fits(cs, l.H) || !l.fits(gates, 4 * l.H)) return py::none();
    if (!peephole || !dcT || !h0 || !c0 || (peephole_.is_none() && !dpeephole_.is_none())) return py::none();
    const std::initializer_list<Range> in{dhs.range(),  dcT.range(),   l.x.range(),     l.Wx.range(),
                                          l.Wh.range(), h0.range(),    c0.range(),      hs.range(),
                                          cs.range(),   gates.range(), peephole.range()};
    Gradients<T> g(l, in, dx_, dWx_, dWh_, db_, dh0_);
    if (!g.ok()) return py::none();
    Out<T> dc0(dc0_, {l.N, l.H}, in);
    if (!dc0 || g.overlap(dc0)) return py::none();
    Sequence<T> s = l.sequence(Cell::lstm);
    s.peephole = peephole.data(), s.h0 = h0.data(), s.c0 = c0.data();
    s.hs = const_cast<T*>(hs.data()), s.cs = const_cast<T*>(cs.data()), s.gates = const_cast<T*>(gates.data());
    s.dhs = dhs.data(), s.dcT = dcT.data(), s.dc0 = dc0.data();
    py::object dpeephole = py::none();
    if (s.peephole) {
      Out<T> d(dpeephole_, {3 * l.H}, in);
      if (!d || g.overlap(d) || d.range().overlaps(dc0.range())) return py::none();
      s.dpeephole = d.data();
      dpeephole = d.object();
    }
    g.run(l, s);
    return py::make_tuple(g.dx.object(), g.dWx.object(), g.dWh.object(), g.db.object(), g.dh0.object(), dc0.object(),
                          dpeephole);
  });
}

py::object gru_forward(py::handle x_, py::handle Wx_, py::handle Wh_, py::handle b_, py::handle h0_, py::handle linear_,
                       py::handle b_h_, py::handle lengths_, py::handle reverse, py::handle time_major, py::handle hs_,
                       py::handle gates_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(3, x_, Wx_, Wh_, lengths_, reverse, time_major);
    bool linear;
    if (!l.ok || !parse_bool(linear_, linear) || (!linear && !b_h_.is_none())) return py::none();
    const OptionalVec<T> b(b_, 3 * l.H), b_h(b_h_, l.H);
    const OptionalMat<T> h0(h0_, l.N, l.H);
    if (!b || !b_h || !h0) return py::none();
    const ssize_t A = l.x.dim(0), B = l.x.dim(1), H = l.H, saved = linear ? 4 : 3;
    Out<T> hs(hs_, {A, B, H}, {l.x.range(), l.Wx.range(), l.Wh.range(), b.range(), h0.range(), b_h.range()});
    if (!hs) return py::none();
    Out<T> gates(gates_, {A, B, saved * H},
                 {l.x.range(), l.Wx.range(), l.Wh.range(), b.range(), h0.range(), b_h.range(), hs.range()});
    if (!gates) return py::none();
    Sequence<T> s = l.sequence(linear ? Cell::gru_linear : Cell::gru);
    s.b_h = b_h.data(), s.h0 = h0.data(), s.hs = hs.data(), s.gates = gates.data();
    forward<T>(l.plain(), s, b.data(), {gates.data(), l.rows(), 3 * l.H, idx(saved) * l.H, 1});
    return py::make_tuple(hs.object(), gates.object());
  });
}

py::object gru_backward(py::handle dhs_, py::handle x_, py::handle Wx_, py::handle Wh_, py::handle h0_, py::handle hs_,
                        py::handle gates_, py::handle linear_, py::handle lengths_, py::handle reverse,
                        py::handle time_major, py::handle dx_, py::handle dWx_, py::handle dWh_, py::handle db_,
                        py::handle dh0_, py::handle db_h_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Layer<T> l(3, x_, Wx_, Wh_, lengths_, reverse, time_major);
    bool linear;
    if (!l.ok || !parse_bool(linear_, linear) || (!linear && !db_h_.is_none())) return py::none();
    const In<T> dhs(dhs_, 3), hs(hs_, 3), gates(gates_, 3);
    const OptionalMat<T> h0(h0_, l.N, l.H);
    if (!l.fits(dhs, l.H) || !l.fits(hs, l.H) || !l.fits(gates, (linear ? 4 : 3) * l.H) || !h0) return py::none();
    const std::initializer_list<Range> in{dhs.range(), l.x.range(), l.Wx.range(), l.Wh.range(),
                                          h0.range(),  hs.range(),  gates.range()};
    Gradients<T> g(l, in, dx_, dWx_, dWh_, db_, dh0_);
    if (!g.ok()) return py::none();
    Sequence<T> s = l.sequence(linear ? Cell::gru_linear : Cell::gru);
    s.h0 = h0.data(), s.hs = const_cast<T*>(hs.data()), s.gates = const_cast<T*>(gates.data()), s.dhs = dhs.data();
    py::object db_h = py::none();
    T* db_h_data = nullptr;
    if (linear) {
      Out<T> d(db_h_, {l.H}, in);
      if (!d || g.overlap(d)) return py::none();
      db_h_data = d.data();
      db_h = d.object();
    }
    g.run(l, s, db_h_data);
    return py::make_tuple(g.dx.object(), g.dWx.object(), g.dWh.object(), g.db.object(), g.dh0.object(), db_h);
  });
}

}  // namespace

void bind_rnn(py::module_& m) {
  const auto none = py::none();
  const auto no = py::bool_(false);
  m.def("rnn_forward", rnn_forward, "x"_a, "Wx"_a, "Wh"_a, "b"_a, "h0"_a, "activation"_a = "tanh", "lengths"_a = none,
        "reverse"_a = no, "time_major"_a = no, "hs"_a = none);
  m.def("rnn_backward", rnn_backward, "dhs"_a, "x"_a, "Wx"_a, "Wh"_a, "h0"_a, "hs"_a, "activation"_a = "tanh",
        "lengths"_a = none, "reverse"_a = no, "time_major"_a = no, "dx"_a = none, "dWx"_a = none, "dWh"_a = none,
        "db"_a = none, "dh0"_a = none);
  m.def("lstm_forward", lstm_forward, "x"_a, "Wx"_a, "Wh"_a, "b"_a, "h0"_a, "c0"_a, "peephole"_a = none,
        "lengths"_a = none, "reverse"_a = no, "time_major"_a = no, "hs"_a = none, "cs"_a = none, "gates"_a = none);
  m.def("lstm_backward", lstm_backward, "dhs"_a, "dcT"_a, "x"_a, "Wx"_a, "Wh"_a, "h0"_a, "c0"_a, "hs"_a, "cs"_a,
        "gates"_a, "peephole"_a = none, "lengths"_a = none, "reverse"_a = no, "time_major"_a = no, "dx"_a = none,
        "dWx"_a = none, "dWh"_a = none, "db"_a = none, "dh0"_a = none, "dc0"_a = none, "dpeephole"_a = none);
  m.def("gru_forward", gru_forward, "x"_a, "Wx"_a, "Wh"_a, "b"_a, "h0"_a, "linear_before_reset"_a = no, "b_h"_a = none,
        "lengths"_a = none, "reverse"_a = no, "time_major"_a = no, "hs"_a = none, "gates"_a = none);
  m.def("gru_backward", gru_backward, "dhs"_a, "x"_a, "Wx"_a, "Wh"_a, "h0"_a, "hs"_a, "gates"_a,
        "linear_before_reset"_a = no, "lengths"_a = none, "reverse"_a = no, "time_major"_a = no, "dx"_a = none,
        "dWx"_a = none, "dWh"_a = none, "db"_a = none, "dh0"_a = none, "db_h"_a = none);
}

}  // namespace fastnn
