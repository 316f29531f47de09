// Batch normalisation of columns and of channels; layer and group normalisation.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

// NV vectors of columns side by side, the last of `last` lanes.
template <class T, int NV> struct Columns {
  static constexpr int kVectors = NV;
  idx last;
  bool whole(int v) const { return v < NV - 1 || last == lanes<T>; }
  Simd<T> get(const T* p, int v) const {
    return whole(v) ? load(p + v * lanes<T>) : load_partial(p + v * lanes<T>, last);
  }
  void put(T* p, int v, Simd<T> value) const {
    whole(v) ? store(p + v * lanes<T>, value) : store_partial(p + v * lanes<T>, value, last);
  }
};

// ---- batch normalisation of the columns of x (N, D); statistics, gamma and beta (D)
// ----------------------------------

constexpr int kColumnVectors = 4;  // enough running sums to hide the latency of an addition
constexpr idx kBlockRows = 1024;   // of a column: 256 KiB of four vectors stay in L2
constexpr idx row_blocks(idx N) { return N > kBlockRows ? (N + kBlockRows - 1) / kBlockRows : 1; }

// f(j, columns, begin, end) for the groups of columns and blocks of rows of (N, D), in parallel.
template <class T, class F> inline void for_columns(idx N, idx D, idx blocks, F f) {
  constexpr idx L = lanes<T>, kWidth = kColumnVectors * L;
  const idx groups = (D + kWidth - 1) / kWidth;
  parallel_for(groups * blocks, 4 * N * D * idx(sizeof(T)), [=](idx task) {
    const idx j = task % groups * kWidth, n = D - j, block = task / groups;
    const idx begin = block * kBlockRows, end = block == blocks - 1 ? N : begin + kBlockRows;
    if (n > 3 * L) return f(j, Columns<T, 4>{n < kWidth ? n - 3 * L : L}, begin, end);
    if (n > 2 * L) return f(j, Columns<T, 3>{n - 2 * L}, begin, end);
    if (n > L) return f(j, Columns<T, 2>{n - L}, begin, end);
    f(j, Columns<T, 1>{n}, begin, end);
  });
}

// total[v] = sum of f(i, v) over rows begin ... end - 1: runs of 64, so that rounding does not add up.
template <class T, int NV, class F> inline void sum_rows(idx begin, idx end, Simd<T> (&total)[NV], F f) {
  constexpr idx kRun = 64;
  for (auto& t : total) t = Simd<T>{};
  for (idx i = begin; i < end;) {
    const idx stop = end - i < kRun ? end : i + kRun;
    Simd<T> s[NV] = {};
    for (; i < stop; ++i)
      for (int v = 0; v < NV; ++v) s[v] += f(i, v);
    for (int v = 0; v < NV; ++v) total[v] += s[v];
  }
}

// dgamma and dbeta (D): the sums of the pairs of vectors in `partial` (blocks, 2, D), in the order of the blocks.
template <class T> void add_partials(const T* partial, idx blocks, idx D, T* dgamma, T* dbeta) {
  for_vectors<T>(0, D, [=](auto at) {
    Simd<T> total[2];
    sum_rows<T, 2>(0, blocks, total, [=](idx b, int v) { return at(partial + (b * 2 + v) * D); });
    at.put(dgamma, total[0]), at.put(dbeta, total[1]);
  });
}

// out = (x - m) k + b of some rows.
template <class T, int NV> inline void normalise_rows(Mat<const T> x, Mat<T> out, idx j, Columns<T, NV> columns,
                                                      idx begin, idx end, const Simd<T> (&m)[NV],
                                                      const Simd<T> (&k)[NV], const Simd<T> (&b)[NV]) {
  for (idx i = begin; i < end; ++i)
    for (int v = 0; v < NV; ++v) columns.put(out.row(i) + j, v, fma(columns.get(x.row(i) + j, v) - m[v], k[v], b[v]));
}

