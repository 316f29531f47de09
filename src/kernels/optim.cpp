#include "optim.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr OptimKernels<T> kernels() {
  return {.blocks = optim_blocks<T>,
          .update = update<T>,
          .sum_of_squares = sum_of_squares<T>,
          .scale = scale_arrays<T>,
          .average = moving_average<T>};
}
}  // namespace
void fill_optim(KernelTable& table) {
  table.f32.optim = kernels<float>();
  table.f64.optim = kernels<double>();
}
}  // namespace FASTNN_NS
