// Batch normalisation of columns and of channels; layer and group normalisation.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

// Statistics are taken in blocks, a pair of numbers a column and block in `partial` (blocks, 2, D), brought together in
// the order of the blocks.

// dgamma and dbeta (D): the sums of the pairs.
template <class T> void add_partials(const T* partial, idx blocks, idx D, T* dgamma, T* dbeta) {
  for_vectors<T>(0, D, [=](auto at) {
    Simd<T> first{}, second{};
    for (idx b = 0; b < blocks; ++b) first += at(partial + b * 2 * D), second += at(partial + (b * 2 + 1) * D);
    at.put(dgamma, first), at.put(dbeta, second);
  });
}

// All kernels here take moments in the same way: the mean of x - shift, then that of (x - mean)^2, where the shift is
// one of the numbers. A constant then has exactly itself as its mean, and an offset that all numbers share costs no
// digits (float32 rows of N(0, 1) + 1000: the error is that of rounding the mean). What blocks hand on is the
// difference of the mean from the shift, so that the mean is rounded once.
//
// The short cut fails where the shift is far from the rest (over 16 standard deviations: its rounding errors would
// show), and where a sum overflows or a number is not finite. Such moments are taken again in double.
template <class T> constexpr T kMostShift = T(sizeof(T) == 4 ? 0x1p103 : 0x1p970);  // beside the largest number nothing
template <class T> inline T shift_of(T x) { return x <= kMostShift<T> && x >= -kMostShift<T> ? x : T(0); }  // 0 for NaN
template <class T> inline Simd<T> shifts_of(Simd<T> x) {
  return (x <= kMostShift<T>)&(x >= -kMostShift<T>) ? x : Simd<T>{};
}
template <class V> inline auto moments_hold(V difference, V var) {  // false for NaN
  return (difference * difference <= var * 256) & (var - var == V{});
}

