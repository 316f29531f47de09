// A recurrent layer over whole sequences: the products over all steps around the kernels' loop over them.
#pragma once
#include "array.h"

namespace fastnn {

template <class T> struct RecurrentLayer {
  const T* x;  // N * steps rows of D
  Mat<const T> Wx;
  idx G, N, steps, D, H;      // G gates of H units
  const T* packed = nullptr;  // what recurrent_pack made of Wx and Wh

  idx rows() const { return N * steps; }
  double step_work() const { return 2.0 * double(rows()) * double(H) * double(G * H); }
  double input_work() const { return 2.0 * double(rows()) * double(D) * double(G * H); }
};

// Bytes of scratch of the two below.
template <class T>
idx recurrent_workspace(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, const Sequence<T>& s, bool backward);
// Weights that never change, packed once for all forward calls of several steps.
template <class T>
std::unique_ptr<void, GiveBack> recurrent_pack(const Kernels<T>& kernels, RecurrentLayer<T> layer, Sequence<T> s);
// out = x @ Wx + b for all steps, then the steps. Interruptible: with the GIL held, in chunks with a look for Ctrl-C.
template <class T> void recurrent_forward(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, Sequence<T>& s,
                                          const T* b, Mat<T> out, void* scratch, bool interruptible);
// Back through the steps, then the products over all of them. dx may be null.
template <class T> struct RecurrentGradients {
  T *dx, *dWx, *dWh, *db, *db_h;
};
template <class T> void recurrent_backward(const Kernels<T>& kernels, const RecurrentLayer<T>& layer, Sequence<T>& s,
                                           const RecurrentGradients<T>& out, void* scratch, bool interruptible);

}  // namespace fastnn