// out = (x - mean) gamma / sqrt(var + epsilon) + beta
template <class T> void batch_norm_inference(Mat<const T> x, const T* gamma, const T* beta, const T* mean, const T* var,
                                             T epsilon, Mat<T> out) {
  for_columns<T>(x.rows, x.cols, row_blocks(x.rows), [=](idx j, auto columns, idx begin, idx end) {
    constexpr int NV = columns.kVectors;
    Simd<T> m[NV], k[NV], b[NV];
    for (int v = 0; v < NV; ++v) {
      m[v] = columns.get(mean + j, v);
      k[v] = columns.get(gamma + j, v) / sqrt(columns.get(var + j, v) + epsilon);
      b[v] = columns.get(beta + j, v);
    }
    normalise_rows(x, out, j, columns, begin, end, m, k, b);
  });
}

// Mean and sum of squared deviations of some rows: the mean of x - x[0], then of (x - mean)^2.
template <class T, int NV> inline void column_moments(Mat<const T> x, idx j, Columns<T, NV> columns, idx begin, idx end,
                                                      Simd<T> (&m)[NV], Simd<T> (&squares)[NV]) {
  const T per_row = T(1) / T(end > begin ? end - begin : 1);
  for (int v = 0; v < NV; ++v) m[v] = end > begin ? columns.get(x.row(begin) + j, v) : Simd<T>{};
  sum_rows<T, NV>(begin, end, squares, [&](idx i, int v) { return columns.get(x.row(i) + j, v) - m[v]; });
  for (int v = 0; v < NV; ++v) m[v] = fma(squares[v], broadcast(per_row), m[v]);
  sum_rows<T, NV>(begin, end, squares, [&](idx i, int v) {
    const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
    return d * d;
  });
}

// Numbers of scratch of batch_norm_forward and _backward: two a column and block of rows.
inline idx batch_norm_partials(idx N, idx D) { return row_blocks(N) > 1 ? 2 * row_blocks(N) * D : 0; }

// The same with the batch's own mean and (biased) variance; in one go where the rows of a group stay in L2, else by
// blocks of rows, whose moments are brought together in their order.
template <class T> void batch_norm_forward(Mat<const T> x, const T* gamma, const T* beta, T epsilon, Mat<T> out,
                                           T* mean, T* var, T* partial) {
  const idx N = x.rows, D = x.cols, blocks = row_blocks(N);
  const T per_row = T(1) / T(N > 0 ? N : 1);
  if (blocks == 1)
    return for_columns<T>(N, D, 1, [=](idx j, auto columns, idx begin, idx end) {
      constexpr int NV = columns.kVectors;
      Simd<T> m[NV], s[NV], k[NV], b[NV];
      column_moments(x, j, columns, begin, end, m, s);
      for (int v = 0; v < NV; ++v) {
        columns.put(mean + j, v, m[v]);
        columns.put(var + j, v, s[v] *= per_row);
        k[v] = columns.get(gamma + j, v) / sqrt(s[v] + epsilon);
        b[v] = columns.get(beta + j, v);
      }
      normalise_rows(x, out, j, columns, begin, end, m, k, b);
    });
  for_columns<T>(N, D, blocks, [=](idx j, auto columns, idx begin, idx end) {
    constexpr int NV = columns.kVectors;
    Simd<T> m[NV], s[NV];
    column_moments(x, j, columns, begin, end, m, s);
    T* const to = partial + begin / kBlockRows * 2 * D + j;
    for (int v = 0; v < NV; ++v) columns.put(to, v, m[v]), columns.put(to + D, v, s[v]);
  });
  for_vectors<T>(0, D, [=](auto at) {
    const auto rows = [=](idx block) { return T(block == blocks - 1 ? N - block * kBlockRows : kBlockRows); };
    const Simd<T> first = at(partial);
    Simd<T> shift{}, squares{};
    for (idx b = 0; b < blocks; ++b) shift += (at(partial + b * 2 * D) - first) * rows(b);
    const Simd<T> m = fma(shift, broadcast(per_row), first);
    for (idx b = 0; b < blocks; ++b) {
      const Simd<T> d = at(partial + b * 2 * D) - m;
      squares += fma(d * d, broadcast(rows(b)), at(partial + (b * 2 + 1) * D));
    }
    at.put(mean, m), at.put(var, squares * per_row);
  });
  batch_norm_inference(x, gamma, beta, static_cast<const T*>(mean), static_cast<const T*>(var), epsilon, out);
}

