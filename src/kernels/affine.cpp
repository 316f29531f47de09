#include "affine.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr AffineKernels<T> kernels() {
  return {.matmul_workspace = gemm_workspace<T>,
          .matmul = matmul<T>,
          .product_workspace = product_workspace<T>,
          .product = product<T>,
          .forward_workspace = affine_forward_workspace<T>,
          .forward = affine_forward<T>,
          .packed_elements = packed_elements<T>,
          .pack = pack_once<T>,
          .forward_packed = affine_forward_packed<T>,
          .backward_workspace = affine_backward_workspace<T>,
          .backward = affine_backward<T>};
}
void widen(const float* from, idx n, double* to) {
  parallel_for((n + 65535) / 65536, 4 * n, [=](idx block) {
    const idx end = n - block * 65536 < 65536 ? n : (block + 1) * 65536;
    for (idx i = block * 65536; i < end; ++i) to[i] = double(from[i]);
  });
}
}  // namespace
void fill_affine(KernelTable& table) {
  table.widen = widen;
  table.f32.affine = kernels<float>();
  table.f64.affine = kernels<double>();
}
}  // namespace FASTNN_NS
