#include "branch.h"

#include <algorithm>
#include <cstring>

#include "arguments.h"
#include "families.h"
#include "function.h"

namespace fastnn {
namespace {

// rows of `bytes` bytes
void copy_rows(const char* from, idx from_row, char* to, idx to_row, idx bytes, idx rows) {
  if (bytes == 0) return;
  struct Copy {
    const char* from;
    char* to;
    idx from_row, to_row, bytes, rows, block;
  } copy{from, to, from_row, to_row, bytes, rows, (1 << 16) / (bytes + 1) + 1};
  share((rows + copy.block - 1) / copy.block, 2.0 * double(rows) * double(bytes),
        [](const void* f, idx block) {
          const Copy& c = *static_cast<const Copy*>(f);
          const idx end = std::min((block + 1) * c.block, c.rows);
          for (idx i = block * c.block; i < end; ++i)
            std::memcpy(c.to + i * c.to_row, c.from + i * c.from_row, size_t(c.bytes));
        },
        &copy);
}

py::object add_arrays(py::handle a_, py::handle b_, py::handle out_) {
  return by_dtype(a_, [&]<class T>() -> py::object {
    const In<T> a(a_), b(b_);
    if (!a || !b || !a.same_shape(b)) return py::none();
    const Out<T> out(out_, a.nd(), a.shape(), {out_.is(a_) ? Range{} : a.range(), out_.is(b_) ? Range{} : b.range()});
    if (!out) return py::none();
    run_rows(a.size(), double(a.size()) * sizeof(T) * sizeof(T), [&](idx begin, idx end) {
      active<T>().branch.add({a.data() + begin, end - begin}, b.data() + begin, out.data() + begin);
    });
    return out.object();
  });
}

char* bytes(const void* p) { return static_cast<char*>(const_cast<void*>(p)); }

py::object concatenate(const py::handle* args) {  // a, b, out
  Arguments call;
  const ArrayProxy *a = call.begin(args[0], 2), *b = as_array(args[1], kPlain, 2);
  call.ok = call.ok && b;
  if (!call.ok) return py::none();
  const idx N = a->dimensions[0], A = a->dimensions[1], B = b->dimensions[1];
  SideBySide s{N, (A + B) * call.size, A * call.size, nullptr, nullptr, nullptr};
  s.a = bytes(call.in(args[0], {N, A})), s.b = bytes(call.in(args[1], {N, B})),
  s.both = bytes(call.out(args[2], {N, A + B}));
  if (call.ok) run(double(N) * double(s.columns), [&] { s.join(); });
  return call.result();
}

py::object split(const py::handle* args) {  // x, columns, a, b
  Arguments call;
  const ArrayProxy* const x = call.begin(args[0], 2);
  if (!x || !PyLong_CheckExact(args[1].ptr())) return py::none();
  const idx N = x->dimensions[0], C = x->dimensions[1], A = PyLong_AsSsize_t(args[1].ptr());
  if (A < 0) PyErr_Clear();
  if (A < 0 || A > C) return py::none();
  SideBySide s{N, C * call.size, A * call.size, nullptr, nullptr, nullptr};
  s.both = bytes(call.in(args[0], {N, C})), s.a = bytes(call.out(args[2], {N, A})),
  s.b = bytes(call.out(args[3], {N, C - A}));
  if (call.ok) run(double(N) * double(s.columns), [&] { s.part(); });
  return call.result();
}

}  // namespace

void SideBySide::join() const {
  copy_rows(a, first, both, columns, first, rows);
  copy_rows(b, columns - first, both + first, columns, columns - first, rows);
}
void SideBySide::part() const {
  copy_rows(both, columns, a, first, first, rows);
  copy_rows(both + first, columns, b, columns - first, columns - first, rows);
}

void bind_branch(py::module_& m) {
  const py::object none = py::none();
  define<add_arrays>(m, "add_arrays", "a b out", {none});
  define(m, "concatenate", "a b out", {none}, concatenate);
  define(m, "split", "x columns a b", {none, none}, split);
}

}  // namespace fastnn
