// Optimizer updates in place over all parameters of a network at once, cut into blocks by size alone.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

constexpr idx kOptimBlock = idx(1) << 12;  // elements

inline idx blocks_of(idx n) { return (n + kOptimBlock - 1) / kOptimBlock; }
template <class T> idx optim_blocks(const OptimArray<T>* arrays, idx count) {
  idx blocks = 0;
  for (idx i = 0; i < count; ++i) blocks += blocks_of(arrays[i].n);
  return blocks;
}
template <class T> idx optim_elements(const OptimArray<T>* arrays, idx count) {
  idx n = 0;
  for (idx i = 0; i < count; ++i) n += arrays[i].n;
  return n;
}

// The loops of for_blocks, compiled once for all rules.
template <class T> using PartBody = void (*)(const void* f, const OptimArray<T>& a, idx begin, idx end, idx block);
template <class T>
FASTNN_ONCE void run_parts(const OptimArray<T>* arrays, idx count, idx cost, PartBody<T> body, const void* f) {
  const idx work = cost * optim_elements(arrays, count);
  const auto run = [=](const OptimArray<T>& a, idx begin, idx block) {
    body(f, a, begin, a.n - begin < kOptimBlock ? a.n : begin + kOptimBlock, block);
  };
  if (team(work) == 1) {  // the common small network: no search for the array of a block
    idx block = 0;
    for (idx i = 0; i < count; ++i)
      for (idx begin = 0; begin < arrays[i].n; begin += kOptimBlock) run(arrays[i], begin, block++);
    return;
  }
  parallel_for(optim_blocks(arrays, count), work, [=](idx block) {
    idx i = 0, first = 0;
    while (first + blocks_of(arrays[i].n) <= block) first += blocks_of(arrays[i++].n);
    run(arrays[i], (block - first) * kOptimBlock, block);
  });
}

// f(array, begin, end, block) for every block of every array; `cost` scalar operations an element.
template <class T, class F> void for_blocks(const OptimArray<T>* arrays, idx count, idx cost, const F& f) {
  const PartBody<T> body = [](const void* g, const OptimArray<T>& a, idx begin, idx end, idx block) {
    const F own = *static_cast<const F*>(g);
    own(a, begin, end, block);
  };
  run_parts(arrays, count, cost, body, &f);
}

// factor * v + rest; rest alone where the factor is 0: what is switched off is not read, as 0 * inf would be NaN.
template <class T> struct Share {
  Simd<T> factor;
  bool counts;
  explicit Share(double value) : factor(broadcast(T(value))), counts(value != 0) {}
  Simd<T> of(Simd<T> v, Simd<T> rest) const { return counts ? fma(factor, v, rest) : rest; }
};

// States that decay without a gradient end as denormal numbers, where they stay (0.9 times 4 units is 4 units again),
// and every product of one takes a hundred cycles. So vectors with such a state are computed with everything times
// `lift` (squares: its square) and put back, rounded once. What is quick on denormal numbers (Intel): sums that are not
// denormal, and integers; so the smallest normal number of the same sign is added, and taken off again.
template <class T> struct Denormal {
  using V = Simd<T>;
  using I = SimdMask<T>;
  static constexpr bool kSingle = sizeof(T) == 4;
  static constexpr T normal = T(kSingle ? 0x1p-126 : 0x1p-1022);
  static constexpr T lift = T(kSingle ? 0x1p40 : 0x1p300), most = T(kSingle ? 0x1p20 : 0x1p100);  // of what is lifted
  static FASTNN_INLINE V magnitude(V x) { return (V)((I)x & ~(I)(-V{})); }
  static FASTNN_INLINE V with_sign(V x, V sign) { return (V)((I)x | ((I)sign & (I)(-V{}))); }
  static FASTNN_INLINE V lifted(V x, T by) {
    const V c = with_sign(choose(is_denormal(x), V{} + normal, V{}), x);
    return fma(x + c, V{} + by, -c * by);
  }
  static FASTNN_INLINE V lowered(V x, T by) {
    const V c = choose(less(magnitude(x), V{} + normal * by), V{} + normal, V{});
    return (V)((I)fma(x, V{} + 1 / by, with_sign(c, x)) - (I)c);
  }
};

