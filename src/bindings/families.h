// One bind_<family>() for each family of operations, and one for plans over all of them.
#pragma once
#include <pybind11/pybind11.h>

#include "table.h"

namespace fastnn {
#define FASTNN_DECLARE_BIND(family) void bind_##family(pybind11::module_& m);
FASTNN_FAMILIES(FASTNN_DECLARE_BIND)
#undef FASTNN_DECLARE_BIND
void bind_plan(pybind11::module_& m);
}  // namespace fastnn
