// Module functions whose arguments are all objects, by place or by name: one caller for all of them, where pybind11
// makes one for each signature (a call of 13 arguments 0.14 us shorter, the six of rnn.cpp 40 KB smaller).
#pragma once
#include <pybind11/pybind11.h>

#include <utility>

#include "array.h"

namespace fastnn {

using Body = py::object (*)(const py::handle* args);  // of `names` in their order, none of them null
// names: separated by spaces; defaults: of the last ones, None, numbers, texts or tuples. Errors are translated as by
// pybind11.
void define(py::module_& m, const char* name, const char* names, std::initializer_list<py::object> defaults, Body body);

template <class A> A argument(py::handle h) {
  if constexpr (std::is_same_v<A, Real>) {
    return Real::of(h);
  } else if constexpr (std::is_same_v<A, bool>) {
    const int truth = PyObject_IsTrue(h.ptr());
    if (truth < 0) PyErr_Clear();
    return truth > 0;
  } else {
    static_assert(std::is_same_v<A, py::handle>);
    return h;
  }
}

// The same for a function of handles, Reals and bools.
template <auto function>
void define(py::module_& m, const char* name, const char* names, std::initializer_list<py::object> defaults = {}) {
  define(m, name, names, defaults, [](const py::handle* args) {
    return []<class... A, size_t... I>(py::object (*f)(A...), const py::handle* a, std::index_sequence<I...>) {
      return f(argument<A>(a[I])...);
    }(function, args,
           std::make_index_sequence<[]<class... A>(py::object (*)(A...)) { return sizeof...(A); }(function)>{});
  });
}

}  // namespace fastnn