// var of n numbers -> their mean; sum_of(f) is the sum of f(x) in double.
template <class T, class SumOf> __attribute__((noinline, cold)) double moments_again(idx n, SumOf sum_of, T& var) {
  double m = sum_of([](double x) { return x; }) / double(n);
  if (m - m == 0) m += sum_of([=](double x) { return x - m; }) / double(n);
  const double centre = double(T(m));
  var = T(sum_of([=](double x) { return (x - centre) * (x - centre); }) / double(n));
  return m;
}
template <class T, class F> inline double sum_in_double(const T* p, idx n, F f) {
  double sums[8] = {};
  idx i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += f(double(p[i + k]));
  for (; i < n; ++i) sums[0] += f(double(p[i]));
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// mean and var (D) from each block's mean - shift and var; `count` numbers in all, `each` in a block but the last
// (Chan, Golub and LeVeque 1979). first[j * step] is the first number of column j. In double, so that nothing
// overflows.
template <class T> void combine_moments(const T* partial, idx blocks, idx D, idx count, idx each, const T* first,
                                        idx step, T* mean, T* var) {
  constexpr idx kColumns = 64;
  const double per_element = 1 / double(count > 0 ? count : 1);
  for (idx j0 = 0; j0 < D; j0 += kColumns) {
    const idx n = D - j0 < kColumns ? D - j0 : kColumns;
    double difference[kColumns] = {}, centre[kColumns], squares[kColumns] = {};
    const auto for_blocks = [&](auto f) {
      for (idx b = 0; b < blocks; ++b) {
        const double weight = double(b == blocks - 1 ? count - b * each : each) * per_element;
        const T *const d = partial + b * 2 * D + j0, *const v = d + D;
        for (idx j = 0; j < n; ++j) f(j, double(d[j]), double(v[j]), weight);
      }
    };
    for_blocks([&](idx j, double d, double, double weight) { difference[j] += d * weight; });
    for (idx j = 0; j < n; ++j) {
      const double shift = double(shift_of(first[(j0 + j) * step]));
      mean[j0 + j] = T(shift + difference[j]), centre[j] = double(mean[j0 + j]) - shift;
    }
    for_blocks([&](idx j, double d, double v, double weight) {
      squares[j] += (v + (d - centre[j]) * (d - centre[j])) * weight;
    });
    for (idx j = 0; j < n; ++j) var[j0 + j] = T(squares[j]);
  }
}

// dgamma and dbeta of no numbers: 0, not 0 times 1 / sqrt(var + epsilon), which may be infinite.
template <class T> void no_gradients(idx D, T* dgamma, T* dbeta) {
  for_vectors<T>(0, D, [=](auto at) { at.put(dgamma, Simd<T>{}), at.put(dbeta, Simd<T>{}); });
}

// What a backward pass multiplies with: dx = (dout - b) k + (x - mean) a.
template <class T> struct Factors {
  Simd<T> k, a, b;
  Factors(Simd<T> gamma, Simd<T> var, T epsilon, Simd<T> dgamma, Simd<T> dbeta, T per_element) {
    const Simd<T> inverse = 1 / sqrt(var + epsilon);
    k = gamma * inverse, a = -k * inverse * dgamma * per_element, b = dbeta * per_element;
  }
};

// ---- batch normalisation of the columns of x (N, D); statistics, gamma and beta (D) ---------------------------------

// Four vectors of columns side by side; or the last ones two by two, with rows two by two: enough running sums to hide
// the latency of an addition.
template <class T> struct FourVectors {
  static constexpr int kVectors = 4, kRows = 1;
  bool past_caches;  // where put_result() stores
  Simd<T> get(const T* p, int v) const { return load(p + v * lanes<T>); }
  void put(T* p, int v, Simd<T> value) const { store(p + v * lanes<T>, value); }
  void put_result(T* p, int v, Simd<T> value) const {
    past_caches ? stream(p + v * lanes<T>, value) : put(p, v, value);
  }
};
template <class T> struct TwoVectors {
  static constexpr int kVectors = 2, kRows = 2;
  static constexpr idx L = lanes<T>;
  idx n[2];
  explicit TwoVectors(idx all) : n{all < L ? all : L, all < L ? 0 : all < 2 * L ? all - L : L} {}
  Simd<T> get(const T* p, int v) const { return n[v] == L ? load(p + v * L) : load_partial(p + v * L, n[v]); }
  void put(T* p, int v, Simd<T> value) const {
    n[v] == L ? store(p + v * L, value) : store_partial(p + v * L, value, n[v]);
  }
  void put_result(T* p, int v, Simd<T> value) const { put(p, v, value); }
};

constexpr idx kBlockRows = 1024;  // 256 KiB of four vectors stay in L2
constexpr idx row_blocks(idx N) { return N > kBlockRows ? (N + kBlockRows - 1) / kBlockRows : 1; }

// f(j, columns, begin, end) for the groups of columns and blocks of rows of (N, D), in parallel; `out` (N, D) is the
// result.
template <class T, class F> inline void for_columns(const Mat<T>& out, F f) {
  const idx N = out.rows, D = out.cols;
  const bool streams = past_caches(out.data, N * out.rs, out.rs);
  constexpr idx L = lanes<T>;
  const idx wide = D / (4 * L), groups = wide + (D - wide * 4 * L + 2 * L - 1) / (2 * L), blocks = row_blocks(N);
  // Groups of few columns share lines of the caches ((100, 100), two threads: 2.8 us, one 1.6).
  const idx work = blocks > 1 || D >= 256 ? 4 * N * D * idx(sizeof(T)) : 0;
  parallel_for(groups * blocks, work, [=](idx task) {
    const idx group = task % groups, block = task / groups;
    const idx begin = block * kBlockRows, end = block == blocks - 1 ? N : begin + kBlockRows;
    if (group < wide) {
      f(group * 4 * L, FourVectors<T>{streams}, begin, end);
      if (streams) stream_fence();
      return;
    }
    const idx j = (wide + group) * 2 * L;
    f(j, TwoVectors<T>(D - j), begin, end);
  });
}

// total[v] and other[v] = sums over rows begin ... end - 1 of what f(i, v, a, b) adds to a and b, in runs of 64 rows,
// so that rounding does not add up.
template <class T, class C, class F>
inline void sum_rows(idx begin, idx end, Simd<T> (&total)[C::kVectors], Simd<T> (&other)[C::kVectors], F f) {
  constexpr int NV = C::kVectors, R = C::kRows;
  constexpr idx kRun = 64;
  for (int v = 0; v < NV; ++v) total[v] = other[v] = Simd<T>{};
  for (idx i = begin; i < end;) {
    const idx stop = end - i < kRun ? end : i + kRun;
    Simd<T> s[R][NV] = {}, t[R][NV] = {};
    for (; i + R <= stop; i += R)
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) f(i + r, v, s[r][v], t[r][v]);
    for (; i < stop; ++i)
      for (int v = 0; v < NV; ++v) f(i, v, s[0][v], t[0][v]);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) total[v] += s[r][v], other[v] += t[r][v];
  }
}

