#include "families.h"
#include "function.h"

namespace fastnn {
namespace {

template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }  // estimated scalar operations

py::object add_arrays(py::handle a_, py::handle b_, py::handle out_) {
  return by_dtype(a_, [&]<class T>() -> py::object {
    const In<T> a(a_), b(b_);
    if (!a || !b || !a.same_shape(b)) return py::none();
    const Out<T> out(out_, a.nd(), a.shape(), {out_.is(a_) ? Range{} : a.range(), out_.is(b_) ? Range{} : b.range()});
    if (!out) return py::none();
    run_rows(a.size(), work_of<T>(a.size()), [&](idx begin, idx end) {
      active<T>().branch.add({a.data() + begin, end - begin}, b.data() + begin, out.data() + begin);
    });
    return out.object();
  });
}

template <class T> Mat<T> columns(Mat<T> m, idx begin, idx end) {
  return {m.data + begin, m.rows, end - begin, m.rs, 1};
}

py::object concatenate(py::handle a_, py::handle b_, py::handle out_) {
  return by_dtype(a_, [&]<class T>() -> py::object {
    const In<T> a(a_, 2), b(b_, 2);
    if (!a || !b || a.dim(0) != b.dim(0)) return py::none();
    const idx A = a.dim(1), C = A + b.dim(1);
    const Out<T> out(out_, {a.dim(0), C}, {a.range(), b.range()});
    if (!out) return py::none();
    run(work_of<T>(a.dim(0) * C), [&] {
      active<T>().branch.copy(a.mat(), columns(out.mat(), 0, A));
      active<T>().branch.copy(b.mat(), columns(out.mat(), A, C));
    });
    return out.object();
  });
}

py::object split(py::handle x_, py::handle columns_, py::handle a_, py::handle b_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x || !PyLong_CheckExact(columns_.ptr())) return py::none();
    const idx A = PyLong_AsSsize_t(columns_.ptr());
    if (A < 0) PyErr_Clear();
    if (A < 0 || A > x.dim(1)) return py::none();
    const Out<T> a(a_, {x.dim(0), A}, {x.range()});
    if (!a) return py::none();
    const Out<T> b(b_, {x.dim(0), x.dim(1) - A}, {x.range(), a.range()});
    if (!b) return py::none();
    run(work_of<T>(x.size()), [&] {
      active<T>().branch.copy(columns(x.mat(), 0, A), a.mat());
      active<T>().branch.copy(columns(x.mat(), A, x.dim(1)), b.mat());
    });
    return py::make_tuple(a.object(), b.object());
  });
}

}  // namespace

void bind_branch(py::module_& m) {
  const py::object none = py::none();
  define<add_arrays>(m, "add_arrays", "a b out", {none});
  define<concatenate>(m, "concatenate", "a b out", {none});
  define<split>(m, "split", "x columns a b", {none, none});
}

}  // namespace fastnn
