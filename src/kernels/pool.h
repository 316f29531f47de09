// Pooling of planes (P, H, W), an image's channels, into (P, OH, OW); windows of kh x kw. What lies outside of the
// plane counts as -inf for the maximum and 0 for the mean.
#pragma once
#include "loops.h"
#include "table.h"

namespace FASTNN_NS {
namespace {

constexpr idx smaller_of(idx a, idx b) { return a < b ? a : b; }
constexpr idx larger_of(idx a, idx b) { return a > b ? a : b; }
template <class T> constexpr idx whole_vectors(idx n) { return (n + lanes<T> - 1) / lanes<T> * lanes<T>; }

// Rows (or columns) of window o that lie in the image: taps begin ... end - 1, the first of which is at `at`.
struct Taps {
  idx begin, end, at;
  Taps(idx o, idx kernel, idx stride, idx padding, idx size) {
    const idx start = o * stride - padding;
    begin = larger_of(0, -start), end = smaller_of(kernel, size - start), at = start + begin;
  }
  idx count() const { return end - begin; }
};

constexpr int kPoolParts = 64;  // most threads: each has its own scratch
// Passes over memory weigh as element-wise ones do (for_blocks), taps as two operations.
template <class T> idx pool_work(const PoolShape& s) {
  return s.planes * (2 * idx(sizeof(T)) * s.H * s.W + 4 * s.OH * s.OW);
}
template <class T> int pool_parts(const PoolShape& s) {
  return int(larger_of(1, smaller_of(smaller_of(kPoolParts, s.planes), pool_work<T>(s) / kGrain)));
}
// f(plane, part) for all planes; the parts, one for each thread, have scratch of their own.
template <class T, class F> void for_planes(const PoolShape& s, F f) {
  const idx parts = smaller_of(team(pool_work<T>(s)), pool_parts<T>(s));
  parallel_for(parts, pool_work<T>(s), [&](idx part) {
    for (idx plane = s.planes * part / parts; plane < s.planes * (part + 1) / parts; ++plane) f(plane, int(part));
  });
}

// Windows as wide as the plane are runs of memory, one a row (OW = 1): global pooling above all.
inline bool windows_are_runs(const PoolShape& s) { return s.kw == s.W && s.pw == 0; }
inline bool halves(const PoolShape& s) {  // 2x2 windows side by side, all of them inside
  return s.kh == 2 && s.kw == 2 && s.sh == 2 && s.sw == 2 && s.ph == 0 && s.pw == 0 && 2 * s.OH <= s.H &&
         2 * s.OW <= s.W;
}

template <class T> inline Simd<T> get(const T* p, idx n) { return n >= lanes<T> ? load(p) : load_partial(p, n); }
template <class T> inline void put(T* p, Simd<T> v, idx n) { n >= lanes<T> ? store(p, v) : store_partial(p, v, n); }

// p[0], p[2], ..., n of them or as many as there are lanes; nothing beyond the last is touched.
template <class T> inline Simd<T> every_second(const T* p, idx n) {
  const idx reach = 2 * n - 1;
  return rearrange(get(p, reach), reach > lanes<T> ? get(p + lanes<T>, reach - lanes<T>) : Simd<T>{},
                   [](idx i) { return 2 * i; });
}
// Elements 2 i (or 2 i + 1) of the 2 n from p; n <= lanes.
template <class T> struct Pairs {
  Simd<T> even, odd;
  Pairs(const T* p, idx n) {
    constexpr idx L = lanes<T>;
    const Simd<T> a = 2 * n >= L ? load(p) : load_partial(p, 2 * n);
    const Simd<T> b = n >= L ? load(p + L) : 2 * n > L ? load_partial(p + L, 2 * n - L) : Simd<T>{};
    even = rearrange(a, b, [](idx i) { return 2 * i; });
    odd = rearrange(a, b, [](idx i) { return 2 * i + 1; });
  }
};
// The inverse: e[0] o[0] e[1] ... at p.
template <class T> inline void put_pairs(T* p, Simd<T> even, Simd<T> odd, idx n) {
  constexpr idx L = lanes<T>;
  const Simd<T> a = zip<false>(even, odd), b = zip<true>(even, odd);
  2 * n >= L ? store(p, a) : store_partial(p, a, 2 * n);
  if (n >= L)
    store(p + L, b);
  else if (2 * n > L)
    store_partial(p + L, b, 2 * n - L);
}

// ---- maximum -------------------------------------------------------------------------------------------------------

template <class T> constexpr T kLowest = -T(__builtin_inff());

// The largest element so far and its place: the first NaN, else the first of the largest.
template <class T> struct Largest {
  Simd<T> value;
  SimdMask<T> place;
  void take(Simd<T> x, SimdMask<T> at) {
    const SimdMask<T> better = ~(x <= value) & (value == value);
    value = better ? x : value;
    place = better ? at : place;
  }
};

// Places of arg: uint8, or int32 for windows of more than 256.
struct Places {
  void* data;
  bool wide;
  template <class T> void put(idx i, SimdMask<T> v, idx n) const {
    if (wide)
      for (idx k = 0; k < smaller_of(n, lanes<T>); ++k) static_cast<int32_t*>(data)[i + k] = int32_t(v[k]);
    else
      store_bytes<T>(static_cast<uint8_t*>(data) + i, v, n);
  }
  void put(idx i, idx place) const {
    if (wide)
      static_cast<int32_t*>(data)[i] = int32_t(place);
    else
      static_cast<uint8_t*>(data)[i] = uint8_t(place);
  }
};

template <class T> inline SimdMask<T> lane_numbers() {
  SimdMask<T> v;
  for (idx i = 0; i < lanes<T>; ++i) v[i] = i;
  return v;
}

// First of p[0, n) for which f holds; f has lanes of 0 beyond the end, which do not count.
template <class T, class F> inline idx find(const T* p, idx n, F f) {
  for (idx i = 0; i < n; i += lanes<T>) {
    uint32_t found = to_bits(f(get(p + i, n - i)));
    if (n - i < lanes<T>) found &= (1u << (n - i)) - 1;
    if (found) return i + __builtin_ctz(found);
  }
  return 0;
}

// Index of the largest of p[0, n), n > 0.
template <class T> idx largest_of_run(const T* p, idx n) {
  Simd<T> largest[4];
  for (auto& m : largest) m = Simd<T>{} + p[0];
  SimdMask<T> number{};
  number = ~number;
  idx i = 0;
  const auto take = [&](int k, Simd<T> x) { largest[k] = larger(x, largest[k]), number &= x == x; };
  for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>)
    for (int k = 0; k < 4; ++k) take(k, load(p + i + k * lanes<T>));
  for (; i < n; i += lanes<T>)
    take(0, n - i < lanes<T> ? Partial<T>{i, n - i}.keep(get(p + i, n - i), p[0]) : load(p + i));
  if (to_bits(~number)) return find(p, n, [](Simd<T> x) { return x != x; });
  const Simd<T> top = max_of_lanes<T>(larger(larger(largest[0], largest[1]), larger(largest[2], largest[3])));
  return find(p, n, [=](Simd<T> x) { return x == top; });
}

// A band of output rows, from copies of its input rows: columns of each remainder by the stride side by side, with the
// padding, so that every tap is a run of `length` numbers.
struct Band {
  idx rows, phases, length;  // output rows; runs of an input row; numbers of a run
  template <class T> static Band of(const PoolShape& s) {
    constexpr idx kBytes = idx(1) << 17;
    const idx length = whole_vectors<T>(s.OW) + (s.kw - 1) / s.sw, phases = smaller_of(s.kw, s.sw);
    const idx fit = kBytes / (length * phases * idx(sizeof(T)));  // input rows
    return {larger_of(1, smaller_of(s.OH, (fit - s.kh) / s.sh + 1)), phases, length};
  }
  template <class T> idx bytes(const PoolShape& s) const {
    return smaller_of(s.H, (rows - 1) * s.sh + s.kh) * phases * length * idx(sizeof(T)) / 64 * 64 + 64;
  }
};

template <class T> void copy_row(const T* row, const PoolShape& s, const Band& band, T* to) {
  for (idx phase = 0; phase < band.phases; ++phase, to += band.length) {
    const auto columns_to = [&](idx end) { return larger_of(0, end + s.pw - phase + s.sw - 1) / s.sw; };
    const idx begin = columns_to(0), end = larger_of(begin, smaller_of(band.length, columns_to(s.W)));
    for (idx j = 0; j < begin; ++j) to[j] = kLowest<T>;
    const T* const from = row + phase - s.pw;  // column j of the run is from[j sw]
    if (s.sw == 1)
      for_vectors<T>(begin, end, [=](auto at) { at.put(to, at(from)); });
    else if (s.sw == 2)
      for (idx j = begin; j < end; j += lanes<T>) put(to + j, every_second(from + 2 * j, end - j), end - j);
    else
      for (idx j = begin; j < end; ++j) to[j] = from[j * s.sw];
    for (idx j = end; j < band.length; ++j) to[j] = kLowest<T>;
  }
}

template <class T> idx max_pool_workspace(const PoolShape& s) {
  return windows_are_runs(s) || halves(s) ? 0 : pool_parts<T>(s) * Band::of<T>(s).template bytes<T>(s);
}

template <class T>
void max_band(const T* x, const PoolShape& s, const Band& band, idx top, T* copy, T* out, Places arg, idx at) {
  using I = SimdMask<T>;
  const idx bottom = smaller_of(s.OH, top + band.rows), row = band.phases * band.length;
  const Taps first(top, s.kh, s.sh, s.ph, s.H), last(bottom - 1, s.kh, s.sh, s.ph, s.H);
  for (idx i = first.at; i < last.at + last.count(); ++i) copy_row(x + i * s.W, s, band, copy + (i - first.at) * row);
  for (idx oy = top; oy < bottom; ++oy) {
    const Taps taps(oy, s.kh, s.sh, s.ph, s.H);
    const T* const rows = copy + (taps.at - first.at) * row;
    for (idx ox = 0; ox < s.OW; ox += lanes<T>) {
      const I before = int(s.pw) - (lane_numbers<T>() + int(ox)) * int(s.sw);  // columns of the window in the padding
      Largest<T> best{Simd<T>{} + kLowest<T>, int(taps.begin * s.kw) + (before > 0 ? before : I{})};
      for (idx i = 0; i < taps.count(); ++i) {
        const T* run = rows + i * row + ox;
        I place = I{} + int((taps.begin + i) * s.kw);
        for (idx j = 0; j < s.kw; j += s.sw, ++run)
          for (idx phase = 0; phase < smaller_of(s.sw, s.kw - j); ++phase, place += 1)
            best.take(load(run + phase * band.length), place);
      }
      const idx n = s.OW - ox;
      put(out + oy * s.OW + ox, best.value, n);
      arg.put<T>(at + oy * s.OW + ox, best.place, n);
    }
  }
}

template <class T> void max_of_halves(const T* x, const PoolShape& s, T* out, uint8_t* arg) {
  using I = SimdMask<T>;
  for (idx oy = 0; oy < s.OH; ++oy)
    for (idx ox = 0; ox < s.OW; ox += lanes<T>) {
      const idx n = smaller_of(lanes<T>, s.OW - ox);
      const T* const p = x + 2 * oy * s.W + 2 * ox;
      const Pairs<T> upper(p, n), lower(p + s.W, n);
      Largest<T> best{upper.even, I{}};
      best.take(upper.odd, I{} + 1);
      best.take(lower.even, I{} + 2);
      best.take(lower.odd, I{} + 3);
      put(out + oy * s.OW + ox, best.value, n);
      store_bytes<T>(arg + oy * s.OW + ox, best.place, n);
    }
}

// out = the largest of each window, arg its place.
template <class T> void max_pool_forward(const T* x, const PoolShape& s, T* out, void* arg, void* scratch) {
  const idx in_size = s.H * s.W, out_size = s.OH * s.OW;
  const Places places{arg, s.kh * s.kw > 256};
  if (halves(s))
    return for_planes<T>(s, [=](idx plane, int) {
      max_of_halves(x + plane * in_size, s, out + plane * out_size, static_cast<uint8_t*>(arg) + plane * out_size);
    });
  if (windows_are_runs(s))
    return for_planes<T>(s, [=](idx plane, int) {
      for (idx oy = 0; oy < s.OH; ++oy) {
        const Taps taps(oy, s.kh, s.sh, s.ph, s.H);
        const T* const run = x + plane * in_size + taps.at * s.W;
        const idx place = largest_of_run(run, taps.count() * s.W);
        out[plane * s.OH + oy] = run[place];
        places.put(plane * s.OH + oy, taps.begin * s.kw + place);
      }
    });
  const Band band = Band::of<T>(s);
  for_planes<T>(s, [=](idx plane, int part) {
    T* const copy = reinterpret_cast<T*>(static_cast<char*>(scratch) + part * band.bytes<T>(s));
    for (idx top = 0; top < s.OH; top += band.rows)
      max_band(x + plane * in_size, s, band, top, copy, out + plane * out_size, places, plane * out_size);
  });
}

// Rows of a plane that later windows may still add to are cleared when the first of these reaches them.
template <class T> struct Cleared {
  T* dx;
  idx W, end = 0;
  void to(idx row) {
    if (row > end) for_vectors<T>(end * W, row * W, [=, this](auto at) { at.put(dx, Simd<T>{}); });
    end = larger_of(end, row);
  }
};

// dx = dout where arg points, added in the order of the windows. An arg in the padding points nowhere.
template <class T, class Place> void scatter_to_plane(const T* dout, const Place* arg, const PoolShape& s, T* dx) {
  Cleared<T> cleared{dx, s.W};
  for (idx oy = 0; oy < s.OH; ++oy) {
    const idx top = oy * s.sh - s.ph;
    cleared.to(smaller_of(s.H, top + s.kh));
    for (idx ox = 0; ox < s.OW; ++ox) {
      const uint32_t place = uint32_t(arg[oy * s.OW + ox]), ki = place / uint32_t(s.kw);
      const idx row = top + ki, column = ox * s.sw - s.pw + idx(place - ki * uint32_t(s.kw));
      if (row >= 0 && row < s.H && column >= 0 && column < s.W) dx[row * s.W + column] += dout[oy * s.OW + ox];
    }
  }
  cleared.to(s.H);
}

// The rest of a plane, beyond 2x2 windows side by side, is 0.
template <class T> void clear_beyond_halves(const PoolShape& s, T* dx) {
  for (idx row = 0; 2 * s.OW < s.W && row < 2 * s.OH; ++row)
    for (idx column = 2 * s.OW; column < s.W; ++column) dx[row * s.W + column] = 0;
  for_vectors<T>(2 * s.OH * s.W, s.H * s.W, [=](auto at) { at.put(dx, Simd<T>{}); });
}

template <class T> void spread_to_halves(const T* dout, const uint8_t* arg, const PoolShape& s, T* dx) {
  using I = SimdMask<T>;
  for (idx oy = 0; oy < s.OH; ++oy)
    for (idx ox = 0; ox < s.OW; ox += lanes<T>) {
      const idx n = smaller_of(lanes<T>, s.OW - ox);
      const Simd<T> d = get(dout + oy * s.OW + ox, n), zero{};
      const I place = load_bytes<T>(arg + oy * s.OW + ox, n);
      T* const p = dx + 2 * oy * s.W + 2 * ox;
      put_pairs(p, place == 0 ? d : zero, place == 1 ? d : zero, n);
      put_pairs(p + s.W, place == 2 ? d : zero, place == 3 ? d : zero, n);
    }
  clear_beyond_halves(s, dx);
}

// Whether every place lies in its window.
inline bool places_fit(const void* arg, idx n, idx size) {
  if (size > 256) {
    uint32_t most = 0;
    for (idx i = 0; i < n; ++i) {
      const uint32_t place = static_cast<const uint32_t*>(arg)[i];
      most = place > most ? place : most;
    }
    return most < uint64_t(size);
  }
  uint8_t most = 0;
  for (idx i = 0; i < n; ++i) {
    const uint8_t place = static_cast<const uint8_t*>(arg)[i];
    most = place > most ? place : most;
  }
  return most < size;
}

template <class T> void max_pool_backward(const T* dout, const void* arg, const PoolShape& s, T* dx) {
  const idx in_size = s.H * s.W, out_size = s.OH * s.OW;
  const bool wide = s.kh * s.kw > 256, by_halves = halves(s);
  for_planes<T>(s, [=](idx plane, int) {
    const T* const d = dout + plane * out_size;
    const uint8_t* const places = static_cast<const uint8_t*>(arg) + plane * out_size;
    if (by_halves)
      spread_to_halves(d, places, s, dx + plane * in_size);
    else if (wide)
      scatter_to_plane(d, static_cast<const int32_t*>(arg) + plane * out_size, s, dx + plane * in_size);
    else
      scatter_to_plane(d, places, s, dx + plane * in_size);
  });
}

// ---- mean ----------------------------------------------------------------------------------------------------------

// Elements that the sums of the windows along one axis are divided by: 1 / count of window o.
struct Counts {
  idx kernel, stride, padding, low, high;
  Counts(idx kernel, idx stride, idx padding, idx size, bool with_padding)
      : kernel(kernel),
        stride(stride),
        padding(padding),
        low(with_padding ? -padding : 0),
        high(with_padding ? size + padding : size) {}
  idx operator()(idx o) const {
    const idx start = o * stride - padding;
    return smaller_of(start + kernel, high) - larger_of(start, low);
  }
};

// Rows of scratch: sums of columns (or what they receive) with the padding, and 1 / count of the windows of a row.
struct MeanRows {
  idx columns, scales;
  template <class T> static MeanRows of(const PoolShape& s) {
    return {whole_vectors<T>((s.OW - 1) * s.sw + s.kw + 3 * lanes<T>), whole_vectors<T>(s.OW)};
  }
  template <class T> idx bytes() const { return ((columns + scales) * idx(sizeof(T)) + 63) / 64 * 64; }
};
template <class T> idx avg_pool_workspace(const PoolShape& s) {
  return pool_parts<T>(s) * MeanRows::of<T>(s).template bytes<T>();
}

template <class T> void fill_scales(const PoolShape& s, bool with_padding, idx row_count, T* scale) {
  const Counts counts(s.kw, s.sw, s.pw, s.W, with_padding);
  for (idx ox = 0; ox < s.OW; ++ox) scale[ox] = T(1) / T(row_count * counts(ox));
}

template <class T> void mean_of_halves(const T* x, const PoolShape& s, T* out) {
  for (idx oy = 0; oy < s.OH; ++oy)
    for (idx ox = 0; ox < s.OW; ox += lanes<T>) {
      const idx n = smaller_of(lanes<T>, s.OW - ox);
      const T* const p = x + 2 * oy * s.W + 2 * ox;
      const Pairs<T> upper(p, n), lower(p + s.W, n);
      put(out + oy * s.OW + ox, ((upper.even + lower.even) + (upper.odd + lower.odd)) * T(0.25), n);
    }
}

template <class T> void mean_of_plane(const T* x, const PoolShape& s, bool with_padding, T* sums, T* scale, T* out) {
  constexpr idx L = lanes<T>;
  const MeanRows size = MeanRows::of<T>(s);
  const Counts row_counts(s.kh, s.sh, s.ph, s.H, with_padding);
  const idx reach = smaller_of(s.W, (s.OW - 1) * s.sw + s.kw - s.pw);  // columns that windows cover
  for (idx i = 0; i < size.columns; ++i) sums[i] = 0;
  idx row_count = 0;
  for (idx oy = 0; oy < s.OH; ++oy) {
    const Taps taps(oy, s.kh, s.sh, s.ph, s.H);
    for_vectors<T>(0, reach, [&](auto at) {
      Simd<T> sum = at(x + taps.at * s.W);
      for (idx i = 1; i < taps.count(); ++i) sum += at(x + (taps.at + i) * s.W);
      at.put(sums + s.pw, sum);
    });
    if (row_counts(oy) != row_count) fill_scales(s, with_padding, row_count = row_counts(oy), scale);
    for (idx ox = 0; ox < s.OW; ox += L) {
      const T* const p = sums + ox * s.sw;
      Simd<T> sum{};
      if (s.sw == 1) {
        for (idx j = 0; j < s.kw; ++j) sum += load(p + j);
      } else if (s.sw == 2) {
        idx j = 0;
        for (; j + 1 < s.kw; j += 2) {
          const Pairs<T> pair(p + j, L);
          sum += pair.even + pair.odd;
        }
        if (j < s.kw) sum += Pairs<T>(p + j, L).even;
      } else {
        for (idx k = 0; k < L && ox + k < s.OW; ++k) {
          T total = 0;
          for (idx j = 0; j < s.kw; ++j) total += p[k * s.sw + j];
          sum[k] = total;
        }
      }
      put(out + oy * s.OW + ox, sum * load(scale + ox), s.OW - ox);
    }
  }
}

// The windows of a plane whose mean is not finite, again in double: the sum may have been beyond the largest number.
template <class T>
__attribute__((noinline, cold)) void means_again(const T* x, const PoolShape& s, bool with_padding, T* out) {
  const Counts row_counts(s.kh, s.sh, s.ph, s.H, with_padding), column_counts(s.kw, s.sw, s.pw, s.W, with_padding);
  for (idx oy = 0; oy < s.OH; ++oy)
    for (idx ox = 0; ox < s.OW; ++ox, ++out) {
      if (*out - *out == 0) continue;
      const Taps rows(oy, s.kh, s.sh, s.ph, s.H), columns(ox, s.kw, s.sw, s.pw, s.W);
      double sum = 0;
      for (idx i = rows.at; i < rows.at + rows.count(); ++i)
        for (idx j = columns.at; j < columns.at + columns.count(); ++j) sum += double(x[i * s.W + j]);
      *out = T(sum / double(row_counts(oy) * column_counts(ox)));
    }
}

// out = the mean of each window.
template <class T> void avg_pool_forward(const T* x, const PoolShape& s, bool with_padding, T* out, void* scratch) {
  const idx in_size = s.H * s.W, out_size = s.OH * s.OW;
  const MeanRows size = MeanRows::of<T>(s);
  const bool by_halves = halves(s), runs = windows_are_runs(s);
  const auto means = [=](idx plane, idx part) {
    T* const sums = reinterpret_cast<T*>(static_cast<char*>(scratch) + part * size.bytes<T>());
    const T* const p = x + plane * in_size;
    if (by_halves) return mean_of_halves(p, s, out + plane * out_size);
    if (!runs) return mean_of_plane(p, s, with_padding, sums, sums + size.columns, out + plane * out_size);
    const Counts counts(s.kh, s.sh, s.ph, s.H, with_padding);
    for (idx oy = 0; oy < s.OH; ++oy) {
      const Taps taps(oy, s.kh, s.sh, s.ph, s.H);
      const T* const run = p + taps.at * s.W;
      const T sum = sum_vectors<T, 4>(0, taps.count() * s.W, [=](auto at) { return at(run); })[0];
      out[plane * out_size + oy] = sum / T(counts(oy) * s.W);
    }
  };
  const idx parts = smaller_of(team(pool_work<T>(s)), pool_parts<T>(s)), step = larger_of(1, 2048 / out_size);
  parallel_for(parts, pool_work<T>(s), [&](idx part) {
    const idx last = s.planes * (part + 1) / parts;
    for (idx begin = s.planes * part / parts; begin < last; begin += step) {  // what is looked at again is in L1
      const idx end = smaller_of(last, begin + step);
      for (idx plane = begin; plane < end; ++plane) means(plane, part);
      const auto difference = [=](auto at) { return at(out) - at(out); };  // 0, or NaN
      if (sum_vectors<T, 4>(begin * out_size, end * out_size, difference)[0] != 0) [[unlikely]]
        for (idx plane = begin; plane < end; ++plane)
          means_again(x + plane * in_size, s, with_padding, out + plane * out_size);
    }
  });
}

template <class T>
void spread_to_plane(const T* dout, const PoolShape& s, bool with_padding, T* sums, T* scale, T* dx) {
  constexpr idx L = lanes<T>;
  const MeanRows size = MeanRows::of<T>(s);
  const Counts row_counts(s.kh, s.sh, s.ph, s.H, with_padding);
  idx row_count = 0, done = 0;
  for (idx oy = 0; oy < s.OH; ++oy) {
    if (row_counts(oy) != row_count) fill_scales(s, with_padding, row_count = row_counts(oy), scale);
    for (idx i = 0; i < size.columns; i += L) store(sums + i, Simd<T>{});
    for (idx ox = 0; ox < s.OW; ox += L) {
      const idx n = s.OW - ox;
      const Simd<T> d = get(dout + oy * s.OW + ox, n) * (n >= L ? load(scale + ox) : load_partial(scale + ox, n));
      T* const p = sums + ox * s.sw;
      if (s.sw == 1)
        for (idx j = 0; j < s.kw; ++j) store(p + j, load(p + j) + d);
      else
        for (idx k = 0; k < L && k < n; ++k)
          for (idx j = 0; j < s.kw; ++j) p[k * s.sw + j] += d[k];
    }
    const Taps taps(oy, s.kh, s.sh, s.ph, s.H);
    const idx fresh = larger_of(done, taps.at);
    for_vectors<T>(done * s.W, fresh * s.W, [=](auto at) { at.put(dx, Simd<T>{}); });  // between windows
    done = larger_of(fresh, taps.at + taps.count());
    for (idx i = taps.at; i < taps.at + taps.count(); ++i) {
      T* const row = dx + i * s.W;
      if (i < fresh)
        for_vectors<T>(0, s.W, [=](auto at) { at.put(row, at(row) + at(sums + s.pw)); });
      else
        for_vectors<T>(0, s.W, [=](auto at) { at.put(row, at(sums + s.pw)); });
    }
  }
  for_vectors<T>(done * s.W, s.H * s.W, [=](auto at) { at.put(dx, Simd<T>{}); });
}

template <class T> void mean_to_halves(const T* dout, const PoolShape& s, T* dx) {
  for (idx oy = 0; oy < s.OH; ++oy)
    for (idx ox = 0; ox < s.OW; ox += lanes<T>) {
      const idx n = smaller_of(lanes<T>, s.OW - ox);
      const Simd<T> d = get(dout + oy * s.OW + ox, n) * T(0.25);
      T* const p = dx + 2 * oy * s.W + 2 * ox;
      put_pairs(p, d, d, n);
      put_pairs(p + s.W, d, d, n);
    }
  clear_beyond_halves(s, dx);
}

// dx = dout / count, added to each element of the window in the order of the windows.
template <class T> void avg_pool_backward(const T* dout, const PoolShape& s, bool with_padding, T* dx, void* scratch) {
  const idx in_size = s.H * s.W, out_size = s.OH * s.OW;
  const MeanRows size = MeanRows::of<T>(s);
  const bool by_halves = halves(s), whole = windows_are_runs(s) && s.OH == 1 && s.kh == s.H && s.ph == 0;
  for_planes<T>(s, [=](idx plane, int part) {
    T* const sums = reinterpret_cast<T*>(static_cast<char*>(scratch) + part * size.bytes<T>());
    const T* const d = dout + plane * out_size;
    T* const to = dx + plane * in_size;
    if (by_halves) return mean_to_halves(d, s, to);
    if (!whole) return spread_to_plane(d, s, with_padding, sums, sums + size.columns, to);
    const Simd<T> share = broadcast(*d / T(in_size));
    for_vectors<T>(0, in_size, [=](auto at) { at.put(to, share); });
  });
}

}  // namespace
}  // namespace FASTNN_NS
