// Sizes of convolutions and poolings.
#pragma once
#include <initializer_list>
#include <limits>

#include "views.h"

namespace fastnn {

constexpr idx kMost = std::numeric_limits<int32_t>::max();  // elements of an array, numbers of a pair

// The product of positive numbers, unless it passes kMost.
inline bool fits(std::initializer_list<idx> sizes) {
  idx n = 1;
  for (idx size : sizes)
    if (size < 1 || __builtin_mul_overflow(n, size, &n) || n > kMost) return false;
  return true;
}
// The same for N samples of this shape. Of no samples the sizes still have to be possible.
inline bool samples_fit(idx N, std::initializer_list<idx> sample) {
  idx n = N > 1 ? N : 1;
  for (idx size : sample)
    if (size < 1 || __builtin_mul_overflow(n, size, &n) || n > kMost) return false;
  return N >= 0;
}
// Whether a filter fits and every array may exist; sets OH and OW unless they are set.
inline bool complete(ConvShape& s) {
  const auto positions = [](idx n, idx k, idx stride, idx p, idx d) {
    return (n + 2 * p - (k - 1) * d - 1) / stride + 1;
  };
  if ((s.kh - 1) * s.dh >= s.H + 2 * s.ph || (s.kw - 1) * s.dw >= s.W + 2 * s.pw) return false;
  if (s.OH == 0) s.OH = positions(s.H, s.kh, s.sh, s.ph, s.dh), s.OW = positions(s.W, s.kw, s.sw, s.pw, s.dw);
  return samples_fit(s.N, {s.C, s.H + 2 * s.ph, s.W + 2 * s.pw}) && samples_fit(s.N, {s.F, s.OH, s.OW}) &&
         fits({s.F, s.C / s.groups, s.kh, s.kw});
}
inline double work_of(const ConvShape& s) {
  return 2.0 * double(s.N) * double(s.F) * double(s.OH) * double(s.OW) * double(s.C / s.groups) * double(s.kh * s.kw);
}
inline ConvShape samples(ConvShape s, idx begin, idx end) {
  s.N = end - begin;
  return s;
}
inline bool winograd_fits(const ConvShape& s) {
  return s.kh == 3 && s.kw == 3 && s.sh == 1 && s.sw == 1 && s.dh == 1 && s.dw == 1;
}

// Windows along one axis; with ceil_mode the last may reach over the end but starts inside.
inline idx pooled_size(idx size, idx kernel, idx stride, idx padding, bool ceil_mode) {
  const idx reach = size + 2 * padding - kernel + (ceil_mode ? stride - 1 : 0);
  if (reach < 0) return 0;
  const idx n = reach / stride + 1;
  return ceil_mode && (n - 1) * stride >= size + padding ? n - 1 : n;
}

inline bool set_size(PoolShape& s, bool ceil_mode) {
  s.OH = pooled_size(s.H, s.kh, s.sh, s.ph, ceil_mode), s.OW = pooled_size(s.W, s.kw, s.sw, s.pw, ceil_mode);
  return s.OH > 0 && s.OW > 0;
}

// Some of the planes.
inline PoolShape some(PoolShape s, idx begin, idx end) { return s.planes = end - begin, s; }

}  // namespace fastnn