// dbeta = sum(dout), dgamma = sum(dout xn), dx = gamma / std (dout - dbeta / N - xn dgamma / N), xn = (x - mean) / std.
template <class T> void batch_norm_backward(Mat<const T> dout, Mat<const T> x, const T* gamma, const T* mean,
                                            const T* var, T epsilon, Mat<T> dx, T* dgamma, T* dbeta, T* partial) {
  const idx N = x.rows, D = x.cols, blocks = row_blocks(N);
  const T per_row = T(1) / T(N > 0 ? N : 1);
  const auto sums = [=]<int NV>(idx j, Columns<T, NV> columns, idx begin, idx end, T* to_product, T* to_sum) {
    Simd<T> m[NV], inverse[NV], total[NV];
    for (int v = 0; v < NV; ++v) m[v] = columns.get(mean + j, v);
    for (int v = 0; v < NV; ++v) inverse[v] = 1 / sqrt(columns.get(var + j, v) + epsilon);
    sum_rows<T, NV>(begin, end, total, [&](idx i, int v) { return columns.get(dout.row(i) + j, v); });
    for (int v = 0; v < NV; ++v) columns.put(to_sum + j, v, total[v]);
    sum_rows<T, NV>(begin, end, total, [&](idx i, int v) {
      return columns.get(dout.row(i) + j, v) * (columns.get(x.row(i) + j, v) - m[v]);
    });
    for (int v = 0; v < NV; ++v) columns.put(to_product + j, v, total[v] * inverse[v]);
  };
  const auto gradient = [=]<int NV>(idx j, Columns<T, NV> columns, idx begin, idx end) {
    Simd<T> m[NV], k[NV], a[NV], b[NV];
    for (int v = 0; v < NV; ++v) {
      const Simd<T> inverse = 1 / sqrt(columns.get(var + j, v) + epsilon);
      m[v] = columns.get(mean + j, v);
      k[v] = columns.get(gamma + j, v) * inverse;
      a[v] = -inverse * columns.get(dgamma + j, v) * per_row;
      b[v] = columns.get(dbeta + j, v) * per_row;
    }
    for (idx i = begin; i < end; ++i)
      for (int v = 0; v < NV; ++v) {
        const Simd<T> d = columns.get(x.row(i) + j, v) - m[v];
        columns.put(dx.row(i) + j, v, fma(d, a[v], columns.get(dout.row(i) + j, v) - b[v]) * k[v]);
      }
  };
  if (blocks == 1)
    return for_columns<T>(N, D, 1, [=](idx j, auto columns, idx begin, idx end) {
      sums(j, columns, begin, end, dgamma, dbeta);
      gradient(j, columns, begin, end);
    });
  for_columns<T>(N, D, blocks, [=](idx j, auto columns, idx begin, idx end) {
    T* const to = partial + begin / kBlockRows * 2 * D;
    sums(j, columns, begin, end, to, to + D);
  });
  add_partials(partial, blocks, D, dgamma, dbeta);
  for_columns<T>(N, D, blocks, gradient);
}

// ---- batch normalisation of the channels of x (N, C, S): statistics over N and S
// --------------------------------------

// The elements of a channel in blocks of about 4096, a block being several images' or a piece of one: in L1 while its
// two passes run, and short enough that sums in T are exact enough.
struct ChannelBlocks {
  static constexpr idx kSize = 4096;
  idx N, S, images, pieces;
  ChannelBlocks(idx N, idx S)
      : N(N), S(S), images(S > 0 && S < kSize ? kSize / S : 1), pieces((S + kSize - 1) / kSize) {}
  idx count() const { return (N + images - 1) / images * pieces; }
  struct Block {
    idx image, images, begin, length;  // elements begin ... of each of the images
    idx size() const { return images * length; }
  };
  Block operator[](idx b) const {
    const idx image = b / pieces * images, begin = b % pieces * kSize;
    return {image, N - image < images ? N - image : images, begin, S - begin < kSize ? S - begin : kSize};
  }
};

