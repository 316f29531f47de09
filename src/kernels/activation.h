// Element-wise functions and their derivatives over flat arrays; formulas and sources: ACTIVATIONS in numpy_backend.py.
#pragma once
#include "parallel.h"
#include "table.h"
#include "vmath.h"

namespace FASTNN_NS {
namespace {

constexpr idx kElementBlock = 1 << 14;  // elements of a block: whole 64-bit words of a mask
// Results beyond this do not survive in L3 until they are read: their stores go past it (no read for ownership).
constexpr idx kStreamBytes = idx(16) << 20;

// out[i] = f(at) in [begin, end), where at(p) is the vector of p[i], ...; the last one is partial.
template <bool stream_out, class T, class F> inline void map_block(T* out, idx begin, idx end, F f) {
  idx i = begin;
  for (; i + lanes<T> <= end; i += lanes<T>) {
    const Simd<T> y = f([i](const T* p) { return load(p + i); });
    stream_out ? stream(out + i, y) : store(out + i, y);
  }
  if (const idx n = end - i; n > 0) store_partial(out + i, f([i, n](const T* p) { return load_partial(p + i, n); }), n);
}

// The same over [0, n), in parallel.
template <class T, class F> inline void map(T* out, idx n, F f) {
  const idx bytes = n * idx(sizeof(T));
  const bool stream_out = bytes >= kStreamBytes && reinterpret_cast<uintptr_t>(out) % kVecBytes == 0;
  parallel_for((n + kElementBlock - 1) / kElementBlock, 2 * bytes, [=](idx block) {
    const idx begin = block * kElementBlock, end = n - begin < kElementBlock ? n : begin + kElementBlock;
    if (stream_out) {
      map_block<true>(out, begin, end, f);
      stream_fence();
    } else {
      map_block<false>(out, begin, end, f);
    }
  });
}

// One rule a kind: y = forward(x), dx = backward(dout, saved), saved = y for sigmoid and tanh, x for the others.
template <class T> struct Identity {
  using V = Simd<T>;
  V forward(V x) const { return x; }
  V backward(V dout, V) const { return dout; }
};
template <class T> struct Step {
  using V = Simd<T>;
  V forward(V x) const { return x > 0 ? V{} + 1 : V{}; }
  V backward(V, V) const { return V{}; }
};
template <class T> struct Sigmoid {
  using V = Simd<T>;
  V forward(V x) const { return sigmoid(x); }
  V backward(V dout, V y) const { return dout * (y * (1 - y)); }
};
template <class T> struct Tanh {
  using V = Simd<T>;
  V forward(V x) const { return tanh(x); }
  V backward(V dout, V y) const { return dout * (1 - y * y); }
};
template <class T> struct Relu {
  using V = Simd<T>;
  V forward(V x) const { return x <= 0 ? V{} : x; }
  V backward(V dout, V x) const { return x <= 0 ? V{} : dout; }
};
template <class T> struct LeakyRelu {
  using V = Simd<T>;
  T alpha;
  V forward(V x) const { return x <= 0 ? x * alpha : x; }
  V backward(V dout, V x) const { return x <= 0 ? dout * alpha : dout; }
};
template <class T> struct Elu {  // scale * (x or alpha (exp(x) - 1)): SELU too
  using V = Simd<T>;
  T alpha, scale;
  V forward(V x) const { return x > 0 ? x * scale : expm1_of_negative(at_most(x, 0)) * (alpha * scale); }
  V backward(V dout, V x) const {
    return dout * (x > 0 ? V{} + scale : exp_of_negative(at_most(x, 0)) * (alpha * scale));
  }
};
template <class T> struct Softplus {
  using V = Simd<T>;
  V forward(V x) const { return softplus(x); }
  V backward(V dout, V x) const { return dout * sigmoid(x); }
};
template <class T> struct Softsign {
  using V = Simd<T>;
  V forward(V x) const { return x / (abs(x) + 1); }
  V backward(V dout, V x) const {
    const V d = abs(x) + 1;
    return dout / (d * d);
  }
};
template <class T> struct HardSigmoid {
  using V = Simd<T>;
  static constexpr T slope = T(1) / 6;
  V forward(V x) const { return at_least(at_most(x * slope + T(0.5), 1), 0); }
  V backward(V dout, V x) const { return abs(x) >= 3 ? V{} : dout * slope; }
};
template <class T> struct Swish {
  using V = Simd<T>;
  V forward(V x) const { return x * sigmoid(x); }
  V backward(V dout, V x) const {  // s + x s (1 - s), s (1 - s) = e / (1 + e)^2 with e = exp(-|x|)
    const V e = exp_of_negative(-abs(x)), r = 1 / (e + 1);
    return dout * fma(x, e * r * r, (x < 0 ? e : V{} + 1) * r);
  }
};
template <class T> struct Gelu {
  using V = Simd<T>;
  V forward(V x) const { return x * normal_cdf(x); }
  V backward(V dout, V x) const {
    const V density = exp_of_negative(x * x * T(-0.5)) * T(0.39894228040143267794);  // 1 / sqrt(2 pi)
    return dout * fma(x, density, normal_cdf(x));
  }
};
template <class T> struct GeluTanh {  // x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = a (x + b x^3)
  using V = Simd<T>;
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
  with_rule(kind, alpha, [=](auto rule) { map(out, x.n, [=](auto at) { return rule.forward(at(x.data)); }); });
}

template <class T> void activation_backward(Activation kind, T alpha, Vec<const T> dout, const T* saved, T* dx) {
  with_rule(kind, alpha,
            [=](auto rule) { map(dx, dout.n, [=](auto at) { return rule.backward(at(dout.data), at(saved)); }); });
}

// y[0, n) = kind(y) in place, for the end of a matrix product.
template <class T> void activation_row(int kind, T alpha, T* y, idx n) {
  with_rule(Activation(kind), alpha,
            [=](auto rule) { map_block<false>(y, 0, n, [=](auto at) { return rule.forward(at(y)); }); });
}

// f(word, begin, n): the n elements from `begin` belong to this word of a mask; n is the constant 64 but for the last.
template <class T, class F> inline void for_mask_words(idx n, F f) {
  parallel_for((n + kElementBlock - 1) / kElementBlock, 2 * n * idx(sizeof(T)), [=](idx block) {
    const idx begin = block * kElementBlock, end = n - begin < kElementBlock ? n : begin + kElementBlock;
    idx i = begin;
    for (; i + 64 <= end; i += 64) f(i / 64, i, std::integral_constant<idx, 64>{});
    if (i < end) f(i / 64, i, end - i);
  });
}

// out = x where x > 0 or x is NaN, else 0; bit i of mask says which.
template <class T> void relu_forward(Vec<const T> x, T* out, uint64_t* mask) {
  for_mask_words<T>(x.n, [=](idx word, idx begin, auto n) {
    uint64_t bits = 0;
    map_block<false>(out + begin, 0, n, [&, from = x.data + begin, shift = 0](auto at) mutable {
      const Simd<T> v = at(from);
      const SimdMask<T> drop = v <= 0;
      bits |= uint64_t(to_bits(drop)) << shift;
      shift += int(lanes<T>);
      return drop ? Simd<T>{} : v;
    });
    mask[word] = ~bits & (~uint64_t(0) >> (64 - n));
  });
}

template <class T> void relu_backward(Vec<const T> dout, const uint64_t* mask, T* dx) {
  for_mask_words<T>(dout.n, [=](idx word, idx begin, auto n) {
    map_block<false>(dx + begin, 0, n, [from = dout.data + begin, bits = mask[word]](auto at) mutable {
      const Simd<T> v = from_bits<T>(uint32_t(bits)) ? at(from) : Simd<T>{};
      bits >>= lanes<T>;
      return v;
    });
  });
}

}  // namespace
}  // namespace FASTNN_NS
