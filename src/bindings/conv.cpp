#include <algorithm>
#include <optional>

#include "families.h"
#include "function.h"
#include "shapes.h"

namespace fastnn {
namespace {
using namespace py::literals;

// A whole number in [least, kMost]; anything else fails and fastnn.ops explains.
bool parse_number(PyObject* object, idx least, idx& n) {
  if (!PyLong_CheckExact(object)) return false;
  const long long value = PyLong_AsLongLong(object);
  if (value == -1 && PyErr_Occurred()) PyErr_Clear();
  n = idx(value);
  return value >= least && value <= kMost;
}
// (height, width) as a tuple or list, or one number for both.
bool parse_pair(py::handle object, idx least, idx& h, idx& w) {
  PyObject* const o = object.ptr();
  if (PyTuple_CheckExact(o))
    return PyTuple_GET_SIZE(o) == 2 && parse_number(PyTuple_GET_ITEM(o, 0), least, h) &&
           parse_number(PyTuple_GET_ITEM(o, 1), least, w);
  if (PyList_CheckExact(o))
    return PyList_GET_SIZE(o) == 2 && parse_number(PyList_GET_ITEM(o, 0), least, h) &&
           parse_number(PyList_GET_ITEM(o, 1), least, w);
  const bool ok = parse_number(o, least, h);
  w = h;
  return ok;
}
bool parse_algorithm(py::handle name, ConvAlgorithm& algorithm) {
  if (!PyUnicode_Check(name.ptr())) return false;
  const char* const names[] = {"auto", "direct", "winograd"};
  for (int i = 0; i < 3; ++i)
    if (PyUnicode_CompareWithASCIIString(name.ptr(), names[i]) == 0) return algorithm = ConvAlgorithm(i), true;
  return false;
}

bool parse_settings(py::handle stride, py::handle padding, py::handle dilation, py::handle groups, ConvShape& s) {
  return parse_pair(stride, 1, s.sh, s.sw) && parse_pair(padding, 0, s.ph, s.pw) &&
         parse_pair(dilation, 1, s.dh, s.dw) && parse_number(groups.ptr(), 1, s.groups);
}
template <class T> bool conv_shape(const In<T>& x, const In<T>& W, ConvShape& s) {
  if (!x || !W) return false;
  s.N = x.dim(0), s.C = x.dim(1), s.H = x.dim(2), s.W = x.dim(3);
  s.F = W.dim(0), s.kh = W.dim(2), s.kw = W.dim(3);
  s.OH = s.OW = 0;
  return samples_fit(s.N, {s.C, s.H, s.W}) && fits({s.F, W.dim(1), s.kh, s.kw}) && s.F % s.groups == 0 &&
         W.dim(1) * s.groups == s.C && complete(s);
}
py::object conv2d_forward(py::handle x_, py::handle W_, py::handle b_, py::handle stride, py::handle padding,
                          py::handle dilation, py::handle groups, py::handle activation, Real alpha,
                          py::handle algorithm_, py::handle out_) {
  return by_promoted_dtype(x_, W_, [&]<class T>() -> py::object {
    ConvShape s;
    Activation kind;
    ConvAlgorithm algorithm;
    if (!parse_settings(stride, padding, dilation, groups, s) || !parse_activation(activation, kind) ||
        !parse_algorithm(algorithm_, algorithm) || !alpha.ok)
      return py::none();
    const In<T> W(W_, 4, true), x(x_, 4, true);
    if (!conv_shape(x, W, s)) return py::none();
    if (algorithm == ConvAlgorithm::winograd && !winograd_fits(s)) return py::none();
    const OptionalVec<T> b(b_, s.F);
    if (!b) return py::none();
    Out<T> out(out_, {s.N, s.F, s.OH, s.OW}, {x.range(), W.range(), b.range()});
    if (!out) return py::none();
    const auto& table = active<T>();
    const auto& kernels = table.conv;
    algorithm = kernels.choose(s, algorithm);
    Scratch scratch(kernels.workspace(s, algorithm));
    run_rows(s.N, work_of(s), [&](idx begin, idx end) {
      kernels.forward(samples(s, begin, end), algorithm, x.data() + begin * s.C * s.H * s.W, W.data(), b.data(), kind,
                      T(alpha), table.activation.in_place, out.data() + begin * s.F * s.OH * s.OW, scratch);
    });
    return out.object();
  });
}

// dx is wanted unless it is False; then its data is null and its object None.
template <class T> class OptionalOut {
 public:
  OptionalOut(py::handle h, const ssize_t* shape, std::initializer_list<Range> inputs) : wanted_(h.ptr() != Py_False) {
    if (wanted_) out_.emplace(h, 4, shape, inputs);
  }
  explicit operator bool() const { return !wanted_ || *out_; }
  T* data() const { return wanted_ ? out_->data() : nullptr; }
  Range range() const { return wanted_ ? out_->range() : Range{}; }
  py::object object() const { return wanted_ ? out_->object() : py::none(); }

 private:
  bool wanted_;
  std::optional<Out<T>> out_;
};

py::object conv2d_backward(py::handle dout_, py::handle x_, py::handle W_, py::handle stride, py::handle padding,
                           py::handle dilation, py::handle groups, py::handle algorithm_, py::handle dx_,
                           py::handle dW_, py::handle db_) {
  return by_promoted_dtype(dout_, W_, [&]<class T>() -> py::object {
    ConvShape s;
    ConvAlgorithm algorithm;
    if (!parse_settings(stride, padding, dilation, groups, s) || !parse_algorithm(algorithm_, algorithm))
      return py::none();
    const In<T> dout(dout_, 4, true), x(x_, 4, true), W(W_, 4, true);
    if (!dout || !conv_shape(x, W, s)) return py::none();
    if (algorithm == ConvAlgorithm::winograd && !winograd_fits(s)) return py::none();
    if (dout.dim(0) != s.N || dout.dim(1) != s.F || dout.dim(2) != s.OH || dout.dim(3) != s.OW) return py::none();
    OptionalOut<T> dx(dx_, x.shape(), {dout.range(), x.range(), W.range()});
    if (!dx) return py::none();
    Out<T> dW(dW_, 4, W.shape(), {dout.range(), x.range(), W.range(), dx.range()});
    if (!dW) return py::none();
    Out<T> db(db_, {s.F}, {dout.range(), x.range(), W.range(), dx.range(), dW.range()});
    if (!db) return py::none();
    const auto& kernels = active<T>().conv;
    algorithm = kernels.choose(s, algorithm);
    Scratch scratch(kernels.workspace(s, algorithm));
    const idx from = s.F * s.OH * s.OW, to = s.C * s.H * s.W;
    const double work = work_of(s);
    const auto weight = [&](idx begin, idx end) {
      kernels.backward_weight(samples(s, begin, end), algorithm, dout.data() + begin * from, x.data() + begin * to,
                              dW.data(), db.data(), begin > 0, scratch);
    };
    const auto input = [&](idx begin, idx end) {
      if (dx.data())
        kernels.backward_input(samples(s, begin, end), algorithm, dout.data() + begin * from, W.data(), nullptr,
                               dx.data() + begin * to, scratch);
    };
    if (2 * work < active_table->chunk_work) {
      run(2 * work, [&] { weight(0, s.N), input(0, s.N); });
    } else {
      run_rows(s.N, work, weight);
      run_rows(s.N, work, input);
    }
    return py::make_tuple(dx.object(), dW.object(), db.object());
  });
}

// The shape of the convolution whose gradient this is: its input is the output here.
template <class T> bool transpose_shape(const In<T>& x, const In<T>& W, py::handle output_padding, ConvShape& s) {
  idx ah, aw;
  if (!x || !W || !parse_pair(output_padding, 0, ah, aw)) return false;
  s.N = x.dim(0), s.F = x.dim(1), s.OH = x.dim(2), s.OW = x.dim(3);
  s.kh = W.dim(2), s.kw = W.dim(3);
  if (!samples_fit(s.N, {s.F, s.OH, s.OW}) || !fits({s.F, W.dim(1), s.kh, s.kw}) || !fits({W.dim(1), s.groups}) ||
      s.F % s.groups || W.dim(0) != s.F || ah >= std::max(s.sh, s.dh) || aw >= std::max(s.sw, s.dw))
    return false;
  s.C = W.dim(1) * s.groups;
  s.H = (s.OH - 1) * s.sh - 2 * s.ph + (s.kh - 1) * s.dh + ah + 1;  // below 2^63: a product of two int32 and some more
  s.W = (s.OW - 1) * s.sw - 2 * s.pw + (s.kw - 1) * s.dw + aw + 1;
  return s.H >= 1 && s.W >= 1 && complete(s);
}

py::object conv_transpose2d_forward(py::handle x_, py::handle W_, py::handle b_, py::handle stride, py::handle padding,
                                    py::handle output_padding, py::handle dilation, py::handle groups,
                                    py::handle out_) {
  return by_promoted_dtype(x_, W_, [&]<class T>() -> py::object {
    ConvShape s;
    if (!parse_settings(stride, padding, dilation, groups, s)) return py::none();
    const In<T> W(W_, 4, true), x(x_, 4, true);
    if (!transpose_shape(x, W, output_padding, s)) return py::none();
    const OptionalVec<T> b(b_, s.C);
    if (!b) return py::none();
    Out<T> out(out_, {s.N, s.C, s.H, s.W}, {x.range(), W.range(), b.range()});
    if (!out) return py::none();
    const auto& kernels = active<T>().conv;
    const auto algorithm = kernels.choose(s, ConvAlgorithm::automatic);
    Scratch scratch(kernels.workspace(s, algorithm));
    run_rows(s.N, work_of(s), [&](idx begin, idx end) {
      kernels.backward_input(samples(s, begin, end), algorithm, x.data() + begin * s.F * s.OH * s.OW, W.data(),
                             b.data(), out.data() + begin * s.C * s.H * s.W, scratch);
    });
    return out.object();
  });
}

py::object conv_transpose2d_backward(py::handle dout_, py::handle x_, py::handle W_, py::handle stride,
                                     py::handle padding, py::handle output_padding, py::handle dilation,
                                     py::handle groups, py::handle dx_, py::handle dW_, py::handle db_) {
  return by_promoted_dtype(dout_, W_, [&]<class T>() -> py::object {
    ConvShape s;
    if (!parse_settings(stride, padding, dilation, groups, s)) return py::none();
    const In<T> dout(dout_, 4, true), x(x_, 4, true), W(W_, 4, true);
    if (!dout || !transpose_shape(x, W, output_padding, s)) return py::none();
    if (dout.dim(0) != s.N || dout.dim(1) != s.C || dout.dim(2) != s.H || dout.dim(3) != s.W) return py::none();
    OptionalOut<T> dx(dx_, x.shape(), {dout.range(), x.range(), W.range()});
    if (!dx) return py::none();
    Out<T> dW(dW_, 4, W.shape(), {dout.range(), x.range(), W.range(), dx.range()});
    if (!dW) return py::none();
    Out<T> db(db_, {s.C}, {dout.range(), x.range(), W.range(), dx.range(), dW.range()});
    if (!db) return py::none();
    const auto& kernels = active<T>().conv;
    const auto algorithm = kernels.choose(s, ConvAlgorithm::automatic);
    Scratch scratch(kernels.workspace(s, algorithm));
    const idx small = s.F * s.OH * s.OW, large = s.C * s.H * s.W;
    const double work = work_of(s);
    run_rows(s.N, work, [&](idx begin, idx end) {
      kernels.backward_weight(samples(s, begin, end), algorithm, x.data() + begin * small, dout.data() + begin * large,
                              dW.data(), nullptr, begin > 0, scratch);
    });
    if (dx.data())
      run_rows(s.N, work, [&](idx begin, idx end) {
        kernels.forward(samples(s, begin, end), algorithm, dout.data() + begin * large, W.data(), nullptr,
                        Activation::identity, T(0), nullptr, dx.data() + begin * small, scratch);
      });
    run(double(s.N * large), [&] { kernels.channel_sums(dout.data(), s.N, s.C, s.H * s.W, db.data(), false); });
    return py::make_tuple(dx.object(), dW.object(), db.object());
  });
}

bool patch_shape(py::handle kernel, py::handle stride, py::handle padding, ConvShape& s) {
  s.F = s.groups = s.dh = s.dw = 1;
  s.OH = s.OW = 0;
  return samples_fit(s.N, {s.C, s.H, s.W}) && parse_pair(kernel, 1, s.kh, s.kw) && parse_pair(stride, 1, s.sh, s.sw) &&
         parse_pair(padding, 0, s.ph, s.pw) && complete(s) && samples_fit(s.N, {s.OH, s.OW, s.C, s.kh, s.kw});
}

py::object im2col(py::handle x_, py::handle kernel, py::handle stride, py::handle padding, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 4);
    if (!x) return py::none();
    ConvShape s;
    s.N = x.dim(0), s.C = x.dim(1), s.H = x.dim(2), s.W = x.dim(3);
    if (!patch_shape(kernel, stride, padding, s)) return py::none();
    const idx width = s.C * s.kh * s.kw, rows = s.OH * s.OW;
    Out<T> out(out_, {s.N * rows, width}, {x.range()});
    if (!out) return py::none();
    Scratch scratch(active<T>().conv.patch_workspace(s));
    run_rows(s.N, double(s.N * rows * width) * sizeof(T), [&](idx begin, idx end) {
      active<T>().conv.im2col(samples(s, begin, end), x.data() + begin * s.C * s.H * s.W,
                              out.data() + begin * rows * width, scratch);
    });
    return out.object();
  });
}