// out = (x - mean) gamma / sqrt(var + epsilon) + beta
template <class T> void batch_norm_inference(Mat<const T> x, const T* gamma, const T* beta, const T* mean, const T* var,
                                             T epsilon, Mat<T> out) {
  for_columns(out, [=]<class C>(idx j, C columns, idx begin, idx end) {
    constexpr int NV = C::kVectors;
    Simd<T> m[NV], k[NV], b[NV];
    for (int v = 0; v < NV; ++v) {
      m[v] = columns.get(mean + j, v);
      k[v] = columns.get(gamma + j, v) / sqrt(columns.get(var + j, v) + epsilon);
      b[v] = columns.get(beta + j, v);
    }
    for (idx i = begin; i < end; ++i)
      for (int v = 0; v < NV; ++v)
        columns.put_result(out.row(i) + j, v, fma(columns.get(x.row(i) + j, v) - m[v], k[v], b[v]));
  });
}

// Numbers of scratch: two a column and block of rows.
inline idx batch_norm_partials(idx N, idx D) { return 2 * row_blocks(N) * D; }

// moments_again() where a column's difference and var, at d and v, do not hold; rows begin ... end - 1. `whole`: d
// becomes the mean.
template <class T, class C> __attribute__((noinline, cold)) void column_moments_again(Mat<const T> x, C columns, idx j,
                                                                                      idx begin, idx end, bool whole,
                                                                                      T* d, T* v) {
  constexpr idx L = lanes<T>;
  for (int w = 0; w < C::kVectors; ++w) {
    double sums[3][L] = {};
    const auto add = [&](double* to, auto f) {
      for (idx i = begin; i < end; ++i) {
        const Simd<T> row = columns.get(x.row(i) + j, w);
        for (idx k = 0; k < L; ++k) to[k] += f(double(row[k]), k);
      }
      for (idx k = 0; k < L; ++k) to[k] /= double(end - begin);
    };
    const Simd<T> shift = shifts_of<T>(columns.get(x.row(0) + j, w));
    Simd<T> result, var;
    add(sums[0], [](double value, idx) { return value; });
    add(sums[1], [&](double value, idx k) { return value - sums[0][k]; });
    for (idx k = 0; k < L; ++k) {
      const double all = sums[0][k] + sums[1][k], mean = all - all == 0 ? all : sums[0][k];
      result[k] = T(whole ? mean : mean - double(shift[k])), sums[0][k] = double(T(mean));
    }
    add(sums[2], [&](double value, idx k) { return (value - sums[0][k]) * (value - sums[0][k]); });
    for (idx k = 0; k < L; ++k) var[k] = T(sums[2][k]);
    const Simd<T> old = columns.get(d + j, w), old_var = columns.get(v + j, w);
    const auto hold = moments_hold(old, old_var);
    columns.put(d + j, w, hold ? (whole ? shift + old : old) : result), columns.put(v + j, w, hold ? old_var : var);
  }
}

