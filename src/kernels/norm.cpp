#include "norm.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr NormKernels<T> kernels() {
  return {.forward = batch_norm_forward<T>, .inference = batch_norm_inference<T>, .backward = batch_norm_backward<T>};
}
}  // namespace
void fill_norm(KernelTable& table) {
  table.f32.norm = kernels<float>();
  table.f64.norm = kernels<double>();
}
}  // namespace FASTNN_NS
