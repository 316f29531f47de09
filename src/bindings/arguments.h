// Arguments of operations with many arrays of one dtype, read without a copy of the code for each dtype.
#pragma once
#include <algorithm>

#include "array.h"

namespace fastnn {

// The arguments of a call, read one after the other: checked, their memory noted, the results made. After the first one
// that does not fit nothing more is done and result() is None. Arrays are of the dtype of that which began.
class Arguments {
 public:
  // The array that decides the dtype, not yet noted; null when it is not one of float32 or float64.
  const ArrayProxy* begin(py::handle h, int nd) {
    const ArrayProxy* a = as_array(h, kPlain, nd);
    type_ = a ? type_of(a) : -1;
    ok = type_ == type_num<float> || type_ == type_num<double>;
    size = type_ == type_num<float> ? sizeof(float) : sizeof(double);
    return ok ? a : nullptr;
  }
  const void* in(py::handle h, std::initializer_list<idx> shape) {
    const ArrayProxy* a = ok ? as_array(h, kPlain, int(shape.size())) : nullptr;
    ok = a && type_of(a) == type_ && std::equal(shape.begin(), shape.end(), a->dimensions);
    if (!ok) return nullptr;
    note(a);
    return a->data;
  }
  const void* optional(py::handle h, std::initializer_list<idx> shape) { return h.is_none() ? nullptr : in(h, shape); }
  void* out(py::handle h, std::initializer_list<idx> shape) {
    if (!ok) return nullptr;
    py::object& result = results_[result_count_++];
    if (h.is_none()) {
      ssize_t dims[4];
      std::copy(shape.begin(), shape.end(), dims);
      result = new_array(type_, size, int(shape.size()), dims);
    } else {
      const ArrayProxy* a = as_array(h, kPlain | kWritable, int(shape.size()));
      ok = a && type_of(a) == type_ && std::equal(shape.begin(), shape.end(), a->dimensions) && !overlaps(range_of(a));
      if (!ok) return nullptr;
      result = py::reinterpret_borrow<py::object>(h);
    }
    auto* const a = reinterpret_cast<const ArrayProxy*>(result.ptr());
    note(a);
    return a->data;
  }
  void no_result() { results_[result_count_++] = py::none(); }
  bool flag(py::handle h) {
    ok = ok && (h.ptr() == Py_True || h.ptr() == Py_False);
    return h.ptr() == Py_True;
  }
  py::object result() {
    if (!ok) return py::none();
    if (result_count_ == 1) return results_[0];
    py::tuple all(result_count_);
    for (int i = 0; i < result_count_; ++i) PyTuple_SET_ITEM(all.ptr(), i, results_[i].release().ptr());
    return all;
  }

  bool ok = true;
  idx size = 0;  // of an element

 protected:
  int type_ = -1;
  Range range_of(const ArrayProxy* a) const { return {a->data, a->data + element_count(a) * size}; }
  void note(const ArrayProxy* a) { ranges_[range_count_++] = range_of(a); }

 private:
  bool overlaps(Range range) const {
    return std::any_of(ranges_, ranges_ + range_count_, [&](Range other) { return range.overlaps(other); });
  }
  Range ranges_[24];
  py::object results_[8];
  int range_count_ = 0, result_count_ = 0;
};

}  // namespace fastnn
