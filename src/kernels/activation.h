// Element-wise functions and their derivatives over flat arrays; formulas and sources: ACTIVATIONS in numpy_backend.
#pragma once
#include "loops.h"
#include "table.h"
#include "vmath.h"

namespace FASTNN_NS {
namespace {

template <class T> constexpr bool kFloat = sizeof(T) == 4;

// coarse - n ln(2), but for the low bits of ln(2); exact if coarse has few bits
template <class V> FASTNN_INLINE V nearest(V n, ElementOf<V> coarse) {
  return fma(n, V{} - MathConstants<ElementOf<V>>::ln2_high, V{} + coarse);
}

// f(std::true_type) where no |x| is beyond `high` and no dout is denormal, else f(std::false_type): for derivatives,
// which are constant near 0.
template <class V, class F> FASTNN_INLINE V plain_slope_or_not(V dout, V x, ElementOf<V> high, F f) {
  if (!any(less(V{} + high, abs(x)), is_denormal(dout))) [[likely]]
    return f(std::true_type{});
  return f(std::false_type{});
}

// Where the derivative of swish, GELU or mish is 0: x = -a0, a0 = coarse + middle + a rest. coarse + middle is the
// number of type T next to it; |x| - coarse is exact for |x| >= 1/2. The derivative has a0 - a as a factor, so that its
// relative error is small around a0 too.
template <class T> struct Zero {
  T coarse, middle;
  T low;               // what the rest of a0 and the rounding of `power` add to what has the factor
  T power, power_low;  // exp(-a0) rounded: it is exp(-(coarse + middle + power_low))
  // coarse + middle - a
  FASTNN_INLINE Simd<T> minus(Simd<T> a) const { return (coarse + middle) - a; }
  // exp(-a) = power 2^n (1 + what this returns); d = minus(a)
  FASTNN_INLINE Simd<T> expm1(Simd<T> a, Simd<T>& n, Simd<T>& d) const {
    using V = Simd<T>;
    using C = MathConstants<T>;
    const V x = coarse - a;
    n = round_product(x, C::log2e), d = minus(a);
    return expm1_of_reduced((fma(n, V{} - C::ln2_high, x) + middle) + fma(n, V{} - C::ln2_low, V{} + power_low));
  }
};

// One rule a kind: y = forward(x), dx = backward(dout, saved), saved = y for sigmoid and tanh, x for the others.
// kLong: see for_vectors.
template <class T> struct Identity {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  V forward(V x) const { return x; }
  V backward(V dout, V) const { return dout; }
};
template <class T> struct Step {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  V forward(V x) const { return x > 0 ? V{} + 1 : V{}; }
  V backward(V, V) const { return V{}; }
};
template <class T> struct Sigmoid {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const { return sigmoid(x); }
  V backward(V dout, V y) const { return dout * (y * (1 - y)); }
};
template <class T> struct Tanh {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const { return tanh(x); }
  V backward(V dout, V y) const { return dout * ((1 - y) * (1 + y)); }
};
template <class T> struct Relu {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  V forward(V x) const { return x <= 0 ? V{} : x; }
  V backward(V dout, V x) const { return x <= 0 ? V{} : dout; }
};
template <class T> struct LeakyRelu {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  T alpha;
  V forward(V x) const { return x <= 0 ? x * alpha : x; }
  V backward(V dout, V x) const { return x <= 0 ? dout * alpha : dout; }
};
template <class T> struct Elu {  // scale * (x or alpha (exp(x) - 1)): SELU too
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T low = kFloat<T> ? T(-200) : T(-900);  // alpha exp(low) is 0
  T alpha, scale;
  V factor(V x) const { return x > 0 ? V{} + scale : V{} + alpha * scale; }
  V forward(V x) const {
    return plain_or_not(
        x, kPlainHigh<T>,
        [&](auto plain, V x) {
          if constexpr (decltype(plain)::value) {
            const V e = expm1_of_negative<true>(x);  // whatever it is for x > 0
            return x < 0 ? e * (alpha * scale) : x * scale;
          }
          return product(x > 0 ? x : expm1_of_negative(at_most(x, 0)), factor(x));
        },
        [&](V x) { return alpha * scale < 2 && scale < 2 ? tiny_times(x, factor(x)) : tiny_product(x, factor(x)); });
  }
  V backward(V dout, V x) const {
    const V c = V{} + alpha * scale;
    V n;
    if (!any(less(x, V{} - kPlainHigh<T>), is_denormal(dout))) [[likely]] {
      const V p = reduced_expm1(without_small(x), n);  // whatever it is for x > 0
      return dout * (x > 0 ? V{} + scale : scale_by_power(fma(p, c, c), n));
    }
    const V p = reduced_expm1(without_small(at_most(at_least(x, low), 0)), n);
    return product(dout, x > 0 ? V{} + scale : scaled(fma(p, c, c), n));
  }
};
template <class T> struct Softplus {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const { return softplus(x); }
  V backward(V dout, V x) const {
    return plain_slope_or_not(dout, x, kSigmoidHigh<T>, [&](auto plain) {
      if constexpr (decltype(plain)::value) return dout * sigmoid_of<true>(x);
      return product(dout, sigmoid_of<false>(x));
    });
  }
};
template <class T> struct Softsign {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  V forward(V x) const {
    const V a = abs(x), z = at_most(a, T(0x1p100));  // 1 from there on, at infinity too
    const auto small = a < MathConstants<T>::small;
    return small ? x : with_sign(z / ((small ? V{} : z) + 1), x);
  }
  V backward(V dout, V x) const {  // in this order nothing overflows
    const V r = 1 / (abs(x) + 1);
    return dout * r * r;
  }
};
template <class T> struct HardSigmoid {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  static constexpr T slope = T(1) / 6;
  V forward(V x) const { return at_least(at_most((x + 3) * slope, 1), 0); }
  V backward(V dout, V x) const { return abs(x) >= 3 ? V{} : dout * slope; }
};

// x times a probability that is 2^n m / (1 + 2^n m) for x < 0 and 1 / (1 + 2^n m) for others: swish and GELU by tanh.
// |x| counts up to `high`.
template <bool kPlain, class V> FASTNN_INLINE V times_logistic(V x, V m, V n, ElementOf<V> high) {
  using T = ElementOf<V>;
  if constexpr (kPlain) {
    const V e = scale_by_power(m, n);
    return (x < 0 ? x * e : x) / (e + 1);
  }
  const auto deep = is_deep(n), tiny = is_denormal(x);
  const V power = scale_by_power(m, zero_where(deep, n)), e = zero_where(deep, power);
  const V z = at_least(zero_where(tiny, x), -high);  // not infinity times 0
  V y = (x < 0 ? z * e : z) / (e + 1);
  const auto below = deep & less(x, V{});
  if (!any(below | tiny)) [[likely]]
    return y;
  if (any(below)) y = choose(below, tiny_scaled(z * m, n), y);
  if (any(tiny)) y = choose(tiny, tiny_times(x, V{} + T(0.5)), y);
  return y;
}
// dout times a derivative that is 2^n m for x < 0 and 1 - 2^n m for others.
template <bool kPlain, class V> FASTNN_INLINE V times_slope(V dout, V x, V m, V n) {
  const auto deep = unless_plain<kPlain>(is_deep(n));
  V s = scale_by_power(m, zero_where(deep, n));
  if (any(deep)) s = choose(deep, tiny_scaled(m, n), s);
  const V slope = x < 0 ? s : 1 - s;
  return kPlain ? dout * slope : product(dout, slope);
}

// f(x, numerator, denominator) in double for each half of x, divided as float: within 2 ULP where the terms of float
// cancel, and no power of e is denormal.
template <class F> FASTNN_INLINE Simd<float> quotient_in_double(Simd<float> x, F f) {
  Simd<double> in[2], numerator[2], denominator[2];
  to_double(x, in);
  for (int i = 0; i < 2; ++i) f(in[i], numerator[i], denominator[i]);
  return to_float(numerator) / to_float(denominator);
}
// e0 (1 + p) c / (1 + e)^2, e0 = zero.power; e0 goes below, where it costs no rounding.
template <class T> FASTNN_INLINE Simd<T> logistic_slope(const Zero<T>& zero, Simd<T> p, Simd<T> c, Simd<T> e) {
  using V = Simd<T>;
  const T unit = 1 / zero.power;
  return fma(c, p, c) / fma(e, fma(e, V{} + unit, V{} + 2 * unit), V{} + unit);
}
template <class T> struct Swish {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T high = 6 - MathConstants<T>::exp_low;  // high * exp(-high) is 0
  V forward(V x) const {
    return plain_or_not(
        x, kPlainHigh<T>,
        [](auto plain, V x) {
          constexpr bool kPlain = decltype(plain)::value;
          V n;
          const V m = reduced_exp(kPlain ? -abs(x) : -at_most(without_small(abs(x)), high), n);
          return times_logistic<kPlain>(x, m, n, high);
        },
        [](V x) { return tiny_times(x, V{} + T(0.5)); });
  }
  // The derivative at -a is e (1 + e - a) / (1 + e)^2, e = exp(-a), and 1 - that at a. Its zero is a0 = 1 + e0, so that
  // 1 + e - a = (a0 - a) + e0 (exp(a0 - a) - 1).
  static constexpr Zero<T> zero =
      kFloat<T> ? Zero<T>{T(1.27734375), T(0.00112080574), T(-2.98023224e-08), T(0.278464526), T(4.74342983e-08)}
                : Zero<T>{T(1.27734375), T(0.0011207927610736856), T(1.1102230246251565e-16), T(0.2784645427610738),
                          T(1.0389522622732797e-16)};
  V backward(V dout, V x) const {
    if constexpr (kFloat<T> && !kFused) {  // 4.1 ULP with float alone
      const V s = quotient_in_double(at_most(abs(x), high), [](auto a, auto& numerator, auto& denominator) {
        decltype(a) n;
        const auto m = reduced_exp(-a, n), e = scale_by_power(m, n);
        numerator = e * (e + 1 - a), denominator = fma(e, e + 2, decltype(a){} + 1);
      });
      return product(dout, x < 0 ? s : 1 - s);
    }
    return plain_slope_or_not(dout, x, kPlainHigh<T>, [&](auto plain) {
      constexpr bool kPlain = decltype(plain)::value;
      const V a = kPlain ? abs(x) : at_most(abs(x), high);
      V n, d;
      const V p = zero.expm1(a, n, d);
      const auto deep = unless_plain<kPlain>(is_deep(n));
      const V e0 = V{} + zero.power, power = scale_by_power(e0, zero_where(deep, n)), t = zero_where(deep, power);
      const V e = fma(t, p, t), c = d + fma(t, p, (t - e0) + zero.low);
      return times_slope<kPlain>(dout, x, logistic_slope(zero, p, c, e), n);
    });
  }
};

template <class T> struct Gelu {  // x times the normal distribution function, |x| times its tail for x < 0
  using V = Simd<T>;
  using C = MathConstants<T>;
  static constexpr bool kLong = true;
  static constexpr T plain_high = kFloat<T> ? T(10) : T(33);
  V forward(V x) const {
    return plain_or_not(
        x, plain_high,
        [](auto plain, V x) {
          constexpr bool kPlain = decltype(plain)::value;
          const auto tiny = unless_plain<kPlain>(is_denormal(x));
          const V a = kPlain ? abs(x) : at_most(abs(zero_where(tiny, x)), C::normal_high);
          V n;
          const V half = a * T(-0.5), square = a * half;  // -a^2 / 2
          const V p = reduced_expm1(square, product_error(a, half, square), n);
          // its error hardly counts where a is large
          const V N = fma(polynomial(a, C::mills_p), square, half);
          const V Q = fma(V{} + T(2.50662827463100050242), N, polynomial(a, C::mills_q));  // sqrt(2 pi)
          const V q = N / Q, m = fma(q, p, q);
          if constexpr (kPlain) return at_least(x, 0) - scale_by_power(m, n);
          const auto deep = is_deep(n);
          const V power = scale_by_power(m, zero_where(deep, n)), s = zero_where(deep, power);
          V y = at_least(zero_where(tiny, x), 0) - s;
          const auto below = deep & less(x, V{});
          if (!any(below | tiny)) [[likely]]
            return y;
          if (any(below)) y = choose(below, -tiny_scaled(m, n), y);
          if (any(tiny)) y = choose(tiny, tiny_times(x, V{} + T(0.5)), y);
          return y;
        },
        [](V x) { return tiny_times(x, V{} + T(0.5)); });
  }
  // The derivative at -a is exp(-a^2 / 2) (R - a / sqrt(2 pi)), R = exp(a^2 / 2) erfc(a / sqrt(2)) / 2, and 1 - that at
  // a.
  static constexpr Zero<T> zero = kFloat<T>
                                      ? Zero<T>{T(0.75), T(0.00179153681), T(-6.93438551e-09), 0, 0}
                                      : Zero<T>{T(0.75), T(0.0017915246935644724), T(-8.5613413143127523e-18), 0, 0};
  V backward(V dout, V x) const {
    return plain_slope_or_not(dout, x, plain_high, [&](auto plain) {
      constexpr bool kPlain = decltype(plain)::value;
      const V a = without_small(kPlain ? abs(x) : at_most(abs(x), C::normal_high));
      V n;
      const V half = a * T(-0.5), minus_square = fma(a, half, V{} - C::tiny),
              p = reduced_expm1(minus_square, product_error(a, half, minus_square), n),
              P = polynomial(a, a * a, C::gelu_p), Q = polynomial(a, a * a, C::gelu_q);
      const V d = zero.minus(a), q = fma(d, V{} + T(0.39894228040143267794), fma(d, P / Q, V{} + zero.low));
      return times_slope<kPlain>(dout, x, fma(q, p, q), n);
    });
  }
};

template <class T> struct GeluTanh {  // x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = a (x + b x^3)
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T high = kFloat<T> ? T(11) : T(21.7);  // the tail is 0 from there on
  static constexpr T plain_high = kFloat<T> ? T(8) : T(18);
  // 2 u = x (coarse + low + cube x^2), coarse with few bits
  static constexpr double cubic = 0.0713548162726002487763;
  static constexpr T coarse = T(1.595703125), low = T(6.599660573071176e-05), cube = T(cubic);
  static constexpr T cube_rest = kFloat<T> ? T(cubic - double(T(cubic))) : T(-6.175149918155315e-19);
  // 2 u for x >= 0 and what is to be added to it
  FASTNN_INLINE static V argument(V x, V& rest) {
    const V square = square_of(x), error = product_error(x, x, square);
    const V scaled_square = square * cube,
            factor = kFused ? fma(square, V{} + cube, V{} + coarse) : scaled_square + coarse;
    V more;  // of factor
    if constexpr (kFused)
      more = fma(square, V{} + cube, coarse - factor);
    else
      more = ((coarse - factor) + scaled_square) + product_error(square, V{} + cube, scaled_square);
    more = fma(error, V{} + cube, more) + fma(square, V{} + cube_rest, V{} + low);
    const V v = x * factor;
    rest = fma(x, more, product_error(x, factor, v));
    return v;
  }
  V forward(V x) const {
    return plain_or_not(
        x, plain_high,
        [](auto plain, V x) {
          constexpr bool kPlain = decltype(plain)::value;
          V rest, n;
          const V v = argument(kPlain ? abs(x) : at_most(without_small(abs(x)), high), rest);
          n = round_product(v, -MathConstants<T>::log2e);
          const V m = exp_of_reduced(reduced(-v, -rest, n));
          return times_logistic<kPlain>(x, m, n, high);
        },
        [](V x) { return tiny_times(x, V{} + T(0.5)); });
  }
  // The derivative at -a is e (1 + e - a w'(a)) / (1 + e)^2, w = 2 u, e = exp(-w(a)), and 1 - that at a. With its zero
  // a0 the middle factor is a0 w'(a0) - a w'(a) + e0 (exp(w(a0) - w(a)) - 1); the first difference has the factor a0 -
  // a.
  // For float, double needs none of this.
  static constexpr Zero<double> zero{0.75390625, -0.0014448279289837052, -6.2651758774358616e-17, 0.29195521191476714,
                                     -9.1818558921674172e-17};
  // d (k0 + a (k1 + a k2)) + term with d = a0 - a: w(a0) - w(a) (factor 1), a0 w'(a0) - a w'(a) (factor 3)
  template <int factor> FASTNN_INLINE static V difference(V d, V a, V term) {
    static constexpr T k[][3] = {{T(1.6361700895487292), T(0.053691746524096841), T(0.071354816272600249)},
                                 {T(1.716972025434726), T(0.16107523957229072), T(0.21406444881780073)}};
    const T(&c)[3] = k[factor == 1 ? 0 : 1];  // k1 knows of the rounding of k0
    return fma(d, V{} + c[0], fma(d, a * fma(a, V{} + c[2], V{} + c[1]), term));
  }
  static constexpr T w0 = T(1.23046875);  // w(a0) to a few bits; here zero.power is exp(-w(a0)) rounded
  static constexpr T w0_rest = T(0.00068612233189875354);
  V backward(V dout, V x) const {
    if constexpr (kFloat<T>) {
      const V s = quotient_in_double(at_most(abs(x), high), [](auto a, auto& numerator, auto& denominator) {
        constexpr double linear = 1.5957691216057307;
        using D = decltype(a);
        const D square = a * a;
        D n;
        const D m = reduced_exp(-a * fma(square, D{} + cubic, D{} + linear), n), e = scale_by_power(m, n);
        numerator = e * fma(-a, fma(square, D{} + 3 * cubic, D{} + linear), e + 1),
        denominator = fma(e, e + 2, D{} + 1);
      });
      return product(dout, x < 0 ? s : 1 - s);
    } else {
      return plain_slope_or_not(dout, x, plain_high, [&](auto plain) {
        constexpr bool kPlain = decltype(plain)::value;
        const V a = without_small(kPlain ? abs(x) : at_most(abs(x), high));
        V rest, n;
        const V v = argument(a, rest);
        const V d = zero.minus(a);
        n = round_product(w0 - v, MathConstants<T>::log2e);
        const V r = (nearest(n, w0) - v) + fma(n, V{} - MathConstants<T>::ln2_low, w0_rest - rest);
        const V p = expm1_of_reduced(n == 0 ? difference<1>(d, a, V{} + zero.power_low) : r);
        const auto deep = unless_plain<kPlain>(is_deep(n));
        const V e0 = V{} + zero.power, power = scale_by_power(e0, zero_where(deep, n)), t = zero_where(deep, power);
        const V e = fma(t, p, t);
        const V c = difference<3>(d, a, fma(t, p, (t - e0) + zero.low));
        return times_slope<kPlain>(dout, x, logistic_slope(zero, p, c, e), n);
      });
    }
  }
};

template <class T> struct Mish {  // x H / (H + 1), H = w + w^2 / 2, w = exp(x)
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T high = 20, low = MathConstants<T>::exp_low - 6;  // the quotient is 1 above; low exp(low) is 0
  V forward(V x) const {
    return plain_or_not(
        x, kPlainHigh<T>,
        [](auto plain, V x) {
          constexpr bool kPlain = decltype(plain)::value;
          const auto tiny = unless_plain<kPlain>(is_denormal(x));
          V n;
          const V low_x = kPlain ? x : without_small(at_least(x, low)), m = reduced_exp(at_most(low_x, high), n);
          const auto deep = unless_plain<kPlain>(is_deep(n));
          const V power = scale_by_power(m, zero_where(deep, n)), w = zero_where(deep, power),
                  H = fma(w * T(0.5), w, w), q = H / (H + 1);
          const V z = kPlain ? x : at_least(zero_where(tiny, x), low);  // not infinity times 0
          V y = z * (H < 1 ? fma(-q, H, H) : q);
          if (!any(deep | tiny)) [[likely]]
            return y;
          if (any(deep)) y = choose(deep, tiny_scaled(z * m, n), y);
          if (any(tiny)) y = choose(tiny, tiny_times(x, V{} + T(0.6)), y);
          return y;
        },
        [](V x) { return tiny_times(x, V{} + T(0.6)); });
  }
  // With w = exp(x), D = w^2 + 2 w + 2 and f = 4 (x + 1) + w (4 x + 6) + 4 w^2 + w^3 the derivative is w f / D^2 (the
  // better one far below 0) and 1 + (4 x w (w + 1) / D - 2) / D (far above); from -3/4 to 0, where neither is within
  // 4 ULP, it is a polynomial in x + 3/8. With the zero -a0 of f, d = x + a0, w0 = exp(-a0) and v = w - w0,
  // f = 4 d (1 + w) + v (6 - 4 a0 + 4 w0 + w0^2 + w (4 + w0 + w)).
  // For float, double needs none of this.
  static constexpr Zero<double> zero{1.19140625, 0.0010249645154951637, -3.3414090138e-17, 0.30348253528152885,
                                     2.9667810894077469e-16};
  static constexpr T w0 = zero.power;
  static constexpr T constant = T(2.5363069322850393);
  // 9.04e-19 of the derivative
  static constexpr double middle[] = {0.36256622356981055,    0.60319482208702202,    0.13518763881202739,
                                      -0.12663069037893243,   -0.063315861225324108,  0.014221463026875167,
                                      0.017710938249261621,   0.0014982411919424719,  -0.0033027761327021638,
                                      -0.0011607455763041382, 0.00035974158065775637, 0.00032099800595257672,
                                      1.2571203370717814e-05, -5.832167555844029e-05, -1.7106781522437306e-05,
                                      6.5634089225763522e-06, 4.368109433533477e-06};
  V backward(V dout, V x) const {
    if constexpr (kFloat<T>) {
      const V s = quotient_in_double(at_most(at_least(x, low), high), [](auto x, auto& numerator, auto& denominator) {
        using D = decltype(x);
        D n;
        const D m = reduced_exp(x, n), w = scale_by_power(m, n), x4 = x * 4, H = w * (w + 2);
        numerator = w * fma(w, fma(w, w + 4, x4 + 6), x4 + 4), denominator = fma(H, H + 4, D{} + 4);
      });
      return product(dout, s);
    } else {
      return plain_slope_or_not(dout, x, kPlainHigh<T>, [&](auto plain) {
        constexpr bool kPlain = decltype(plain)::value;
        const V z = without_small(at_most(kPlain ? x : at_least(x, low), high));
        V n, d;
        const V p = zero.expm1(-z, n, d);
        const auto deep = unless_plain<kPlain>(is_deep(n));
        const V power = scale_by_power(V{} + w0, zero_where(deep, n)), t = zero_where(deep, power), w = fma(t, p, t);
        const V d4 = fma(d, V{} + 4, V{} + zero.low);
        const V f = fma(fma(t, p, t - w0), fma(w, w + (4 + w0), V{} + constant), fma(d4, w, d4));
        constexpr T unit = 1 / w0;  // as in logistic_slope
        const V H = w * (w + 2), m = x + T(0.375);
        const auto below = less(m, V{});
        const V D_squared = fma(H, fma(H, V{} + unit, V{} + 4 * unit), V{} + 4 * unit);
        const V q = choose(below, fma(f, p, f), V{} + 1) / choose(below, D_squared, H + 2);
        const V above = fma(fma(fma(w, w, w) * (z * 4), q, V{} - 2), q, V{} + 1);
        V s = scale_by_power(q, zero_where(deep, n));
        if (any(deep)) s = choose(deep, tiny_scaled(q, n), s);
        const V slope = choose(less(V{} + T(0.375), abs(m)), choose(below, s, above), polynomial(m, middle));
        return kPlain ? dout * slope : product(dout, slope);
      });
    }
  }
};

// Sigmoid and tanh need only products of y.
template <class Rule> constexpr bool kLongBackward = Rule::kLong;
template <class T> constexpr bool kLongBackward<Sigmoid<T>> = false;
template <class T> constexpr bool kLongBackward<Tanh<T>> = false;

template <class T, class F> inline void with_rule(Activation kind, T alpha, F f) {
  switch (kind) {
    case Activation::identity:
      return f(Identity<T>{});
    case Activation::step:
      return f(Step<T>{});
    case Activation::sigmoid:
      return f(Sigmoid<T>{});
    case Activation::tanh:
      return f(Tanh<T>{});
    case Activation::relu:
      return f(Relu<T>{});
    case Activation::leaky_relu:
      return alpha == 0 ? f(Relu<T>{}) : f(LeakyRelu<T>{alpha});  // not infinity times 0
    case Activation::elu:
      return f(Elu<T>{alpha, 1});
    case Activation::selu:
      return f(Elu<T>{T(1.6732632423543772848), T(1.0507009873554804934)});
    case Activation::softplus:
      return f(Softplus<T>{});
    case Activation::softsign:
      return f(Softsign<T>{});
    case Activation::hard_sigmoid:
      return f(HardSigmoid<T>{});
    case Activation::swish:
      return f(Swish<T>{});
    case Activation::gelu:
      return f(Gelu<T>{});
    case Activation::gelu_tanh:
      return f(GeluTanh<T>{});
    case Activation::mish:
      return f(Mish<T>{});
  }
}

template <class T> void activation_forward(Activation kind, T alpha, Vec<const T> x, T* out) {
  with_rule(kind, alpha,
            [=](auto rule) { map<T, rule.kLong>(out, x.n, [=](auto at) { return rule.forward(at(x.data)); }); });
}

template <class T> void activation_backward(Activation kind, T alpha, Vec<const T> dout, const T* saved, T* dx) {
  with_rule(kind, alpha, [=](auto rule) {
    map<T, kLongBackward<decltype(rule)>>(dx, dout.n, [=](auto at) { return rule.backward(at(dout.data), at(saved)); });
  });
}

// For the end of a matrix product, see Activate.
template <class T> void activation_row(int kind, T alpha, T* y, idx n) {
  activation_forward<T>(Activation(kind), alpha, {y, n}, y);
}

// out = x where x > 0 or x is NaN, else 0; bit i of mask says which.
template <class T> void relu_forward(Vec<const T> x, T* out, uint64_t* mask) {
  for_mask_words<T>(x.n, [=](idx word, idx begin, auto n) {
    uint64_t drop = 0;
    for_vectors<T>(0, n, [&, x = x.data + begin, out = out + begin](auto at) {
      const Simd<T> v = at(x);
      at.put(out, v <= 0 ? Simd<T>{} : v);
      drop |= uint64_t(to_bits(v <= 0)) << at.i;
    });
    mask[word] = ~drop & (~uint64_t(0) >> (64 - n));
  });
}

template <class T> void relu_backward(Vec<const T> dout, const uint64_t* mask, T* dx) {
  for_mask_words<T>(dout.n, [=](idx word, idx begin, auto n) {
    for_vectors<T>(0, n, [bits = mask[word], dout = dout.data + begin, dx = dx + begin](auto at) {
      at.put(dx, from_bits<T>(uint32_t(bits >> at.i)) ? at(dout) : Simd<T>{});
    });
  });
}

}  // namespace
}  // namespace FASTNN_NS
