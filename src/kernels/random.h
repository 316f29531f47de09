// Dropout: a generator inside the loop (counter-based, or NumPy's legacy one), the mask as bits.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

using Words = SimdU64;  // 32-bit words, one in the low half of each lane
constexpr idx kWordLanes = kVecBytes / 8;
constexpr int kPhiloxRounds = 10;

struct PhiloxKeys {
  uint64_t k0[kPhiloxRounds], k1[kPhiloxRounds];  // 32-bit keys, as wide as the lanes that they are broadcast to
  explicit PhiloxKeys(uint64_t key) {
    for (int r = 0; r < kPhiloxRounds; ++r) {
      k0[r] = uint32_t(key) + uint32_t(r) * 0x9E3779B9u;
      k1[r] = uint32_t(key >> 32) + uint32_t(r) * 0xBB67AE85u;
    }
  }
};

// Philox4x32-10 (Salmon et al. 2011): four words for each of the counters block, block + 1, ... of two vectors, whose
// chains of products run side by side. Only the low half of a lane counts: the widening product ignores the rest, so
// nothing has to be masked between rounds.
inline void philox(uint64_t block, const PhiloxKeys& keys, Words word[2][4]) {
  constexpr auto lane_numbers = [] {
    Words v{};
    for (idx i = 0; i < kWordLanes; ++i) v[i] = uint64_t(i);
    return v;
  };
  Words c[2][4];
  for (int g = 0; g < 2; ++g) {
    const Words counter = lane_numbers() + (block + uint64_t(g * kWordLanes));
    c[g][0] = counter, c[g][1] = counter >> 32, c[g][2] = c[g][3] = Words{};
  }
  for (int r = 0; r < kPhiloxRounds; ++r)
    for (auto& w : c) {
      const Words p0 = widening_product(w[0], Words{} + 0xD2511F53u),
                  p1 = widening_product(w[2], Words{} + 0xCD9E8D57u);
      w[0] = (p1 >> 32) ^ w[1] ^ (Words{} + keys.k0[r]);
      w[1] = p1;
      w[2] = (p0 >> 32) ^ w[3] ^ (Words{} + keys.k1[r]);
      w[3] = p0;
    }
  for (int g = 0; g < 2; ++g)
    for (int k = 0; k < 4; ++k) word[g][k] = c[g][k];
}

// Keep bits of elements 64 word ... 64 word + 63: element i is kept where its word is >= limit. The four words of a
// counter are brought side by side, in the order of the elements, before the comparison.
inline uint64_t keep_bits(uint64_t mask_word, const PhiloxKeys& keys, uint32_t limit) {
  typedef uint32_t Elements __attribute__((vector_size(kVecBytes)));
  constexpr idx L = lanes<float>;
  const auto kept = [=](Simd<double> words) {
    return uint64_t(to_bits((SimdMask<float>)((Elements)words >= Elements{} + limit)));
  };
  uint64_t bits = 0;
  for (idx i = 0; i < 16; i += 2 * kWordLanes) {
    Words words[2][4];
    philox(mask_word * 16 + uint64_t(i), keys, words);
    for (idx g = 0; g < 2; ++g) {
      const Words(&w)[4] = words[g];
      const auto a = (Simd<double>)((w[0] & 0xFFFFFFFFu) | w[1] << 32),
                 b = (Simd<double>)((w[2] & 0xFFFFFFFFu) | w[3] << 32);
      const idx place = 4 * (i + g * kWordLanes);
      bits |= kept(zip<false>(a, b)) << place | kept(zip<true>(a, b)) << (place + L);
    }
  }
  return bits;
}

// out = x * bit * scale for the elements of one mask word (a product: NaN is not hidden).
template <class T>
inline void apply_bits(const T* x, uint64_t bits, Simd<T> scale, idx n, T* out, bool past_caches = false) {
  for (idx i = 0; i < n; i += lanes<T>) {
    const Simd<T> factor = from_bits<T>(uint32_t(bits >> i)) ? scale : Simd<T>{};
    const Either<T> at{i, n - i, past_caches};
    at.put(out, at(x) * factor);
  }
}

constexpr idx kDropoutWords = 256;  // mask words of a block

// f(word, begin, elements, streams), streams for results that are to be stored past the caches.
template <class T, class F> void for_mask_words(const T* out, idx n, idx cost, F f) {
  const bool streams = past_caches(out, n, 64);
  const idx words = (n + 63) / 64;
  parallel_for((words + kDropoutWords - 1) / kDropoutWords, cost * n, [=](idx block) {
    const idx end = words - block * kDropoutWords < kDropoutWords ? words : (block + 1) * kDropoutWords;
    for (idx word = block * kDropoutWords; word < end; ++word)
      f(word, word * 64, n - word * 64 < 64 ? n - word * 64 : 64, streams);
    if (streams) stream_fence();
  });
}

struct KeepLimit {  // kept: words >= limit, if any
  uint32_t limit;
  uint64_t some;
  explicit KeepLimit(double ratio) {
    const double exact = ratio * 16777216.0;                                      // 2^24
    const int64_t threshold = int64_t(exact) + (double(int64_t(exact)) < exact);  // of the top 24 bits of a word
    limit = uint32_t(threshold << 8), some = threshold < (int64_t(1) << 24) ? ~uint64_t(0) : 0;
  }
};

