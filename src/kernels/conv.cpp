#include "conv.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr ConvKernels<T> kernels() {
  return {.choose = conv_choose<T>,
          .workspace = conv_workspace<T>,
          .forward = conv_forward<T>,
          .transformed_elements = transformed_elements<T>,
          .transform = transform_weights<T>,
          .backward_input = conv_backward_input<T>,
          .backward_weight = conv_backward_weight<T>,
          .channel_sums = channel_sums<T>,
          .patch_workspace = patch_workspace<T>,
          .im2col = im2col<T>,
          .col2im = col2im<T>};
}
}  // namespace
void fill_conv(KernelTable& table) {
  table.f32.conv = kernels<float>();
  table.f64.conv = kernels<double>();
}
}  // namespace FASTNN_NS
