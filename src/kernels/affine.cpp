#include "affine.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr AffineKernels<T> kernels() {
  return {.matmul_workspace = gemm_workspace<T>,
          .matmul = matmul<T>,
          .forward_workspace = affine_forward_workspace<T>,
          .forward = affine_forward<T>,
          .backward_workspace = affine_backward_workspace<T>,
          .backward = affine_backward<T>};
}
}  // namespace
void fill_affine(KernelTable& table) {
  table.f32.affine = kernels<float>();
  table.f64.affine = kernels<double>();
}
}  // namespace FASTNN_NS
