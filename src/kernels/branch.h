// Where branches of a network meet.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

template <class T> void add_arrays(Vec<const T> a, const T* b, T* out) {
  map(out, a.n, [=](auto at) { return at(a.data) + at(b); });
}

}  // namespace
}  // namespace FASTNN_NS
