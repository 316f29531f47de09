#include "vocabulary.h"

#include <algorithm>
#include <cmath>

#include "array.h"

namespace fastnn {
namespace {

// The scores of a block: L3 has room for them, and W, which every block reads, is read seldom enough; half as many
// bytes as W where that is more. (float32, 1 thread, 700 rows of 10,000 classes, ms, in turns: D 100: 1 MiB, which L2
// holds, 27.5, 2 MiB 24.3, 4 MiB 24.8, 7 MiB 23.5, all at once 23.3, as separate operations 25.8; D 650: 4 MiB 158, 8
// MiB 139, 14 MiB 127, all at once 126, separate 140.)
constexpr idx kBlockBytes = 8 << 20;

// Blocks begin at multiples of a number of rows that is whole tiles of the products and whole blocks of the softmax.
struct Cut {
  idx N, unit, few, units, blocks;
  Cut(idx N, idx D, idx V, idx itemsize)
      : N(N),
        unit(V > 2048 ? 24 : 192),
        few(V > 2048 ? 12 : 192),
        units(std::max(N / unit, idx(1))),
        blocks(std::clamp(N * V * itemsize / std::max(kBlockBytes, D * V * itemsize / 2), idx(1), units)) {}
  idx begin(idx block) const { return block == blocks ? N : units * block / blocks * unit; }
  idx most() const { return N - begin(blocks - 1) + unit; }
};

// The gradients of the last V % 16 columns come at the end, for the whole batch: gemm may split their sums. A dW of one
// row has none of these: its sums are one chain, but those of a row of a few columns would be several.
idx rest_of(idx D, idx V) { return D == 1 ? 0 : V % 16; }
idx aligned(idx bytes) { return (bytes + 63) / 64 * 64; }
template <class T> Mat<T> part(Mat<T> m, idx row, idx rows, idx column, idx columns) {
  return {m.data + row * m.rs + column * m.cs, rows, columns, m.rs, m.cs};
}

}  // namespace

template <class T> idx AffineCrossEntropy<T>::workspace(const Kernels<T>& kernels) const {
  const idx N = x.rows, D = x.cols, V = W.cols;
  const Cut cut(N, D, V, sizeof(T));
  const idx rows = std::min(cut.most(), N), rest = rest_of(D, V);
  return aligned(rows * V * idx(sizeof(T))) + aligned(N * rest * idx(sizeof(T))) +
         aligned(kernels.softmax.row_blocks(N, V) * 8) +
         std::max({kernels.affine.forward_workspace(rows, D, V), kernels.affine.backward_workspace(rows, D, V),
                   kernels.affine.backward_workspace(N, D, rest)});
}

template <class T>
double AffineCrossEntropy<T>::run(const Kernels<T>& kernels, void* scratch, bool interruptible) const {
  const idx N = x.rows, V = W.cols, D = x.cols;
  const Cut cut(N, D, V, sizeof(T));
  const idx rest = rest_of(D, V), whole = V - rest;
  char* at = static_cast<char*>(scratch);
  const auto take = [&](idx bytes) {
    char* const begin = at;
    at += aligned(bytes);
    return begin;
  };
  const auto scores = reinterpret_cast<T*>(take(std::min(cut.most(), N) * V * idx(sizeof(T))));
  const auto last = reinterpret_cast<T*>(take(N * rest * idx(sizeof(T))));
  const auto partial = reinterpret_cast<double*>(take(kernels.softmax.row_blocks(N, V) * 8));
  const double divisor = kernels.softmax.cross_entropy_divisor(t, N), scale = divisor != 0 ? 1 / divisor : 0;
  const auto block = [&](idx i) {
    const idx begin = cut.begin(i), rows = cut.begin(i + 1) - begin;
    const Mat<const T> y = row_major<const T>(scores, rows, V), own = part(x, begin, rows, 0, D);
    kernels.affine.forward(own, W, b, Activation::identity, T(0), nullptr, row_major(scores, rows, V), at);
    // loss and gradient of a few rows at a time, which stay in L2
    for (idx r = 0; r < rows; r += cut.few) {
      const idx row = begin + r;
      T* const to = scores + r * V;
      const Mat<const T> some = row_major<const T>(to, std::min(rows - r, cut.few), V);
      const CrossEntropyTarget<T> target{t.labels ? t.labels + row : nullptr, t.targets ? t.targets + row * V : nullptr,
                                         t.weight, t.smoothing};
      kernels.softmax.cross_entropy_forward(some, target, epsilon, to, partial + kernels.softmax.row_blocks(row, V));
      if (dW.data) kernels.softmax.cross_entropy_backward(some, target, scale, to);
    }
    if (!dW.data) return;
    if (dx.data) kernels.affine.backward(y, {}, W, part(dx, begin, rows, 0, D), {}, nullptr, false, at);
    kernels.affine.backward(part(y, 0, rows, 0, whole), own, {}, {}, part(dW, 0, D, 0, whole), db, i > 0, at);
    for (idx r = 0; r < rows; ++r) std::copy_n(y.row(r) + whole, rest, last + (begin + r) * rest);
  };
  for (idx i = 0; i < cut.blocks; ++i) {
    if (!interruptible) {
      block(i);
      continue;
    }
    fastnn::run(work() / double(cut.blocks), [&] { block(i); });
    if (work() > active_table->chunk_work && PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  const auto last_columns = [&] {
    kernels.affine.backward(row_major<const T>(last, N, rest), x, {}, {}, part(dW, 0, D, whole, rest),
                            db ? db + whole : nullptr, false, at);
  };
  if (dW.data && rest)
    interruptible ? fastnn::run(2.0 * double(N) * double(D) * double(rest), last_columns) : last_columns();
  double loss = 0;
  for (idx i = 0; i < kernels.softmax.row_blocks(N, V); ++i) loss += partial[i];
  return divisor != 0 ? loss / divisor : std::nan("");
}

template struct AffineCrossEntropy<float>;
template struct AffineCrossEntropy<double>;

}  // namespace fastnn