// Sum of f(image, at) over a block, in every lane.
template <class T, class F> inline Simd<T> sum_block(const ChannelBlocks::Block& block, F f) {
  constexpr idx L = lanes<T>;
  Simd<T> s[4] = {};
  for (idx n = block.image; n < block.image + block.images; ++n) {
    idx i = block.begin;
    const idx end = block.begin + block.length;
    for (; i + 4 * L <= end; i += 4 * L)
      for (idx k = 0; k < 4; ++k) s[k] += f(n, Whole<T>{i + k * L});
    for (idx k = 0; i + L <= end; i += L, ++k) s[k] += f(n, Whole<T>{i});
    if (const Partial<T> last{i, end - i}; last.n > 0) s[3] += last.keep(f(n, last), 0);
  }
  return sum_of_lanes<T>((s[0] + s[1]) + (s[2] + s[3]));
}

// Number of elements, their mean and the sum of their squared deviations (Chan, Golub and LeVeque 1979).
struct Moments {
  double n = 0, mean = 0, squares = 0;
  void add(Moments other) {
    if (other.n == 0) return;
    const double delta = other.mean - mean, total = n + other.n;
    mean += delta * (other.n / total);
    squares += other.squares + delta * delta * (n * (other.n / total));
    n = total;
  }
  double var() const { return n > 0 ? squares / n : 0; }
};

template <class T, class F> inline Moments block_moments(const ChannelBlocks::Block& block, F x) {  // x(image): its T*
  const T size = T(block.size());
  const T mean = sum_block<T>(block, [&](idx n, auto at) { return at(x(n)); })[0] / size;
  const Simd<T> squares = sum_block<T>(block, [&](idx n, auto at) {
    const Simd<T> d = at(x(n)) - mean;
    return d * d;
  });
  return {double(block.size()), double(mean), double(squares[0])};
}

// Sum of dout and of dout (x - mean).
struct Products {
  double sum = 0, product = 0;
  void add(Products other) { sum += other.sum, product += other.product; }
};

// For few channels the threads share each of them: `part(c, block)` of every block, then in the order of the blocks
// `finish(c, sum of them)` and `rest(c, block)` of every block. For many, a channel at a time, its data in L2.
constexpr idx kManyChannels = 16;
template <class Sum> idx channel_partials(idx N, idx C, idx S) {  // bytes of scratch
  return C < kManyChannels ? C * ChannelBlocks(N, S).count() * idx(sizeof(Sum)) : 0;
}
template <class Sum, class Part, class Finish, class Rest>
void for_channels(idx C, const ChannelBlocks& blocks, idx work, void* scratch, Part part, Finish finish, Rest rest) {
  const idx count = blocks.count();
  if (C >= kManyChannels)
    return parallel_for(C, work, [=](idx c) {
      Sum total;
      for (idx b = 0; b < count; ++b) total.add(part(c, blocks[b]));
      finish(c, total);
      for (idx b = 0; b < count; ++b) rest(c, blocks[b]);
    });
  Sum* const partial = static_cast<Sum*>(scratch);
  parallel_for(C * count, work, [=](idx i) { partial[i] = part(i / count, blocks[i % count]); });
  for (idx c = 0; c < C; ++c) {
    Sum total;
    for (idx b = 0; b < count; ++b) total.add(partial[c * count + b]);
    finish(c, total);
  }
  parallel_for(C * count, work, [=](idx i) { rest(i / count, blocks[i % count]); });
}

// f(image, at) for the vectors of a block.
template <class T, class F> inline void for_block(const ChannelBlocks::Block& block, F f) {
  for (idx n = block.image; n < block.image + block.images; ++n)
    for_vectors<T>(block.begin, block.begin + block.length, [&](auto at) { f(n, at); });
}

template <class T> inline void normalise_block(const ChannelBlocks::Block& block, const T* x, T* out, idx stride,
                                               T mean, T scale, T beta) {
  const Simd<T> m = broadcast(mean), k = broadcast(scale), b = broadcast(beta);
  for_block<T>(block, [=](idx n, auto at) { at.put(out + n * stride, fma(at(x + n * stride) - m, k, b)); });
}