// The same with the batch's own mean and (biased) variance; in one go where a group of columns stays in L2.
template <class T> void batch_norm_forward(Mat<const T> x, const T* gamma, const T* beta, T epsilon, Mat<T> out,
                                           T* mean, T* var, T* partial) {
  const idx N = x.rows, D = x.cols, blocks = row_blocks(N);
  for_columns(out, [=]<class C>(idx j, C columns, idx begin, idx end) {
    constexpr int NV = C::kVectors;
    const T per_row = T(1) / T(end > begin ? end - begin : 1);
    const bool whole = blocks == 1;
    T *const to_mean = whole ? mean : partial + begin / kBlockRows * 2 * D, *const to_var = whole ? var : to_mean + D;
    Simd<T> shift[NV], m[NV], s[NV], none[NV], k[NV], b[NV];
    for (int v = 0; v < NV; ++v) shift[v] = N > 0 ? shifts_of<T>(columns.get(x.row(0) + j, v)) : Simd<T>{};
    sum_rows<T, C>(begin, end, s, none,
                   [&](idx i, int v, Simd<T>& sum, Simd<T>&) { sum += columns.get(x.row(i) + j, v) - shift[v]; });
    for (int v = 0; v < NV; ++v) columns.put(to_mean + j, v, s[v] *= per_row), m[v] = shift[v] + s[v], shift[v] = s[v];
    sum_rows<T, C>(begin, end, s, none, [&](idx i, int v, Simd<T>& sum, Simd<T>&) {
      const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
      sum = fma(d, d, sum);
    });
    auto hold = m[0] == m[0];
    for (int v = 0; v < NV; ++v) {
      columns.put(to_var + j, v, s[v] *= per_row);
      hold &= moments_hold(shift[v], s[v]);  // the difference from it by now
    }
    if (to_bits(~hold)) [[unlikely]] {
      column_moments_again<T>(x, columns, j, begin, end, whole, to_mean, to_var);
      for (int v = 0; v < NV; ++v) m[v] = columns.get(to_mean + j, v), s[v] = columns.get(to_var + j, v);
    }
    if (!whole) return;
    for (int v = 0; v < NV; ++v) {
      columns.put(to_mean + j, v, m[v]);
      k[v] = columns.get(gamma + j, v) / sqrt(s[v] + epsilon);
      b[v] = columns.get(beta + j, v);
    }
    for (idx i = begin; i < end; ++i)
      for (int v = 0; v < NV; ++v)
        columns.put_result(out.row(i) + j, v, fma(columns.get(x.row(i) + j, v) - m[v], k[v], b[v]));
  });
  if (blocks == 1) return;
  combine_moments(static_cast<const T*>(partial), blocks, D, N, kBlockRows, x.data, idx(1), mean, var);
  batch_norm_inference(x, gamma, beta, static_cast<const T*>(mean), static_cast<const T*>(var), epsilon, out);
}

// dbeta = sum(dout), dgamma = sum(dout xn), dx = gamma / std (dout - dbeta / N - xn dgamma / N), xn = (x - mean) / std.
template <class T> void batch_norm_backward(Mat<const T> dout, Mat<const T> x, const T* gamma, const T* mean,
                                            const T* var, T epsilon, Mat<T> dx, T* dgamma, T* dbeta, T* partial) {
  const idx N = x.rows, D = x.cols, blocks = row_blocks(N);
  if (N == 0) return no_gradients(D, dgamma, dbeta);
  const T per_row = T(1) / T(N);
  const auto gradient = [=]<class C>(idx j, C columns, idx begin, idx end) {
    constexpr int NV = C::kVectors;
    Simd<T> m[NV], k[NV], a[NV], b[NV];
    for (int v = 0; v < NV; ++v) {
      const auto at = [&](const T* p) { return columns.get(p + j, v); };
      const Factors<T> f(at(gamma), at(var), epsilon, at(dgamma), at(dbeta), per_row);
      m[v] = at(mean), k[v] = f.k, a[v] = f.a, b[v] = f.b;
    }
    for (idx i = begin; i < end; ++i)
      for (int v = 0; v < NV; ++v) {
        const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
        columns.put_result(dx.row(i) + j, v, fma(d, a[v], (columns.get(dout.row(i) + j, v) - b[v]) * k[v]));
      }
  };
  for_columns(dx, [=]<class C>(idx j, C columns, idx begin, idx end) {
    constexpr int NV = C::kVectors;
    const bool whole = blocks == 1;
    T *const to_product = whole ? dgamma : partial + begin / kBlockRows * 2 * D, *const to_sum =
                                                                                     whole ? dbeta : to_product + D;
    Simd<T> m[NV], sum[NV], product[NV];
    for (int v = 0; v < NV; ++v) m[v] = columns.get(mean + j, v);
    sum_rows<T, C>(begin, end, sum, product, [&](idx i, int v, Simd<T>& s, Simd<T>& p) {
      const Simd<T> d = columns.get(dout.row(i) + j, v);
      s += d, p = fma(d, columns.get(x.row(i) + j, v) - m[v], p);
    });
    for (int v = 0; v < NV; ++v) {
      columns.put(to_sum + j, v, sum[v]);
      columns.put(to_product + j, v, product[v] / sqrt(columns.get(var + j, v) + epsilon));
    }
    if (whole) gradient(j, columns, begin, end);
  });
  if (blocks == 1) return;
  add_partials(static_cast<const T*>(partial), blocks, D, dgamma, dbeta);
  for_columns(dx, gradient);
}

// ---- batch normalisation of the channels of x (N, C, S): statistics over N and S ------------------------------------

