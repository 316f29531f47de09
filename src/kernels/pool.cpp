#include "pool.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr PoolKernels<T> kernels() {
  return {.max_workspace = max_pool_workspace<T>,
          .max_forward = max_pool_forward<T>,
          .places_fit = places_fit,
          .max_backward = max_pool_backward<T>,
          .avg_workspace = avg_pool_workspace<T>,
          .avg_forward = avg_pool_forward<T>,
          .avg_backward = avg_pool_backward<T>};
}
}  // namespace
void fill_pool(KernelTable& table) {
  table.f32.pool = kernels<float>();
  table.f64.pool = kernels<double>();
}
}  // namespace FASTNN_NS
