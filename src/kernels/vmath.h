// Vector mathematics on Simd<T>. NaN gives NaN, overflow inf; denormal arguments count and denormal results are rounded
// gradually, not flushed. Polynomials and rational functions are our own Remez fits; range reductions: Cody and Waite
// 1980, and for log the arrangement of fdlibm (Sun, 1993). The error bounds in ULP are the largest found on any ISA
// over every 61st float32 and 2e5 float64 arguments, against float64 and 113-bit references.
//
// A processor takes about 90 cycles for each vector operation that reads or gives a denormal number (Intel; additions
// and conversions excepted). So small arguments are replaced by 0 where that changes nothing, and denormal results are
// rounded by an addition: see `scaled` and `tiny_product`.
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
  // ((exp(2 h) - 1) / 2 - h) / h^2 from the same
  static constexpr float half_expm1[] = {0x1.0000000000000p+0f, 0x1.5554b00000000p-1f, 0x1.5554860000000p-2f,
                                         0x1.1228180000000p-3f, 0x1.6d99640000000p-5f};
  // (log((1 + s) / (1 - s)) / s - 2) / s^2 in s^2, |s| <= 0.1716: 9e-10 of the logarithm
  static constexpr float log[] = {0x1.5555760000000p-1f, 0x1.9961820000000p-2f, 0x1.31a44c0000000p-2f};
  // (2^r - 1) / r, |r| <= 1/2: 5e-9 of 2^r
  static constexpr float exp2[] = {0.693147188f,   0.240226508f,   0.0555035711f,
                                   0.00961808256f, 0.00133908639f, 0.000154531629f};
  static constexpr float small = 0x1p-40f;  // below, f(x) is f(0) + f'(0) x
  static constexpr float tiny = 0x1p-100f;  // see without_small
  static constexpr float cube = 0x1p-95f;   // see reduced_log
  // exp(a^2 / 2) erfc(a / sqrt(2)) / 2 = 1 / (sqrt(2 pi) a - Q(a) / (1/2 + a P(a) / 2)), 0 <= a <= normal_high: 7e-10
  static constexpr float normal_high = 14.8f;  // a times it is 0 from there on
  static constexpr float mills_p[] = {1.08586001, 0.566202044, 0.170916304, 0.0298720971, 0.00249754544};
  static constexpr float mills_q[] = {-1, -0.6304304, -0.208289757, -0.0374236517, -0.00313051697};
  // (exp(a^2 / 2) erfc(a / sqrt(2)) / 2 - a / sqrt(2 pi)) / (a0 - a) = T(1 / sqrt(2 pi)) + P(a) / Q(a), a0 its zero:
  // 3e-10
  static constexpr float gelu_p[] = {0.266135693, 0.247802913, 0.104116611, 0.0225252267, 0.00214743637};
  static constexpr float gelu_q[] = {1, 1.59488702, 1.08326828, 0.396039695, 0.079247199, 0.0071599544};
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
  static constexpr double half_expm1[] = {1.0000000000000011,    0.66666666666666741,    0.3333333333325903,
                                          0.13333333333302932,   0.044444444583611582,   0.012698412738312837,
                                          0.0031745925645187112, 0.00070546502176570638, 0.00014144691290913974,
                                          2.5717401979580378e-05};
  // 1.6e-18
  static constexpr double log[] = {0.6666666666666698, 0.3999999999961189,  0.285714287038647, 0.2222220213971996,
                                   0.1818339414965188, 0.15318097212014986, 0.1475797411264621};
  // 8.0e-18
  static constexpr double exp2[] = {0.6931471805599453,    0.24022650695910097,   0.0555041086648216,
                                    0.009618129107606888,  0.001333355814641695,  0.0001540353044173605,
                                    1.525273382982163e-05, 1.321544258792169e-06, 1.0178062451641066e-07,
                                    7.072585949269223e-09, 4.454959755234878e-10};
  static constexpr double small = 0x1p-200;
  static constexpr double tiny = 0x1p-900;
  static constexpr double cube = 0x1p-560;
  // 4e-18
  static constexpr double normal_high = 39.1;
  static constexpr double mills_p[] = {1.6938464206845605,    1.4190835226348679,    0.76128215542327016,
                                       0.28713361159607959,   0.079242022386999705,  0.016191099834510173,
                                       0.0024228106311520573, 0.0002552537507773635, 1.7236470745821842e-05,
                                       5.747223817699492e-07};
  static constexpr double mills_q[] = {-1,
                                       -1.2384168441719263,
                                       -0.78427553695260732,
                                       -0.32242850703226916,
                                       -0.093458132788999213,
                                       -0.019659909401021528,
                                       -0.0029933374402026864,
                                       -0.00031847251813120941,
                                       -2.1602712474228389e-05,
                                       -7.203076860456656e-07};
  // 2e-18
  static constexpr double gelu_p[] = {0.26613571473000153,   0.43114442643117545,    0.33802622814327477,
                                      0.16594592711315079,   0.055861121492869294,   0.01334145857676316,
                                      0.002262289913542475,  0.00026351340145676307, 1.9256116771172335e-05,
                                      6.8017915610467639e-07};
  static constexpr double gelu_q[] = {1,
                                      2.2837892160467375,
                                      2.4194539840975509,
                                      1.5693157534275086,
                                      0.69199276339395277,
                                      0.21744088628331895,
                                      0.04949930445976515,
                                      0.008099794823584857,
                                      0.00091748606134059581,
                                      6.5515520302757745e-05,
                                      2.2678578415799238e-06};
};

