#include "families.h"
#include "function.h"
#include "shapes.h"

namespace fastnn {
namespace {
// n integers of a tuple, each in [least, kMost]; false for anything else.
bool parse(py::handle tuple, int n, idx least, idx* numbers) {
  if (!PyTuple_Check(tuple.ptr()) || PyTuple_GET_SIZE(tuple.ptr()) != n) return false;
  for (int i = 0; i < n; ++i) {
    PyObject* item = PyTuple_GET_ITEM(tuple.ptr(), i);
    if (!PyLong_Check(item)) return false;
    numbers[i] = PyLong_AsSsize_t(item);
    if (numbers[i] == -1 && PyErr_Occurred()) PyErr_Clear();
    if (numbers[i] < least || numbers[i] > kMost) return false;
  }
  return true;
}

bool parse(py::handle flag, bool& value) {
  value = flag.ptr() == Py_True;
  return value || flag.ptr() == Py_False;
}

// The windows of an image (N, C, H, W); false where fastnn.ops has to look at them. OH and OW are still to be set.
bool parse_windows(const ssize_t* image, py::handle kernel, py::handle stride, py::handle padding, PoolShape& s) {
  idx k[2], step[2], p[2];
  if (!samples_fit(image[0], {image[1], image[2], image[3]}) || !parse(kernel, 2, 1, k) || !parse(stride, 2, 1, step) ||
      !parse(padding, 2, 0, p))
    return false;
  s = {image[0] * image[1], image[2], image[3], 0, 0, k[0], k[1], step[0], step[1], p[0], p[1]};
  return 2 * s.ph <= s.kh && 2 * s.pw <= s.kw && s.kh * s.kw <= kMost;
}
template <class T> double work_of(const PoolShape& s, double taps) {  // estimated scalar operations
  return double(s.planes) * (2.0 * sizeof(T) * double(s.H * s.W) + taps * double(s.OH * s.OW));
}

py::object max_pool2d_forward(py::handle x_, py::handle kernel, py::handle stride, py::handle padding, py::handle ceil,
                              py::handle out_, py::handle arg_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 4);
    PoolShape s;
    bool ceil_mode;
    if (!x || !parse(ceil, ceil_mode) || !parse_windows(x.shape(), kernel, stride, padding, s) ||
        !set_size(s, ceil_mode))
      return py::none();
    const ssize_t shape[] = {x.dim(0), x.dim(1), s.OH, s.OW};
    if (!samples_fit(shape[0], {shape[1], shape[2], shape[3]})) return py::none();
    Out<T> out(out_, 4, shape, {x.range()});
    if (!out) return py::none();
    const auto compute = [&]<class Place>() -> py::object {
      Out<Place> arg(arg_, 4, shape, {x.range(), out.range()});
      if (!arg) return py::none();
      const auto& kernels = active<T>().pool;
      Scratch scratch(kernels.max_workspace(s));
      run_rows(s.planes, work_of<T>(s, double(s.kh * s.kw)), [&](idx begin, idx end) {
        kernels.max_forward(x.data() + begin * s.H * s.W, some(s, begin, end), out.data() + begin * s.OH * s.OW,
                            arg.data() + begin * s.OH * s.OW, scratch);
      });
      return py::make_tuple(out.object(), arg.object());
    };
    return s.kh * s.kw > 256 ? compute.template operator()<int32_t>() : compute.template operator()<uint8_t>();
  });
}

