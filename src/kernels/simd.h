// Vectors of T, as wide as the ISA: the only file (with gemm.h's tile table) that asks which ISA this is.
// Arithmetic, comparison and `mask ? a : b` are the compiler's own on vector types (GCC and Clang).
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "views.h"

// At -Os too (baseline).
#define FASTNN_INLINE inline __attribute__((always_inline))

namespace FASTNN_NS {
namespace {
using namespace fastnn;

#if defined(__AVX512F__)
constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif

template <class T> struct SimdOf;
template <> struct SimdOf<float> {
  typedef float type __attribute__((vector_size(kVecBytes)));
  typedef int32_t mask __attribute__((vector_size(kVecBytes)));
};
template <> struct SimdOf<double> {
  typedef double type __attribute__((vector_size(kVecBytes)));
  typedef int64_t mask __attribute__((vector_size(kVecBytes)));
};
template <class T> using Simd = typename SimdOf<T>::type;
template <class T> using SimdMask = typename SimdOf<T>::mask;  // also the integer vector of the same lanes
template <class T> constexpr idx lanes = kVecBytes / idx(sizeof(T));

template <class T> FASTNN_INLINE Simd<T> load(const T* p) {
  Simd<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T> FASTNN_INLINE void store(T* p, Simd<T> v) { std::memcpy(p, &v, sizeof v); }
template <class T> FASTNN_INLINE Simd<T> broadcast(T s) {
  return s - Simd<T>{};
}  // s - 0 keeps -0.0, as s + 0 would not

// v itself, but the compiler may not load it under the mask that selects it later: such loads are slow from
// memory (ReLU backward on 1e7 float32: 3.2 ms -> 2.1).
template <class V> FASTNN_INLINE V plain(V v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#endif
  return v;
}

// p[0, kGroup) over and over.
template <int kGroup, class T> FASTNN_INLINE Simd<T> broadcast_group(const T* p) {
  constexpr idx bytes = kGroup * sizeof(T);
  Simd<T> v;
  if constexpr (bytes == kVecBytes) {
    v = load(p);
  } else if constexpr (bytes == 8) {
    double pair;
    std::memcpy(&pair, p, 8);
    v = (Simd<T>)broadcast(pair);
  } else {
#if defined(__AVX512F__)
    v = bytes == 16 ? (Simd<T>)_mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps((const float*)p))
                    : (Simd<T>)_mm512_maskz_broadcast_f64x4(0xff, _mm256_loadu_pd((const double*)p));
#elif defined(__AVX2__)
    v = (Simd<T>)_mm256_broadcast_ps((const __m128*)p);  // bytes is 16; two copies would go through memory
#endif
  }
  return v;
}

// All ones in the first n lanes, zeros in the rest.
template <class T> FASTNN_INLINE SimdMask<T> first_lanes(idx n) {
  using I = std::remove_reference_t<decltype(SimdMask<T>{}[0])>;
  SimdMask<T> lane;
  for (idx i = 0; i < lanes<T>; ++i) lane[i] = I(i);
  return lane < I(n);
}

// First n lanes from p, the rest 0; nothing beyond p + n is touched (0 <= n <= lanes).
FASTNN_INLINE Simd<float> load_partial(const float* p, idx n) {
#if defined(__AVX512F__)
  return (Simd<float>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
  return (Simd<float>)_mm256_maskload_ps(p, (__m256i)first_lanes<float>(n));
#else
  Simd<float> v{};
  std::memcpy(&v, p, size_t(n) * sizeof(float));
  return v;
#endif
}
FASTNN_INLINE Simd<double> load_partial(const double* p, idx n) {
#if defined(__AVX512F__)
  return (Simd<double>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif defined(__AVX2__)
  return (Simd<double>)_mm256_maskload_pd(p, (__m256i)first_lanes<double>(n));
#else
  Simd<double> v{};
  std::memcpy(&v, p, size_t(n) * sizeof(double));
  return v;
#endif
}
FASTNN_INLINE void store_partial(float* p, Simd<float> v, idx n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)first_lanes<float>(n), (__m256)v);
#else
  std::memcpy(p, &v, size_t(n) * sizeof(float));
#endif
}
FASTNN_INLINE void store_partial(double* p, Simd<double> v, idx n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#elif defined(__AVX2__)
  _mm256_maskstore_pd(p, (__m256i)first_lanes<double>(n), (__m256d)v);
#else
  std::memcpy(p, &v, size_t(n) * sizeof(double));
#endif
}
// A vector from two places: lanes [0, n) from p, lanes [n, end) from q (whose lane n is q[n]), the rest 0; nothing else
// is touched.
FASTNN_INLINE Simd<float> load_joined(const float* p, const float* q, idx n, idx end) {
#if defined(__AVX512F__)
  const __mmask16 first = (__mmask16)((1u << n) - 1), all = (__mmask16)((1u << end) - 1);
  return (Simd<float>)_mm512_mask_loadu_ps(_mm512_maskz_loadu_ps(first, p), (__mmask16)(all & ~first), q);
#elif defined(__AVX2__)
  const __m256i first = (__m256i)first_lanes<float>(n), all = (__m256i)first_lanes<float>(end);
  return (Simd<float>)_mm256_or_ps(_mm256_maskload_ps(p, first),
                                   _mm256_maskload_ps(q, _mm256_andnot_si256(first, all)));
#else
  Simd<float> v{};
  for (idx i = 0; i < end; ++i) v[i] = i < n ? p[i] : q[i];
  return v;
#endif
}
FASTNN_INLINE Simd<double> load_joined(const double* p, const double* q, idx n, idx end) {
#if defined(__AVX512F__)
  const __mmask8 first = (__mmask8)((1u << n) - 1), all = (__mmask8)((1u << end) - 1);
  return (Simd<double>)_mm512_mask_loadu_pd(_mm512_maskz_loadu_pd(first, p), (__mmask8)(all & ~first), q);
#elif defined(__AVX2__)
  const __m256i first = (__m256i)first_lanes<double>(n), all = (__m256i)first_lanes<double>(end);
  return (Simd<double>)_mm256_or_pd(_mm256_maskload_pd(p, first),
                                    _mm256_maskload_pd(q, _mm256_andnot_si256(first, all)));
#else
  Simd<double> v{};
  for (idx i = 0; i < end; ++i) v[i] = i < n ? p[i] : q[i];
  return v;
#endif
}

// a * b + c, fused where the ISA has it (contraction is off, so this is the only place).
#if defined(__x86_64__) && !defined(__AVX2__)
constexpr bool kFused = false;
#else
constexpr bool kFused = true;
#endif
#if defined(__AVX512F__)
FASTNN_INLINE Simd<float> fma(Simd<float> a, Simd<float> b, Simd<float> c) {
  return (Simd<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
FASTNN_INLINE Simd<double> fma(Simd<double> a, Simd<double> b, Simd<double> c) {
  return (Simd<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
FASTNN_INLINE Simd<float> sqrt(Simd<float> a) { return (Simd<float>)_mm512_sqrt_ps((__m512)a); }
FASTNN_INLINE Simd<double> sqrt(Simd<double> a) { return (Simd<double>)_mm512_sqrt_pd((__m512d)a); }
#elif defined(__AVX2__)
FASTNN_INLINE Simd<float> fma(Simd<float> a, Simd<float> b, Simd<float> c) {
  return (Simd<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
FASTNN_INLINE Simd<double> fma(Simd<double> a, Simd<double> b, Simd<double> c) {
  return (Simd<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
FASTNN_INLINE Simd<float> sqrt(Simd<float> a) { return (Simd<float>)_mm256_sqrt_ps((__m256)a); }
FASTNN_INLINE Simd<double> sqrt(Simd<double> a) { return (Simd<double>)_mm256_sqrt_pd((__m256d)a); }
#elif defined(__x86_64__)
FASTNN_INLINE Simd<float> fma(Simd<float> a, Simd<float> b, Simd<float> c) { return a * b + c; }
FASTNN_INLINE Simd<double> fma(Simd<double> a, Simd<double> b, Simd<double> c) { return a * b + c; }
FASTNN_INLINE Simd<float> sqrt(Simd<float> a) { return (Simd<float>)_mm_sqrt_ps((__m128)a); }
FASTNN_INLINE Simd<double> sqrt(Simd<double> a) { return (Simd<double>)_mm_sqrt_pd((__m128d)a); }
#elif defined(__aarch64__)
FASTNN_INLINE Simd<float> fma(Simd<float> a, Simd<float> b, Simd<float> c) {
  return (Simd<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
FASTNN_INLINE Simd<double> fma(Simd<double> a, Simd<double> b, Simd<double> c) {
  return (Simd<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
FASTNN_INLINE Simd<float> sqrt(Simd<float> a) { return (Simd<float>)vsqrtq_f32((float32x4_t)a); }
FASTNN_INLINE Simd<double> sqrt(Simd<double> a) { return (Simd<double>)vsqrtq_f64((float64x2_t)a); }
#endif

// a * 2^n for whole n in [-1200, 1200] (float: [-300, 300]); rounds once when the result is denormal, inf beyond the
// range. Without the instruction: two factors near 2^(n/2), each a number whose exponent bits are the low bits of n/2 +
// a constant.
#if defined(__AVX512F__)
FASTNN_INLINE Simd<float> scale_by_power(Simd<float> a, Simd<float> n) {
  return (Simd<float>)_mm512_maskz_scalef_ps(0xffff, (__m512)a, (__m512)n);
}
FASTNN_INLINE Simd<double> scale_by_power(Simd<double> a, Simd<double> n) {
  return (Simd<double>)_mm512_maskz_scalef_pd(0xff, (__m512d)a, (__m512d)n);
}
#else
template <class V> FASTNN_INLINE V scale_by_power(V a, V n) {
  using T = std::remove_reference_t<decltype(a[0])>;
  constexpr int bits = sizeof(T) == 4 ? 23 : 52;
  constexpr T magic = T(3) * T(idx(1) << (bits - 1)) + T(sizeof(T) == 4 ? 127 : 1023);
  const V half = fma(n, V{} + T(0.5), V{} + magic), rest = (n - (half - magic)) + magic;
  return a * (V)((SimdMask<T>)half << bits) * (V)((SimdMask<T>)rest << bits);
}
#endif

// a > b ? a : b and a < b ? a : b: b when either is NaN.
#if defined(__AVX512F__)
FASTNN_INLINE Simd<float> larger(Simd<float> a, Simd<float> b) {
  return (Simd<float>)_mm512_maskz_max_ps(0xffff, a, b);
}
FASTNN_INLINE Simd<double> larger(Simd<double> a, Simd<double> b) {
  return (Simd<double>)_mm512_maskz_max_pd(0xff, a, b);
}
FASTNN_INLINE Simd<float> smaller(Simd<float> a, Simd<float> b) {
  return (Simd<float>)_mm512_maskz_min_ps(0xffff, a, b);
}
FASTNN_INLINE Simd<double> smaller(Simd<double> a, Simd<double> b) {
  return (Simd<double>)_mm512_maskz_min_pd(0xff, a, b);
}
#elif defined(__AVX2__)
FASTNN_INLINE Simd<float> larger(Simd<float> a, Simd<float> b) { return (Simd<float>)_mm256_max_ps(a, b); }
FASTNN_INLINE Simd<double> larger(Simd<double> a, Simd<double> b) { return (Simd<double>)_mm256_max_pd(a, b); }
FASTNN_INLINE Simd<float> smaller(Simd<float> a, Simd<float> b) { return (Simd<float>)_mm256_min_ps(a, b); }
FASTNN_INLINE Simd<double> smaller(Simd<double> a, Simd<double> b) { return (Simd<double>)_mm256_min_pd(a, b); }
#elif defined(__x86_64__)
FASTNN_INLINE Simd<float> larger(Simd<float> a, Simd<float> b) { return (Simd<float>)_mm_max_ps(a, b); }
FASTNN_INLINE Simd<double> larger(Simd<double> a, Simd<double> b) { return (Simd<double>)_mm_max_pd(a, b); }
FASTNN_INLINE Simd<float> smaller(Simd<float> a, Simd<float> b) { return (Simd<float>)_mm_min_ps(a, b); }
FASTNN_INLINE Simd<double> smaller(Simd<double> a, Simd<double> b) { return (Simd<double>)_mm_min_pd(a, b); }
#else
template <class V> FASTNN_INLINE V larger(V a, V b) { return a > b ? a : b; }
template <class V> FASTNN_INLINE V smaller(V a, V b) { return a < b ? a : b; }
#endif

// A store past the caches; p is aligned to kVecBytes. fence() orders such stores before a barrier.
#if defined(__AVX512F__)
FASTNN_INLINE void stream(float* p, Simd<float> v) { _mm512_stream_ps(p, (__m512)v); }
FASTNN_INLINE void stream(double* p, Simd<double> v) { _mm512_stream_pd(p, (__m512d)v); }
#elif defined(__AVX2__)
FASTNN_INLINE void stream(float* p, Simd<float> v) { _mm256_stream_ps(p, (__m256)v); }
FASTNN_INLINE void stream(double* p, Simd<double> v) { _mm256_stream_pd(p, (__m256d)v); }
#elif defined(__x86_64__)
FASTNN_INLINE void stream(float* p, Simd<float> v) { _mm_stream_ps(p, (__m128)v); }
FASTNN_INLINE void stream(double* p, Simd<double> v) { _mm_stream_pd(p, (__m128d)v); }
#else
template <class T> FASTNN_INLINE void stream(T* p, Simd<T> v) { store(p, v); }
#endif
FASTNN_INLINE void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// NaN of either operand comes through, as in NumPy's maximum.
template <class V> FASTNN_INLINE V max_nan(V a, V b) { return ((a > b) | (a != a)) ? a : b; }
template <class V> FASTNN_INLINE V min_nan(V a, V b) { return ((a < b) | (a != a)) ? a : b; }

// Lane i of the result is lane i ^ step of v.
template <class T, idx step> FASTNN_INLINE Simd<T> exchange(Simd<T> v) {
#if defined(__clang__)
  Simd<T> w;
  for (idx i = 0; i < lanes<T>; ++i) w[i] = v[i ^ step];
  return w;
#else
  SimdMask<T> from;
  for (idx i = 0; i < lanes<T>; ++i) from[i] = i ^ step;
  return __builtin_shuffle(v, from);
#endif
}
// All lanes combined in one fixed order (pairwise halves), in every lane.
template <class T, idx step = lanes<T> / 2> FASTNN_INLINE Simd<T> sum_of_lanes(Simd<T> v) {
  v += exchange<T, step>(v);
  if constexpr (step > 1) return sum_of_lanes<T, step / 2>(v);
  return v;
}
template <class T, idx step = lanes<T> / 2> FASTNN_INLINE Simd<T> max_of_lanes(Simd<T> v) {  // not NaN
  v = larger(v, exchange<T, step>(v));
  if constexpr (step > 1) return max_of_lanes<T, step / 2>(v);
  return v;
}
template <class T> FASTNN_INLINE T horizontal_sum(Simd<T> v) { return sum_of_lanes<T>(v)[0]; }

// Lane i is lane index(i) of a and b side by side.
template <class V, class F> FASTNN_INLINE V rearrange(V a, V b, F index) {
  constexpr idx n = sizeof(V) / sizeof(a[0]);
#if defined(__clang__)
  V v;
  for (idx i = 0; i < n; ++i) v[i] = index(i) < n ? a[index(i)] : b[index(i) - n];
  return v;
#else
  decltype(a < b) from;
#pragma GCC unroll 16  // else GCC 12 does not see that some are constants (AVX2, float32: transpose 20 times slower)
  for (idx i = 0; i < n; ++i) from[i] = index(i);
  return __builtin_shuffle(a, b, from);
#endif
}
// Lanes of a and b alternating: those of the low halves, or of the high halves.
template <bool kHigh, class V> FASTNN_INLINE V zip(V a, V b) {
  constexpr idx n = sizeof(V) / sizeof(a[0]);
  return rearrange(a, b, [](idx i) { return i / 2 + kHigh * n / 2 + i % 2 * n; });
}
// Within each piece of 16 bytes: the low (or high) halves of a and b, their lanes alternating.
template <bool kHigh, class V> FASTNN_INLINE V interleave(V a, V b) {
  constexpr idx n = sizeof(V) / sizeof(a[0]), piece = 16 / sizeof(a[0]);
  return rearrange(a, b, [](idx i) { return i / piece * piece + kHigh * piece / 2 + i % piece / 2 + i % 2 * n; });
}
// Pieces of 16 bytes: the even (or odd) ones of a, then those of b.
template <bool kOdd, class V> FASTNN_INLINE V every_second_piece(V a, V b) {
  constexpr idx piece = 16 / sizeof(a[0]);
  return rearrange(a, b, [](idx i) { return (2 * (i / piece) + kOdd) * piece + i % piece; });
}
// Rows become columns: first within pieces of 16 bytes, then whole pieces (float32, AVX-512: 21 cycles; interleaving
// whole vectors: 47).
template <class T> FASTNN_INLINE void transpose(Simd<T> (&v)[lanes<T>]) {
  constexpr idx n = lanes<T>, piece = 16 / sizeof(T), pieces = n / piece;
#pragma GCC unroll 8
  for (idx i = 0; i < n; i += 2) {
    const Simd<T> a = v[i], b = v[i + 1];
    v[i] = interleave<false>(a, b), v[i + 1] = interleave<true>(a, b);
  }
  if constexpr (piece == 4) {
    using D = Simd<double>;
#pragma GCC unroll 4
    for (idx i = 0; i < n; i += 4) {
      const D a = (D)v[i], b = (D)v[i + 1], c = (D)v[i + 2], d = (D)v[i + 3];
      v[i] = (Simd<T>)interleave<false>(a, c), v[i + 1] = (Simd<T>)interleave<true>(a, c);
      v[i + 2] = (Simd<T>)interleave<false>(b, d), v[i + 3] = (Simd<T>)interleave<true>(b, d);
    }
  }
#pragma GCC unroll 2
  for (idx round = 1; round < pieces; round *= 2) {
    Simd<T> w[n];
#pragma GCC unroll 8
    for (idx i = 0; i < n / 2; ++i) {
      const Simd<T> a = v[i / piece * 2 * piece + i % piece], b = v[(i / piece * 2 + 1) * piece + i % piece];
      w[i] = every_second_piece<false>(a, b), w[n / 2 + i] = every_second_piece<true>(a, b);
    }
#pragma GCC unroll 16
    for (idx i = 0; i < n; ++i) v[i] = w[i];
  }
}

// One bit a lane, lane 0 lowest. `mask` is a comparison's result: all ones or all zeros in each lane.
template <class Mask> FASTNN_INLINE uint32_t to_bits(Mask mask) {
  if constexpr (sizeof(mask[0]) == 4) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps((__m256)mask));
#elif defined(__x86_64__)
    return uint32_t(_mm_movemask_ps((__m128)mask));
#else
    return uint32_t((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
#endif
  } else {
#if defined(__AVX512F__)
    return _mm512_movepi64_mask((__m512i)mask);
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_pd((__m256d)mask));
#elif defined(__x86_64__)
    return uint32_t(_mm_movemask_pd((__m128d)mask));
#else
    return uint32_t((mask[0] & 1) | (mask[1] & 2));
#endif
  }
}
// The inverse: bit i of `bits` (lowest first) becomes lane i, all ones or all zeros.
template <class T> FASTNN_INLINE SimdMask<T> from_bits(uint32_t bits) {
  using I = std::remove_reference_t<decltype(SimdMask<T>{}[0])>;
  SimdMask<T> bit;
  for (idx i = 0; i < lanes<T>; ++i) bit[i] = I(1) << i;
  return ((SimdMask<T>{} + I(bits)) & bit) != 0;
}

// One truth value a lane, where it is to be tested and combined: `a < b` is a vector, which AVX-512 keeps in a register
// of masks only as long as nothing but `? :` uses it (sigmoid with one branch: 24 cycles a vector, so 21).
#if defined(__AVX512F__)
template <class T> using Lanes = std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8>;
FASTNN_INLINE __mmask16 less(Simd<float> a, Simd<float> b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FASTNN_INLINE __mmask8 less(Simd<double> a, Simd<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
FASTNN_INLINE __mmask16 is_denormal(Simd<float> a) { return _mm512_fpclass_ps_mask(a, 0x20); }
FASTNN_INLINE __mmask8 is_denormal(Simd<double> a) { return _mm512_fpclass_pd_mask(a, 0x20); }
FASTNN_INLINE Simd<float> choose(__mmask16 m, Simd<float> a, Simd<float> b) { return _mm512_mask_blend_ps(m, b, a); }
FASTNN_INLINE Simd<double> choose(__mmask8 m, Simd<double> a, Simd<double> b) { return _mm512_mask_blend_pd(m, b, a); }
FASTNN_INLINE Simd<float> zero_where(__mmask16 m, Simd<float> a) { return _mm512_mask_blend_ps(m, a, Simd<float>{}); }
FASTNN_INLINE Simd<double> zero_where(__mmask8 m, Simd<double> a) { return _mm512_mask_blend_pd(m, a, Simd<double>{}); }
template <class M> FASTNN_INLINE bool any(M m) { return m != 0; }
FASTNN_INLINE bool any(__mmask16 a, __mmask16 b) { return !_kortestz_mask16_u8(a, b); }
FASTNN_INLINE bool any(__mmask8 a, __mmask8 b) { return !_kortestz_mask8_u8(a, b); }
#else
template <class T> using Lanes = SimdMask<T>;
template <class V> FASTNN_INLINE auto less(V a, V b) { return a < b; }
template <class V> FASTNN_INLINE auto is_denormal(V x) {  // 0 < |bits| < those of the smallest normal number
  using I = decltype(x < x);
  using T = std::remove_reference_t<decltype(x[0])>;
  constexpr auto above = decltype(I{}[0] + I{}[0])(1) << (sizeof(T) == 4 ? 23 : 52);
  const I bits = (I)x & ~(I)(-V{});
  return (bits > 0) & (bits < above);
}
template <class M, class V> FASTNN_INLINE V choose(M m, V a, V b) { return m ? a : b; }
template <class M, class V> FASTNN_INLINE V zero_where(M m, V a) { return m ? V{} : a; }
template <class M> FASTNN_INLINE bool any(M m) { return to_bits(m) != 0; }
template <class M> FASTNN_INLINE bool any(M a, M b) { return any(a | b); }
#endif

// Lanes of integers (0 ... 255) as bytes at p, the first n of them (n > lanes: all), and back; beyond n come zeros.
template <class T> struct SimdBytes;
template <> struct SimdBytes<float> {
  typedef uint8_t type __attribute__((vector_size(kVecBytes / 4)));
};
template <> struct SimdBytes<double> {
  typedef uint8_t type __attribute__((vector_size(kVecBytes / 8)));
};
template <class T> FASTNN_INLINE void store_bytes(uint8_t* p, SimdMask<T> v, idx n) {
  const auto bytes = __builtin_convertvector(v, typename SimdBytes<T>::type);
  if (n >= lanes<T>) {
    std::memcpy(p, &bytes, sizeof bytes);
    return;
  }
#if defined(__AVX512F__)
  __m128i wide{};
  std::memcpy(&wide, &bytes, sizeof bytes);
  _mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1), wide);
#else
  for (idx i = 0; i < n; ++i) p[i] = bytes[i];
#endif
}
template <class T> FASTNN_INLINE SimdMask<T> load_bytes(const uint8_t* p, idx n) {
  typename SimdBytes<T>::type bytes{};
  if (n >= lanes<T>) {
    std::memcpy(&bytes, p, sizeof bytes);
  } else {
#if defined(__AVX512F__)
    const __m128i wide = _mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p);
    std::memcpy(&bytes, &wide, sizeof bytes);
#else
    for (idx i = 0; i < n; ++i) bytes[i] = p[i];
#endif
  }
  return __builtin_convertvector(bytes, SimdMask<T>);
}

// The halves of x as doubles, and back. On AVX-512 by registers: through memory a quotient takes 20 ns, so 16.
FASTNN_INLINE void to_double(Simd<float> x, Simd<double> (&halves)[2]) {
#if defined(__AVX512F__)
  halves[0] = (Simd<double>)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)x));
  halves[1] = (Simd<double>)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)x, 1));
#else
  typedef float Half __attribute__((vector_size(kVecBytes / 2)));
  Half in[2];
  std::memcpy(in, &x, sizeof in);
  for (int i = 0; i < 2; ++i) halves[i] = __builtin_convertvector(in[i], Simd<double>);
#endif
}
FASTNN_INLINE Simd<float> to_float(const Simd<double> (&halves)[2]) {
#if defined(__AVX512F__)
  const __m256 low = _mm512_cvtpd_ps((__m512d)halves[0]), high = _mm512_cvtpd_ps((__m512d)halves[1]);
  return (Simd<float>)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
#else
  typedef float Half __attribute__((vector_size(kVecBytes / 2)));
  const Half out[2] = {__builtin_convertvector(halves[0], Half), __builtin_convertvector(halves[1], Half)};
  Simd<float> x;
  std::memcpy(&x, out, sizeof x);
  return x;
#endif
}

// 64-bit products of the low 32 bits of each 64-bit lane.
typedef uint64_t SimdU64 __attribute__((vector_size(kVecBytes)));
FASTNN_INLINE SimdU64 widening_product(SimdU64 a, SimdU64 b) {
#if defined(__AVX512F__)
  return (SimdU64)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (SimdU64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (SimdU64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (SimdU64)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#endif
}

}  // namespace
}  // namespace FASTNN_NS
