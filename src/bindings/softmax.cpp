#include <cmath>

#include "families.h"
#include "function.h"
#include "labels.h"
#include "vocabulary.h"

namespace fastnn {
namespace {
using namespace py::literals;

template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }  // estimated scalar operations

template <class T> Mat<const T> rows(const T* data, idx begin, idx end, idx V) {
  return row_major(data + begin * V, end - begin, V);
}

template <class Kernel> py::object rows_forward(py::handle x_, py::handle out_, Kernel kernel) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x) return py::none();
    Out<T> out(out_, 2, x.shape(), {x.range()});
    if (!out) return py::none();
    const idx V = x.dim(1);
    run_rows(x.dim(0), work_of<T>(x.size()), [&](idx begin, idx end) {
      kernel(active<T>().softmax)(rows(x.data(), begin, end, V), out.data() + begin * V);
    });
    return out.object();
  });
}

template <class Kernel> py::object rows_backward(py::handle dout_, py::handle y_, py::handle dx_, Kernel kernel) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 2), y(y_, 2);
    if (!dout || !y || !dout.same_shape(y)) return py::none();
    Out<T> dx(dx_, 2, dout.shape(), {dout.range(), y.range()});
    if (!dx) return py::none();
    const idx V = dout.dim(1);
    run_rows(dout.dim(0), work_of<T>(dout.size()), [&](idx begin, idx end) {
      kernel(active<T>().softmax)(rows(dout.data(), begin, end, V), y.data() + begin * V, dx.data() + begin * V);
    });
    return dx.object();
  });
}

py::object softmax_forward(py::handle x, py::handle out) {
  return rows_forward(x, out, [](const auto& kernels) { return kernels.forward; });
}
py::object softmax_backward(py::handle dout, py::handle y, py::handle dx) {
  return rows_backward(dout, y, dx, [](const auto& kernels) { return kernels.backward; });
}
py::object log_softmax_forward(py::handle x, py::handle out) {
  return rows_forward(x, out, [](const auto& kernels) { return kernels.log_forward; });
}
py::object log_softmax_backward(py::handle dout, py::handle y, py::handle dx) {
  return rows_backward(dout, y, dx, [](const auto& kernels) { return kernels.log_backward; });
}

// The target of a cross entropy over (N, V): labels, or targets of dtype T; with scratch behind the labels. One-hot
// targets (of either dtype: the books' are float64 beside float32 scores) become labels, which gives the same bits.
template <class T> class Target {
 public:
  Target(py::handle t, idx N, idx V, py::handle weight, py::handle ignore_index, double smoothing, idx scratch_numbers)
      : V_(V), weight_(weight, V), scratch_(size_t(N + scratch_numbers) * 8) {
    const ArrayProxy* a = as_array(t, kPlain, -1);
    if (!a || !weight_ || !from_0_to_1(smoothing)) return;
    view_ = {nullptr, nullptr, weight_.data(), smoothing};
    if (a->nd == 2) {
      if (a->dimensions[0] != N || a->dimensions[1] != V) return;
      const bool plain = smoothing == 0 && weight.is_none();
      if (plain && (read_one_hot<float>(a) || read_one_hot<double>(a))) {
        view_.labels = scratch_.template as<int64_t>();
        good_ = true;
      } else if (type_of(a) == type_num<T>) {
        view_.targets = reinterpret_cast<const T*>(a->data);
        range_ = {a->data, a->data + N * V * idx(sizeof(T))};
        good_ = true;
      }
    } else if (a->nd == 1 && a->dimensions[0] == N) {
      int64_t ignore = 0;
      if (!ignore_index.is_none()) {
        if (!PyLong_Check(ignore_index.ptr())) return;
        int overflow;
        ignore = PyLong_AsLongLongAndOverflow(ignore_index.ptr(), &overflow);
        if (overflow) return;
      }
      view_.labels = scratch_.template as<int64_t>();
      good_ = read_labels(a, {V, ignore_index.is_none() ? nullptr : &ignore}, scratch_.template as<int64_t>());
      range_ = {a->data, a->data + N};  // labels were copied: only an output that starts here is refused
    }
  }
  explicit operator bool() const { return good_; }
  double* numbers(idx N) const { return scratch_.template as<double>() + N; }
  Range range() const { return range_; }
  Range weight_range() const { return weight_.range(); }
  double divisor(idx N) const { return active<T>().softmax.cross_entropy_divisor(view_, N); }
  CrossEntropyTarget<T> from_row(idx i) const {
    return {view_.labels ? view_.labels + i : nullptr, view_.targets ? view_.targets + i * V_ : nullptr, view_.weight,
            view_.smoothing};
  }

 private:
  template <class S> bool read_one_hot(const ArrayProxy* a) {
    if (type_of(a) != type_num<S>) return false;
    const Mat<const S> t = row_major(reinterpret_cast<const S*>(a->data), idx(a->dimensions[0]), idx(a->dimensions[1]));
    return active<S>().softmax.one_hot_labels(t, scratch_.template as<int64_t>());
  }

  idx V_;
  OptionalVec<T> weight_;
  Scratch scratch_;
  CrossEntropyTarget<T> view_{};
  Range range_;
  bool good_ = false;
};

