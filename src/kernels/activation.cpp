#include "activation.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr ActivationKernels<T> kernels() {
  return {.forward = activation_forward<T>,
          .backward = activation_backward<T>,
          .in_place = activation_row<T>,
          .relu_forward = relu_forward<T>,
          .relu_backward = relu_backward<T>};
}
}  // namespace
void fill_activation(KernelTable& table) {
  table.f32.activation = kernels<float>();
  table.f64.activation = kernels<double>();
}
}  // namespace FASTNN_NS
