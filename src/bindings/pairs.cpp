#include "pairs.h"

#include <algorithm>

#include "array.h"

namespace fastnn {

constexpr idx kSlots = 32;  // most threads of a product of pairs

template <class T> double Pairs<T>::work() const {
  const idx M = a.rows, K = a.cols, N = b.cols;
  return 2.0 * double(M) * double(N) * double(K) + 2.0 * sizeof(T) * double(M * K + K * N + M * N);
}
template <class T> bool Pairs<T>::one_by_one() const { return count < kSlots && work() > kReleaseWork; }
template <class T> idx Pairs<T>::slot() const {
  return (kernels.product_workspace(a.rows, b.cols, a.cols) + 63) / 64 * 64;
}
template <class T> idx Pairs<T>::workspace() const {
  return one_by_one() ? kernels.matmul_workspace(a.rows, b.cols, a.cols) : std::min(count, kSlots) * slot();
}
template <class T> void Pairs<T>::run(idx begin, idx end, void* scratch) const {
  struct Run {
    const Pairs& p;
    char* scratch;
    idx slot, next, end;
    void product(idx i, bool threads, void* memory) const {
      const auto at = [i](Mat<const T> m, idx step) {
        return Mat<const T>{m.data + i * step, m.rows, m.cols, m.rs, m.cs};
      };
      const auto result = row_major(p.out + i * p.a.rows * p.b.cols, p.a.rows, p.b.cols);
      if (threads)
        p.kernels.matmul(at(p.a, p.a_step), at(p.b, p.b_step), result, memory);
      else
        p.kernels.product(at(p.a, p.a_step), at(p.b, p.b_step), result, false, memory);
    }
  } state{*this, static_cast<char*>(scratch), slot(), begin, end};
  if (one_by_one()) {
    for (idx i = begin; i < end; ++i) state.product(i, true, scratch);
    return;
  }
  share(
      std::min(count, kSlots), work() * double(end - begin),
      [](const void* f, idx number) {
        Run& run = *static_cast<Run*>(const_cast<void*>(f));
        for (idx i; (i = __atomic_fetch_add(&run.next, 1, __ATOMIC_RELAXED)) < run.end;)
          run.product(i, false, run.scratch + number * run.slot);
      },
      &state);
}
template struct Pairs<float>;
template struct Pairs<double>;

}  // namespace fastnn