// Tiles of about 128 KiB, some channels of some images, in the order of the memory. ((100, 30, 24, 24), float32: one
// channel at a time for its data to stay in L2 took backward 640 us; this way 360, reading both arrays, then reading
// both and writing, without any blocks: 345.)
template <class T> struct ChannelTiles {
  static constexpr idx kChannels = 64;
  idx N, C, images, channels;  // images and channels of a tile
  ChannelTiles(idx N, idx C, idx S) : N(N), C(C) {
    const idx fit = (idx(128) << 10) / idx(sizeof(T)) / (S > 0 ? S : 1);  // channels of one image
    channels = fit < C ? fit : C;
    channels = channels < 1 ? 1 : channels > kChannels ? kChannels : channels;  // C may be 0
    images = fit / channels < 1 ? 1 : fit / channels;
  }
  idx blocks() const { return N > images ? (N + images - 1) / images : 1; }
  idx groups() const { return (C + channels - 1) / channels; }
  struct Tile {
    idx block, begin, end, first, last;  // images begin ... and channels first ...
  };
  Tile operator[](idx i) const {
    const idx block = i / groups(), first = i % groups() * channels;
    return {block, block * images, N - block * images < images ? N : (block + 1) * images, first,
            C - first < channels ? C : first + channels};
  }
};
template <class T, class F> void for_tiles(const ChannelTiles<T>& tiles, idx work, F f) {
  parallel_for(tiles.blocks() * tiles.groups(), work, [=](idx i) { f(tiles[i]); });
}

// What f(at, s, t) adds to s and t over [0, S); rows of four vectors hide the latency of an addition.
template <class T, class F> inline void add_vectors(idx S, Simd<T>& sum, Simd<T>& other, F f) {
  constexpr idx L = lanes<T>;
  Simd<T> s[4] = {}, t[4] = {};
  idx i = 0;
  for (; i + 4 * L <= S; i += 4 * L)
    for (idx k = 0; k < 4; ++k) f(Whole<T>{i + k * L}, s[k], t[k]);
  for (; i + L <= S; i += L) f(Whole<T>{i}, s[0], t[0]);
  if (i < S) f(Partial<T>{i, S - i}, s[1], t[1]);
  sum += (s[0] + s[1]) + (s[2] + s[3]), other += (t[0] + t[1]) + (t[2] + t[3]);
}

// f(c, sum, other) for the channels of a tile, with what g(c, place, at, s, t) adds to s and t over its images.
template <class T, class G, class F>
inline void sum_channels(const typename ChannelTiles<T>::Tile& tile, const Channels<const T>& x, G g, F f) {
  Simd<T> sum[ChannelTiles<T>::kChannels], other[ChannelTiles<T>::kChannels];
  for (idx c = 0; c < tile.last - tile.first; ++c) sum[c] = other[c] = Simd<T>{};
  for (idx n = tile.begin; n < tile.end; ++n)
    for (idx c = tile.first; c < tile.last; ++c) {
      const idx place = n * x.stride + c * x.S;
      add_vectors<T>(x.S, sum[c - tile.first], other[c - tile.first],
                     [&](auto at, Simd<T>& s, Simd<T>& t) { g(c, place, at, s, t); });
    }
  for (idx c = tile.first; c < tile.last; ++c)
    f(c, horizontal_sum<T>(sum[c - tile.first]), horizontal_sum<T>(other[c - tile.first]));
}

// f(c, place) for the channels in the images of a tile; `place` is that of the first element in x.
template <class T, class F>
inline void for_tile(const typename ChannelTiles<T>::Tile& tile, const Channels<const T>& x, F f) {
  for (idx n = tile.begin; n < tile.end; ++n)
    for (idx c = tile.first; c < tile.last; ++c) f(c, n * x.stride + c * x.S);
}

template <class T> void channel_norm_inference(Channels<const T> x, const T* gamma, const T* beta, const T* mean,
                                               const T* var, T epsilon, T* out) {
  for_tiles(ChannelTiles<T>(x.N, x.C, x.S), 4 * x.N * x.C * x.S * idx(sizeof(T)), [=](const auto& tile) {
    T memory[ChannelTiles<T>::kChannels], *const scale = memory - tile.first;
    for_vectors<T>(tile.first, tile.last, [&](auto at) { at.put(scale, at(gamma) / sqrt(at(var) + epsilon)); });
    for_tile<T>(tile, x, [&](idx c, idx place) {
      const Simd<T> m = broadcast(mean[c]), k = broadcast(scale[c]), b = broadcast(beta[c]);
      const T* const from = x.data + place;
      T* const to = out + place;
      for_vectors<T>(0, x.S, [=](auto at) { at.put(to, fma(at(from) - m, k, b)); });
    });
  });
}