template <class T> inline T reciprocal_root(T x) { return T(1) / __builtin_sqrt(x); }

template <class T> void channel_norm_inference(Channels<const T> x, const T* gamma, const T* beta, const T* mean,
                                               const T* var, T epsilon, T* out) {
  const ChannelBlocks blocks(x.N, x.S);
  const idx count = blocks.count();
  parallel_for(x.C * count, 4 * x.N * x.C * x.S * idx(sizeof(T)), [=](idx i) {
    const idx c = i / count;
    normalise_block(blocks[i % count], x.data + c * x.S, out + c * x.S, x.stride, mean[c],
                    gamma[c] * reciprocal_root(var[c] + epsilon), beta[c]);
  });
}

template <class T> void channel_norm_forward(Channels<const T> x, const T* gamma, const T* beta, T epsilon, T* out,
                                             T* mean, T* var, void* scratch) {
  const idx S = x.S, stride = x.stride;
  for_channels<Moments>(
      x.C, ChannelBlocks(x.N, S), 4 * x.N * x.C * S * idx(sizeof(T)), scratch,
      [=](idx c, auto block) { return block_moments<T>(block, [=](idx n) { return x.data + n * stride + c * S; }); },
      [=](idx c, const Moments& all) { mean[c] = T(all.mean), var[c] = T(all.var()); },
      [=](idx c, auto block) {
        const T scale = gamma[c] * reciprocal_root(var[c] + epsilon);
        normalise_block(block, x.data + c * S, out + c * S, stride, mean[c], scale, beta[c]);
      });
}

template <class T> void channel_norm_backward(const T* dout, Channels<const T> x, const T* gamma, const T* mean,
                                              const T* var, T epsilon, T* dx, T* dgamma, T* dbeta, void* scratch) {
  const idx S = x.S, stride = x.stride;
  const T per_element = T(1) / T(x.N * S > 0 ? x.N * S : 1);
  for_channels<Products>(
      x.C, ChannelBlocks(x.N, S), 6 * x.N * x.C * S * idx(sizeof(T)), scratch,
      [=](idx c, auto block) -> Products {
        const Simd<T> m = broadcast(mean[c]);
        const auto here = [=](const T* p, idx n) { return p + n * stride + c * S; };
        const Simd<T> sum = sum_block<T>(block, [=](idx n, auto at) { return at(here(dout, n)); });
        const Simd<T> product =
            sum_block<T>(block, [=](idx n, auto at) { return at(here(dout, n)) * (at(here(x.data, n)) - m); });
        return {double(sum[0]), double(product[0])};
      },
      [=](idx c, const Products& all) {
        dgamma[c] = T(all.product / __builtin_sqrt(double(var[c]) + double(epsilon))), dbeta[c] = T(all.sum);
      },
      [=](idx c, auto block) {
        const T inverse = reciprocal_root(var[c] + epsilon);
        const Simd<T> m = broadcast(mean[c]), k = broadcast(gamma[c] * inverse),
                      a = broadcast(-inverse * dgamma[c] * per_element), b = broadcast(dbeta[c] * per_element);
        for_block<T>(block, [=](idx n, auto at) {
          const idx here = n * stride + c * S;
          at.put(dx + here, fma(at(x.data + here) - m, a, at(dout + here) - b) * k);
        });
      });
}

// ---- layer and group normalisation: statistics over the K channels of a group, or the K numbers of a row (S = 1)
// ------