template <class V> using ElementOf = std::remove_cvref_t<decltype(V{}[0])>;

// Bounds that let NaN pass.
template <class V> FASTNN_INLINE V at_least(V x, ElementOf<V> low) { return larger(V{} + low, x); }
template <class V> FASTNN_INLINE V at_most(V x, ElementOf<V> high) { return smaller(V{} + high, x); }
template <class V> FASTNN_INLINE V abs(V x) {
  using I = SimdMask<ElementOf<V>>;
  return (V)((I)x & ~(I)(-V{}));
}
// The sign of `sign` before |x|, which is not negative.
template <class V> FASTNN_INLINE V with_sign(V x, V sign) {
  using I = SimdMask<ElementOf<V>>;
  return (V)((I)x | ((I)sign & (I)(-V{})));
}
// Most vectors hold neither denormal numbers nor far ones. What follows with kPlain is for them and leaves out the
// tests of single lanes. f(std::true_type, x) where no lane is denormal nor beyond `high` (NaN may be there); where
// only denormal numbers are in the way, f gets zeros instead of them and their results are tiny(x); else
// f(std::false_type, x).
template <class V, class F, class G> FASTNN_INLINE V plain_or_not(V x, ElementOf<V> high, F f, G tiny) {
  const auto far = less(V{} + high, abs(x)), denormal = is_denormal(x);
  if (!any(far, denormal)) [[likely]]
    return f(std::true_type{}, x);
  if (!any(far)) return choose(denormal, tiny(x), f(std::true_type{}, zero_where(denormal, x)));
  return f(std::false_type{}, x);
}
// From here down to -high a power of e is not denormal, nor a product of it and a number of plain_or_not.
template <class T> constexpr T kPlainHigh = sizeof(T) == 4 ? T(58) : T(560);
template <bool kPlain, class M> FASTNN_INLINE M unless_plain(M mask) { return kPlain ? M{} : mask; }

// x, or x + tiny where x is so small that 1 + x is 1: never denormal.
template <class V> FASTNN_INLINE V without_small(V x) { return x + MathConstants<ElementOf<V>>::tiny; }
// x^2, which is never denormal either; tiny^2 makes no difference to what is added to 1.
template <class V> FASTNN_INLINE V square_of(V x) { return fma(x, x, V{} + MathConstants<ElementOf<V>>::tiny); }

