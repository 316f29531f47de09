// Numbers of an update, as its operation and a plan compute them.
#pragma once
#include <algorithm>
#include <cmath>

#include "table.h"

namespace fastnn {

// Arrays of a long call are cut into pieces of this many elements, with a look for Ctrl-C after each; the pieces follow
// from the sizes alone.
constexpr idx kOptimPiece = idx(1) << 24;

inline double clip_scale(double clip_norm, double norm) { return std::min(1.0, clip_norm / (norm + 1e-6)); }
inline double adam_rate(double lr, double beta1, double beta2, double step) {
  return lr * std::sqrt(1 - std::pow(beta2, step)) / (1 - std::pow(beta1, step));
}

}  // namespace fastnn
