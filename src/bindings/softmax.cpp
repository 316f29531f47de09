#include "array.h"
#include "families.h"

namespace fastnn {
namespace {
using namespace py::literals;

py::object softmax_forward(py::handle x_, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x) return py::none();
    Out<T> out(out_, 2, x.shape(), {x.range()});
    if (!out) return py::none();
    run_rows(x.dim(0), 20.0 * double(x.size()), [&](idx begin, idx end) {
      active<T>().softmax.softmax(row_major(x.mat().row(begin), end - begin, x.dim(1)), out.mat().row(begin));
    });
    return out.object();
  });
}

}  // namespace

void bind_softmax(py::module_& m) { m.def("softmax_forward", softmax_forward, "x"_a, "out"_a = py::none()); }

}  // namespace fastnn
