// Products of matrices in pairs.
#pragma once
#include "table.h"

namespace fastnn {

template <class T> struct Pairs {
  const AffineKernels<T>& kernels;
  Mat<const T> a, b;   // the first ones
  idx a_step, b_step;  // elements from one to the next
  idx count;
  T* out;  // one after the other

  double work() const;  // of a pair
  idx workspace() const;
  void run(idx begin, idx end, void* scratch) const;

 private:
  bool one_by_one() const;  // few large ones have all threads each
  idx slot() const;         // scratch of a thread
};

}  // namespace fastnn
