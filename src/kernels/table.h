// THE list of native operations: one struct of function pointers per family and dtype, filled once per instruction set.
#pragma once
#include "views.h"

namespace fastnn {

// Element-wise kinds, in the order of the enumeration: the names are those of ACTIVATIONS in numpy_backend.py.
#define FASTNN_ACTIVATIONS(X)                                                                                     \
  X(identity) X(step) X(sigmoid) X(tanh) X(relu) X(leaky_relu) X(elu) X(selu) X(softplus) X(softsign)             \
  X(hard_sigmoid) X(swish) X(gelu) X(gelu_tanh) X(mish)
#define FASTNN_ENUMERATOR(name) name,
enum class Activation : int { FASTNN_ACTIVATIONS(FASTNN_ENUMERATOR) };
#undef FASTNN_ENUMERATOR

template <class T> struct AffineKernels {
  idx (*matmul_workspace)(idx M, idx N, idx K);  // bytes of 64-byte aligned scratch
  void (*matmul)(Mat<const T> a, Mat<const T> b, Mat<T> out, void* scratch);
  idx (*forward_workspace)(idx N, idx D, idx M);
  void (*forward)(Mat<const T> x, Mat<const T> W, const T* b, Activation kind, T alpha, Mat<T> out, void* scratch);
  idx (*backward_workspace)(idx N, idx D, idx M);
  // An output whose data is null is not computed.
  void (*backward)(Mat<const T> dout, Mat<const T> x, Mat<const T> W, Mat<T> dx, Mat<T> dW, T* db, void* scratch);
};

template <class T> struct ActivationKernels {
  void (*relu_forward)(Vec<const T> x, T* out, uint64_t* mask);
  void (*relu_backward)(Vec<const T> dout, const uint64_t* mask, T* dx);
};

template <class T> struct SoftmaxKernels {
  void (*softmax)(Mat<const T> x, T* out);
};

template <class T> struct OptimKernels {
  void (*sgd)(Vec<T> p, const T* g, T lr);
};

template <class T> struct Kernels {
  AffineKernels<T> affine;
  ActivationKernels<T> activation;
  SoftmaxKernels<T> softmax;
  OptimKernels<T> optim;
};

struct KernelTable {
  const char* isa;
  double chunk_work;  // scalar operations that take about 50 ms on one thread of this ISA: Ctrl-C is looked for in between
  Kernels<float> f32;
  Kernels<double> f64;
};

#define FASTNN_FAMILIES(X) X(affine) X(activation) X(softmax) X(optim)

extern const KernelTable* active_table;
template <class T> const Kernels<T>& active();
template <> inline const Kernels<float>& active<float>() { return active_table->f32; }
template <> inline const Kernels<double>& active<double>() { return active_table->f64; }

const KernelTable* find_table(const char* isa);  // null: not built, or this processor cannot run it
const char* const* available_isas(int* count);   // best first

}  // namespace fastnn