// c[0] + c[1] x + ... + c[N-1] x^(N-1)
template <class V, class T, int N> FASTNN_INLINE V polynomial(V x, const T (&c)[N]) {
  V p = V{} + c[N - 1];
  for (int i = N - 2; i >= 0; --i) p = fma(p, x, V{} + c[i]);
  return p;
}

// The same in four parts, of powers of x^4: fewer roundings one after the other. square = x^2.
template <int kFirst, class V, class T, int N> FASTNN_INLINE V every_fourth(V fourth, const T (&c)[N]) {
  constexpr int last = (N - 1 - kFirst) / 4 * 4 + kFirst;
  V p = V{} + c[last];
  for (int i = last - 4; i >= 0; i -= 4) p = fma(p, fourth, V{} + c[i]);
  return p;
}
template <class V, class T, int N> FASTNN_INLINE V polynomial(V x, V square, const T (&c)[N]) {
  const V fourth = square * square;
  const V even = fma(every_fourth<2>(fourth, c), square, every_fourth<0>(fourth, c));
  const V odd = fma(every_fourth<3>(fourth, c), square, every_fourth<1>(fourth, c));
  return fma(odd, x, even);
}

// a * b = product + what this returns, exactly (float64 without fma: but for the last bits of the rest).
template <class V> FASTNN_INLINE V product_error(V a, V b, V product) {
  if constexpr (kFused) return fma(a, b, -product);
  using T = ElementOf<V>;
  using I = SimdMask<T>;
  constexpr int low_bits = sizeof(T) == 4 ? 12 : 27;  // of the significand
  const I mask = ~((I{} + 1) << low_bits) + 1;
  const V a_high = (V)((I)a & mask), b_high = (V)((I)b & mask), a_low = a - a_high, b_low = b - b_high;
  return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
}

// ---- denormal numbers -----------------------------------------------------------------------------------------------

// a 2^n where that may be denormal, rounded once; |a| < 2^bias, n >= -bias - bits. A denormal number is a whole number
// of the smallest ones, so that adding 2^bits rounds it and leaves it in the low bits.
template <class V> FASTNN_INLINE V tiny_scaled(V a, V n) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  using I = SimdMask<T>;
  constexpr T unit = C::bias + C::bits - 1, carrier = T(idx(1) << C::bits);
  const V t = scale_by_power(a, n + unit);
  const auto denormal = abs(t) < carrier;
  const V whole = with_sign((V)((I)(abs(denormal ? t : V{}) + carrier) - (I)(V{} + carrier)), a);
  if (!to_bits(abs(t) >= carrier)) return whole;
  return denormal ? whole : scale_by_power(denormal ? V{} : t, V{} - unit);
}
// a 2^n, rounded once when it is denormal; 1/2 <= |a| < 4, so that nothing denormal is computed but in the branch.
template <class V> FASTNN_INLINE auto is_deep(V n) {
  return less(n, V{} + ElementOf<V>(3 - MathConstants<ElementOf<V>>::bias));
}
template <class V> FASTNN_INLINE V scaled(V a, V n) {
  const auto deep = is_deep(n);
  if (!any(deep)) [[likely]]
    return scale_by_power(a, n);
  return choose(deep, tiny_scaled(a, n), scale_by_power(a, zero_where(deep, n)));
}

