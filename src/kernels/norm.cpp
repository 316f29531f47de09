#include "norm.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr NormKernels<T> kernels() {
  return {.partials = batch_norm_partials,
          .forward = batch_norm_forward<T>,
          .inference = batch_norm_inference<T>,
          .backward = batch_norm_backward<T>,
          .channel_partials = channel_norm_partials<T>,
          .channel_forward = channel_norm_forward<T>,
          .channel_inference = channel_norm_inference<T>,
          .channel_backward = channel_norm_backward<T>,
          .group_forward = group_norm_forward<T>,
          .group_partials = group_norm_partials,
          .group_backward = group_norm_backward<T>,
          .group_blocks = group_blocks,
          .group_backward_blocks = group_backward_blocks<T>};
}
}  // namespace
void fill_norm(KernelTable& table) {
  table.f32.norm = kernels<float>();
  table.f64.norm = kernels<double>();
}
}  // namespace FASTNN_NS
