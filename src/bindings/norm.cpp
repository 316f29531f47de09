#include "array.h"
#include "families.h"

namespace fastnn {
namespace {
using namespace py::literals;

// A vector (D) for the columns of a matrix.
template <class T> class ColumnVector {
 public:
  ColumnVector(py::handle h, idx D) : in_(h, 1), good_(in_ && in_.dim(0) == D) {}
  explicit operator bool() const { return good_; }
  const T* data() const { return in_.data(); }
  Range range() const { return in_.range(); }

 private:
  In<T> in_;
  bool good_;
};

// Columns begin ... end - 1 of a row-major matrix.
template <class T> Mat<T> columns(Mat<T> m, idx begin, idx end) {
  return {m.data + begin, m.rows, end - begin, m.rs, m.cs};
}

template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }  // estimated scalar operations

py::object batch_norm_forward(py::handle x_, py::handle gamma_, py::handle beta_, Real epsilon, py::handle out_,
                              py::handle mean_, py::handle var_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x || !epsilon.ok) return py::none();
    const idx D = x.dim(1);
    const ColumnVector<T> gamma(gamma_, D), beta(beta_, D);
    if (!gamma || !beta) return py::none();
    Out<T> out(out_, 2, x.shape(), {x.range(), gamma.range(), beta.range()});
    if (!out) return py::none();
    Out<T> mean(mean_, {D}, {x.range(), gamma.range(), beta.range(), out.range()});
    if (!mean) return py::none();
    Out<T> var(var_, {D}, {x.range(), gamma.range(), beta.range(), out.range(), mean.range()});
    if (!var) return py::none();
    run_rows(D, work_of<T>(x.size()), [&](idx begin, idx end) {
      active<T>().norm.forward(columns(x.mat(), begin, end), gamma.data() + begin, beta.data() + begin, T(epsilon),
                               columns(out.mat(), begin, end), mean.data() + begin, var.data() + begin);
    });
    return py::make_tuple(out.object(), mean.object(), var.object());
  });
}

py::object batch_norm_inference(py::handle x_, py::handle gamma_, py::handle beta_, py::handle mean_, py::handle var_,
                                Real epsilon, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x || !epsilon.ok) return py::none();
    const idx D = x.dim(1);
    const ColumnVector<T> gamma(gamma_, D), beta(beta_, D), mean(mean_, D), var(var_, D);
    if (!gamma || !beta || !mean || !var) return py::none();
    Out<T> out(out_, 2, x.shape(), {x.range(), gamma.range(), beta.range(), mean.range(), var.range()});
    if (!out) return py::none();
    run_rows(D, work_of<T>(x.size()), [&](idx begin, idx end) {
      active<T>().norm.inference(columns(x.mat(), begin, end), gamma.data() + begin, beta.data() + begin,
                                 mean.data() + begin, var.data() + begin, T(epsilon), columns(out.mat(), begin, end));
    });
    return out.object();
  });
}

py::object batch_norm_backward(py::handle dout_, py::handle x_, py::handle gamma_, py::handle mean_, py::handle var_,
                               Real epsilon, py::handle dx_, py::handle dgamma_, py::handle dbeta_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 2), x(x_, 2);
    if (!dout || !x || !dout.same_shape(x) || !epsilon.ok) return py::none();
    const idx D = x.dim(1);
    const ColumnVector<T> gamma(gamma_, D), mean(mean_, D), var(var_, D);
    if (!gamma || !mean || !var) return py::none();
    Out<T> dx(dx_, 2, x.shape(), {dout.range(), x.range(), gamma.range(), mean.range(), var.range()});
    if (!dx) return py::none();
    Out<T> dgamma(dgamma_, {D}, {dout.range(), x.range(), gamma.range(), mean.range(), var.range(), dx.range()});
    if (!dgamma) return py::none();
    Out<T> dbeta(dbeta_, {D},
                 {dout.range(), x.range(), gamma.range(), mean.range(), var.range(), dx.range(), dgamma.range()});
    if (!dbeta) return py::none();
    run_rows(D, 2 * work_of<T>(x.size()), [&](idx begin, idx end) {
      active<T>().norm.backward(columns(dout.mat(), begin, end), columns(x.mat(), begin, end), gamma.data() + begin,
                                mean.data() + begin, var.data() + begin, T(epsilon), columns(dx.mat(), begin, end),
                                dgamma.data() + begin, dbeta.data() + begin);
    });
    return py::make_tuple(dx.object(), dgamma.object(), dbeta.object());
  });
}

}  // namespace

void bind_norm(py::module_& m) {
  const py::none none;
  m.def("batch_norm_forward", batch_norm_forward, "x"_a, "gamma"_a, "beta"_a, "epsilon"_a = Real{1e-6}, "out"_a = none,
        "mean"_a = none, "var"_a = none);
  m.def("batch_norm_inference", batch_norm_inference, "x"_a, "gamma"_a, "beta"_a, "mean"_a, "var"_a,
        "epsilon"_a = Real{1e-6}, "out"_a = none);
  m.def("batch_norm_backward", batch_norm_backward, "dout"_a, "x"_a, "gamma"_a, "mean"_a, "var"_a,
        "epsilon"_a = Real{1e-6}, "dx"_a = none, "dgamma"_a = none, "dbeta"_a = none);
}

}  // namespace fastnn