// a * b where a or the product is denormal, rounded as the processor does. float: by way of double, whose conversions
// are fast.
inline Simd<float> tiny_product(Simd<float> a, Simd<float> b) {
  typedef float Half __attribute__((vector_size(kVecBytes / 2)));
  constexpr idx half = lanes<float> / 2;
  Half y[2], u[2], v[2];
  std::memcpy(u, &a, sizeof u), std::memcpy(v, &b, sizeof v);
  for (int i = 0; i < 2; ++i)
    y[i] = __builtin_convertvector(
        __builtin_convertvector(u[i], Simd<double>) * __builtin_convertvector(v[i], Simd<double>), Half);
  static_assert(sizeof y == 2 * half * sizeof(float));
  std::memcpy(&a, y, sizeof a);
  return a;
}
inline Simd<double> tiny_product(Simd<double> a, Simd<double> b) {
  using V = Simd<double>;
  using I = SimdMask<double>;
  constexpr double carrier = 0x1p52, unit = 1074;
  const auto first = is_denormal(a);
  const V tiny = choose(first, a, b), other = choose(first, b, a);
  const V product = with_sign((V)((I)abs(tiny) | (I)(V{} + carrier)) - carrier, tiny) * other;
  const auto denormal = abs(product) < carrier;
  const V whole = (V)((I)(abs(denormal ? product : V{}) + carrier) - (I)(V{} + carrier));
  return denormal ? with_sign(whole, product) : scale_by_power(denormal ? V{} : product, V{} - unit);
}
// a * b, quickly too where one of them is denormal.
template <class V> FASTNN_INLINE V product(V a, V b) {
  const auto tiny_a = is_denormal(a), tiny_b = is_denormal(b);
  const auto tiny = tiny_a | tiny_b;
  if (!any(tiny)) [[likely]]
    return a * b;
  return choose(tiny, tiny_product(a, b), zero_where(tiny_a, a) * zero_where(tiny_b, b));
}

// x * c where x is denormal and 0 < c < 2. Adding 2^bits to a whole number of the smallest denormal ones rounds it;
// where c is above 1, x is added to x * (c - 1), so that nothing goes beyond the low bits.
template <class V> FASTNN_INLINE V tiny_times(V x, V c) {
  using T = ElementOf<V>;
  using I = SimdMask<T>;
  constexpr T carrier = T(idx(1) << MathConstants<T>::bits);
  const V whole = (V)((I)abs(x) | (I)(V{} + carrier)) - carrier;
  const I part = (I)fma(whole, c > 1 ? c - 1 : c, V{} + carrier) - (I)(V{} + carrier);
  return with_sign((V)(c > 1 ? part + (I)abs(x) : part), x);
}

// ---- exp and log ----------------------------------------------------------------------------------------------------

// The whole number nearest to x * y, for |x y| < 2^(bits - 1).
template <class V> FASTNN_INLINE V round_product(V x, ElementOf<V> y) {
  using T = ElementOf<V>;
  constexpr T magic = T(3) * T(idx(1) << (MathConstants<T>::bits - 1));  // what is added to it is rounded
  return fma(x, V{} + y, V{} + magic) - magic;
}

// exp(r) - 1, |r| <= ln(2)/2. The products in this order are denormal only where r is.
template <class V> FASTNN_INLINE V expm1_of_reduced(V r) {
  return fma(r * polynomial(r, MathConstants<ElementOf<V>>::exp), r, r);
}
// exp(r): an addition less than 1 + expm1
template <class V> FASTNN_INLINE V exp_of_reduced(V r) {
  return fma(fma(polynomial(r, MathConstants<ElementOf<V>>::exp), r, V{} + 1), r, V{} + 1);
}
// x - n ln(2) + rest
template <class V> FASTNN_INLINE V reduced(V x, V rest, V n) {
  using C = MathConstants<ElementOf<V>>;
  return fma(n, V{} - C::ln2_high, x) + fma(n, V{} - C::ln2_low, rest);
}
// x = n ln(2) + r with |r| <= ln(2)/2: returns r, exp(r) - 1 and exp(r).
template <class V> FASTNN_INLINE V reduced(V x, V& n) {
  using C = MathConstants<ElementOf<V>>;
  n = round_product(x, C::log2e);
  return fma(n, V{} - C::ln2_low, fma(n, V{} - C::ln2_high, x));
}
template <class V> FASTNN_INLINE V reduced_expm1(V x, V& n) { return expm1_of_reduced(reduced(x, n)); }
template <class V> FASTNN_INLINE V reduced_exp(V x, V& n) { return exp_of_reduced(reduced(x, n)); }
// The same for x + rest, rest being small.
template <class V> FASTNN_INLINE V reduced_expm1(V x, V rest, V& n) {
  n = round_product(x, MathConstants<ElementOf<V>>::log2e);
  return expm1_of_reduced(reduced(x, rest, n));
}

