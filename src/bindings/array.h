// From Python objects to views and back, on the fast path: an argument that is not a plain array of the right dtype
// makes the binding return None, and fastnn.ops then converts it or explains. Nothing here throws at the user for bad
// input.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <bit>
#include <initializer_list>
#include <limits>
#include <memory>

#include "gil.h"
#include "memory.h"
#include "table.h"
#include "threads.h"

namespace fastnn {
namespace py = pybind11;
using ArrayProxy =
    py::detail::PyArray_Proxy;  // the ndarray struct: its flags are read by hand (tens of ns an argument)
using NumpyApi = py::detail::npy_api;

inline NumpyApi& numpy_api() {
  static NumpyApi& api = NumpyApi::get();
  return api;
}

template <class T> constexpr int type_num = -1;
template <> inline constexpr int type_num<float> = NumpyApi::NPY_FLOAT_;
template <> inline constexpr int type_num<double> = NumpyApi::NPY_DOUBLE_;
template <> inline constexpr int type_num<uint8_t> = NumpyApi::NPY_UBYTE_;
template <> inline constexpr int type_num<uint32_t> = NumpyApi::NPY_UINT32_;
template <> inline constexpr int type_num<int32_t> = NumpyApi::NPY_INT32_;
template <> inline constexpr int type_num<int64_t> = NumpyApi::NPY_INT64_;

constexpr int kPlain = NumpyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_;
constexpr int kWritable = NumpyApi::NPY_ARRAY_WRITEABLE_;
constexpr int kTransposed = NumpyApi::NPY_ARRAY_F_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_;  // view of a plain matrix

inline int type_of(const ArrayProxy* a) {  // -1 for foreign byte order; the own one may be spelt out
  constexpr char own = std::endian::native == std::endian::little ? '<' : '>';
  auto* descr = reinterpret_cast<const py::detail::PyArrayDescr_Proxy*>(a->descr);
  return descr->byteorder == '=' || descr->byteorder == '|' || descr->byteorder == own ? descr->type_num : -1;
}

// The array when it is an ndarray itself (no subclass) with these flags and this many dimensions (-1: any); else null.
inline const ArrayProxy* as_array(py::handle h, int flags, int nd) {
  if (Py_TYPE(h.ptr()) != numpy_api().PyArray_Type_) return nullptr;
  auto* a = reinterpret_cast<const ArrayProxy*>(h.ptr());
  return (a->flags & flags) == flags && (nd < 0 || a->nd == nd) ? a : nullptr;
}

inline idx element_count(const ArrayProxy* a) {
  idx n = 1;
  for (int i = 0; i < a->nd; ++i) n *= a->dimensions[i];
  return n;
}

struct Range {  // bytes in memory, to see overlaps
  const char *begin = nullptr, *end = nullptr;
  bool overlaps(Range other) const { return begin < other.end && other.begin < end; }
};

struct GiveBack {
  void operator()(void* block) const { pool::give(block); }
};

// A C-contiguous input of dtype T. False when it has to go through fastnn.ops. With `widen`, a float32 array is taken
// for T = double too and converted, as NumPy's promotion has it (MNIST's float32 images and the books' float64
// weights).
template <class T> class In {
 public:
  explicit In(py::handle h, int nd = -1, bool widen = false) : array_(as_array(h, kPlain, nd)) {
    if (!array_) return;
    const int type = type_of(array_);
    if (type == type_num<T>) {
      data_ = reinterpret_cast<const T*>(array_->data);
    } else if (std::is_same_v<T, double> && widen && type == type_num<float>) {
      if (size() == 0) return;
      widened_.reset(pool::take(size_t(size()) * sizeof(double)));
      if (!widened_) throw std::bad_alloc();
      active_table->widen(reinterpret_cast<const float*>(array_->data), size(), static_cast<double*>(widened_.get()));
      data_ = static_cast<const T*>(widened_.get());
    } else {
      array_ = nullptr;
    }
  }
  explicit operator bool() const { return array_; }
  idx dim(int i) const { return array_->dimensions[i]; }
  int nd() const { return array_->nd; }
  const ssize_t* shape() const { return array_->dimensions; }
  idx size() const { return element_count(array_); }
  const T* data() const { return data_; }
  Mat<const T> mat() const { return row_major(data(), dim(0), dim(1)); }
  Vec<const T> vec() const { return {data(), size()}; }
  Range range() const { return widened_ ? Range{} : Range{array_->data, array_->data + size() * idx(sizeof(T))}; }
  bool same_shape(const In& other) const {
    return nd() == other.nd() && std::equal(shape(), shape() + nd(), other.shape());
  }

 private:
  const ArrayProxy* array_;
  const T* data_ = nullptr;
  std::unique_ptr<void, GiveBack> widened_;
};

// A vector that may be None (a bias, class weights): data() is then null.
template <class T> class OptionalVec {
 public:
  OptionalVec(py::handle h, idx n) : none_(h.is_none()), in_(h, 1), n_(n) {}
  explicit operator bool() const { return none_ || (in_ && in_.dim(0) == n_); }
  const T* data() const { return none_ ? nullptr : in_.data(); }
  Range range() const { return none_ ? Range{} : in_.range(); }

 private:
  bool none_;
  In<T> in_;
  idx n_;
};

// A matrix argument that may be the transposed view of a plain matrix: that one then, and `flipped`.
struct Weights {
  explicit Weights(py::handle h);
  py::handle given;
  py::object plain;
  bool flipped;
  py::object result(const py::object& out) const;  // the argument where that was flipped
  template <class M> auto operator()(const M& m) const { return flipped ? transposed(m.mat()) : m.mat(); }
};

// Matrices of dtype T with any strides, as a transposed view has: one, or with three dimensions one for each first
// index.
template <class T> class StridedMat {
 public:
  explicit StridedMat(py::handle h, int nd = 2) : array_(as_array(h, NumpyApi::NPY_ARRAY_ALIGNED_, nd)) {
    if (array_ && type_of(array_) != type_num<T>) array_ = nullptr;
    for (int i = 0; array_ && i < nd; ++i)
      if (array_->strides[i] % sizeof(T)) array_ = nullptr;
  }
  explicit operator bool() const { return array_; }
  idx count() const { return array_->dimensions[0]; }
  idx step() const { return array_->strides[0] / idx(sizeof(T)); }
  Mat<const T> mat(idx i = 0) const {
    constexpr idx size = sizeof(T);
    const int last = array_->nd - 1;
    return {reinterpret_cast<const T*>(array_->data + (last > 1 ? i * array_->strides[0] : 0)),
            array_->dimensions[last - 1], array_->dimensions[last], array_->strides[last - 1] / size,
            array_->strides[last] / size};
  }
  Range range() const {
    Range r{array_->data, array_->data + sizeof(T)};
    for (int i = 0; i < array_->nd; ++i) {
      if (array_->dimensions[i] == 0) return {};
      const idx reach = (array_->dimensions[i] - 1) * array_->strides[i];
      (reach < 0 ? r.begin : r.end) += reach;
    }
    return r;
  }

 private:
  const ArrayProxy* array_;
};

// A new array: small ones are NumPy's own, large ones come from the pool through a capsule.
inline py::object new_array(int type, idx itemsize, int nd, const ssize_t* shape) {
  NumpyApi& api = numpy_api();
  idx bytes = itemsize;
  for (int i = 0; i < nd; ++i)
    if (__builtin_mul_overflow(bytes, idx(shape[i]), &bytes)) throw std::bad_alloc();
  void* block = nullptr;
  if (size_t(bytes) >= pool::kSmallest && !(block = pool::take(size_t(bytes)))) throw std::bad_alloc();
  auto array = py::reinterpret_steal<py::object>(
      api.PyArray_NewFromDescr_(api.PyArray_Type_, api.PyArray_DescrFromType_(type), nd, const_cast<ssize_t*>(shape),
                                nullptr, block, block ? kPlain | kWritable : 0, nullptr));
  if (!array) {
    if (block) pool::give(block);
    throw py::error_already_set();
  }
  if (block) {
    PyObject* owner =
        PyCapsule_New(block, nullptr, [](PyObject* capsule) { pool::give(PyCapsule_GetPointer(capsule, nullptr)); });
    if (!owner) {
      pool::give(block);
      throw py::error_already_set();
    }
    if (api.PyArray_SetBaseObject_(array.ptr(), owner) != 0) throw py::error_already_set();
  }
  return array;
}

// A result of dtype T: new when `h` is None, else the caller's array if it is plain, writable, of this shape, and
// shares no memory with any of `inputs`. False: fastnn.ops computes into a new array and copies, or explains.
template <class T> class Out {
 public:
  Out(py::handle h, int nd, const ssize_t* shape, std::initializer_list<Range> inputs = {}) {
    if (h.is_none()) {
      object_ = new_array(type_num<T>, sizeof(T), nd, shape);
    } else {
      const ArrayProxy* a = as_array(h, kPlain | kWritable, nd);
      if (!a || type_of(a) != type_num<T> || !std::equal(shape, shape + nd, a->dimensions)) return;
      const Range mine{a->data, a->data + element_count(a) * idx(sizeof(T))};
      for (Range r : inputs)
        if (mine.overlaps(r)) return;
      object_ = py::reinterpret_borrow<py::object>(h);
    }
    array_ = reinterpret_cast<const ArrayProxy*>(object_.ptr());
  }
  Out(py::handle h, std::initializer_list<ssize_t> shape, std::initializer_list<Range> inputs = {})
      : Out(h, int(shape.size()), shape.begin(), inputs) {}
  explicit operator bool() const { return array_; }
  T* data() const { return reinterpret_cast<T*>(array_->data); }
  Mat<T> mat() const { return row_major(data(), idx(array_->dimensions[0]), idx(array_->dimensions[1])); }
  Range range() const { return {array_->data, array_->data + element_count(array_) * idx(sizeof(T))}; }
  const py::object& object() const { return object_; }

 private:
  py::object object_;
  const ArrayProxy* array_ = nullptr;
};

// f.template operator()<T>() for the dtype of `h`; None when that is not an array of float32 or float64.
template <class F> py::object by_dtype(py::handle h, F&& f) {
  const ArrayProxy* a = as_array(h, 0, -1);
  if (!a) return py::none();
  switch (type_of(a)) {
    case type_num<float>:
      return f.template operator()<float>();
    case type_num<double>:
      return f.template operator()<double>();
    default:
      return py::none();
  }
}

// The same for the promoted dtype of two arrays.
template <class F> py::object by_promoted_dtype(py::handle a, py::handle b, F&& f) {
  const ArrayProxy* second = as_array(b, 0, -1);
  return by_dtype(second && type_of(second) == type_num<double> ? b : a, std::forward<F>(f));
}

// The enumerator for a name of FASTNN_ACTIVATIONS; false for any other object.
inline bool parse_activation(py::handle name, Activation& kind) {
#define FASTNN_INTERN(n) PyUnicode_InternFromString(#n),
  static PyObject* const names[] = {FASTNN_ACTIVATIONS(FASTNN_INTERN)};
#undef FASTNN_INTERN
  constexpr int count = sizeof names / sizeof names[0];
  for (int i = 0; i < count; ++i)
    if (names[i] == name.ptr()) return kind = Activation(i), true;
  if (PyUnicode_Check(name.ptr()))
    for (int i = 0; i < count; ++i)
      if (PyUnicode_Compare(names[i], name.ptr()) == 0) return kind = Activation(i), true;
  return false;
}

// A number argument. Whatever is given, binding succeeds: an object that is no number is NaN here and fastnn.ops
// explains.
struct Real {
  double value = 0;
  bool ok = true;
  operator double() const { return value; }
  static Real of(py::handle h) {
    const double value = PyFloat_AsDouble(h.ptr());
    if (value != -1.0 || !PyErr_Occurred()) return {value};
    PyErr_Clear();
    return {std::numeric_limits<double>::quiet_NaN(), false};
  }
};

// Intervals of numbers, as fastnn/ops/_bounds.py has them: outside of its interval a number is left to fastnn.ops,
// which explains. NaN is outside of all.
inline bool finite_from_0(double value) { return value >= 0 && value <= std::numeric_limits<double>::max(); }
inline bool from_0_to_1(double value) { return value >= 0 && value <= 1; }

// Releasing the GIL doubles a tiny call, and with a busy Python thread the call then waits 26 us to get it back.
constexpr double kReleaseWork = 2e6;  // scalar operations: about 50 us

template <class F> void run(double work, F&& f) {
  if (work < kReleaseWork) return f();
  const WithoutGil without;
  f();
}

// f(begin, end) over [0, rows); calls estimated above 50 ms go in chunks, cut by size alone, with a look for Ctrl-C
// after each.
template <class F> void run_rows(idx rows, double work, F&& f) {
  constexpr idx kMultiple = 64;
  const double chunks = work / active_table->chunk_work;
  idx step = rows;
  if (chunks > 1) {
    step = idx(double(rows) / chunks) / kMultiple * kMultiple;
    if (step < kMultiple) step = kMultiple;
  }
  if (step >= rows) return run(work, [&] { f(idx(0), rows); });
  for (idx begin = 0; begin < rows; begin += step) {
    {
      const WithoutGil without;
      f(begin, rows - begin < step ? rows : begin + step);
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

// body(f, i) for i in [0, count), by as many threads as the work is worth.
inline void share(idx count, double work, team::BlockBody body, const void* f) {
  const int threads = team::size(idx(work < 1e18 ? work : 1e18));
  team::run_blocks(count, threads < count ? threads : int(count), body, f);
}

}  // namespace fastnn