template <class T> void group_norm_forward(const T* x, const GroupShape& s, const T* gamma, const T* beta, T epsilon,
                                           T* out, T* mean, T* rstd) {
  const idx length = s.K * s.S;
  parallel_for(s.N * s.G, 4 * s.N * s.G * length * idx(sizeof(T)), [=](idx row) {
    const idx first = row % s.G * s.K;  // channel
    const T* const from = x + row * length;
    T* const to = out + row * length;
    const ChannelBlocks blocks(1, length);
    Moments all;
    for (idx b = 0; b < blocks.count(); ++b) all.add(block_moments<T>(blocks[b], [=](idx) { return from; }));
    const T m = mean[row] = T(all.mean), r = rstd[row] = reciprocal_root(T(all.var()) + epsilon);
    if (s.S == 1)
      for_vectors<T>(0, s.K, [=](auto at) { at.put(to, fma(at(gamma + first) * r, at(from) - m, at(beta + first))); });
    else
      for (idx k = 0; k < s.K; ++k)
        normalise_block({0, 1, k * s.S, s.S}, from, to, 0, m, gamma[first + k] * r, beta[first + k]);
  });
}

// Images of a block; dgamma and dbeta are sums of one partial sum a block, added in order.
inline idx group_block(const GroupShape& s) {
  const idx fit = 65536 / (s.G * s.K * s.S > 0 ? s.G * s.K * s.S : 1);
  return fit < 1 ? 1 : fit > 128 ? 128 : fit;
}
inline idx group_norm_partials(const GroupShape& s) {  // numbers of scratch
  return 2 * s.G * s.K * ((s.N + group_block(s) - 1) / group_block(s));
}

// dx = rstd (g - mean(g) - xn mean(g xn)), g = dout gamma, xn = (x - mean) rstd.
template <class T> inline void group_gradient(const T* dout, const T* x, const GroupShape& s, const T* gamma, T mean,
                                              T rstd, T* dx, T* dgamma, T* dbeta) {
  const idx length = s.K * s.S;
  const T per_element = T(1) / T(length > 0 ? length : 1);
  T sum = 0, product = 0;  // of g and of g (x - mean)
  if (s.S == 1) {
    const Simd<T> r = broadcast(rstd);
    sum = sum_vectors<T, 1>(0, s.K, [=](auto at) {
      const Simd<T> d = at(dout);
      at.put(dbeta, at(dbeta) + d);
      return d * at(gamma);
    })[0];
    product = sum_vectors<T, 1>(0, s.K, [=](auto at) {
      const Simd<T> p = at(dout) * (at(x) - mean);
      at.put(dgamma, fma(p, r, at(dgamma)));
      return p * at(gamma);
    })[0];
  } else {
    for (idx k = 0; k < s.K; ++k) {
      const ChannelBlocks blocks(1, s.S);
      Products all;
      for (idx b = 0; b < blocks.count(); ++b)
        all.add({double(sum_block<T>(blocks[b], [=](idx, auto at) { return at(dout + k * s.S); })[0]),
                 double(sum_block<T>(blocks[b],
                                     [=](idx, auto at) { return at(dout + k * s.S) * (at(x + k * s.S) - mean); })[0])});
      dbeta[k] += T(all.sum), dgamma[k] += T(all.product) * rstd;
      sum += gamma[k] * T(all.sum), product += gamma[k] * T(all.product);
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

template <class T> void group_norm_backward(const T* dout, const T* x, const GroupShape& s, const T* gamma,
                                            const T* mean, const T* rstd, T* dx, T* dgamma, T* dbeta, T* partial) {
  const idx images = group_block(s), blocks = (s.N + images - 1) / images, C = s.G * s.K, length = s.K * s.S;
  parallel_for(blocks * s.G, 6 * s.N * s.G * length * idx(sizeof(T)), [=](idx task) {
    const idx block = task / s.G, g = task % s.G;
    T *const to_gamma = partial + block * 2 * C + g * s.K, *const to_beta = to_gamma + C;
    for_vectors<T>(0, s.K, [=](auto at) { at.put(to_gamma, Simd<T>{}), at.put(to_beta, Simd<T>{}); });
    for (idx n = block * images; n < s.N && n < (block + 1) * images; ++n) {
      const idx row = n * s.G + g, here = row * length;
      group_gradient(dout + here, x + here, s, gamma + g * s.K, mean[row], rstd[row], dx + here, to_gamma, to_beta);
    }
  });
  add_partials(static_cast<const T*>(partial), blocks, C, dgamma, dbeta);
}

}  // namespace
}  // namespace FASTNN_NS
