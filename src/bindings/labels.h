// Labels of classes, indices of rows.
#pragma once
#include "array.h"

namespace fastnn {

// Labels or indices of any integer dtype and shape (plain memory) as the kernels take them: in [0, V), or -1 where they
// are `ignore`. False if one is outside.
template <class Label> bool read_labels(const void* from, idx n, idx V, const int64_t* ignore, int64_t* to) {
  const Label* labels = static_cast<const Label*>(from);
  bool good = true;
  for (idx i = 0; i < n; ++i) {
    const int64_t label = int64_t(labels[i]), in_range = label + (label < 0 && std::is_signed_v<Label> ? V : 0);
    const bool skip = ignore && label == *ignore;
    good &= skip | (in_range >= 0 && in_range < V);
    to[i] = skip ? -1 : in_range;
  }
  return good;
}
inline bool read_labels(const ArrayProxy* t, idx V, const int64_t* ignore, int64_t* to) {
  const idx n = element_count(t);
  switch (type_of(t)) {
    case NumpyApi::NPY_BYTE_:
      return read_labels<signed char>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_UBYTE_:
      return read_labels<unsigned char>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_SHORT_:
      return read_labels<short>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_USHORT_:
      return read_labels<unsigned short>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_INT_:
      return read_labels<int>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_UINT_:
      return read_labels<unsigned>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_LONG_:
      return read_labels<long>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_ULONG_:
      return read_labels<unsigned long>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_LONGLONG_:
      return read_labels<long long>(t->data, n, V, ignore, to);
    case NumpyApi::NPY_ULONGLONG_:
      return read_labels<unsigned long long>(t->data, n, V, ignore, to);
    default:
      return false;
  }
}

}  // namespace fastnn
