// Softmax over the rows of a matrix, and the losses built on it.
#pragma once
#include <math.h>

#include "parallel.h"
#include "simd.h"
#include "table.h"

namespace FASTNN_NS {
namespace {
template <class T> void softmax(Mat<const T> x, T* out) {
  for (idx i = 0; i < x.rows; ++i) {
    const T* r = x.row(i);
    T* o = out + i * x.cols;
    T top = r[0], sum = 0;
    for (idx j = 1; j < x.cols; ++j) top = r[j] > top || r[j] != r[j] ? r[j] : top;
    for (idx j = 0; j < x.cols; ++j) sum += o[j] = T(exp(double(r[j] - top)));
    for (idx j = 0; j < x.cols; ++j) o[j] /= sum;
  }
}
}  // namespace
}  // namespace FASTNN_NS
