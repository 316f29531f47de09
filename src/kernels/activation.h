// Element-wise functions and their derivatives over flat arrays.
#pragma once
#include "parallel.h"
#include "simd.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

constexpr idx kMaskBlock = 64 * 512;  // elements of a block: whole 64-bit words of the mask

// out = x where x > 0 or x is NaN, else 0; bit i of mask says which.
template <class T> void relu_forward(Vec<const T> x, T* out, uint64_t* mask) {
  parallel_for((x.n + kMaskBlock - 1) / kMaskBlock, x.n, [=](idx block) {
    const idx begin = block * kMaskBlock, end = x.n - begin < kMaskBlock ? x.n : begin + kMaskBlock;
    for (idx word = begin; word < end; word += 64) {
      uint64_t bits = 0;
      for (idx i = word; i < end && i < word + 64; i += lanes<T>) {
        const idx n = end - i < lanes<T> ? end - i : lanes<T>;
        const Simd<T> v = load_partial(x.data + i, n);
        const SimdMask<T> keep = ~(v <= 0);
        store_partial(out + i, keep ? v : Simd<T>{}, n);
        bits |= uint64_t(to_bits(keep) & ((uint64_t(1) << n) - 1)) << (i - word);
      }
      mask[word / 64] = bits;
    }
  });
}

template <class T> void relu_backward(Vec<const T> dout, const uint64_t* mask, T* dx) {
  parallel_for((dout.n + kMaskBlock - 1) / kMaskBlock, dout.n, [=](idx block) {
    const idx begin = block * kMaskBlock, end = dout.n - begin < kMaskBlock ? dout.n : begin + kMaskBlock;
    for (idx i = begin; i < end; i += lanes<T>) {
      const idx n = end - i < lanes<T> ? end - i : lanes<T>;
      const Simd<T> v = load_partial(dout.data + i, n);
      store_partial(dx + i, from_bits<T>(uint32_t(mask[i / 64] >> (i % 64))) ? v : Simd<T>{}, n);
    }
  });
}

}  // namespace
}  // namespace FASTNN_NS