py::object col2im(py::handle col_, py::handle input_shape, py::handle kernel, py::handle stride, py::handle padding,
                  py::handle out_) {
  return by_dtype(col_, [&]<class T>() -> py::object {
    const In<T> col(col_, 2);
    if (!col || !(PyTuple_CheckExact(input_shape.ptr()) || PyList_CheckExact(input_shape.ptr()))) return py::none();
    idx n[4];
    if (PySequence_Fast_GET_SIZE(input_shape.ptr()) != 4) return py::none();
    for (int i = 0; i < 4; ++i)
      if (!parse_number(PySequence_Fast_GET_ITEM(input_shape.ptr(), i), i > 0, n[i])) return py::none();
    ConvShape s;
    s.N = n[0], s.C = n[1], s.H = n[2], s.W = n[3];
    if (!patch_shape(kernel, stride, padding, s)) return py::none();
    const idx width = s.C * s.kh * s.kw, rows = s.OH * s.OW;
    if (col.dim(0) != s.N * rows || col.dim(1) != width) return py::none();
    Out<T> out(out_, {s.N, s.C, s.H, s.W}, {col.range()});
    if (!out) return py::none();
    Scratch scratch(active<T>().conv.patch_workspace(s));
    run_rows(s.N, double(s.N * rows * width) * sizeof(T), [&](idx begin, idx end) {
      active<T>().conv.col2im(samples(s, begin, end), col.data() + begin * rows * width,
                              out.data() + begin * s.C * s.H * s.W, scratch);
    });
    return out.object();
  });
}

}  // namespace

void bind_conv(py::module_& m) {
  const py::object none = py::none();
  const py::tuple one = py::make_tuple(1, 1), zero = py::make_tuple(0, 0);
  define<conv2d_forward>(m, "conv2d_forward", "x W b stride padding dilation groups activation alpha algorithm out",
                         {one, zero, one, py::int_(1), py::str("identity"), py::float_(0.0), py::str("auto"), none});
  define<conv2d_backward>(m, "conv2d_backward", "dout x W stride padding dilation groups algorithm dx dW db",
                          {one, zero, one, py::int_(1), py::str("auto"), none, none, none});
  define<conv_transpose2d_forward>(m, "conv_transpose2d_forward",
                                   "x W b stride padding output_padding dilation groups out",
                                   {one, zero, zero, one, py::int_(1), none});
  define<conv_transpose2d_backward>(m, "conv_transpose2d_backward",
                                    "dout x W stride padding output_padding dilation groups dx dW db",
                                    {one, zero, zero, one, py::int_(1), none, none, none});
  define<im2col>(m, "im2col", "x kernel stride padding out", {one, zero, none});
  define<col2im>(m, "col2im", "col input_shape kernel stride padding out", {one, zero, none});
}

}  // namespace fastnn