// 1.1 ULP, 0.8 when the result is denormal.
template <class V> FASTNN_INLINE V exp(V x) {
  using C = MathConstants<ElementOf<V>>;
  V n;
  const V m = reduced_exp(without_small(at_most(at_least(x, C::exp_low), C::exp_high)), n);
  return scaled(m, n);
}
// exp for x <= 0, 1.1 ULP. kPlain: x is 0 or as plain_or_not has it.
template <bool kPlain = false, class V> FASTNN_INLINE V exp_of_negative(V x) {
  V n;
  if constexpr (kPlain) {
    const V m = reduced_exp(x, n);
    return scale_by_power(m, n);
  }
  const V m = reduced_exp(without_small(at_least(x, MathConstants<ElementOf<V>>::exp_low)), n);
  return scaled(m, n);
}
// exp(x) - 1 for x <= 0, 1.2 ULP; x itself where it is small.
template <bool kPlain = false, class V> FASTNN_INLINE V expm1_of_negative(V x) {
  using T = ElementOf<V>;
  V n;
  const V p = reduced_expm1(kPlain ? x : without_small(at_least(x, T(-60))), n);
  const V t = scale_by_power(V{} + 1, n);
  if constexpr (kPlain) return fma(t, p, t - 1);
  return abs(x) < MathConstants<T>::small ? x : fma(t, p, t - 1);
}

// log(1 + f) + e ln(2), sqrt(1/2) <= 1 + f <= sqrt(2): s = f / (2 + f), log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)).
// `cube` makes no difference, but that the cube of a small f is not denormal.
template <class V> FASTNN_INLINE V reduced_log(V f, V e) {
  using C = MathConstants<ElementOf<V>>;
  const V s = f / (f + 2), z = s * s, h = f * f / 2, R = z * polynomial(z, C::log);
  return fma(e, V{} + C::ln2_high, f - (h - fma(s, h + R, fma(e, V{} + C::ln2_low, V{} + C::cube))));
}

// 0.9 ULP; log(0) = -inf, NaN below 0.
template <class V> FASTNN_INLINE V log(V x) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  typedef Word Words __attribute__((vector_size(kVecBytes)));
  constexpr int unit = C::bias + C::bits - 1;  // denormal numbers are whole numbers times 2^-unit
  constexpr Word one = Word(C::bias) << C::bits, root = sizeof(T) == 4 ? 0x3f3504f3 : 0x3fe6a09e667f3bcd;  // 2^(-1/2)
  constexpr T carrier = T(Word(1) << C::bits);  // its low bits hold a whole number
  const auto tiny = x < C::min_normal;
  const Words i = (Words)(tiny ? (V)((Words)x | (Words)(V{} + carrier)) - carrier : x) +
                  (one - root);  // the exponent field of x / root
  const V e = (V)((i >> C::bits) | (Words)(V{} + carrier)) -
              (tiny ? V{} + (carrier + (C::bias + unit)) : V{} + (carrier + C::bias));
  const V m = (V)((i & ((Word(1) << C::bits) - 1)) + root);
  const V y = reduced_log(m - 1, e), inf = V{} + T(__builtin_inf());
  const V special = x == 0 ? -inf : x < 0 ? V{} + T(__builtin_nan("")) : x;
  return ((x > 0) & (x < inf)) ? y : special;
}