// One rule each: step() changes the parameter p and the states s and t, given the gradient g. kStates of them, the last
// kSquares of squares, whose root is beside epsilon in the quotient that lr is multiplied with.
template <class T> struct Sgd {
  static constexpr int kStates = 0, kSquares = 0;
  Simd<T> lr;
  explicit Sgd(const OptimSettings& o) : lr(broadcast(T(o.lr))) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>&, Simd<T>&) const { p = fma(-lr, g, p); }
};
template <class T> struct Momentum {
  static constexpr int kStates = 1, kSquares = 0;
  Simd<T> lr;
  Share<T> momentum;
  explicit Momentum(const OptimSettings& o) : lr(broadcast(T(o.lr))), momentum(o.first) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>& v, Simd<T>&) const {
    v = momentum.of(v, -lr * g);
    p += v;
  }
};
template <class T, bool lookahead> struct Nesterov {
  static constexpr int kStates = 1, kSquares = 0;
  Simd<T> lr, momentum, square, ahead;
  explicit Nesterov(const OptimSettings& o)
      : lr(broadcast(T(o.lr))),
        momentum(broadcast(T(o.first))),
        square(broadcast(T(o.first * o.first))),
        ahead(broadcast(T((1 + o.first) * o.lr))) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>& v, Simd<T>&) const {
    const Simd<T> v_new = fma(momentum, v, -lr * g);
    p += fma(square, lookahead ? v_new : v, -ahead * g);
    v = v_new;
  }
};
template <class T> struct AdaGrad {
  static constexpr int kStates = 1, kSquares = 1;
  Simd<T> lr, epsilon;
  explicit AdaGrad(const OptimSettings& o) : lr(broadcast(T(o.lr))), epsilon(broadcast(T(o.epsilon))) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>& h, Simd<T>&) const {
    h = fma(g, g, h);
    p -= lr * g / (sqrt(h) + epsilon);
  }
};
template <class T> struct RmsProp {
  static constexpr int kStates = 1, kSquares = 1;
  Simd<T> lr;
  Share<T> decay;
  Simd<T> rest, epsilon;
  explicit RmsProp(const OptimSettings& o)
      : lr(broadcast(T(o.lr))), decay(o.first), rest(broadcast(T(1 - o.first))), epsilon(broadcast(T(o.epsilon))) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>& h, Simd<T>&) const {
    h = decay.of(h, rest * g * g);
    p -= lr * g / (sqrt(h) + epsilon);
  }
};
template <class T>
struct Adam {  // lr is the bias-corrected step size; decay = 0, or learning rate * weight decay (AdamW)
  static constexpr int kStates = 2, kSquares = 1;
  Simd<T> lr, rest1, rest2, epsilon;
  Share<T> keep;
  bool averages1, averages2;  // false: beta is 0
  explicit Adam(const OptimSettings& o)
      : lr(broadcast(T(o.lr))),
        rest1(broadcast(T(1 - o.first))),
        rest2(broadcast(T(1 - o.second))),
        epsilon(broadcast(T(o.epsilon))),
        keep(-o.decoupled_decay),
        averages1(o.first != 0),
        averages2(o.second != 0) {}
  void step(Simd<T>& p, Simd<T> g, Simd<T>& m, Simd<T>& v) const {
    p = keep.of(p, p);
    m = averages1 ? fma(rest1, g - m, m) : g;
    v = averages2 ? fma(rest2, fma(g, g, -v), v) : g * g;
    p -= lr * m / (sqrt(v) + epsilon);
  }
};

// What comes before the rule: the gradient scaled, clipped, and the weight decay added where there is one.
template <class T> struct Modifier {
  bool any, clips, decays;
  Simd<T> scale, limit, decay;
  explicit Modifier(const OptimSettings& o)
      : any(o.grad_scale != 1 || o.clip_value > 0 || o.weight_decay != 0),
        clips(o.clip_value > 0),
        decays(o.weight_decay != 0),
        scale(broadcast(T(o.grad_scale))),
        limit(broadcast(T(o.clip_value))),
        decay(broadcast(T(o.weight_decay))) {}
  Simd<T> operator()(Simd<T> g, Simd<T> p) const {
    g *= scale;
    if (clips) g = min_nan(max_nan(g, -limit), limit);
    return decays ? fma(decay, p, g) : g;
  }
};

