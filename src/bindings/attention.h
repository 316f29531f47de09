// Scaled dot-product attention, softmax(q @ k.T / sqrt(D)) @ v for every head: products and the kernels for what lies
// between them, a block of queries at a time.
#pragma once
#include "table.h"

namespace fastnn {

struct Attention {
  idx N, queries, keys, heads, D, M;
  bool gradients;  // of what `forward` gave
  bool causal;     // query t looks at the keys 0 ... t + offset
  idx offset;
  const uint8_t* mask;    // (N, keys), 0 where no query looks; or null
  const void *q, *k, *v;  // (N, queries, heads, D), (N, keys, heads, D), (N, keys, heads, M)
  void* out;              // as dout
  const void* dout;       // (N, queries, heads, M)
  void *dq, *dk, *dv;

  bool empty() const { return !N || !heads || (gradients ? !D && !M : !queries || !M); }
  double work() const;
  idx units() const;                                                 // of work
  template <class T> idx workspace(const KernelTable& table) const;  // bytes
  // Units [begin, end): all of them in order, in as many calls as the caller likes.
  template <class T> void run(const KernelTable& table, idx begin, idx end, void* scratch) const;

 private:
  idx blocks() const;
  idx parts() const;
  template <class T> struct Layout;
  template <class T> void forward(const Layout<T>& layout, idx unit, T* scratch) const;
  template <class T> void backward(const Layout<T>& layout, idx unit, T* scratch, T* sums) const;
};

}  // namespace fastnn