// log(1 + u) for 0 <= u <= 1, u 0 or not small: 1.4 ULP.
template <class V> FASTNN_INLINE V log1p_of_unit(V u) {
  const auto upper = u > ElementOf<V>(0.41421356237309504880);
  return reduced_log(upper ? (u - 1) / 2 : u, upper ? V{} + 1 : V{});
}

// log(1 + exp(x)), 1.7 ULP.
template <class V> FASTNN_INLINE V softplus(V x) {
  constexpr ElementOf<V> high = sizeof(x[0]) == 4 ? 40 : 300;  // squares of exp(-high) are not denormal
  const V a = abs(x);
  if (!any(less(V{} + high, a))) [[likely]]
    return at_least(x, 0) + log1p_of_unit(exp_of_negative<true>(-without_small(a)));
  const V u = exp_of_negative(-a);
  const auto small = less(u, V{} + MathConstants<ElementOf<V>>::small);
  const V head = x > 0 ? x : choose(small, u, x != x ? x : V{});
  return choose(small, head, head + log1p_of_unit(zero_where(small, u)));
}

// ---- sigmoid and tanh -----------------------------------------------------------------------------------------------

// 1 / (1 + exp(-x)), 1.9 ULP. exp(-x) = 2^n (1 + r p). 2^n + 1 is exact for |x| up to
// kSigmoidHigh (kPlain); far below, 1 is added first to what is smaller than 2^n.
template <bool kPlain, class V> FASTNN_INLINE V sigmoid_of(V x) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  const V z = without_small(kPlain ? x : at_most(at_least(x, C::exp_low), 40));  // exactly 1 from there on
  const V n = round_product(z, -C::log2e);
  const V r = kFused ? fma(z, V{} - C::log2e_low, fma(z, V{} - C::log2e, -n))
                     : fma(n, V{} - C::ln2_low, fma(n, V{} - C::ln2_high, -z)) * C::log2e;  // n * ln2_high is exact
  const V p = polynomial(r, C::exp2);
  if constexpr (kPlain) {
    const V power = scale_by_power(V{} + 1, n);
    return 1 / fma(power * r, p, power + 1);
  }
  const auto deep = less(V{} + T(C::bias - 3), n);
  const V power = scale_by_power(V{} + 1, zero_where(deep, n));
  const V y = 1 / (n > C::bits ? fma(power * r, p, V{} + 1) + power : fma(power * r, p, power + 1));
  if (!any(deep)) [[likely]]
    return y;
  return choose(deep, tiny_scaled(1 / fma(r, p, V{} + 1), -n), y);
}
template <class T> constexpr T kSigmoidHigh = sizeof(T) == 4 ? 16 : 36;
template <class V> FASTNN_INLINE V sigmoid(V x) {
  return any(less(V{} + kSigmoidHigh<ElementOf<V>>, abs(x))) ? sigmoid_of<false>(x) : sigmoid_of<true>(x);
}

// num / (num + 1), num = 2^n p + (2^n - 1) / 2, where exp(2 |x|) = 2^n (1 + 2 p). The same number is
// num - num (num / den), which has the smaller error where num is small. 1.9 ULP.
template <class V> FASTNN_INLINE V tanh(V x) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  const auto compute = [](V x) {
    const V z = at_most(abs(x), 20);  // exactly 1 from there on
    const V n = round_product(z, 2 * C::log2e), h = fma(n, V{} - C::ln2_low / 2, fma(n, V{} - C::ln2_high / 2, z));
    const V p = fma(h * polynomial(h, C::half_expm1), h, h), half = scale_by_power(V{} + T(0.5), n);
    const V num = fma(half + half, p, half - T(0.5)), quotient = num / (num + 1);
    return with_sign(n <= 1 ? fma(-quotient, num, num) : quotient, x);
  };
  const auto denormal = is_denormal(x);
  if (!any(denormal)) [[likely]]
    return compute(x);
  return choose(denormal, x, compute(zero_where(denormal, x)));
}

}  // namespace
}  // namespace FASTNN_NS