// Rule and what comes before it, for one call.
template <class T, class Rule> struct OptimStep {
  Rule rule, lifted;  // the latter: for lifted numbers
  Modifier<T> modifier;
  OptimStep(const Rule& given, const OptimSettings& o) : rule(given), lifted(given), modifier(o) {
    if constexpr (Rule::kSquares > 0) lifted.lr *= Denormal<T>::lift, lifted.epsilon *= Denormal<T>::lift;
  }
};
template <class Rule, class T> FASTNN_INLINE bool has_denormal(Simd<T> s, Simd<T> t) {
  if constexpr (Rule::kStates == 0) return false;
  if constexpr (Rule::kStates == 1) return any(is_denormal(s));
  return any(is_denormal(s) | is_denormal(t));
}

// A vector of ordinary states; false, and nothing is done, where one is denormal.
template <class T, class Rule>
FASTNN_INLINE bool ordinary_vector(const OptimArray<T>& a, idx i, const OptimStep<T, Rule>& o) {
  const Whole<T> at{i};
  Simd<T> s{}, t{};
  if constexpr (Rule::kStates >= 1) s = at(a.s);
  if constexpr (Rule::kStates >= 2) t = at(a.t);
  if (has_denormal<Rule, T>(s, t)) [[unlikely]]
    return false;
  Simd<T> p = at(a.p), g = at(a.g);
  if (o.modifier.any) g = o.modifier(g, p);
  o.rule.step(p, g, s, t);
  at.put(a.p, p);
  if constexpr (Rule::kStates >= 1) at.put(a.s, s);
  if constexpr (Rule::kStates >= 2) at.put(a.t, t);
  return true;
}

// A vector of any states. Out of the loop of ordinary ones, whose constants so stay in registers. Beside a denormal
// state, numbers that are too large to be lifted take the long way.
template <class T, class Rule>
FASTNN_INLINE void any_vector(const OptimArray<T>& a, Partial<T> at, const OptimStep<T, Rule>& o, const Rule& lifted) {
  using D = Denormal<T>;
  constexpr T lift = D::lift, of_s = Rule::kStates == Rule::kSquares ? lift * lift : lift, of_t = lift * lift;
  Simd<T> p = at(a.p), g = at(a.g), s{}, t{};
  if constexpr (Rule::kStates >= 1) s = at(a.s);
  if constexpr (Rule::kStates >= 2) t = at(a.t);
  if (o.modifier.any) g = o.modifier(g, p);
  const Simd<T> largest = larger(larger(D::magnitude(p), D::magnitude(g)), larger(D::magnitude(s), t));
  if (has_denormal<Rule, T>(s, t) && !any(less(Simd<T>{} + D::most, largest)) && o.rule.lr[0] <= 256) {
    p *= lift, g *= lift, s = D::lifted(s, of_s);
    if constexpr (Rule::kStates == 2) t = D::lifted(t, of_t);
    lifted.step(p, g, s, t);
    p *= 1 / lift, s = D::lowered(s, of_s);
    if constexpr (Rule::kStates == 2) t = D::lowered(t, of_t);
  } else {
    o.rule.step(p, g, s, t);
  }
  at.put(a.p, p);
  if constexpr (Rule::kStates >= 1) at.put(a.s, s);
  if constexpr (Rule::kStates >= 2) at.put(a.t, t);
}
// As many of them as follow each other -> where the next one begins.
template <class T, class Rule>
FASTNN_ONCE idx any_vectors(const OptimArray<T>& a, idx i, idx end, const OptimStep<T, Rule>& o) {
  const Rule lifted = o.lifted;
  do {
    any_vector(a, Partial<T>{i, end - i < lanes<T> ? end - i : lanes<T>}, o, lifted);
    i += lanes<T>;
  } while (Rule::kStates > 0 && i + lanes<T> <= end &&
           has_denormal<Rule, T>(load(a.s + i), Rule::kStates == 2 ? load(a.t + i) : Simd<T>{}));
  return i;
}

