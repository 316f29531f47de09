// A fully connected layer over many classes and the cross entropy of its softmax, block by block of rows: the scores
// (N, V) are never stored. The bits are those of the operations one after the other.
#pragma once
#include "table.h"

namespace fastnn {

template <class T> struct AffineCrossEntropy {
  Mat<const T> x, W;  // (N, D), (D, V)
  const T* b;         // (V), or null
  CrossEntropyTarget<T> t;
  T epsilon;
  Mat<T> dW, dx;  // without data: not computed
  T* db;

  double work() const { return (dW.data ? 4 : 2) * double(x.rows) * double(x.cols) * double(W.cols); }
  idx workspace(const Kernels<T>& kernels) const;  // bytes of scratch
  // The mean loss. Interruptible: with the GIL held, which is released for long work with a look for Ctrl-C in between.
  double run(const Kernels<T>& kernels, void* scratch, bool interruptible) const;
};

}  // namespace fastnn
