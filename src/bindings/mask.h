// Bit masks of element-wise operations: whole 64-bit words in an array of uint8.
#pragma once
#include "array.h"

namespace fastnn {

inline ssize_t mask_bytes(idx n) { return (n + 63) / 64 * 8; }

// In<uint8_t> or Out<uint8_t> as words; null when the memory is not aligned for them.
template <class A> auto mask_words(const A& mask) {
  using Word =
      std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(mask.data())>>, const uint64_t, uint64_t>;
  return reinterpret_cast<uintptr_t>(mask.data()) % alignof(uint64_t) ? nullptr : reinterpret_cast<Word*>(mask.data());
}

}  // namespace fastnn
