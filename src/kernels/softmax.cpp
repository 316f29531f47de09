#include "softmax.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr SoftmaxKernels<T> kernels() {
  return {.forward = softmax_forward<T>,
          .backward = softmax_backward<T>,
          .log_forward = log_softmax_forward<T>,
          .log_backward = log_softmax_backward<T>,
          .argmax = argmax<T>,
          .row_blocks = row_blocks,
          .blocks = sum_blocks,
          .one_hot_labels = one_hot_labels<T>,
          .cross_entropy_divisor = cross_entropy_divisor<T>,
          .cross_entropy_forward = cross_entropy_forward<T>,
          .cross_entropy_backward = cross_entropy_backward<T>,
          .sigmoid_loss_forward = sigmoid_loss_forward<T>,
          .squared_error_forward = squared_error_forward<T>,
          .difference_backward = difference_backward<T>};
}
}  // namespace
void fill_softmax(KernelTable& table) {
  table.f32.softmax = kernels<float>();
  table.f64.softmax = kernels<double>();
}
}  // namespace FASTNN_NS
