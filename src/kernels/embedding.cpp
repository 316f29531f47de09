#include "embedding.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr EmbeddingKernels<T> kernels() {
  return {.forward = embedding_forward<T>,
          .clear = clear<T>,
          .add_rows = embedding_add_rows<T>,
          .sum_rows = embedding_sum_rows<T>};
}
}  // namespace
void fill_embedding(KernelTable& table) {
  table.f32.embedding = kernels<float>();
  table.f64.embedding = kernels<double>();
}
}  // namespace FASTNN_NS
