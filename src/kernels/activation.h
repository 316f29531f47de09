// Element-wise functions and their derivatives over flat arrays; formulas and sources: ACTIVATIONS in numpy_backend.
#pragma once
#include "loops.h"
#include "table.h"
#include "vmath.h"

namespace FASTNN_NS {
namespace {

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
  V backward(V dout, V y) const { return dout * (1 - y * y); }
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
  T alpha, scale;
  V forward(V x) const { return x > 0 ? x * scale : expm1_of_negative(at_most(x, 0)) * (alpha * scale); }
  V backward(V dout, V x) const {
    return dout * (x > 0 ? V{} + scale : exp_of_negative(at_most(x, 0)) * (alpha * scale));
  }
};
template <class T> struct Softplus {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const { return softplus(x); }
  V backward(V dout, V x) const { return dout * sigmoid(x); }
};
template <class T> struct Softsign {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  V forward(V x) const { return x / (abs(x) + 1); }
  V backward(V dout, V x) const {
    const V d = abs(x) + 1;
    return dout / (d * d);
  }
};
template <class T> struct HardSigmoid {
  using V = Simd<T>;
  static constexpr bool kLong = false;
  static constexpr T slope = T(1) / 6;
  V forward(V x) const { return at_least(at_most(x * slope + T(0.5), 1), 0); }
  V backward(V dout, V x) const { return abs(x) >= 3 ? V{} : dout * slope; }
};
template <class T> struct Swish {
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const { return x * sigmoid(x); }
  V backward(V dout, V x) const {  // s + x s (1 - s), s (1 - s) = e / (1 + e)^2 with e = exp(-|x|)
    const V e = exp_of_negative(-abs(x)), r = 1 / (e + 1);
    return dout * fma(x, e * r * r, (x < 0 ? e : V{} + 1) * r);
  }
};
template <class T> struct Gelu {  // x times the normal distribution function = max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2
  using V = Simd<T>;
  static constexpr bool kLong = true;
  V forward(V x) const {
    const V a = at_most(abs(x), MathConstants<T>::erfc_high);
    return fma(a * T(-0.5), erfc_of_scaled(a), at_least(x, 0));
  }
  V backward(V dout, V x) const {
    const V tail = erfc_of_scaled(at_most(abs(x), MathConstants<T>::erfc_high)) * T(0.5);
    const V density = exp_of_negative(x * x * T(-0.5)) * T(0.39894228040143267794);  // 1 / sqrt(2 pi)
    return dout * fma(x, density, x < 0 ? tail : 1 - tail);
  }
};
template <class T> struct GeluTanh {  // x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = a (x + b x^3)
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T a = T(0.79788456080286535588), b = T(0.044715);
  V forward(V x) const { return x * sigmoid(x * (2 * a) * fma(x * x, V{} + b, V{} + 1)); }
  V backward(V dout, V x) const {
    const V z = at_least(at_most(x, 30), -30), square = z * z;  // beyond, the derivative is exactly 0 or 1
    const V e = exp_of_negative(-abs(z * (2 * a) * fma(square, V{} + b, V{} + 1))), r = 1 / (e + 1);
    const V slope = fma(square, V{} + 6 * a * b, V{} + 2 * a);  // of 2 u
    return dout * fma(x, e * r * r * slope, (x < 0 ? e : V{} + 1) * r);
  }
};
template <class T> struct Mish {  // tanh(log(1 + w)) = n / (n + 2) with w = exp(x), n = w^2 + 2 w; 1 for x > 20
  using V = Simd<T>;
  static constexpr bool kLong = true;
  static constexpr T high = 20;
  V forward(V x) const {
    const V w = exp(at_most(x, high)), n = w * (w + 2);
    return x * (x > high ? V{} + 1 : n / (n + 2));
  }
  V backward(V dout, V x) const {
    const V w = exp(at_most(x, high)), n = w * (w + 2), r = 1 / (n + 2);
    const V slope = x > high ? V{} : w * (w + 1) * 4 * r * r;
    return dout * fma(x, slope, x > high ? V{} + 1 : n * r);
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
      return f(LeakyRelu<T>{alpha});
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

// y[0, n) = kind(y) in place, for the end of a matrix product: by the table, so that the rules are compiled once.
template <class T> void activation_row(int kind, T alpha, T* y, idx n) {
  active<T>().activation.forward(Activation(kind), alpha, {y, n}, y);
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
