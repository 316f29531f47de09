// Optimizer updates in place over one parameter array.
#pragma once
#include "parallel.h"
#include "simd.h"
#include "table.h"

namespace FASTNN_NS {
namespace {
template <class T> void sgd(Vec<T> p, const T* g, T lr) {
  for (idx i = 0; i < p.n; ++i) p.data[i] -= lr * g[i];
}
}  // namespace
}  // namespace FASTNN_NS
