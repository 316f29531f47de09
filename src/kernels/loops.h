// Loops of vectors over flat arrays: the last vector is partial and runs the same code.
#pragma once
#include "parallel.h"
#include "simd.h"

namespace FASTNN_NS {
namespace {

// A vector's place in arrays of one length: at(p) is the vector of p[i], p[i + 1], ...
template <class T> struct Whole {
  idx i;
  bool past_caches = false;  // where put() stores
  Simd<T> operator()(const T* p) const { return plain(load(p + i)); }
  void put(T* p, Simd<T> v) const { past_caches ? stream(p + i, v) : store(p + i, v); }
  Simd<T> keep(Simd<T> v, T) const { return v; }
};
template <class T> struct Partial {
  idx i, n;
  Simd<T> operator()(const T* p) const { return load_partial(p + i, n); }
  void put(T* p, Simd<T> v) const { store_partial(p + i, v, n); }
  Simd<T> keep(Simd<T> v, T otherwise) const {
    return first_lanes<T>(n) ? v : Simd<T>{} + otherwise;
  }  // beyond the end
};
// Whole where n >= lanes<T>, else Partial: one body for a whole loop.
template <class T> struct Either {
  idx i, n;
  bool past_caches = false;
  Simd<T> operator()(const T* p) const { return n < lanes<T> ? Partial<T>{i, n}(p) : Whole<T>{i}(p); }
  void put(T* p, Simd<T> v) const { n < lanes<T> ? Partial<T>{i, n}.put(p, v) : Whole<T>{i, past_caches}.put(p, v); }
  Simd<T> keep(Simd<T> v, T otherwise) const { return n < lanes<T> ? Partial<T>{i, n}.keep(v, otherwise) : v; }
};

// f(at) for every vector of [begin, end). A long f (one with exp or log) is compiled once, a short one for whole
// vectors and for the last: branches in the loop would cost it a sixth.
template <class T, class F> inline void for_vectors(idx begin, idx end, F f) {
  idx i = begin;
  for (; i + lanes<T> <= end; i += lanes<T>) f(Whole<T>{i});
  if (i < end) f(Partial<T>{i, end - i});
}
template <class T, class F> inline void for_vectors_long(idx begin, idx end, F f, bool past_caches = false) {
  for (idx i = begin; i < end; i += lanes<T>) f(Either<T>{i, end - i, past_caches});
}

// Sum of f(at) over [begin, end) in every lane: runs of 16 vectors in each of `sums` running sums, so that rounding
// does not add up (10,000 terms of both signs in float32: error 4.8e-5 with one run, 0.8e-5 so). Four sums hide the
// latency of an addition; where f is long, one is as fast and a sixth of the code.
template <class T, int sums = 4, class F> inline Simd<T> sum_vectors(idx begin, idx end, F f) {
  constexpr idx L = lanes<T>, run = 16 * sums * L;
  Simd<T> total{};
  for (idx i = begin; i < end;) {
    const idx stop = end - i < run ? end : i + run;
    Simd<T> s[sums] = {};
    if constexpr (sums > 1)
      for (; i + sums * L <= stop; i += sums * L)
        for (idx k = 0; k < sums; ++k) s[k] += f(Whole<T>{i + k * L});
    const auto add = [&](auto at) { s[0] += at.keep(f(at), 0); };
    sums > 1 ? for_vectors<T>(i, stop, add) : for_vectors_long<T>(i, stop, add);
    for (int k = sums / 2; k > 0; k /= 2)
      for (int j = 0; j < k; ++j) s[j] += s[j + k];
    total += s[0];
    i = stop;
  }
  return sum_of_lanes<T>(total);
}

// Elements of a block: whole 64-bit words of a mask. Where nothing depends on the cut, small arrays have smaller ones,
// so that each thread has the part that it had in the operation before.
constexpr idx kElementBlock = 1 << 14, kSmallBlock = 1 << 11;
inline idx element_block(idx n) { return n < 8 * kElementBlock ? kSmallBlock : kElementBlock; }
// Results as large as L3 are stored past it (76 MB, 2 threads: ReLU 3.17 ms -> 2.64, tanh backward 4.82 -> 3.75).
constexpr idx kStreamBytes = idx(32) << 20;
// A layer in training touches four arrays of one size, x, out, dout and dx. Where they do not fit L3 together, dropout
// and batch normalisation of columns store past it. (The latter, forward and backward, 1 and 2 threads: 3.3 MB 245 us
// -> 243, 128 -> 187; 5.8 MB 893 -> 493, 348 -> 346; 8 MB 1,204 -> 719, 562 -> 493. By channel, whose stores follow the
// memory, 6.9 MB: 827 -> 719, but 384 -> 488: not there.)
constexpr idx kTrainedStreamBytes = idx(6) << 20;
// `run` elements lie side by side.
template <class T> inline bool past_caches(const T* out, idx n, idx run) {
  return n * idx(sizeof(T)) >= kTrainedStreamBytes && run * idx(sizeof(T)) % kVecBytes == 0 &&
         reinterpret_cast<uintptr_t>(out) % kVecBytes == 0;
}

// f(begin, end, block) for the blocks of [0, n), in parallel.
template <class T, class F> inline void for_blocks(idx n, idx size, F f) {
  parallel_for((n + size - 1) / size, 2 * n * idx(sizeof(T)), [=](idx block) {
    const idx begin = block * size;
    f(begin, n - begin < size ? n : begin + size, block);
  });
}

// out = f(at) over [0, n), in parallel.
template <class T, bool kLong = false, class F> inline void map(T* out, idx n, F f) {
  const bool past_caches = n * idx(sizeof(T)) >= kStreamBytes && reinterpret_cast<uintptr_t>(out) % kVecBytes == 0;
  for_blocks<T>(n, element_block(n), [=](idx begin, idx end, idx) {
    const auto put = [=](auto at) { at.put(out, f(at)); };
    if constexpr (kLong) {
      for_vectors_long<T>(begin, end, put, past_caches);
    } else {
      for (; past_caches && begin + lanes<T> <= end; begin += lanes<T>) put(Whole<T>{begin, true});
      for_vectors<T>(begin, end, put);
    }
    if (past_caches) stream_fence();
  });
}

// The sum of f(at) over [0, n) in double, one partial sum a block added in order; f runs in parallel and may write.
inline idx sum_blocks(idx n) { return (n + kElementBlock - 1) / kElementBlock; }
template <class T, int sums, class F> inline double sum(idx n, double* partial, F f) {
  constexpr idx run = 1024;  // elements added in T
  for_blocks<T>(n, kElementBlock, [=](idx begin, idx end, idx block) {
    double total = 0;
    for (idx i = begin; i < end; i += run)
      total += double(sum_vectors<T, sums>(i, end - i < run ? end : i + run, f)[0]);
    partial[block] = total;
  });
  double total = 0;
  for (idx block = 0; block < sum_blocks(n); ++block) total += partial[block];
  return total;
}

// f(word, begin, n): the n elements from `begin` belong to this word of a mask; n is the constant 64 but for the last.
template <class T, class F> inline void for_mask_words(idx n, F f) {
  for_blocks<T>(n, element_block(n), [=](idx begin, idx end, idx) {
    idx i = begin;
    for (; i + 64 <= end; i += 64) f(i / 64, i, std::integral_constant<idx, 64>{});
    if (i < end) f(i / 64, i, end - i);
  });
}

}  // namespace
}  // namespace FASTNN_NS