template <class T> idx channel_norm_partials(idx N, idx C, idx S) { return 2 * ChannelTiles<T>(N, C, S).blocks() * C; }

template <class T> void channel_norm_forward(Channels<const T> x, const T* gamma, const T* beta, T epsilon, T* out,
                                             T* mean, T* var, T* partial) {
  const ChannelTiles<T> tiles(x.N, x.C, x.S);
  const bool whole = tiles.blocks() == 1;
  for_tiles(tiles, 4 * x.N * x.C * x.S * idx(sizeof(T)), [=](const auto& tile) {
    T *const d = whole ? mean : partial + tile.block * 2 * x.C, *const v = whole ? var : d + x.C;
    const idx count = (tile.end - tile.begin) * x.S;
    if (count == 0)
      return for_vectors<T>(tile.first, tile.last, [&](auto at) { at.put(d, Simd<T>{}), at.put(v, Simd<T>{}); });
    const T per_element = T(1) / T(count);
    T memory[2][ChannelTiles<T>::kChannels], *const shift = memory[0] - tile.first, *const m = memory[1] - tile.first;
    for (idx c = tile.first; c < tile.last; ++c) shift[c] = shift_of(x.data[c * x.S]);
    sum_channels<T>(
        tile, x,
        [&](idx c, idx place, auto at, Simd<T>& s, Simd<T>&) { s += at.keep(at(x.data + place) - shift[c], 0); },
        [&](idx c, T sum, T) { d[c] = sum * per_element, m[c] = shift[c] + d[c]; });
    sum_channels<T>(
        tile, x,
        [&](idx c, idx place, auto at, Simd<T>& s, Simd<T>&) {
          const Simd<T> centred = at.keep(at(x.data + place) - m[c], 0);
          s = fma(centred, centred, s);
        },
        [&](idx c, T sum, T) { v[c] = sum * per_element; });
    for (idx c = tile.first; c < tile.last; ++c) {
      if (!moments_hold(d[c], v[c])) [[unlikely]] {
        const double again = moments_again<T>(
            count,
            [&](auto f) {
              double sum = 0;
              for (idx n = tile.begin; n < tile.end; ++n) sum += sum_in_double(x.data + n * x.stride + c * x.S, x.S, f);
              return sum;
            },
            v[c]);
        m[c] = T(again), d[c] = T(again - double(shift[c]));
      }
      if (whole) mean[c] = m[c];
    }
  });
  if (!whole)
    combine_moments(static_cast<const T*>(partial), tiles.blocks(), x.C, x.N * x.S, tiles.images * x.S, x.data, x.S,
                    mean, var);
  channel_norm_inference(x, gamma, beta, static_cast<const T*>(mean), static_cast<const T*>(var), epsilon, out);
}

template <class T> void channel_norm_backward(const T* dout, Channels<const T> x, const T* gamma, const T* mean,
                                              const T* var, T epsilon, T* dx, T* dgamma, T* dbeta, T* partial) {
  const ChannelTiles<T> tiles(x.N, x.C, x.S);
  const idx work = 6 * x.N * x.C * x.S * idx(sizeof(T));
  if (x.N * x.S == 0) return no_gradients(x.C, dgamma, dbeta);
  const T per_element = T(1) / T(x.N * x.S);
  for_tiles(tiles, work, [=](const auto& tile) {
    T *const products = partial + tile.block * 2 * x.C, *const sums = products + x.C;
    sum_channels<T>(
        tile, x,
        [&](idx c, idx place, auto at, Simd<T>& s, Simd<T>& p) {
          const Simd<T> d = at(dout + place);
          s += d, p = fma(d, at(x.data + place) - mean[c], p);
        },
        [&](idx c, T sum, T product) { sums[c] = sum, products[c] = product; });
    for_vectors<T>(tile.first, tile.last, [&](auto at) { at.put(products, at(products) / sqrt(at(var) + epsilon)); });
  });
  add_partials(static_cast<const T*>(partial), tiles.blocks(), x.C, dgamma, dbeta);
  for_tiles(tiles, work, [=](const auto& tile) {
    constexpr idx kChannels = ChannelTiles<T>::kChannels;
    T memory[3][kChannels];
    for_vectors<T>(tile.first, tile.last, [&](auto at) {
      const Factors<T> f(at(gamma), at(var), epsilon, at(dgamma), at(dbeta), per_element);
      at.put(memory[0] - tile.first, f.k), at.put(memory[1] - tile.first, f.a), at.put(memory[2] - tile.first, f.b);
    });
    for_tile<T>(tile, x, [&](idx c, idx place) {
      const auto factor = [&](int i) { return broadcast(memory[i][c - tile.first]); };
      const Simd<T> m = broadcast(mean[c]), k = factor(0), a = factor(1), b = factor(2);
      const T *const d = dout + place, *const from = x.data + place;
      T* const to = dx + place;
      for_vectors<T>(0, x.S, [=](auto at) { at.put(to, fma(at(from) - m, a, (at(d) - b) * k)); });
    });
  });
}

