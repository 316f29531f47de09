#include "random.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr RandomKernels<T> kernels() {
  return {.dropout_forward = dropout_forward<T>,
          .dropout_backward = dropout_backward<T>,
          .legacy_dropout_forward = legacy_dropout_forward<T>,
          .draw_mask = draw_mask,
          .channel_dropout = channel_dropout<T>};
}
}  // namespace
void fill_random(KernelTable& table) {
  table.f32.random = kernels<float>();
  table.f64.random = kernels<double>();
}
}  // namespace FASTNN_NS