py::object max_pool2d_backward(py::handle dout_, py::handle arg_, py::handle input_shape, py::handle kernel,
                               py::handle stride, py::handle padding, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 4);
    idx image[4];
    PoolShape s;
    if (!dout || !parse(input_shape, 4, 0, image)) return py::none();
    const ssize_t shape[] = {image[0], image[1], image[2], image[3]};
    if (!parse_windows(shape, kernel, stride, padding, s) || !set_size(s, true)) return py::none();
    PoolShape floor = s;
    set_size(floor, false);
    const auto fits = [](idx n, idx a, idx b) { return n == a || n == b; };
    if (dout.dim(0) != shape[0] || dout.dim(1) != shape[1] || !fits(dout.dim(2), s.OH, floor.OH) ||
        !fits(dout.dim(3), s.OW, floor.OW))
      return py::none();
    s.OH = dout.dim(2), s.OW = dout.dim(3);
    if (s.OH < 1 || s.OW < 1) return py::none();
    const auto compute = [&]<class Place>() -> py::object {
      const In<Place> arg(arg_, 4);
      const auto& kernels = active<T>().pool;
      if (!arg || !std::equal(arg.shape(), arg.shape() + 4, dout.shape()) ||
          !kernels.places_fit(arg.data(), arg.size(), s.kh * s.kw))
        return py::none();
      Out<T> dx(dx_, 4, shape, {dout.range(), arg.range()});
      if (!dx) return py::none();
      run_rows(s.planes, work_of<T>(s, 8), [&](idx begin, idx end) {
        kernels.max_backward(dout.data() + begin * s.OH * s.OW, arg.data() + begin * s.OH * s.OW, some(s, begin, end),
                             dx.data() + begin * s.H * s.W);
      });
      return dx.object();
    };
    return s.kh * s.kw > 256 ? compute.template operator()<int32_t>() : compute.template operator()<uint8_t>();
  });
}

py::object avg_pool2d_forward(py::handle x_, py::handle kernel, py::handle stride, py::handle padding, py::handle ceil,
                              py::handle include, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 4);
    PoolShape s;
    bool ceil_mode, with_padding;
    if (!x || !parse(ceil, ceil_mode) || !parse(include, with_padding) ||
        !parse_windows(x.shape(), kernel, stride, padding, s) || !set_size(s, ceil_mode))
      return py::none();
    const ssize_t shape[] = {x.dim(0), x.dim(1), s.OH, s.OW};
    if (!samples_fit(shape[0], {shape[1], shape[2], shape[3]})) return py::none();
    Out<T> out(out_, 4, shape, {x.range()});
    if (!out) return py::none();
    const auto& kernels = active<T>().pool;
    Scratch scratch(kernels.avg_workspace(s));
    run_rows(s.planes, work_of<T>(s, double(s.kh + s.kw)), [&](idx begin, idx end) {
      kernels.avg_forward(x.data() + begin * s.H * s.W, some(s, begin, end), with_padding,
                          out.data() + begin * s.OH * s.OW, scratch);
    });
    return out.object();
  });
}

py::object avg_pool2d_backward(py::handle dout_, py::handle input_shape, py::handle kernel, py::handle stride,
                               py::handle padding, py::handle ceil, py::handle include, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 4);
    idx image[4];
    PoolShape s;
    bool ceil_mode, with_padding;
    if (!dout || !parse(input_shape, 4, 0, image) || !parse(ceil, ceil_mode) || !parse(include, with_padding))
      return py::none();
    const ssize_t shape[] = {image[0], image[1], image[2], image[3]};
    if (!parse_windows(shape, kernel, stride, padding, s) || !set_size(s, ceil_mode)) return py::none();
    if (dout.dim(0) != shape[0] || dout.dim(1) != shape[1] || dout.dim(2) != s.OH || dout.dim(3) != s.OW)
      return py::none();
    Out<T> dx(dx_, 4, shape, {dout.range()});
    if (!dx) return py::none();
    const auto& kernels = active<T>().pool;
    Scratch scratch(kernels.avg_workspace(s));
    run_rows(s.planes, work_of<T>(s, double(s.kh + s.kw)), [&](idx begin, idx end) {
      kernels.avg_backward(dout.data() + begin * s.OH * s.OW, some(s, begin, end), with_padding,
                           dx.data() + begin * s.H * s.W, scratch);
    });
    return dx.object();
  });
}

}  // namespace

void bind_pool(py::module_& m) {
  const py::object yes = py::bool_(true);
  const py::object no = py::bool_(false);
  const py::object none = py::none();
  define<max_pool2d_forward>(m, "max_pool2d_forward", "x kernel stride padding ceil_mode out arg", {no, none, none});
  define<max_pool2d_backward>(m, "max_pool2d_backward", "dout arg input_shape kernel stride padding dx", {none});
  define<avg_pool2d_forward>(m, "avg_pool2d_forward", "x kernel stride padding ceil_mode count_include_pad out",
                             {no, yes, none});
  define<avg_pool2d_backward>(m, "avg_pool2d_backward",
                              "dout input_shape kernel stride padding ceil_mode count_include_pad dx", {none});
}

}  // namespace fastnn
