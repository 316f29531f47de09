#include "families.h"
#include "function.h"
#include "mask.h"

namespace fastnn {
namespace {
using namespace py::literals;

// Estimated scalar operations of a call: for the GIL and for the chunks of a long call.
template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }

py::object activation_forward(py::handle x_, py::handle kind_, Real alpha, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    Activation kind;
    if (!x || !parse_activation(kind_, kind) || !alpha.ok) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range()});
    if (!out) return py::none();
    run_rows(x.size(), work_of<T>(x.size()), [&](idx begin, idx end) {
      active<T>().activation.forward(kind, T(alpha), {x.data() + begin, end - begin}, out.data() + begin);
    });
    return out.object();
  });
}

py::object activation_backward(py::handle dout_, py::handle saved_, py::handle kind_, Real alpha, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_), saved(saved_);
    Activation kind;
    if (!dout || !saved || !dout.same_shape(saved) || !parse_activation(kind_, kind) || !alpha.ok) return py::none();
    Out<T> dx(dx_, dout.nd(), dout.shape(), {dx_.is(dout_) ? Range{} : dout.range(), saved.range()});
    if (!dx) return py::none();
    run_rows(dout.size(), work_of<T>(dout.size()), [&](idx begin, idx end) {
      active<T>().activation.backward(kind, T(alpha), {dout.data() + begin, end - begin}, saved.data() + begin,
                                      dx.data() + begin);
    });
    return dx.object();
  });
}

py::object relu_forward(py::handle x_, py::handle out_, py::handle mask_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    if (!x) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range()});
    if (!out) return py::none();
    Out<uint8_t> mask(mask_, {mask_bytes(x.size())}, {x.range(), out.range()});
    if (!mask || !mask_words(mask)) return py::none();
    run_rows(x.size(), work_of<T>(x.size()), [&](idx begin, idx end) {  // chunks are whole words
      active<T>().activation.relu_forward({x.data() + begin, end - begin}, out.data() + begin,
                                          mask_words(mask) + begin / 64);
    });
    return py::make_tuple(out.object(), mask.object());
  });
}

py::object relu_backward(py::handle dout_, py::handle mask_, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    const In<uint8_t> mask(mask_, 1);
    if (!dout || !mask || mask.dim(0) != mask_bytes(dout.size()) || !mask_words(mask)) return py::none();
    Out<T> dx(dx_, dout.nd(), dout.shape(), {dx_.is(dout_) ? Range{} : dout.range(), mask.range()});
    if (!dx) return py::none();
    run_rows(dout.size(), work_of<T>(dout.size()), [&](idx begin, idx end) {
      active<T>().activation.relu_backward({dout.data() + begin, end - begin}, mask_words(mask) + begin / 64,
                                           dx.data() + begin);
    });
    return dx.object();
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  const py::object none = py::none();
  define<activation_forward>(m, "activation_forward", "x kind alpha out", {py::float_(0.0), none});
  define<activation_backward>(m, "activation_backward", "dout saved kind alpha dx", {py::float_(0.0), none});
  define<relu_forward>(m, "relu_forward", "x out mask", {none, none});
  define<relu_backward>(m, "relu_backward", "dout mask dx", {none});
}

}  // namespace fastnn
