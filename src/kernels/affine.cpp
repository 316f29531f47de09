#include "affine.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr AffineKernels<T> kernels() {
  return {.matmul_workspace = matmul_workspace,
          .matmul = matmul<T>,
          .forward_workspace = matmul_workspace,
          .forward = affine_forward<T>,
          .backward_workspace = matmul_workspace,
          .backward = affine_backward<T>};
}
}  // namespace
void fill_affine(KernelTable& table) {
  table.f32.affine = kernels<float>();
  table.f64.affine = kernels<double>();
}
}  // namespace FASTNN_NS
