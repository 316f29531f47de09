#include "rnn.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr RnnKernels<T> kernels() {
  return {.workspace = rnn_workspace<T>,
          .takes_input = takes_input<T>,
          .forward = rnn_forward<T>,
          .backward = rnn_backward<T>,
          .input_gradients = input_gradients<T>,
          .any_infinite = any_infinite<T>};
}
}  // namespace
void fill_rnn(KernelTable& table) {
  table.f32.rnn = kernels<float>();
  table.f64.rnn = kernels<double>();
}
}  // namespace FASTNN_NS
