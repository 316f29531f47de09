// Module functions whose arguments are all objects, by place or by name: one caller for all of them, where pybind11
// makes one for each signature (a call of 13 arguments 0.14 us shorter, the six of rnn.cpp 40 KB smaller).
#pragma once
#include <pybind11/pybind11.h>

namespace fastnn {
namespace py = pybind11;

using Body = py::object (*)(const py::handle* args);  // of `names` in their order, none of them null
// names: separated by spaces; defaults: of the last ones, None, booleans or texts. Errors are translated as by
// pybind11.
void define(py::module_& m, const char* name, const char* names, std::initializer_list<py::object> defaults, Body body);

}  // namespace fastnn
