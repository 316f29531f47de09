// out = activation(x W + b) and its gradients.
#pragma once
#include "parallel.h"
#include "simd.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

template <class T> void matmul(Mat<const T> a, Mat<const T> b, Mat<T> out, void*) {
  for (idx i = 0; i < out.rows; ++i)
    for (idx j = 0; j < out.cols; ++j) {
      T s = 0;
      for (idx k = 0; k < a.cols; ++k) s += a.data[i * a.rs + k * a.cs] * b.data[k * b.rs + j * b.cs];
      out.data[i * out.rs + j * out.cs] = s;
    }
}
inline idx matmul_workspace(idx, idx, idx) { return 0; }

template <class T>
void affine_forward(Mat<const T> x, Mat<const T> W, const T* b, Activation kind, T, Mat<T> out, void* scratch) {
  matmul(x, W, out, scratch);
  for (idx i = 0; i < out.rows; ++i)
    for (idx j = 0; j < out.cols; ++j) {
      T& o = out.row(i)[j];
      if (b) o += b[j];
      if (kind == Activation::relu && o <= 0) o = 0;
    }
}

template <class T>
void affine_backward(Mat<const T> dout, Mat<const T> x, Mat<const T> W, Mat<T> dx, Mat<T> dW, T* db, void* scratch) {
  if (dx.data) matmul(dout, transposed(W), dx, scratch);
  if (dW.data) matmul(transposed(x), dout, dW, scratch);
  if (db)
    for (idx j = 0; j < dout.cols; ++j) {
      db[j] = 0;
      for (idx i = 0; i < dout.rows; ++i) db[j] += dout.row(i)[j];
    }
}

}  // namespace
}  // namespace FASTNN_NS