py::object softmax_cross_entropy_forward(py::handle x_, py::handle t_, py::handle weight_, py::handle ignore_index,
                                         Real label_smoothing, Real epsilon, py::handle y_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x || !finite_from_0(epsilon)) return py::none();
    const idx N = x.dim(0), V = x.dim(1);
    const auto& kernels = active<T>().softmax;
    const Target<T> t(t_, N, V, weight_, ignore_index, label_smoothing, kernels.row_blocks(N, V));
    if (!t) return py::none();
    Out<T> y(y_, 2, x.shape(), {x.range(), t.range(), t.weight_range()});
    if (!y) return py::none();
    double loss = 0;
    run_rows(N, work_of<T>(x.size()), [&](idx begin, idx end) {
      loss += kernels.cross_entropy_forward(rows(x.data(), begin, end, V), t.from_row(begin), T(epsilon),
                                            y.data() + begin * V, t.numbers(N));
    });
    const double divisor = t.divisor(N);
    return py::make_tuple(divisor != 0 ? loss / divisor : std::nan(""), y.object());
  });
}

py::object softmax_cross_entropy_backward(py::handle y_, py::handle t_, Real dout, py::handle weight_,
                                          py::handle ignore_index, Real label_smoothing, py::handle dx_) {
  return by_dtype(y_, [&]<class T>() -> py::object {
    const In<T> y(y_, 2);
    if (!y || !dout.ok) return py::none();
    const idx N = y.dim(0), V = y.dim(1);
    const Target<T> t(t_, N, V, weight_, ignore_index, label_smoothing, 0);
    if (!t) return py::none();
    const Out<T> dx(dx_, 2, y.shape(), {dx_.is(y_) ? Range{} : y.range(), t.range(), t.weight_range()});
    if (!dx) return py::none();
    const double divisor = t.divisor(N), scale = divisor != 0 ? dout / divisor : 0;
    run_rows(N, work_of<T>(y.size()), [&](idx begin, idx end) {
      active<T>().softmax.cross_entropy_backward(rows(y.data(), begin, end, V), t.from_row(begin), scale,
                                                 dx.data() + begin * V);
    });
    return dx.object();
  });
}

py::object affine_softmax_cross_entropy(py::handle x_, py::handle W_, py::handle b_, py::handle t_, py::handle weight_,
                                        py::handle ignore_index, Real label_smoothing, Real epsilon, bool gradient,
                                        py::handle dW_, py::handle db_, py::handle dx_) {
  const Weights own(W_), to(dW_);
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2), W(own.plain, 2);
    if (!x || !W || x.dim(1) != W.dim(own.flipped) || !finite_from_0(epsilon)) return py::none();
    const idx N = x.dim(0), D = x.dim(1), V = W.dim(!own.flipped);
    const OptionalVec<T> b(b_, V);
    if (!b) return py::none();
    const Target<T> t(t_, N, V, weight_, ignore_index, label_smoothing, 0);
    if (!t) return py::none();
    AffineCrossEntropy<T> loss{x.mat(), own(W), b.data(), t.from_row(0), T(epsilon), {}, {}, nullptr};
    py::object dx_object = py::none(), dW_object = dx_object, db_object = dx_object;
    if (gradient) {
      const std::initializer_list<Range> inputs{x.range(), W.range(), b.range(), t.range(), t.weight_range()};
      const Out<T> dW(to.plain, {to.flipped ? V : D, to.flipped ? D : V}, inputs), db(db_, {V}, inputs);
      if (!dW || !db || dW.range().overlaps(db.range())) return py::none();
      loss.dW = to(dW), loss.db = db.data();
      dW_object = to.result(dW.object()), db_object = db.object();
      if (dx_.ptr() != Py_False) {
        const Out<T> dx(dx_, 2, x.shape(), inputs);
        if (!dx || dx.range().overlaps(dW.range()) || dx.range().overlaps(db.range())) return py::none();
        loss.dx = dx.mat(), dx_object = dx.object();
      }
    }
    const Scratch scratch(size_t(loss.workspace(active<T>())));
    const double mean = loss.run(active<T>(), scratch, true);
    return py::make_tuple(mean, dx_object, dW_object, db_object);
  });
}

