#include "families.h"
#include "function.h"
#include "mask.h"

namespace fastnn {
namespace {
// Elements of a chunk are whole mask words, so chunks of a long call have the bits of the whole.
constexpr idx kWordsPerRow = 1024;

template <class F> void run_words(idx n, double work, F&& f) {  // f(first_word, begin, elements)
  const idx per_row = 64 * kWordsPerRow;
  run_rows((n + per_row - 1) / per_row, work, [&](idx begin, idx end) {
    f(begin * kWordsPerRow, begin * per_row, std::min(n, end * per_row) - begin * per_row);
  });
}

bool parse_key(py::handle key, uint64_t& value) {
  if (!PyLong_Check(key.ptr())) return false;
  value = PyLong_AsUnsignedLongLong(key.ptr());
  if (!PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

py::object dropout_forward(py::handle x_, Real ratio, py::handle key_, Real scale, py::handle out_, py::handle mask_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    uint64_t key;
    if (!x || !from_0_to_1(ratio) || !scale.ok || !parse_key(key_, key)) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range()});
    if (!out) return py::none();
    Out<uint8_t> mask(mask_, {mask_bytes(x.size())}, {x.range(), out.range()});
    if (!mask || !mask_words(mask)) return py::none();
    run_words(x.size(), 8.0 * double(x.size()), [&](idx word, idx begin, idx n) {
      active<T>().random.dropout_forward({x.data() + begin, n}, word, ratio, key, T(scale), out.data() + begin,
                                         mask_words(mask) + word);
    });
    return py::make_tuple(out.object(), mask.object());
  });
}

py::object dropout_backward(py::handle dout_, py::handle mask_, Real scale, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    const In<uint8_t> mask(mask_, 1);
    if (!dout || !mask || !scale.ok || mask.dim(0) != mask_bytes(dout.size()) || !mask_words(mask)) return py::none();
    Out<T> dx(dx_, dout.nd(), dout.shape(), {dx_.is(dout_) ? Range{} : dout.range(), mask.range()});
    if (!dx) return py::none();
    run_words(dout.size(), 4.0 * double(dout.size()), [&](idx word, idx begin, idx n) {
      active<T>().random.dropout_backward({dout.data() + begin, n}, mask_words(mask) + word, T(scale),
                                          dx.data() + begin);
    });
    return dx.object();
  });
}

py::object legacy_dropout_forward(py::handle x_, Real ratio, py::handle state_, Real scale, py::handle out_,
                                  py::handle mask_, py::handle next_state_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    const In<uint32_t> state(state_, 1);
    if (!x || !ratio.ok || !scale.ok || !state || state.dim(0) != kTwisterWords + 1 ||
        state.data()[kTwisterWords] > kTwisterWords)
      return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range(), state.range()});
    if (!out) return py::none();
    Out<uint8_t> mask(mask_, {mask_bytes(x.size())}, {x.range(), state.range(), out.range()});
    if (!mask || !mask_words(mask)) return py::none();
    Out<uint32_t> next_state(next_state_, {kTwisterWords + 1}, {x.range(), state.range(), out.range(), mask.range()});
    if (!next_state) return py::none();
    std::copy_n(state.data(), kTwisterWords + 1, next_state.data());
    run_words(x.size(), 12.0 * double(x.size()), [&](idx word, idx begin, idx n) {
      active<T>().random.legacy_dropout_forward({x.data() + begin, n}, ratio, T(scale), next_state.data(),
                                                out.data() + begin, mask_words(mask) + word);
    });
    return py::make_tuple(out.object(), mask.object(), next_state.object());
  });
}

// out = x * bit * scale by channel of x (N, C, ...).
template <class T> void run_channels(const In<T>& x, idx channels, const uint64_t* mask, T scale, T* out) {
  const idx S = channels > 0 ? x.size() / channels : 0;
  run_rows(channels, 4.0 * double(x.size()), [&](idx begin, idx end) {
    active<T>().random.channel_dropout(x.data() + begin * S, begin, end - begin, S, mask, scale, out + begin * S);
  });
}

py::object dropout2d_forward(py::handle x_, Real ratio, py::handle key_, Real scale, py::handle out_,
                             py::handle mask_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_);
    uint64_t key;
    if (!x || x.nd() < 2 || !from_0_to_1(ratio) || !scale.ok || !parse_key(key_, key)) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range()});
    if (!out) return py::none();
    const idx channels = x.dim(0) * x.dim(1);
    Out<uint8_t> mask(mask_, {mask_bytes(channels)}, {x.range(), out.range()});
    if (!mask || !mask_words(mask)) return py::none();
    active<T>().random.draw_mask(channels, ratio, key, mask_words(mask));
    run_channels(x, channels, mask_words(mask), T(scale), out.data());
    return py::make_tuple(out.object(), mask.object());
  });
}

py::object dropout2d_backward(py::handle dout_, py::handle mask_, Real scale, py::handle dx_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    const In<uint8_t> mask(mask_, 1);
    if (!dout || dout.nd() < 2 || !mask || !scale.ok) return py::none();
    const idx channels = dout.dim(0) * dout.dim(1);
    if (mask.dim(0) != mask_bytes(channels) || !mask_words(mask)) return py::none();
    Out<T> dx(dx_, dout.nd(), dout.shape(), {dout.range(), mask.range()});
    if (!dx) return py::none();
    run_channels(dout, channels, mask_words(mask), T(scale), dx.data());
    return dx.object();
  });
}

}  // namespace

void bind_random(py::module_& m) {
  const py::object none = py::none();
  define<dropout_forward>(m, "dropout_forward", "x ratio key scale out mask", {py::float_(1.0), none, none});
  define<dropout_backward>(m, "dropout_backward", "dout mask scale dx", {py::float_(1.0), none});
  define<legacy_dropout_forward>(m, "legacy_dropout_forward", "x ratio state scale out mask next_state",
                                 {py::float_(1.0), none, none, none});
  define<dropout2d_forward>(m, "dropout2d_forward", "x ratio key scale out mask", {py::float_(1.0), none, none});
  define<dropout2d_backward>(m, "dropout2d_backward", "dout mask scale dx", {py::float_(1.0), none});
}

}  // namespace fastnn