template <class T>
void dropout_forward(Vec<const T> x, idx first_word, double ratio, uint64_t key, T scale, T* out, uint64_t* mask) {
  const PhiloxKeys keys(key);
  const KeepLimit keep(ratio);
  for_mask_words(out, x.n, 8, [=, &keys](idx word, idx begin, idx n, bool streams) {
    uint64_t bits = keep_bits(uint64_t(first_word + word), keys, keep.limit) & keep.some;
    if (n < 64) bits &= (uint64_t(1) << n) - 1;
    mask[word] = bits;
    apply_bits(x.data + begin, bits, broadcast(scale), n, out + begin, streams);
  });
}

template <class T> void dropout_backward(Vec<const T> dout, const uint64_t* mask, T scale, T* dx) {
  for_mask_words(dx, dout.n, 4, [=](idx word, idx begin, idx n, bool streams) {
    apply_bits(dout.data + begin, mask[word], broadcast(scale), n, dx + begin, streams);
  });
}

// ---- the numbers of np.random.rand ----------------------------------------------------------------------------------

typedef uint32_t TwisterWords __attribute__((vector_size(kVecBytes)));
inline TwisterWords twister_words(const uint32_t* p) {
  TwisterWords v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// MT19937 (Matsumoto and Nishimura 1998) as one sequence without end: the `count` words behind w[0, 624).
inline void twist(uint32_t* w, idx count) {
  for (idx i = 0; i < count; i += lanes<float>) {
    const TwisterWords next = twister_words(w + i + 1), y = (twister_words(w + i) & 0x80000000u) | (next & 0x7FFFFFFFu),
                       odd = (next & 1) != 0 ? TwisterWords{} + 0x9908B0DFu : TwisterWords{},
                       word = twister_words(w + i + 397) ^ (y >> 1) ^ odd;
    std::memcpy(w + i + kTwisterWords, &word, sizeof word);
  }
}

// Bits of 64 elements: element i is kept where its 53-bit number, made of words 2 i and 2 i + 1, is > limit.
inline uint64_t twister_bits(const uint32_t* w, int64_t limit) {
  constexpr idx L = lanes<double>;
  uint64_t bits = 0;
  for (idx i = 0; i < 64; i += L) {
    TwisterWords y = twister_words(w + 2 * i);
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    y ^= y >> 18;
    const auto pair = (SimdU64)y;
    const auto number = (SimdMask<double>)((pair & 0xFFFFFFE0u) << 21 | pair >> 38);
    bits |= uint64_t(to_bits(number > SimdMask<double>{} + limit)) << i;
  }
  return bits;
}

// Element i is kept where the i-th number that np.random.rand would draw is > ratio. state: the 624 words of the
// generator and its position among them; afterwards what NumPy would leave. (1.7 million numbers: np.random.rand alone
// 5.2 ms, this 0.8 ms.)
template <class T>
void legacy_dropout_forward(Vec<const T> x, double ratio, T scale, uint32_t* state, T* out, uint64_t* mask) {
  constexpr idx kBlocks = 8, kNew = kBlocks * kTwisterWords, kElements = kNew / 2;  // whole words of the mask
  static_assert(kElements % 64 == 0);
  uint32_t w[kTwisterWords + kNew];
  std::memcpy(w, state, kTwisterWords * sizeof(uint32_t));
  const idx position = state[kTwisterWords];
  const bool streams = past_caches(out, x.n, 64);
  const int64_t limit = ratio < 0 ? -1 : ratio < 1 ? int64_t(ratio * 0x1p53) : int64_t(1) << 53;  // NaN: nothing kept
  for (idx begin = 0; begin < x.n; begin += kElements) {
    if (begin > 0) std::memcpy(w, w + kNew, kTwisterWords * sizeof(uint32_t));
    twist(w, kNew);
    const idx end = x.n - begin < kElements ? x.n : begin + kElements;
    for (idx i = begin; i < end; i += 64) {
      const idx n = end - i < 64 ? end - i : 64;
      uint64_t bits = twister_bits(w + position + 2 * (i - begin), limit);
      if (n < 64) bits &= (uint64_t(1) << n) - 1;
      mask[i / 64] = bits;
      apply_bits(x.data + i, bits, broadcast(scale), n, out + i, streams);
    }
    if (streams) stream_fence();
    if (end < x.n) continue;
    const idx used = position + 2 * (end - begin), block = (used - 1) / kTwisterWords;
    std::memcpy(state, w + block * kTwisterWords, kTwisterWords * sizeof(uint32_t));
    state[kTwisterWords] = uint32_t(used - block * kTwisterWords);
  }
}

// ---- whole channels -------------------------------------------------------------------------------------------------

// Keep bits of n elements.
inline void draw_mask(idx n, double ratio, uint64_t key, uint64_t* mask) {
  const PhiloxKeys keys(key);
  const KeepLimit keep(ratio);
  for (idx word = 0; word * 64 < n; ++word) {
    mask[word] = keep_bits(uint64_t(word), keys, keep.limit) & keep.some;
    if (n - word * 64 < 64) mask[word] &= (uint64_t(1) << (n - word * 64)) - 1;
  }
}

// dx = dout * bit * scale for channels `first` and on, of S elements each.
template <class T>
void channel_dropout(const T* dout, idx first, idx channels, idx S, const uint64_t* mask, T scale, T* dx) {
  parallel_for(channels, 4 * channels * S, [=](idx i) {
    const Simd<T> factor = mask[(first + i) / 64] >> ((first + i) % 64) & 1 ? broadcast(scale) : Simd<T>{};
    for_vectors<T>(i * S, (i + 1) * S, [=](auto at) { at.put(dx, at(dout) * factor); });
  });
}

}  // namespace
}  // namespace FASTNN_NS