template <class T, class Rule>
void optim_update(const OptimArray<T>* arrays, idx count, const Rule& rule, const OptimSettings& settings) {
  const OptimStep<T, Rule> o(rule, settings);
  for_blocks(arrays, count, 8, [&o](const OptimArray<T>& a, idx begin, idx end, idx) {
    const OptimStep<T, Rule> own = o;  // not what the stores may change
    for (idx i = begin; i < end;) {
      while (i + lanes<T> <= end && ordinary_vector(a, i, own)) i += lanes<T>;
      if (i < end) i = any_vectors(a, i, end, o);
    }
  });
}

template <class T> void update(Optimizer kind, const OptimArray<T>* arrays, idx count, const OptimSettings& o) {
  const auto with = [&](const auto& rule) { optim_update(arrays, count, rule, o); };
  switch (kind) {
    case Optimizer::sgd:
      return with(Sgd<T>(o));
    case Optimizer::momentum:
      return with(Momentum<T>(o));
    case Optimizer::nesterov:
      if (o.first == 0) return with(Momentum<T>(o));  // the same then, and the old v is not read
      return o.lookahead ? with(Nesterov<T, true>(o)) : with(Nesterov<T, false>(o));
    case Optimizer::adagrad:
      return with(AdaGrad<T>(o));
    case Optimizer::rmsprop:
      return with(RmsProp<T>(o));
    case Optimizer::adam:
      return with(Adam<T>(o));
  }
}

inline Simd<double> add_squares(Simd<double> sum, const double* g) {
  const Simd<double> v = load(g);
  return fma(v, v, sum);
}
inline Simd<double> add_squares(Simd<double> sum, const float* g) {
  typedef float Half __attribute__((vector_size(kVecBytes / 2)));
  Half half;
  std::memcpy(&half, g, sizeof half);
  const Simd<double> v = __builtin_convertvector(half, Simd<double>);
  return fma(v, v, sum);
}

// Sum of squares of all gradients in double: one partial sum a block (in `partial`), added in order.
template <class T> double sum_of_squares(const OptimArray<T>* arrays, idx count, double* partial) {
  for_blocks(arrays, count, 4, [=](const OptimArray<T>& a, idx begin, idx end, idx block) {
    constexpr idx step = lanes<double>;
    Simd<double> s0{}, s1{}, s2{}, s3{};
    idx i = begin;
    for (; i + 4 * step <= end; i += 4 * step) {
      s0 = add_squares(s0, a.g + i);
      s1 = add_squares(s1, a.g + i + step);
      s2 = add_squares(s2, a.g + i + 2 * step);
      s3 = add_squares(s3, a.g + i + 3 * step);
    }
    double sum = horizontal_sum<double>((s0 + s1) + (s2 + s3));
    for (; i < end; ++i) sum += double(a.g[i]) * double(a.g[i]);
    partial[block] = sum;
  });
  double sum = 0;
  for (idx block = 0; block < optim_blocks(arrays, count); ++block) sum += partial[block];
  return sum;
}

template <class T> void scale_arrays(const OptimArray<T>* arrays, idx count, T scale) {
  for_blocks(arrays, count, 4, [=](const OptimArray<T>& a, idx begin, idx end, idx) {
    for (idx i = begin; i < end; ++i) a.p[i] *= scale;
  });
}

// p = momentum * p + (1 - momentum) * (g * factor), rounded as NumPy does; what is times 0 is not read
template <class T> void moving_average(const OptimArray<T>* arrays, idx count, double momentum, double factor) {
  const T old = T(momentum), rest = T(1 - momentum), scale = T(factor);
  for_blocks(arrays, count, 8, [=](const OptimArray<T>& a, idx begin, idx end, idx) {
    if (old == 0)
      for (idx i = begin; i < end; ++i) a.p[i] = rest * (a.g[i] * scale);
    else if (rest != 0)
      for (idx i = begin; i < end; ++i) a.p[i] = old * a.p[i] + rest * (a.g[i] * scale);
  });
}

}  // namespace
}  // namespace FASTNN_NS
