#include <algorithm>

#include "families.h"
#include "function.h"
#include "pairs.h"

namespace fastnn {
namespace {
using namespace py::literals;

template <class T> Mat<T> rows(Mat<T> m, idx begin, idx end) { return {m.row(begin), end - begin, m.cols, m.rs, m.cs}; }
template <class T> Mat<T> columns(Mat<T> m, idx begin, idx end) {
  return {m.data + begin * m.cs, m.rows, end - begin, m.rs, m.cs};
}

// f(i0, i1, j0, j1) over blocks of a product (M, K) @ (K, N): one, or several of about 50 ms, cut by size alone, with a
// look for Ctrl-C after each. As each block packs its columns anew, it has many rows and not all columns. Cuts between
// columns are at multiples of whole tiles and no block has few rows, so that the sums are those of the whole.
template <class F> void run_product(idx M, idx N, idx K, F&& f) {
  constexpr idx kRows = 1024, kColumns = 480, kMultiple = 64;
  const double row = 2.0 * double(K) * double(N), chunk = active_table->chunk_work;
  if (row * double(M) <= chunk) return run(row * double(M), [&] { f(idx(0), M, idx(0), N); });
  idx down = std::max(idx(chunk / row) / kMultiple, idx(1)) * kMultiple, across = N;
  if (down < kRows && N >= 2 * kColumns) {
    down = std::min(kRows, M);
    across = std::max(idx(chunk / (2.0 * double(K) * double(down))) / kColumns, idx(1)) * kColumns;
  }
  for (idx i0 = 0, i1; i0 < M; i0 = i1) {
    i1 = M - i0 < down + kMultiple ? M : i0 + down;
    for (idx j0 = 0; j0 < N; j0 += across) {
      {
        const WithoutGil without;
        f(i0, i1, j0, std::min(j0 + across, N));
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }
}

template <class T> py::object matmul_pairs(py::handle a_, py::handle b_, py::handle out_) {
  const StridedMat<T> a(a_, 3), b(b_, 3);
  if (!a || !b || a.count() != b.count() || a.mat().cols != b.mat().rows) return py::none();
  const Out<T> out(out_, {a.count(), a.mat().rows, b.mat().cols}, {a.range(), b.range()});
  if (!out) return py::none();
  const Pairs<T> pairs{active<T>().affine, a.mat(), b.mat(), a.step(), b.step(), a.count(), out.data()};
  Scratch scratch(size_t(pairs.workspace()));
  run_rows(pairs.count, pairs.work() * double(pairs.count),
           [&](idx begin, idx end) { pairs.run(begin, end, scratch); });
  return out.object();
}

py::object matmul(py::handle a_, py::handle b_, py::handle out_) {
  return by_dtype(a_, [&]<class T>() -> py::object {
    if (as_array(a_, 0, 3)) return matmul_pairs<T>(a_, b_, out_);
    const StridedMat<T> a_in(a_), b_in(b_);
    if (!a_in || !b_in) return py::none();
    const Mat<const T> a = a_in.mat(), b = b_in.mat();
    if (a.cols != b.rows) return py::none();
    Out<T> out(out_, {a.rows, b.cols}, {a_in.range(), b_in.range()});
    if (!out) return py::none();
    const auto& table = active<T>();
    const auto& kernels = table.affine;
    const Mat<T> result = out.mat();
    Scratch scratch(kernels.matmul_workspace(a.rows, b.cols, a.cols));
    run_product(a.rows, b.cols, a.cols, [&](idx i0, idx i1, idx j0, idx j1) {
      kernels.matmul(rows(a, i0, i1), columns(b, j0, j1), columns(rows(result, i0, i1), j0, j1), scratch);
    });
    return out.object();
  });
}

py::object affine_forward(py::handle x_, py::handle W_, py::handle b_, py::handle activation, Real alpha,
                          py::handle out_) {
  const Weights own(W_);
  return by_promoted_dtype(x_, own.plain, [&]<class T>() -> py::object {
    const In<T> W(own.plain, 2, true), x(x_, 2, true);
    Activation kind;
    if (!x || !W || x.dim(1) != W.dim(own.flipped) || !parse_activation(activation, kind) || !alpha.ok)
      return py::none();
    const idx N = x.dim(0), D = x.dim(1), M = W.dim(!own.flipped);
    const OptionalVec<T> b(b_, M);
    if (!b) return py::none();
    Out<T> out(out_, {N, M}, {x.range(), W.range(), b.range()});
    if (!out) return py::none();
    const auto& table = active<T>();
    const auto& kernels = table.affine;
    const Mat<T> result = out.mat();
    Scratch scratch(kernels.forward_workspace(N, D, M));
    run_product(N, M, D, [&](idx i0, idx i1, idx j0, idx j1) {
      kernels.forward(rows(x.mat(), i0, i1), columns(own(W), j0, j1), b.data() ? b.data() + j0 : nullptr, kind,
                      T(alpha), table.activation.in_place, columns(rows(result, i0, i1), j0, j1), scratch);
    });
    return out.object();
  });
}

py::object affine_backward(py::handle dout_, py::handle x_, py::handle W_, py::handle dW_, py::handle db_,
                           py::handle dx_) {
  const Weights own(W_), to(dW_);
  return by_promoted_dtype(dout_, own.plain, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 2, true), x(x_, 2, true), W(own.plain, 2, true);
    if (!dout || !x || !W) return py::none();
    const idx N = x.dim(0), D = W.dim(own.flipped), M = W.dim(!own.flipped);
    if (dout.dim(0) != N || dout.dim(1) != M || x.dim(1) != D) return py::none();
    Out<T> dW(to.plain, {to.flipped ? M : D, to.flipped ? D : M}, {dout.range(), x.range(), W.range()});
    if (!dW) return py::none();
    Out<T> db(db_, {M}, {dout.range(), x.range(), W.range(), dW.range()});
    if (!db) return py::none();
    Out<T> dx(dx_, {N, D}, {dout.range(), x.range(), W.range(), dW.range(), db.range()});
    if (!dx) return py::none();
    const auto& kernels = active<T>().affine;
    Scratch scratch(kernels.backward_workspace(N, D, M));
    const double work = 4.0 * double(N) * double(D) * double(M);
    if (work < active_table->chunk_work) {
      run(work, [&] { kernels.backward(dout.mat(), x.mat(), own(W), dx.mat(), to(dW), db.data(), false, scratch); });
    } else {  // long: one product after the other, each in blocks
      run_product(N, D, M, [&](idx i0, idx i1, idx j0, idx j1) {
        kernels.backward(rows(dout.mat(), i0, i1), {}, rows(own(W), j0, j1), columns(rows(dx.mat(), i0, i1), j0, j1),
                         {}, nullptr, false, scratch);
      });
      run_product(D, M, N, [&](idx i0, idx i1, idx j0, idx j1) {
        kernels.backward(columns(dout.mat(), j0, j1), columns(x.mat(), i0, i1), {}, {},
                         columns(rows(to(dW), i0, i1), j0, j1), i0 ? nullptr : db.data() + j0, false, scratch);
      });
    }
    return py::make_tuple(dx.object(), to.result(dW.object()), db.object());
  });
}

}  // namespace

Weights::Weights(py::handle h)
    : given(h),
      plain(py::reinterpret_borrow<py::object>(h)),
      flipped(!as_array(h, kPlain, 2) && as_array(h, kTransposed, 2)) {
  if (flipped) plain = h.attr("T");
}
py::object Weights::result(const py::object& out) const {
  return flipped ? py::reinterpret_borrow<py::object>(given) : out;
}

void bind_affine(py::module_& m) {
  const py::object none = py::none();
  define<matmul>(m, "matmul", "a b out", {none});
  define<affine_forward>(m, "affine_forward", "x W b activation alpha out",
                         {py::str("identity"), py::float_(0.0), none});
  define<affine_backward>(m, "affine_backward", "dout x W dW db dx", {none, none, none});
}

}  // namespace fastnn
