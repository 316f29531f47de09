// Where branches of a network meet and part.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

template <class T> void add_arrays(Vec<const T> a, const T* b, T* out) {
  map(out, a.n, [=](auto at) { return at(a.data) + at(b); });
}

// out = x, rows of any distance
template <class T> void copy_rows(Mat<const T> x, Mat<T> out) {
  const idx bytes = x.cols * idx(sizeof(T)), rows = (1 << 14) / (bytes + 1) + 1;
  parallel_for((x.rows + rows - 1) / rows, 2 * x.rows * bytes, [=](idx block) {
    const idx end = x.rows < (block + 1) * rows ? x.rows : (block + 1) * rows;
    for (idx i = block * rows; i < end; ++i) std::memcpy(out.row(i), x.row(i), size_t(bytes));
  });
}

}  // namespace
}  // namespace FASTNN_NS