py::object sigmoid_cross_entropy_forward(py::handle x_, py::handle t_, Real epsilon, py::handle y_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_), t(t_);
    if (!x || !t || !x.same_shape(t) || !finite_from_0(epsilon)) return py::none();
    Out<T> y(y_, x.nd(), x.shape(), {x.range(), t.range()});
    if (!y) return py::none();
    const auto& kernels = active<T>().softmax;
    const idx n = x.size();
    const Scratch partial(size_t(kernels.blocks(n)) * 8);
    double loss = 0;
    run_rows(n, work_of<T>(n), [&](idx begin, idx end) {
      loss += kernels.sigmoid_loss_forward({x.data() + begin, end - begin}, t.data() + begin, T(epsilon),
                                           y.data() + begin, partial.as<double>());
    });
    return py::make_tuple(n ? loss / double(n) : std::nan(""), y.object());
  });
}

py::object squared_error_forward(py::handle y_, py::handle t_) {
  return by_dtype(y_, [&]<class T>() -> py::object {
    const In<T> y(y_), t(t_);
    if (!y || !t || !y.same_shape(t)) return py::none();
    const auto& kernels = active<T>().softmax;
    const idx n = y.size();
    const Scratch partial(size_t(kernels.blocks(n)) * 8);
    double sum = 0;
    run_rows(n, work_of<T>(n), [&](idx begin, idx end) {
      sum += kernels.squared_error_forward({y.data() + begin, end - begin}, t.data() + begin, partial.as<double>());
    });
    return py::float_(sum);
  });
}

// scale (y - t); for the mean over the elements, their number divides the scale.
py::object difference_backward(py::handle y_, py::handle t_, Real scale, bool mean, py::handle dx_) {
  return by_dtype(y_, [&]<class T>() -> py::object {
    const In<T> y(y_), t(t_);
    if (!y || !t || !y.same_shape(t) || !scale.ok) return py::none();
    Out<T> dx(dx_, y.nd(), y.shape(), {y.range(), t.range()});
    if (!dx) return py::none();
    const idx n = y.size();
    const T factor = T(mean && n ? scale / double(n) : scale);
    run_rows(n, work_of<T>(n), [&](idx begin, idx end) {
      active<T>().softmax.difference_backward({y.data() + begin, end - begin}, t.data() + begin, factor,
                                              dx.data() + begin);
    });
    return dx.object();
  });
}
py::object sigmoid_cross_entropy_backward(py::handle y, py::handle t, Real dout, py::handle dx) {
  return difference_backward(y, t, dout, true, dx);
}
py::object squared_error_backward(py::handle y, py::handle t, Real scale, py::handle dx) {
  return difference_backward(y, t, scale, false, dx);
}

}  // namespace

void bind_softmax(py::module_& m) {
  const py::object none = py::none();
  define<softmax_forward>(m, "softmax_forward", "x out", {none});
  define<softmax_backward>(m, "softmax_backward", "dout y dx", {none});
  define<log_softmax_forward>(m, "log_softmax_forward", "x out", {none});
  define<log_softmax_backward>(m, "log_softmax_backward", "dout y dx", {none});
  define<softmax_cross_entropy_forward>(m, "softmax_cross_entropy_forward",
                                        "x t weight ignore_index label_smoothing epsilon y",
                                        {none, none, py::float_(0.0), py::float_(0.0), none});
  define<softmax_cross_entropy_backward>(m, "softmax_cross_entropy_backward",
                                         "y t dout weight ignore_index label_smoothing dx",
                                         {py::float_(1.0), none, none, py::float_(0.0), none});
  define<affine_softmax_cross_entropy>(
      m, "affine_softmax_cross_entropy", "x W b t weight ignore_index label_smoothing epsilon gradient dW db dx",
      {none, none, py::float_(0.0), py::float_(0.0), py::bool_(true), none, none, none});
  define<sigmoid_cross_entropy_forward>(m, "sigmoid_cross_entropy_forward", "x t epsilon y", {py::float_(0.0), none});
  define<sigmoid_cross_entropy_backward>(m, "sigmoid_cross_entropy_backward", "y t dout dx", {py::float_(1.0), none});
  define<squared_error_forward>(m, "squared_error_forward", "y t");
  define<squared_error_backward>(m, "squared_error_backward", "y t scale dx", {none});
}

}  // namespace fastnn
