#include "function.h"

#include <chrono>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace fastnn {
namespace {

constexpr int kMost = 24;

struct Function {
  PyMethodDef method{};
  std::string name, doc;
  Body body = nullptr;
  int count = 0;
  PyObject* names[kMost] = {};
  PyObject* defaults[kMost] = {};  // null: required
};

PyObject* refuse(const Function& f, const char* what, PyObject* name) {
  return PyErr_Format(PyExc_TypeError, "%s() %s '%U'", f.name.c_str(), what, name);
}

// -1: there is none.
int place_of(const Function& f, PyObject* name) {
  for (int i = 0; i < f.count; ++i)
    if (f.names[i] == name) return i;
  for (int i = 0; i < f.count; ++i)
    if (PyUnicode_Compare(f.names[i], name) == 0) return i;
  return -1;
}

PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t n, PyObject* names) {
  const Function& f = *static_cast<const Function*>(PyCapsule_GetPointer(self, nullptr));
  if (n > f.count)
    return PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments, not %zd", f.name.c_str(), f.count, n);
  py::handle args[kMost];
  for (Py_ssize_t i = 0; i < n; ++i) args[i] = given[i];
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    const int at = place_of(f, name);
    if (at < 0) return refuse(f, "has no argument", name);
    if (args[at]) return refuse(f, "got more than one value for", name);
    args[at] = given[n + i];
  }
  for (int i = int(n); i < f.count; ++i) {
    if (args[i]) continue;
    if (!f.defaults[i]) return refuse(f, "needs the argument", f.names[i]);
    args[i] = f.defaults[i];
  }
  try {
    return f.body(args).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

}  // namespace

void WithoutGil::wait_for_the_end() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

void define(py::module_& m, const char* name, const char* names, std::initializer_list<py::object> defaults,
            Body body) {
  auto* const f = new Function;  // lives as long as the process, as the module does
  f->name = name;
  f->body = body;
  std::istringstream words(names);
  for (std::string word; words >> word;) f->names[f->count++] = PyUnicode_InternFromString(word.c_str());
  int i = f->count - int(defaults.size());
  for (const py::object& value : defaults) f->defaults[i++] = py::object(value).release().ptr();
  f->doc = f->name + "(";
  for (i = 0; i < f->count; ++i) {
    f->doc += (i ? ", " : "") + py::str(f->names[i]).cast<std::string>() + ": object";
    if (f->defaults[i]) f->doc += " = " + py::repr(f->defaults[i]).cast<std::string>();
  }
  f->doc += ") -> object\n";
  f->method = {f->name.c_str(), reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(call)),
               METH_FASTCALL | METH_KEYWORDS, f->doc.c_str()};
  const py::capsule self(f);
  const py::object module_name = m.attr("__name__");
  m.attr(name) = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&f->method, self.ptr(), module_name.ptr()));
  m.attr("operations").cast<py::list>().append(name);
}

}  // namespace fastnn
