#include "families.h"
#include "mask.h"

namespace fastnn {
namespace {
using namespace py::literals;

py::object relu_forward(py::handle x_, py::handle out_, py::handle mask_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    if (!x) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range()});
    if (!out) return py::none();
    Out<uint8_t> mask(mask_, {mask_bytes(x.size())}, {x.range(), out.range()});
    if (!mask || !mask_words(mask)) return py::none();
    run(double(x.size()), [&] {
      active<T>().activation.relu_forward(x.vec(), out.data(), mask_words(mask));
    });
    return py::make_tuple(out.object(), mask.object());
  });
}

py::object relu_backward(py::handle dout_, py::handle mask_, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    const In<uint8_t> mask(mask_, 1);
    if (!dout || !mask || mask.dim(0) != mask_bytes(dout.size()) || !mask_words(mask)) return py::none();
    Out<T> dx(dx_, dout.nd(), dout.shape(), {dout.range(), mask.range()});
    if (!dx) return py::none();
    run(double(dout.size()), [&] {
      active<T>().activation.relu_backward(dout.vec(), mask_words(mask), dx.data());
    });
    return dx.object();
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("relu_forward", relu_forward, "x"_a, "out"_a = py::none(), "mask"_a = py::none());
  m.def("relu_backward", relu_backward, "dout"_a, "mask"_a, "dx"_a = py::none());
}

}  // namespace fastnn
