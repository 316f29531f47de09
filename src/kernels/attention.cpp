#include "attention.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr AttentionKernels<T> kernels() {
  return {.weights = attention_weights<T>,
          .divide = attention_divide<T>,
          .gradients = attention_gradients<T>,
          .finite = attention_finite<T>,
          .total = attention_total<T>};
}
}  // namespace
void fill_attention(KernelTable& table) {
  table.f32.attention = kernels<float>();
  table.f64.attention = kernels<double>();
}
}  // namespace FASTNN_NS
