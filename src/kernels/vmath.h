// Vector mathematics on Simd<T>. NaN gives NaN, overflow inf; denormal arguments count and denormal results are rounded
// gradually, not flushed. Polynomials and rational functions are our own Remez fits; range reductions: Cody and Waite
// 1980, and for log the arrangement of fdlibm (Sun, 1993). The error bounds in ULP are the largest found on any ISA
// over every 37th float32 and 4e6 float64 arguments, against float64 and 80-bit references.
#pragma once
#include "simd.h"

namespace FASTNN_NS {
namespace {

template <class T> struct MathConstants;
template <> struct MathConstants<float> {
  static constexpr int bits = 23, bias = 127;
  static constexpr float min_normal = 0x1p-126f;
  static constexpr float exp_low = -104.0f, exp_high = 88.73f;                // exp is 0 below, inf above
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // n * ln2_high is exact
  static constexpr float log2e = 0x1.715476p+0f, log2e_low = 1.92596299e-8f;
  // (exp(r) - 1 - r) / r^2, |r| <= ln(2)/2: 6.5e-9 of exp(r)
  static constexpr float exp[] = {0x1.0000000000000p-1f, 0x1.5554b00000000p-3f, 0x1.5554860000000p-5f,
                                  0x1.1228180000000p-7f, 0x1.6d99640000000p-10f};
  // (exp(2 h) - 1) / h from the same
  static constexpr float expm1_of_double[] = {0x1.0000000000000p+1f, 0x1.0000000000000p+1f, 0x1.5554b00000000p+0f,
                                              0x1.5554860000000p-1f, 0x1.1228180000000p-2f, 0x1.6d99640000000p-4f};
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 in s^2, |s| <= 0.1716: 9e-10 of the logarithm
  static constexpr float log[] = {0x1.5555760000000p-1f, 0x1.9961820000000p-2f, 0x1.31a44c0000000p-2f};
  // 2^r, |r| <= 1/2: 5e-9
  static constexpr float exp2[] = {1.0f,           0.693147188f,   0.240226508f,   0.0555035711f,
                                   0.00961808256f, 0.00133908639f, 0.000154531629f};
  // -log2(erfc(a / sqrt(2))) / a = P(a) / Q(a), 0 <= a <= 5.7: 3.4e-9; goes on growing like a
  static constexpr float erfc_high = 15;  // 2^-160 there
  static constexpr float erfc_p[] = {0x1.8f44880000000p+0f, 0x1.8241fa0000000p+0f, 0x1.4ea6120000000p-1f,
                                     0x1.2815620000000p-3f, 0x1.c83e960000000p-7f};
  static constexpr float erfc_q[] = {0x1.5adb360000000p+0f, 0x1.8a5b660000000p-1f, 0x1.9734e00000000p-3f,
                                     0x1.3c95060000000p-6f};
};
template <> struct MathConstants<double> {
  static constexpr int bits = 52, bias = 1023;
  static constexpr double min_normal = 0x1p-1022;
  static constexpr double exp_low = -746.0, exp_high = 709.79;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double log2e = 0x1.71547652b82fep+0, log2e_low = 2.0355273740931033e-17;
  // 8.8e-18
  static constexpr double exp[] = {0.5000000000000006,    0.16666666666666685,    0.04166666666657379,
                                   0.008333333333314333,  0.001388888893237862,   0.00019841269903613808,
                                   2.480150441030243e-05, 2.7557227412722905e-06, 2.7626350177566355e-07,
                                   2.5114650370683963e-08};
  static constexpr double expm1_of_double[] = {2.0,
                                               2.000000000000002,
                                               1.3333333333333348,
                                               0.6666666666651806,
                                               0.26666666666605865,
                                               0.08888888916722316,
                                               0.025396825476625674,
                                               0.0063491851290374225,
                                               0.0014109300435314128,
                                               0.00028289382581827947,
                                               5.1434803959160756e-05};
  // 1.6e-18
  static constexpr double log[] = {0.6666666666666698, 0.3999999999961189,  0.285714287038647, 0.2222220213971996,
                                   0.1818339414965188, 0.15318097212014986, 0.1475797411264621};
  // 8.0e-18
  static constexpr double exp2[] = {1.0,
                                    0.6931471805599453,
                                    0.24022650695910097,
                                    0.0555041086648216,
                                    0.009618129107606888,
                                    0.001333355814641695,
                                    0.0001540353044173605,
                                    1.525273382982163e-05,
                                    1.321544258792169e-06,
                                    1.0178062451641066e-07,
                                    7.072585949269223e-09,
                                    4.454959755234878e-10};
  // 0 <= a <= 8.4: 1.1e-16
  static constexpr double erfc_high = 40;  // 2^-1160 there
  static constexpr double erfc_p[] = {
      1.1511040990721624,   1.9098927065948867,   1.5017841432868317,    0.7207529217423921,    0.2289421879588849,
      0.049002479612245006, 0.006881853725680361, 0.0005837550351074172, 2.469555487013089e-05, 3.44147135782503e-07};
  static constexpr double erfc_q[] = {1.0,
                                      1.2602410272892672,
                                      0.7563433284181558,
                                      0.2730053975338348,
                                      0.06313158733893547,
                                      0.009277286643412718,
                                      0.000804164337369289,
                                      3.422789786751982e-05,
                                      4.771127890007136e-07};
};

template <class V> using ElementOf = std::remove_cvref_t<decltype(V{}[0])>;

// Bounds that let NaN pass.
template <class V> FASTNN_INLINE V at_least(V x, ElementOf<V> low) { return larger(V{} + low, x); }
template <class V> FASTNN_INLINE V at_most(V x, ElementOf<V> high) { return smaller(V{} + high, x); }
template <class V> FASTNN_INLINE V abs(V x) {
  using I = SimdMask<ElementOf<V>>;
  return (V)((I)x & ~(I)(-V{}));
}

// c[0] + c[1] x + ... + c[N-1] x^(N-1)
template <class V, class T, int N> FASTNN_INLINE V polynomial(V x, const T (&c)[N]) {
  V p = V{} + c[N - 1];
  for (int i = N - 2; i >= 0; --i) p = fma(p, x, V{} + c[i]);
  return p;
}

// The whole number nearest to x * y, for |x y| < 2^(bits - 1).
template <class V> FASTNN_INLINE V round_product(V x, ElementOf<V> y) {
  using T = ElementOf<V>;
  constexpr T magic = T(3) * T(idx(1) << (MathConstants<T>::bits - 1));  // what is added to it is rounded
  return fma(x, V{} + y, V{} + magic) - magic;
}

// x = n ln(2) + r with |r| <= ln(2)/2; returns exp(r) - 1.
template <class V> FASTNN_INLINE V reduced_expm1(V x, V& n) {
  using C = MathConstants<ElementOf<V>>;
  n = round_product(x, C::log2e);
  const V r = fma(n, V{} - C::ln2_low, fma(n, V{} - C::ln2_high, x));
  return fma(r * r, polynomial(r, C::exp), r);
}

// 1.1 ULP, 0.8 when the result is denormal.
template <class V> FASTNN_INLINE V exp(V x) {
  using C = MathConstants<ElementOf<V>>;
  V n;
  const V p = reduced_expm1(at_most(at_least(x, C::exp_low), C::exp_high), n);
  return scale_by_power(p + 1, n);
}
// exp for x <= 0, 1.1 ULP.
template <class V> FASTNN_INLINE V exp_of_negative(V x) {
  V n;
  const V p = reduced_expm1(at_least(x, MathConstants<ElementOf<V>>::exp_low), n);
  return scale_by_power(p + 1, n);
}
// exp(x) - 1 for x <= 0, 1.2 ULP.
template <class V> FASTNN_INLINE V expm1_of_negative(V x) {
  V n;
  const V p = reduced_expm1(at_least(x, MathConstants<ElementOf<V>>::exp_low), n), t = scale_by_power(V{} + 1, n);
  return fma(t, p, t - 1);
}

// log(1 + f) + e ln(2), sqrt(1/2) <= 1 + f <= sqrt(2): s = f / (2 + f), log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)).
template <class V> FASTNN_INLINE V reduced_log(V f, V e) {
  using C = MathConstants<ElementOf<V>>;
  const V s = f / (f + 2), z = s * s, h = f * f / 2, R = z * polynomial(z, C::log);
  return fma(e, V{} + C::ln2_high, f - (h - fma(s, h + R, e * C::ln2_low)));
}

// 0.9 ULP; log(0) = -inf, NaN below 0.
template <class V> FASTNN_INLINE V log(V x) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  typedef Word Words __attribute__((vector_size(kVecBytes)));
  constexpr int digits = C::bits + 1;
  constexpr Word one = Word(C::bias) << C::bits, root = sizeof(T) == 4 ? 0x3f3504f3 : 0x3fe6a09e667f3bcd;  // 2^(-1/2)
  constexpr T carrier = T(Word(1) << C::bits);  // its low bits hold a whole number
  const auto tiny = x < C::min_normal;
  const Words i = (Words)(tiny ? x * T(Word(1) << digits) : x) + (one - root);  // the exponent field of x / root
  const V e = (V)((i >> C::bits) | (Words)(V{} + carrier)) -
              (tiny ? V{} + (carrier + (C::bias + digits)) : V{} + (carrier + C::bias));
  const V m = (V)((i & ((Word(1) << C::bits) - 1)) + root);
  const V y = reduced_log(m - 1, e), inf = V{} + T(__builtin_inf());
  const V special = x == 0 ? -inf : x < 0 ? V{} + T(__builtin_nan("")) : x;
  return ((x > 0) & (x < inf)) ? y : special;
}

// log(1 + u) for 0 <= u <= 1, 1.4 ULP.
template <class V> FASTNN_INLINE V log1p_of_unit(V u) {
  const auto upper = u > ElementOf<V>(0.41421356237309504880);
  return reduced_log(upper ? (u - 1) / 2 : u, upper ? V{} + 1 : V{});
}

// log(1 + exp(x)), 1.7 ULP.
template <class V> FASTNN_INLINE V softplus(V x) {
  return (x <= 0 ? V{} : x) + log1p_of_unit(exp_of_negative(-abs(x)));
}

// 1 / (1 + exp(-x)) as 2^n / (2^n + 2^r), x log2(e) = n - r: nothing overflows, small results are accurate. 2.5 ULP.
template <class V> FASTNN_INLINE V sigmoid(V x) {
  using C = MathConstants<ElementOf<V>>;
  const V z = at_most(at_least(x, C::exp_low), 40);  // exactly 1 from there on
  const V n = round_product(z, C::log2e);
  const V r = kFused ? fma(z, V{} - C::log2e_low, fma(z, V{} - C::log2e, n))
                     : fma(n, V{} + C::ln2_low, fma(n, V{} + C::ln2_high, -z)) * C::log2e;  // n * ln2_high is exact
  const V power = scale_by_power(V{} + 1, n);
  return power / (power + polynomial(r, C::exp2));
}

// m / (m + 1), m = (exp(2 x) - 1) / 2 from the half of its reduced argument; tanh(-0) is 0. 3.3 ULP.
template <class V> FASTNN_INLINE V tanh(V x) {
  using C = MathConstants<ElementOf<V>>;
  const V z = at_most(at_least(x, -20), 20);  // exactly 1 from there on
  const V n = round_product(z, 2 * C::log2e), h = fma(n, V{} - C::ln2_low / 2, fma(n, V{} - C::ln2_high / 2, z));
  const V half = scale_by_power(V{} + ElementOf<V>(0.5), n);
  const V m = fma(half, h * polynomial(h, C::expm1_of_double), half - ElementOf<V>(0.5));
  return m / (m + 1);
}

// erfc(a / sqrt(2)) for 0 <= a <= erfc_high, twice the tail of the normal distribution; small results are accurate.
template <class V> FASTNN_INLINE V erfc_of_scaled(V a) {
  using C = MathConstants<ElementOf<V>>;
  const V x = a * polynomial(a, C::erfc_p) / polynomial(a, C::erfc_q), n = round_product(x, 1);
  return scale_by_power(polynomial(n - x, C::exp2), -n);
}

}  // namespace
}  // namespace FASTNN_NS
