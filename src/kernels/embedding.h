// Rows of a table W (V, D) by index, and their gradient.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

// f(begin, end) for parts of [0, n) of whole vectors, as many as there are threads: every element is the sum of its own
// terms in index order, so how the columns are cut changes nothing.
template <class T, class F> void for_column_parts(idx D, idx work, F f) {
  const idx vectors = (D + lanes<T> - 1) / lanes<T>, threads = team(work),
            parts = threads < vectors ? threads : vectors;
  parallel_for(parts, work, [=](idx part) {
    const idx begin = vectors * part / parts * lanes<T>, end = vectors * (part + 1) / parts * lanes<T>;
    f(begin, end < D ? end : D);
  });
}

template <class T> inline void copy_row(const T* from, idx begin, idx end, T* to) {
  for_vectors<T>(begin, end, [=](auto at) { at.put(to, at(from)); });
}
template <class T> inline void add_row(const T* from, idx begin, idx end, T* to) {
  for_vectors<T>(begin, end, [=](auto at) { at.put(to, at(to) + at(from)); });
}

// out[i] = W[index[i]]; out (n, D)
template <class T> void embedding_forward(Mat<const T> W, const int64_t* index, idx n, T* out) {
  constexpr idx kRows = 64;  // of a block
  parallel_for((n + kRows - 1) / kRows, 2 * n * W.cols * idx(sizeof(T)), [=](idx block) {
    const idx end = n - block * kRows < kRows ? n : (block + 1) * kRows;
    for (idx i = block * kRows; i < end; ++i) copy_row(W.row(index[i]), 0, W.cols, out + i * W.cols);
  });
}

template <class T> void clear(Vec<T> x) {
  for_blocks<T>(x.n, kElementBlock,
                [=](idx begin, idx end, idx) { std::memset(x.data + begin, 0, size_t(end - begin) * sizeof(T)); });
}

// dW[index[i]] += dout[i] in the order of i; dout (n, D)
template <class T> void embedding_add_rows(const T* dout, const int64_t* index, idx n, Mat<T> dW) {
  const idx D = dW.cols;
  for_column_parts<T>(D, 2 * n * D * idx(sizeof(T)), [=](idx begin, idx end) {
    for (idx i = 0; i < n; ++i) add_row(dout + i * D, begin, end, dW.row(index[i]));
  });
}

// values[slot[i]] = the sum of dout[i] in the order of i; slots are numbered by first appearance, those below `seen`
// have appeared before.
template <class T> void embedding_sum_rows(const T* dout, const int64_t* slot, idx n, idx D, idx seen, T* values) {
  for_column_parts<T>(D, 2 * n * D * idx(sizeof(T)), [=](idx begin, idx end) {
    idx next = seen;
    for (idx i = 0; i < n; ++i) {
      T* row = values + slot[i] * D;
      if (slot[i] == next) {
        copy_row(dout + i * D, begin, end, row);
        ++next;
      } else {
        add_row(dout + i * D, begin, end, row);
      }
    }
  });
}

}  // namespace
}  // namespace FASTNN_NS
