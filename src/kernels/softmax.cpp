#include "softmax.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr SoftmaxKernels<T> kernels() { return {.softmax = softmax<T>}; }
}  // namespace
void fill_softmax(KernelTable& table) {
  table.f32.softmax = kernels<float>();
  table.f64.softmax = kernels<double>();
}
}  // namespace FASTNN_NS
