// Rows of matrices side by side.
#pragma once
#include "views.h"

namespace fastnn {

// The columns [0, first) of both (rows, columns) from or to a, the others from or to b; sizes in bytes.
struct SideBySide {
  idx rows, columns, first;
  char *both, *a, *b;
  void join() const;
  void part() const;
};

}  // namespace fastnn