// ---- layer and group normalisation: statistics over the K channels of a group, or the K numbers of a row (S = 1)
// ------

// Mean and variance of p[0, n): of blocks of 4096 elements, which stay in L1 while they are read twice.
template <class T> inline void run_moments(const T* p, idx n, T& mean, T& var) {
  constexpr idx kBlock = 4096;
  double count = 0, m = 0, squares = 0;  // m is the mean - base
  const double base = n > 0 ? double(shift_of(p[0])) : 0;
  for (idx begin = 0; begin < n; begin += kBlock) {
    const idx size = n - begin < kBlock ? n - begin : kBlock;
    const T shift = shift_of(p[begin]), per_element = T(1) / T(size);  // not after the sum: a division takes its time
    Simd<T> sum{}, none{};
    add_vectors<T>(size, sum, none, [=](auto at, Simd<T>& s, Simd<T>&) { s += at.keep(at(p + begin) - shift, 0); });
    const T difference = horizontal_sum<T>(sum) * per_element, here = shift + difference;
    sum = Simd<T>{};
    add_vectors<T>(size, sum, none, [=](auto at, Simd<T>& s, Simd<T>&) {
      const Simd<T> d = at.keep(at(p + begin) - here, 0);
      s = fma(d, d, s);
    });
    const T here_var = horizontal_sum<T>(sum) * per_element;
    if (!moments_hold(difference, here_var)) [[unlikely]] {
      mean = T(moments_again<T>(n, [=](auto f) { return sum_in_double(p, n, f); }, var));
      return;
    }
    if (size == n) return void((mean = here, var = here_var));
    const double own = double(shift) - base + double(difference), delta = own - m, all = count + double(size);
    m = begin == 0 ? own : m + delta * (double(size) / all);
    squares += double(here_var) * double(size) + (begin == 0 ? 0 : delta * delta * (count * (double(size) / all)));
    count = all;
  }
  mean = T(base + m), var = T(n > 0 ? squares / double(n) : 0);
}
template <class T> inline T reciprocal_root(T x) { return T(1) / __builtin_sqrt(x); }

template <class T> void group_norm_forward(const T* x, const GroupShape& s, const T* gamma, const T* beta, T epsilon,
                                           T* out, T* mean, T* rstd) {
  const idx length = s.K * s.S;
  parallel_for(s.N * s.G, 4 * s.N * s.G * length * idx(sizeof(T)), [=](idx row) {
    const idx first = row % s.G * s.K;  // channel
    const T* const from = x + row * length;
    T* const to = out + row * length;
    T m, var;
    run_moments(from, length, m, var);
    const T r = rstd[row] = reciprocal_root(var + epsilon);
    mean[row] = m;
    if (s.S == 1)
      for_vectors<T>(0, s.K, [=](auto at) { at.put(to, fma(at(gamma + first) * r, at(from) - m, at(beta + first))); });
    else
      for (idx k = 0; k < s.K; ++k) {
        const Simd<T> scale = broadcast(gamma[first + k] * r), b = broadcast(beta[first + k]);
        for_vectors<T>(k * s.S, (k + 1) * s.S, [=](auto at) { at.put(to, fma(at(from) - m, scale, b)); });
      }
  });
}

