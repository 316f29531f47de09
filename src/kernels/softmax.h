// Softmax over the rows of a matrix (N, V), and the losses. Rows are independent; losses are added in double.
#pragma once
#include "loops.h"
#include "table.h"
#include "vmath.h"

namespace FASTNN_NS {
namespace {

constexpr idx kMostRows = 64;  // of a block

// Rows of a block, a power of two: what keeps the block in L1, by the size of a row alone.
inline idx rows_of_block(idx V) {
  idx rows = kMostRows;
  while (rows > 1 && rows * V > kElementBlock) rows /= 2;
  return rows;
}
inline idx row_blocks(idx N, idx V) { return (N + rows_of_block(V) - 1) / rows_of_block(V); }

// f(begin, end, block) for blocks of rows of (N, V), in parallel.
template <class T, class F> inline void for_row_blocks(idx N, idx V, F f) {
  const idx rows = rows_of_block(V);
  parallel_for(row_blocks(N, V), 4 * N * V * idx(sizeof(T)), [=](idx block) {
    const idx begin = block * rows;
    f(begin, N - begin < rows ? N : begin + rows, block);
  });
}
template <class T, class F> inline void for_rows(idx N, idx V, F f) {
  for_row_blocks<T>(N, V, [=](idx begin, idx end, idx) {
    for (idx i = begin; i < end; ++i) f(i);
  });
}

// The largest of x[0, n) in every lane, and the smallest of each lane's elements; what NaN does to them does not
// matter, since exp(NaN) follows.
template <class T> struct RowEnds {
  Simd<T> top, bottom;
};
template <class T> inline RowEnds<T> ends_of_row(const T* x, idx n) {
  constexpr idx L = lanes<T>;
  constexpr T inf = T(__builtin_inf());
  Simd<T> top = Simd<T>{} - inf, bottom = Simd<T>{} + inf;
  idx i = 0;
  if (n >= 4 * L) {
    Simd<T> high[4], low[4];
    for (idx k = 0; k < 4; ++k) high[k] = top, low[k] = bottom;
    for (; i + 4 * L <= n; i += 4 * L)
      for (idx k = 0; k < 4; ++k) {
        const Simd<T> v = load(x + i + k * L);
        high[k] = larger(high[k], v), low[k] = smaller(low[k], v);
      }
    top = larger(larger(high[0], high[1]), larger(high[2], high[3]));
    bottom = smaller(smaller(low[0], low[1]), smaller(low[2], low[3]));
  }
  for_vectors<T>(
      i, n, [&](auto at) { top = larger(top, at.keep(at(x), -inf)), bottom = smaller(bottom, at.keep(at(x), inf)); });
  return {max_of_lanes<T>(top), bottom};
}
template <class T> inline Simd<T> max_of_row(const T* x, idx n) { return ends_of_row(x, n).top; }

// Whether exp_of_negative<true> takes every (x - top) * scale of a row: none is far below, and next to `top` a
// difference is 0 or not small. A comparison of lanes, since the smallest of all lanes would take as long as an exp.
template <class T> inline bool is_plain(Simd<T> top, Simd<T> bottom, T scale = 1) {
  constexpr T least = MathConstants<T>::small * T(idx(1) << (MathConstants<T>::bits + 2));
  return std::abs(top[0]) > least / scale && !any(less(bottom, top - kPlainHigh<T> / scale));
}

// Place of the first largest element of each row, of the first NaN where there is one (np.argmax).
template <class T> void argmax(Mat<const T> x, int64_t* out) {
  for_rows<T>(x.rows, x.cols, [=](idx i) {
    const T* const r = x.row(i);
    const Simd<T> top = max_of_row(r, x.cols);
    auto unordered = top != top;
    for_vectors<T>(0, x.cols, [&](auto at) {
      const Simd<T> v = at.keep(at(r), T(0));
      unordered |= v != v;
    });
    const bool nan = to_bits(unordered);
    const auto wanted = [=](Simd<T> v) { return nan ? to_bits(v != v) : to_bits(v == top); };
    idx j = 0;
    uint32_t bits = 0;
    while (j + lanes<T> <= x.cols && !(bits = wanted(load(r + j)))) j += lanes<T>;
    if (!bits) {
      const Partial<T> at{j, x.cols - j};
      bits = wanted(at.keep(at(r), -T(__builtin_inf())));
    }
    out[i] = j + __builtin_ctz(bits);
  });
}

template <class T> struct RowSums {
  Simd<T> top, sum;  // largest element; sum of exp(x - top): the same in every lane
};

// Of rows that are not plain, all powers of e are multiplied by `lift`, so that none is denormal.
template <class T> struct Lift;
template <> struct Lift<float> {
  static constexpr float power = 64, lift = 0x1p64f, drop = 0x1p-64f, to_unit = 0x1p85f;  // unit: 2^-149
};
template <> struct Lift<double> {
  static constexpr double power = 600, lift = 0x1p600, drop = 0x1p-600, to_unit = 0x1p474;  // unit: 2^-1074
};
// exp(x), x <= 0, of a plain row; else exp(x) lift.
template <bool kPlain, class V> FASTNN_INLINE V row_exp(V x) {
  using T = ElementOf<V>;
  if constexpr (kPlain) return exp_of_negative<true>(x);
  V n;
  x = zero_where(less(V{} - MathConstants<T>::small, x), at_least(x, MathConstants<T>::exp_low));
  const V p = reduced_expm1(x, n);
  return scale_by_power(p + 1, n + Lift<T>::power);
}
// y, not negative, of a plain row; else y / lift, rounded once. A denormal number is a whole number of the smallest
// ones, so that adding 2^bits rounds it and leaves it in the low bits.
template <bool kPlain, class V> FASTNN_INLINE V row_result(V y) {
  using T = ElementOf<V>;
  using C = MathConstants<T>;
  using I = SimdMask<T>;
  if constexpr (kPlain) return y;
  constexpr T carrier = T(idx(1) << C::bits), normal = C::min_normal * Lift<T>::lift;
  const auto tiny = less(y, V{} + normal);
  const V whole = (V)((I)fma(y, V{} + Lift<T>::to_unit, V{} + carrier) - (I)(V{} + carrier));
  return choose(tiny, whole, at_least(y, normal) * Lift<T>::drop);
}
// f(std::true_type) for plain rows, else f(std::false_type).
template <class F> FASTNN_INLINE auto plain_row(bool plain, F f) {
  return plain ? f(std::true_type{}) : f(std::false_type{});
}

// A row that fits a vector: f(top, x - top, is it plain?).
template <class T, class F> FASTNN_INLINE auto short_row(Partial<T> at, const T* x, F f) {
  constexpr T inf = T(__builtin_inf());
  const Simd<T> v = at(x), top = max_of_lanes<T>(at.keep(v, -inf)), z = at.keep(v - top, 0);  // exp(0) is quick
  return plain_row(is_plain<T>(top, at.keep(v, inf)), [=](auto plain) { return f(top, z, plain); });
}
// The sum of exp(x) in every lane, from that of row_exp(x).
template <bool kPlain, class T> FASTNN_INLINE Simd<T> row_sum(Simd<T> sum) {
  return kPlain ? sum : sum * Lift<T>::drop;
}

// y = softmax of one row; y may be x: before(top) is called when it has not been written yet.
template <class T, class F> inline RowSums<T> softmax_row(const T* x, idx V, T* y, F before) {
  if (V <= lanes<T>) {  // all in registers
    const Partial<T> at{0, V};
    return short_row(at, x, [=](Simd<T> top, Simd<T> z, auto plain) {
      constexpr bool kPlain = decltype(plain)::value;
      const Simd<T> e = row_exp<kPlain>(z), sum = row_sum<kPlain, T>(sum_of_lanes<T>(at.keep(e, 0)));
      before(top);
      at.put(y, row_result<kPlain>(e / sum));
      return RowSums<T>{top, sum};
    });
  }
  const RowEnds<T> ends = ends_of_row(x, V);
  const Simd<T> top = ends.top;
  before(top);
  return plain_row(is_plain<T>(top, ends.bottom), [=](auto plain) {
    constexpr bool kPlain = decltype(plain)::value;
    const Simd<T> lifted = sum_vectors<T, 1>(0, V, [=](auto at) {
      const Simd<T> e = row_exp<kPlain>(at(x) - top);
      at.put(y, e);
      return e;
    });
    const Simd<T> sum = row_sum<kPlain, T>(lifted), inverse = 1 / sum;
    for_vectors<T>(0, V, [=](auto at) { at.put(y, row_result<kPlain>(at(y) * inverse)); });
    return RowSums<T>{top, sum};
  });
}

template <class T> void softmax_forward(Mat<const T> x, T* out) {
  for_rows<T>(x.rows, x.cols, [=](idx i) { softmax_row(x.row(i), x.cols, out + i * x.cols, [](Simd<T>) {}); });
}

// dx = y (dout - sum(dout y))
template <class T> void softmax_backward(Mat<const T> dout, const T* y, T* dx) {
  const idx V = dout.cols;
  for_rows<T>(dout.rows, V, [=](idx i) {
    const T *g = dout.row(i), *p = y + i * V;
    const Simd<T> sum = sum_vectors<T>(0, V, [=](auto at) { return at(g) * at(p); });
    for_vectors<T>(0, V, [=](auto at) { at.put(dx + i * V, at(p) * (at(g) - sum)); });
  });
}

// out = x - top - log(sum(exp(x - top)))
template <class T> void log_softmax_forward(Mat<const T> x, T* out) {
  const idx V = x.cols;
  for_rows<T>(x.rows, V, [=](idx i) {
    const T* const r = x.row(i);
    if (V <= lanes<T>) {
      const Partial<T> at{0, V};
      return short_row(at, r, [=](Simd<T>, Simd<T> z, auto plain) {
        constexpr bool kPlain = decltype(plain)::value;
        at.put(out + i * V, z - log(row_sum<kPlain, T>(sum_of_lanes<T>(at.keep(row_exp<kPlain>(z), 0)))));
      });
    }
    const RowEnds<T> ends = ends_of_row(r, V);
    const Simd<T> top = ends.top, sum = plain_row(is_plain<T>(top, ends.bottom), [=](auto plain) {
                                    constexpr bool kPlain = decltype(plain)::value;
                                    return row_sum<kPlain, T>(
                                        sum_vectors<T, 1>(0, V, [=](auto at) { return row_exp<kPlain>(at(r) - top); }));
                                  });
    const Simd<T> shift = log(sum);
    for_vectors<T>(0, V, [=](auto at) { at.put(out + i * V, at(r) - top - shift); });
  });
}

// dx = dout - exp(y) sum(dout)
template <class T> void log_softmax_backward(Mat<const T> dout, const T* y, T* dx) {
  const idx V = dout.cols;
  for_rows<T>(dout.rows, V, [=](idx i) {
    const T *g = dout.row(i), *p = y + i * V;
    const Simd<T> sum = sum_vectors<T>(0, V, [=](auto at) { return at(g); });
    for_vectors<T>(0, V, [=](auto at) { at.put(dx + i * V, at(g) - exp(at(p)) * sum); });
  });
}

// The part of the weights q (N, V) of -log p that does not depend on a label: w ((1 - s) t + s / V) with targets t,
// else w s / V. With labels, q at the label has label_share(w[label]) more.
template <class T> struct SmoothPart {
  const CrossEntropyTarget<T>& t;
  const T* row;  // of targets
  Simd<T> share, even;
  SmoothPart(const CrossEntropyTarget<T>& target, idx i, idx V)
      : t(target),
        row(target.targets ? target.targets + i * V : nullptr),
        share(broadcast(T(1 - target.smoothing))),
        even(broadcast(T(target.smoothing / double(V)))) {}
  template <class At> Simd<T> operator()(At at) const {
    const Simd<T> q = row ? fma(share, at(row), even) : even;
    return t.weight ? q * at(t.weight) : q;
  }
};
template <class T> inline T label_share(const CrossEntropyTarget<T>& t, int64_t label) {
  return T(1 - t.smoothing) * (t.weight ? t.weight[label] : T(1));
}
template <class T> inline bool ignored(const CrossEntropyTarget<T>& t, idx i) { return t.labels && t.labels[i] < 0; }

// labels[i] = the place of the 1 in row i of t (N, V). False unless every row is one 1 and zeros.
template <class T> bool one_hot_labels(Mat<const T> t, int64_t* labels) {
  const idx V = t.cols;
  const auto read = [=](idx i) {
    const T* const row = t.row(i);
    int64_t label = -1;
    bool good = true;
    for_vectors<T>(0, V, [&](auto at) {
      if (const uint32_t bits = to_bits(at(row) != 0); bits) {
        good &= label < 0 && (bits & (bits - 1)) == 0;
        label = at.i + __builtin_ctz(bits);
      }
    });
    labels[i] = good && label >= 0 && row[label] == 1 ? label : -1;
  };
  if (t.rows > 0) read(0);  // soft targets show at once
  if (t.rows == 0 || labels[0] < 0) return false;
  for_rows<T>(t.rows, V, read);
  bool good = true;
  for (idx i = 0; i < t.rows; ++i) good &= labels[i] >= 0;
  return good;
}

// What the sum of the losses is divided by: the weights of the counted labels, or the number of rows of targets.
template <class T> double cross_entropy_divisor(const CrossEntropyTarget<T>& t, idx N) {
  if (t.targets) return double(N);
  double sum = 0;
  for (idx i = 0; i < N; ++i)
    if (t.labels[i] >= 0) sum += t.weight ? double(t.weight[t.labels[i]]) : 1.0;
  return sum;
}

// y = softmax(x); returns the sum of -q log p, p = y or (epsilon > 0) y + epsilon. Nothing is added where q is 0. y may
// be x.
template <class T>
double cross_entropy_forward(Mat<const T> x, CrossEntropyTarget<T> t, T epsilon, T* y, double* partial) {
  const idx V = x.cols;
  for_row_blocks<T>(x.rows, V, [=](idx begin, idx end, idx block) {
    T a[kMostRows], b[kMostRows], s[kMostRows];  // loss of a row = b log(s) - a: the logarithms together at the end
    for (idx i = begin; i < end; ++i) {
      const idx k = i - begin;
      const T* const r = x.row(i);
      T* const p = y + i * V;
      a[k] = b[k] = 0;
      s[k] = 1;
      const bool counts = !ignored(t, i), smooth = counts && (t.targets || t.smoothing != 0);
      const int64_t label = counts && t.labels ? t.labels[i] : -1;
      const T x_label = label >= 0 ? r[label] : T(0);
      const RowSums<T> row = softmax_row(r, V, p, [&](Simd<T> top) {
        if (!smooth || epsilon > 0) return;
        const SmoothPart<T> part(t, i, V);
        Simd<T> weight{};
        const Simd<T> sum = sum_vectors<T, 1>(0, V, [&](auto at) {
          const Simd<T> q = part(at);
          weight += at.keep(q, 0);
          return q != 0 ? q * (at(r) - top) : Simd<T>{};
        });
        a[k] = sum[0];
        b[k] = sum_of_lanes<T>(weight)[0];
      });
      if (smooth && epsilon > 0) {
        const SmoothPart<T> part(t, i, V);
        const Simd<T> sum = sum_vectors<T, 1>(0, V, [&](auto at) {
          const Simd<T> q = part(at);
          return q != 0 ? q * log(at(p) + epsilon) : Simd<T>{};
        });
        a[k] = sum[0];
      }
      if (label >= 0) {
        const T q = label_share(t, label);
        if (q != 0 && epsilon > 0) {
          b[k] = -q;
          s[k] = p[label] + epsilon;
        } else if (q != 0) {
          b[k] += q;
          a[k] += q * (x_label - row.top[0]);
        }
      }
      if (b[k] != 0 && !(epsilon > 0)) s[k] = row.sum[0];
    }
    double total = 0;
    for_vectors_long<T>(0, end - begin, [&](auto at) {
      T loss[lanes<T>];
      store(loss, at.keep(at(b) * log(at(s)) - at(a), 0));
      for (T l : loss) total += double(l);
    });
    partial[block] = total;
  });
  double total = 0;
  for (idx block = 0; block < row_blocks(x.rows, V); ++block) total += partial[block];
  return total;
}

// dx = (y sum(q) - q) scale by row; 0 where q is 0 in the whole row. dx may be y.
template <class T> void cross_entropy_backward(Mat<const T> y, CrossEntropyTarget<T> t, double scale, T* dx) {
  const idx V = y.cols;
  for_rows<T>(y.rows, V, [=](idx i) {
    const T* const p = y.row(i);
    T* const d = dx + i * V;
    const int64_t label = t.labels ? t.labels[i] : -1;
    const T at_label = label >= 0 ? label_share(t, label) : T(0), p_label = label >= 0 ? p[label] : T(0);
    if (!t.targets && (t.smoothing == 0 || label < 0)) {
      const T factor = T(double(at_label) * scale);
      if (at_label == 0) return for_vectors<T>(0, V, [=](auto at) { at.put(d, Simd<T>{}); });
      for_vectors<T>(0, V, [=](auto at) { at.put(d, at(p) * factor); });
      d[label] = (p_label - 1) * factor;
      return;
    }
    const SmoothPart<T> part(t, i, V);
    const Simd<T> total = sum_vectors<T, 1>(0, V, part) + at_label, factor = broadcast(T(scale));
    for_vectors<T>(0, V, [=](auto at) {
      const Simd<T> q = part(at), v = (at(p) * total - q) * factor;
      at.put(d, ((total == 0) & (q == 0)) ? Simd<T>{} : v);
    });
    if (label >= 0) {
      const Partial<T> at{label, 1};
      at.put(d, (p_label * total - (part(at) + at_label)) * factor);
    }
  });
}

// y = sigmoid(x) and the sum of -t log(y) - (1 - t) log(1 - y) = log(1 + exp(x)) - x t; epsilon > 0: inside both logs.
template <class T> double sigmoid_loss_forward(Vec<const T> x, const T* t, T epsilon, T* y, double* partial) {
  if (epsilon > 0)
    return sum<T, 1>(x.n, partial, [=](auto at) {
      const Simd<T> p = sigmoid(at(x.data)), q = at(t);
      at.put(y, p);
      return -q * log(p + epsilon) - (1 - q) * log(1 - p + epsilon);
    });
  return sum<T, 1>(x.n, partial, [=](auto at) {
    const Simd<T> v = at(x.data);
    at.put(y, sigmoid(v));
    return softplus(v) - v * at(t);
  });
}

template <class T> double squared_error_forward(Vec<const T> y, const T* t, double* partial) {
  return sum<T, 4>(y.n, partial, [=](auto at) {
    const Simd<T> d = at(y.data) - at(t);
    return d * d;
  });
}

// dx = scale (y - t)
template <class T> void difference_backward(Vec<const T> y, const T* t, T scale, T* dx) {
  map(dx, y.n, [=](auto at) { return (at(y.data) - at(t)) * scale; });
}

}  // namespace
}  // namespace FASTNN_NS
