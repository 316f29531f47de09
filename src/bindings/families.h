// One bind_<family>() for each family of operations.
#pragma once
#include <pybind11/pybind11.h>

#include "table.h"

namespace fastnn {
#define FASTNN_DECLARE_BIND(family) void bind_##family(pybind11::module_& m);
FASTNN_FAMILIES(FASTNN_DECLARE_BIND)
#undef FASTNN_DECLARE_BIND
}  // namespace fastnn