// Images of a block; dgamma and dbeta are sums of one partial sum a block, added in order.
inline idx group_block(const GroupShape& s) {
  const idx fit = 65536 / (s.G * s.K * s.S > 0 ? s.G * s.K * s.S : 1);
  return fit < 1 ? 1 : fit > 128 ? 128 : fit;
}
inline idx group_blocks(const GroupShape& s) { return (s.N + group_block(s) - 1) / group_block(s); }
inline idx group_norm_partials(const GroupShape& s) { return 2 * s.G * s.K * group_blocks(s); }  // numbers of scratch

// dx = rstd (g - mean(g) - xn mean(g xn)), g = dout gamma, xn = (x - mean) rstd.
template <class T> inline void group_gradient(const T* dout, const T* x, const GroupShape& s, const T* gamma, T mean,
                                              T rstd, T* dx, T* dgamma, T* dbeta) {
  const idx length = s.K * s.S;
  if (length == 0) return;  // no products: not 0 times an infinite rstd
  const T per_element = T(1) / T(length);
  T sum = 0, product = 0;  // of g and of g (x - mean)
  if (s.S == 1) {
    Simd<T> total{}, products{};
    add_vectors<T>(s.K, total, products, [=](auto at, Simd<T>& t, Simd<T>& p) {
      const Simd<T> d = at(dout), centred = at(x) - mean, g = d * at(gamma);
      at.put(dbeta, at(dbeta) + d);
      at.put(dgamma, fma(d, centred * rstd, at(dgamma)));
      t += g, p = fma(g, centred, p);
    });
    sum = horizontal_sum<T>(total), product = horizontal_sum<T>(products);
  } else {
    for (idx k = 0; k < s.K; ++k) {
      Simd<T> total{}, products{};
      add_vectors<T>(s.S, total, products, [=](auto at, Simd<T>& t, Simd<T>& p) {
        const Simd<T> d = at(dout + k * s.S);
        t += d, p = fma(d, at(x + k * s.S) - mean, p);
      });
      const T t = horizontal_sum<T>(total), p = horizontal_sum<T>(products);
      dbeta[k] += t, dgamma[k] += p * rstd;
      sum += gamma[k] * t, product += gamma[k] * p;
    }
  }
  const Simd<T> b = broadcast(sum * per_element), a = broadcast(-product * per_element * rstd * rstd),
                r = broadcast(rstd);
  const auto gradient = [=](auto at, Simd<T> g) { at.put(dx, fma(at(x) - mean, a, g - b) * r); };
  if (s.S == 1)
    for_vectors<T>(0, s.K, [=](auto at) { gradient(at, at(dout) * at(gamma)); });
  else
    for (idx k = 0; k < s.K; ++k)
      for_vectors<T>(k * s.S, (k + 1) * s.S, [=](auto at) { gradient(at, at(dout) * gamma[k]); });
}

// Blocks first ... last - 1; after the last of all the sums.
template <class T> void group_backward_blocks(const T* dout, const T* x, const GroupShape& s, const T* gamma,
                                              const T* mean, const T* rstd, T* dx, T* dgamma, T* dbeta, T* partial,
                                              idx first, idx last) {
  const idx images = group_block(s), blocks = group_blocks(s), C = s.G * s.K, length = s.K * s.S;
  const idx here = (last < blocks ? last * images : s.N) - first * images;
  parallel_for((last - first) * s.G, 6 * here * s.G * length * idx(sizeof(T)), [=](idx task) {
    const idx block = first + task / s.G, g = task % s.G;
    T *const to_gamma = partial + block * 2 * C + g * s.K, *const to_beta = to_gamma + C;
    for_vectors<T>(0, s.K, [=](auto at) { at.put(to_gamma, Simd<T>{}), at.put(to_beta, Simd<T>{}); });
    for (idx n = block * images; n < s.N && n < (block + 1) * images; ++n) {
      const idx row = n * s.G + g, place = row * length;
      group_gradient(dout + place, x + place, s, gamma + g * s.K, mean[row], rstd[row], dx + place, to_gamma, to_beta);
    }
  });
  if (last == blocks) add_partials(static_cast<const T*>(partial), blocks, C, dgamma, dbeta);
}

template <class T> void group_norm_backward(const T* dout, const T* x, const GroupShape& s, const T* gamma,
                                            const T* mean, const T* rstd, T* dx, T* dgamma, T* dbeta, T* partial) {
  group_backward_blocks(dout, x, s, gamma, mean, rstd, dx, dgamma, dbeta, partial, 0, group_blocks(s));
}

}  // namespace
}  // namespace FASTNN_NS
