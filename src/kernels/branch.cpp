#include "branch.h"

namespace FASTNN_NS {
namespace {
template <class T> constexpr BranchKernels<T> kernels() { return {.add = add_arrays<T>}; }
}  // namespace
void fill_branch(KernelTable& table) {
  table.f32.branch = kernels<float>();
  table.f64.branch = kernels<double>();
}
}  // namespace FASTNN_NS
