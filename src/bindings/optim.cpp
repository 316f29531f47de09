#include "array.h"
#include "families.h"

namespace fastnn {
void bind_optim(py::module_&) {}
}  // namespace fastnn
