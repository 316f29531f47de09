// Labels of classes, indices of rows.
#pragma once
#include "array.h"

namespace fastnn {

// What labels (or indices of rows) may be: in [0, V), or equal to `ignore`.
struct LabelRange {
  idx V;
  const int64_t* ignore = nullptr;
};

// Labels of any integer dtype and shape (plain memory) as the kernels take them: in [0, V), or -1 where they are
// ignored. False if one is outside.
template <class Label> bool read_labels(const void* from, idx n, LabelRange range, int64_t* to) {
  const Label* labels = static_cast<const Label*>(from);
  bool good = true;
  for (idx i = 0; i < n; ++i) {
    const int64_t label = int64_t(labels[i]);
    const bool fits = std::is_signed_v<Label> || label >= 0;  // an unsigned one from 2^63 on is outside, never -1
    const bool skip = range.ignore && fits && label == *range.ignore;
    good &= skip | (label >= 0 && label < range.V);
    to[i] = skip ? -1 : label;
  }
  return good;
}
inline bool read_labels(const ArrayProxy* t, LabelRange range, int64_t* to) {
  const idx n = element_count(t);
  switch (type_of(t)) {
    case NumpyApi::NPY_BYTE_:
      return read_labels<signed char>(t->data, n, range, to);
    case NumpyApi::NPY_UBYTE_:
      return read_labels<unsigned char>(t->data, n, range, to);
    case NumpyApi::NPY_SHORT_:
      return read_labels<short>(t->data, n, range, to);
    case NumpyApi::NPY_USHORT_:
      return read_labels<unsigned short>(t->data, n, range, to);
    case NumpyApi::NPY_INT_:
      return read_labels<int>(t->data, n, range, to);
    case NumpyApi::NPY_UINT_:
      return read_labels<unsigned>(t->data, n, range, to);
    case NumpyApi::NPY_LONG_:
      return read_labels<long>(t->data, n, range, to);
    case NumpyApi::NPY_ULONG_:
      return read_labels<unsigned long>(t->data, n, range, to);
    case NumpyApi::NPY_LONGLONG_:
      return read_labels<long long>(t->data, n, range, to);
    case NumpyApi::NPY_ULONGLONG_:
      return read_labels<unsigned long long>(t->data, n, range, to);
    default:
      return false;
  }
}

}  // namespace fastnn
