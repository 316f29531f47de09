// The extension module: choice of the instruction set, threads and memory, and one bind_<family>() a line.
#include "array.h"
#include "families.h"

#include "threads.h"

namespace fastnn {
namespace {

py::list isa_names() {
  int count;
  const char* const* names = available_isas(&count);
  py::list list;
  for (int i = 0; i < count; ++i) list.append(names[i]);
  return list;
}

void use_isa(const std::string& name) {
  const KernelTable* table = find_table(name.c_str());
  if (!table)
    throw py::value_error("ISA '" + name + "' is not one of " + py::str(isa_names()).cast<std::string>() +
                          ", the ones that this build has and this processor can run");
  active_table = table;
}

}  // namespace
}  // namespace fastnn

PYBIND11_MODULE(_core_of_main, m, pybind11::multiple_interpreters::not_supported()) {
  using namespace fastnn;
  using namespace py::literals;
  m.doc() = "Compiled kernels of fastnn; see fastnn.ops for the documented functions.";
  // Now, under the lock of the import: it gives up the GIL, so that two threads whose first calls made it would wait
  // for each other for ever.
  numpy_api();
  int count;
  active_table = find_table(available_isas(&count)[0]);

  m.def("available_isas", isa_names, "Instruction sets that can be used here, best first.");
  m.def("use_isa", use_isa, "name"_a, "Choose an instruction set. ValueError if it is not available.");
  m.def("isa", [] { return active_table->isa; }, "The instruction set in use.");
  m.def("set_thread_limit", [](int n) { __atomic_store_n(&thread_limit, n < 1 ? 1 : n, __ATOMIC_RELAXED); }, "n"_a);
  m.def("max_threads", team::most, "Threads that a large call made now would use.");
  m.def("threads_after_wait", team::size_after, "ns"_a,
        "Threads of a large call that follows one which waited so long for another thread.");
#if defined(_OPENMP)
  m.attr("openmp") = _OPENMP;
#else
  m.attr("openmp") = py::none();
#endif
  m.def(
      "trim",
      [] {
        pool::trim();
        trim_scratch();
      },
      "Hand recycled memory back to the system.");
  m.def("set_pool_limit", pool::set_limit, "bytes"_a);
  m.def("pool_stats", [] {
    const pool::Stats s = pool::stats();
    return py::dict("used"_a = s.used, "kept"_a = s.kept, "limit"_a = s.limit);
  });

  m.attr("operations") = py::list();  // filled by define()
#define FASTNN_BIND(family) bind_##family(m);
  FASTNN_FAMILIES(FASTNN_BIND)
#undef FASTNN_BIND
  bind_plan(m);
}

// What Python calls. Python before 3.12 asks no module whether it can be in several interpreters, and pybind11's own
// function then waits for the GIL that its caller has.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_of_main();
  PyErr_SetString(PyExc_ImportError, "fastnn can only be imported in the main interpreter, not in a sub-interpreter");
  return nullptr;
}
