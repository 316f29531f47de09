// The operations of a plan: what each takes, and its call of the kernels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention.h"
#include "branch.h"
#include "mask.h"
#include "optim.h"
#include "pairs.h"
#include "plan.h"
#include "recurrent.h"
#include "shapes.h"
#include "vocabulary.h"

namespace fastnn::plan {
namespace {

// Estimated scalar operations of a pass over n elements.
template <class T> double pass(idx n) { return double(n) * sizeof(T) * sizeof(T); }

// ---- affine, activation

template <class T> struct AffineForward {
  static void run(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    const auto& kernels = c.kernels<T>().affine;
    const auto activate = c.kernels<T>().activation.in_place;
    const auto x = row_major(c.data<const T>(0), N, D), W = c.weights<const T>(1, D, M);
    const auto out = row_major(c.data<T>(5), N, M);
    if (const T* const packed = static_cast<const T*>(c.instruction.packed))
      kernels.forward_packed(x, W, packed, c.data<const T>(2), c.activation(3), T(c.real(4)), activate,
                             c.instruction.skips_zeros, out, c.scratch<void>());
    else
      kernels.forward(x, W, c.data<const T>(2), c.activation(3), T(c.real(4)), activate, out, c.scratch<void>());
  }
  static Need need(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    return {c.kernels<T>().affine.forward_workspace(N, D, M), 2.0 * double(N) * double(D) * double(M)};
  }
};

template <class T> struct AffineBackward {
  static void run(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    c.kernels<T>().affine.backward(row_major(c.data<const T>(0), N, M), row_major(c.data<const T>(1), N, D),
                                   c.weights<const T>(2, D, M), row_major(c.data<T>(5), N, D), c.weights<T>(3, D, M),
                                   c.data<T>(4), false, c.scratch<void>());
  }
  static Need need(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    return {c.kernels<T>().affine.backward_workspace(N, D, M), 4.0 * double(N) * double(D) * double(M)};
  }
};

template <class T> struct Matmul {
  static void run(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    c.kernels<T>().affine.matmul(row_major(c.data<const T>(0), N, D), row_major(c.data<const T>(1), D, M),
                                 row_major(c.data<T>(2), N, M), c.scratch<void>());
  }
  static Need need(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    return {c.kernels<T>().affine.matmul_workspace(N, M, D), 2.0 * double(N) * double(D) * double(M)};
  }
};

template <class T> struct MatmulPairs {  // a (B, I, J), b (B, K, L)
  static Pairs<T> pairs(const Call& c) {
    const auto side = [&](int i, idx rows, idx cols) {
      const auto m = row_major(c.data<const T>(i), rows, cols);
      return c.flag(2 + i) ? transposed(m) : m;
    };
    const idx I = c.axis('I'), J = c.axis('J'), K = c.axis('K'), L = c.axis('L');
    return {c.kernels<T>().affine, side(0, I, J), side(1, K, L), I * J, K * L, c.axis('B'), c.data<T>(4)};
  }
  static void run(const Call& c) {
    const Pairs<T> all = pairs(c);
    all.run(0, all.count, c.scratch<void>());
  }
  static Need need(const Call& c) {
    const Pairs<T> all = pairs(c);
    return {all.workspace(), all.work() * double(all.count)};
  }
};
const char* check_pairs(const Call& c, const std::vector<Buffer>&) {
  const bool ta = c.flag(2), tb = c.flag(3);
  const auto axis = [&](bool other, char one, char two) { return c.axis(other ? two : one); };
  return axis(ta, 'J', 'I') == axis(tb, 'K', 'L') && axis(ta, 'I', 'J') == c.axis('M') &&
                 axis(tb, 'L', 'K') == c.axis('N')
             ? nullptr
             : "the sizes of a, b and out do not agree";
}

template <class T> struct ActivationForward {
  static void run(const Call& c) {
    c.kernels<T>().activation.forward(c.activation(1), T(c.real(2)), {c.data<const T>(0), c.axis('*')}, c.data<T>(3));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};
template <class T> struct ActivationBackward {
  static void run(const Call& c) {
    c.kernels<T>().activation.backward(c.activation(2), T(c.real(3)), {c.data<const T>(0), c.axis('*')},
                                       c.data<const T>(1), c.data<T>(4));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};
template <class T> struct ReluForward {
  static void run(const Call& c) {
    c.kernels<T>().activation.relu_forward({c.data<const T>(0), c.axis('*')}, c.data<T>(1), c.data<uint64_t>(2));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};
template <class T> struct ReluBackward {
  static void run(const Call& c) {
    c.kernels<T>().activation.relu_backward({c.data<const T>(0), c.axis('*')}, c.data<const uint64_t>(1), c.data<T>(2));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};

// ---- softmax and losses

template <class T, auto kernel> struct SoftmaxForward {
  static void run(const Call& c) {
    (c.kernels<T>().softmax.*kernel)(row_major(c.data<const T>(0), c.axis('N'), c.axis('V')), c.data<T>(1));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('N') * c.axis('V'))}; }
};
template <class T, auto kernel> struct SoftmaxBackward {
  static void run(const Call& c) {
    (c.kernels<T>().softmax.*kernel)(row_major(c.data<const T>(0), c.axis('N'), c.axis('V')), c.data<const T>(1),
                                     c.data<T>(2));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('N') * c.axis('V'))}; }
};

template <class T> CrossEntropyTarget<T> target(const Call& c, int weight, int smoothing, int labels = 1) {
  const Labels& t = c.labels(labels);
  return {t.labels, static_cast<const T*>(t.targets), c.data<const T>(weight), c.real(smoothing)};
}
template <class T> struct CrossEntropyForward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().softmax;
    const idx N = c.axis('N'), V = c.axis('V');
    const CrossEntropyTarget<T> t = target<T>(c, 2, 4);
    const double loss = kernels.cross_entropy_forward(row_major(c.data<const T>(0), N, V), t, T(c.real(5)),
                                                      c.data<T>(6), c.scratch<double>());
    const double divisor = kernels.cross_entropy_divisor(t, N);
    c.state.loss += divisor != 0 ? loss / divisor : std::nan("");
  }
  static Need need(const Call& c) {
    const idx N = c.axis('N'), V = c.axis('V');
    return {c.kernels<T>().softmax.row_blocks(N, V) * 8, pass<T>(N * V)};
  }
};
template <class T> struct CrossEntropyBackward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().softmax;
    const idx N = c.axis('N'), V = c.axis('V');
    const CrossEntropyTarget<T> t = target<T>(c, 3, 5);
    const double divisor = kernels.cross_entropy_divisor(t, N);
    kernels.cross_entropy_backward(row_major(c.data<const T>(0), N, V), t, divisor != 0 ? c.real(2) / divisor : 0,
                                   c.data<T>(6));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('N') * c.axis('V'))}; }
};

template <class T> struct AffineLoss {
  static AffineCrossEntropy<T> loss(const Call& c, const CrossEntropyTarget<T>& t) {
    const idx N = c.axis('N'), D = c.axis('D'), V = c.axis('V');
    return {row_major(c.data<const T>(0), N, D),
            c.weights<const T>(1, D, V),
            c.data<const T>(2),
            t,
            T(c.real(7)),
            c.flag(8) ? c.weights<T>(9, D, V) : Mat<T>{},
            row_major(c.data<T>(11), N, D),
            c.data<T>(10)};
  }
  static void run(const Call& c) {
    c.state.loss += loss(c, target<T>(c, 4, 6, 3)).run(c.kernels<T>(), c.scratch<void>(), false);
  }
  static Need need(const Call& c) {
    const AffineCrossEntropy<T> own = loss(c, {});
    return {own.workspace(c.kernels<T>()), own.work()};
  }
};

const char* check_gradients(const Call& c, const std::vector<Buffer>&) {
  const bool more = c[10].buffer >= 0 || c[11].buffer >= 0;
  return more && !(c.flag(8) && c[9].buffer >= 0) ? "db and dx come with dW only" : nullptr;
}

template <class T> struct SigmoidLossForward {
  static void run(const Call& c) {
    const idx n = c.axis('*');
    c.state.loss += c.kernels<T>().softmax.sigmoid_loss_forward({c.data<const T>(0), n}, c.data<const T>(1),
                                                                T(c.real(2)), c.data<T>(3), c.scratch<double>()) /
                    double(n);
  }
  static Need need(const Call& c) { return {c.kernels<T>().softmax.blocks(c.axis('*')) * 8, pass<T>(c.axis('*'))}; }
};
template <class T> struct SquaredErrorForward {
  static void run(const Call& c) {
    c.state.loss += c.kernels<T>().softmax.squared_error_forward({c.data<const T>(0), c.axis('*')}, c.data<const T>(1),
                                                                 c.scratch<double>());
  }
  static Need need(const Call& c) { return {c.kernels<T>().softmax.blocks(c.axis('*')) * 8, pass<T>(c.axis('*'))}; }
};
template <class T, bool mean> struct DifferenceBackward {  // scale (y - t)
  static void run(const Call& c) {
    const idx n = c.axis('*');
    c.kernels<T>().softmax.difference_backward({c.data<const T>(0), n}, c.data<const T>(1),
                                               T(mean ? c.real(2) / double(n) : c.real(2)), c.data<T>(3));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};

// ---- convolution, pooling

// x (N, C, H, W), W (F, G, K, L), out (N, F, Y, X).
ConvShape conv_shape(const Call& c) {
  ConvShape s;
  const auto axis = [&](char letter) { return c.axis(letter); };
  s.N = axis('N'), s.C = axis('C'), s.H = axis('H'), s.W = axis('W');
  s.F = axis('F'), s.kh = axis('K'), s.kw = axis('L'), s.OH = axis('Y'), s.OW = axis('X');
  s.sh = c[3].sizes[0], s.sw = c[3].sizes[1], s.ph = c[4].sizes[0], s.pw = c[4].sizes[1];
  return s;
}
}  // namespace
ConvShape conv2d_shape(const Call& c) {
  ConvShape s = conv_shape(c);
  s.dh = c[5].sizes[0], s.dw = c[5].sizes[1], s.groups = c.whole(6);
  return s;
}
namespace {
// Of a transposed convolution: that whose gradient it is.
ConvShape transposed_conv_shape(const Call& c) {
  ConvShape s = conv_shape(c);
  s.dh = c[6].sizes[0], s.dw = c[6].sizes[1], s.groups = c.whole(7);
  return s;
}
const char* check_conv(ConvShape s, idx G, bool output_follows = true) {
  if (s.sh < 1 || s.sw < 1 || s.dh < 1 || s.dw < 1 || s.groups < 1) return "stride, dilation and groups must be >= 1";
  if (s.F % s.groups || G * s.groups != s.C) return "the channels of x, W and groups do not agree";
  if (!fits({s.N, s.C, s.H, s.W}) || !fits({s.F, G, s.kh, s.kw})) return "an array is empty or has 2^31 elements";
  const idx OH = s.OH, OW = s.OW;
  if (output_follows) s.OH = s.OW = 0;
  if (!complete(s)) return "W does not fit on x, or an array has 2^31 elements";
  return OH == s.OH && OW == s.OW ? nullptr : "the height and width of the output do not follow from those of x";
}
template <int algorithm> const char* check_conv2d(const Call& c, const std::vector<Buffer>&) {
  const ConvShape s = conv2d_shape(c);
  const bool winograd = c.whole(algorithm) == idx(ConvAlgorithm::winograd);
  return winograd && !winograd_fits(s) ? "winograd does not apply" : check_conv(s, c.axis('G'));
}
const char* check_transposed(const Call& c, const std::vector<Buffer>&) {
  ConvShape s = transposed_conv_shape(c);
  const idx ah = c[5].sizes[0], aw = c[5].sizes[1];
  if (ah >= std::max(s.sh, s.dh) || aw >= std::max(s.sw, s.dw)) return "output_padding is too large";
  if (s.H != (s.OH - 1) * s.sh - 2 * s.ph + (s.kh - 1) * s.dh + ah + 1 ||
      s.W != (s.OW - 1) * s.sw - 2 * s.pw + (s.kw - 1) * s.dw + aw + 1)
    return "the height and width of the output do not follow from those of x";
  return check_conv(s, c.axis('G'), false);
}
template <class T> Need conv_need(const Call& c, const ConvShape& s, ConvAlgorithm wanted, double products) {
  const auto& kernels = c.kernels<T>().conv;
  return {kernels.workspace(s, kernels.choose(s, wanted)), products * work_of(s)};
}

template <class T> struct ConvForward {
  static void run(const Call& c) {
    const ConvShape s = conv2d_shape(c);
    const auto& kernels = c.kernels<T>().conv;
    const T* const packed = static_cast<const T*>(c.instruction.packed);
    kernels.forward(s, packed ? ConvAlgorithm::transformed : kernels.choose(s, ConvAlgorithm(c.whole(kConvAlgorithm))),
                    c.data<const T>(0), packed ? packed : c.data<const T>(1), c.data<const T>(2), c.activation(7),
                    T(c.real(8)), c.kernels<T>().activation.in_place, c.data<T>(10), c.scratch<void>());
  }
  static Need need(const Call& c) { return conv_need<T>(c, conv2d_shape(c), ConvAlgorithm(c.whole(9)), 1); }
};
template <class T> struct ConvBackward {
  static void run(const Call& c) {
    const ConvShape s = conv2d_shape(c);
    const auto& kernels = c.kernels<T>().conv;
    const ConvAlgorithm algorithm = kernels.choose(s, ConvAlgorithm(c.whole(7)));
    kernels.backward_weight(s, algorithm, c.data<const T>(0), c.data<const T>(1), c.data<T>(9), c.data<T>(10), false,
                            c.scratch<void>());
    if (c.data<T>(8))
      kernels.backward_input(s, algorithm, c.data<const T>(0), c.data<const T>(2), nullptr, c.data<T>(8),
                             c.scratch<void>());
  }
  static Need need(const Call& c) {
    return conv_need<T>(c, conv2d_shape(c), ConvAlgorithm(c.whole(7)), c[8].given ? 2 : 1);
  }
};
template <class T> struct TransposedForward {
  static void run(const Call& c) {
    const ConvShape s = transposed_conv_shape(c);
    const auto& kernels = c.kernels<T>().conv;
    kernels.backward_input(s, kernels.choose(s, ConvAlgorithm::automatic), c.data<const T>(0), c.data<const T>(1),
                           c.data<const T>(2), c.data<T>(8), c.scratch<void>());
  }
  static Need need(const Call& c) { return conv_need<T>(c, transposed_conv_shape(c), ConvAlgorithm::automatic, 1); }
};
template <class T> struct TransposedBackward {
  static void run(const Call& c) {
    const ConvShape s = transposed_conv_shape(c);
    const auto& kernels = c.kernels<T>().conv;
    const ConvAlgorithm algorithm = kernels.choose(s, ConvAlgorithm::automatic);
    kernels.backward_weight(s, algorithm, c.data<const T>(1), c.data<const T>(0), c.data<T>(9), nullptr, false,
                            c.scratch<void>());
    if (c.data<T>(8))
      kernels.forward(s, algorithm, c.data<const T>(0), c.data<const T>(2), nullptr, Activation::identity, T(0),
                      nullptr, c.data<T>(8), c.scratch<void>());
    if (c.data<T>(10)) kernels.channel_sums(c.data<const T>(0), s.N, s.C, s.H * s.W, c.data<T>(10), false);
  }
  static Need need(const Call& c) {
    return conv_need<T>(c, transposed_conv_shape(c), ConvAlgorithm::automatic, c[8].given ? 2 : 1);
  }
};

// x (N, C, H, W), out (N, C, Y, X); kernel, stride and padding begin at argument `at`.
PoolShape pool_shape(const Call& c, int at) {
  return {c.axis('N') * c.axis('C'),
          c.axis('H'),
          c.axis('W'),
          c.axis('Y'),
          c.axis('X'),
          c[at].sizes[0],
          c[at].sizes[1],
          c[at + 1].sizes[0],
          c[at + 1].sizes[1],
          c[at + 2].sizes[0],
          c[at + 2].sizes[1]};
}
// `arg`: number of the argument with the places; `shape`: of input_shape; -1: none. ceil -1: either way of rounding.
const char* check_pool(const Call& c, const std::vector<Buffer>& buffers, int at, int ceil, int arg, int shape) {
  PoolShape s = pool_shape(c, at);
  if (s.kh < 1 || s.kw < 1 || s.sh < 1 || s.sw < 1) return "kernel and stride must be >= 1";
  if (2 * s.ph > s.kh || 2 * s.pw > s.kw || s.kh * s.kw > kMost) return "padding is more than half of the kernel";
  if (!fits({c.axis('N'), c.axis('C'), s.H, s.W}) || !fits({c.axis('N'), c.axis('C'), s.OH, s.OW}))
    return "an array is empty or has 2^31 elements";
  PoolShape up = s, down = s;
  const bool up_fits = set_size(up, true), down_fits = set_size(down, false);
  const bool rounded_up = ceil < 0 || c.flag(ceil), rounded_down = ceil < 0 || !c.flag(ceil);
  const auto size_fits = [&](idx n, idx above, idx below) {
    return (rounded_up && n == above) || (rounded_down && n == below);
  };
  if (!(up_fits || down_fits) || !size_fits(s.OH, up.OH, down.OH) || !size_fits(s.OW, up.OW, down.OW))
    return "the height and width of the output do not follow from those of x";
  if (arg >= 0 && buffers[size_t(c[arg].buffer)].type != (s.kh * s.kw > 256 ? Type::int32 : Type::uint8))
    return "arg must be uint8, int32 for kernels of more than 256";
  if (shape >= 0) {
    const auto& sizes = c[shape].sizes;
    if ((sizes[0] && sizes[0] != c.axis('N')) || sizes[1] != c.axis('C') || sizes[2] != s.H || sizes[3] != s.W)
      return "input_shape is not that of dx";
  }
  return nullptr;
}
const char* check_max_forward(const Call& c, const std::vector<Buffer>& b) { return check_pool(c, b, 1, 4, 6, -1); }
const char* check_max_backward(const Call& c, const std::vector<Buffer>& b) { return check_pool(c, b, 3, -1, 1, 2); }
const char* check_avg_forward(const Call& c, const std::vector<Buffer>& b) { return check_pool(c, b, 1, 4, -1, -1); }
const char* check_avg_backward(const Call& c, const std::vector<Buffer>& b) { return check_pool(c, b, 2, 5, -1, 1); }
template <class T> double pool_work(const PoolShape& s, idx taps) {
  return double(s.planes) * (2.0 * sizeof(T) * double(s.H * s.W) + double(taps) * double(s.OH * s.OW));
}

template <class T> struct MaxPoolForward {
  static void run(const Call& c) {
    c.kernels<T>().pool.max_forward(c.data<const T>(0), pool_shape(c, 1), c.data<T>(5), c.data<void>(6),
                                    c.scratch<void>());
  }
  static Need need(const Call& c) {
    const PoolShape s = pool_shape(c, 1);
    return {c.kernels<T>().pool.max_workspace(s), pool_work<T>(s, s.kh * s.kw)};
  }
};
template <class T> struct MaxPoolBackward {
  static void run(const Call& c) {
    const PoolShape s = pool_shape(c, 3);
    const auto& kernels = c.kernels<T>().pool;
    if (!kernels.places_fit(c.data<const void>(1), s.planes * s.OH * s.OW, s.kh * s.kw)) {
      c.state.places_fit = false;
      return;
    }
    kernels.max_backward(c.data<const T>(0), c.data<const void>(1), s, c.data<T>(6));
  }
  static Need need(const Call& c) { return {0, pool_work<T>(pool_shape(c, 3), 8)}; }
};
template <class T> struct AvgPoolForward {
  static void run(const Call& c) {
    c.kernels<T>().pool.avg_forward(c.data<const T>(0), pool_shape(c, 1), c.flag(5), c.data<T>(6), c.scratch<void>());
  }
  static Need need(const Call& c) {
    const PoolShape s = pool_shape(c, 1);
    return {c.kernels<T>().pool.avg_workspace(s), pool_work<T>(s, s.kh + s.kw)};
  }
};
template <class T> struct AvgPoolBackward {
  static void run(const Call& c) {
    c.kernels<T>().pool.avg_backward(c.data<const T>(0), pool_shape(c, 2), c.flag(6), c.data<T>(7), c.scratch<void>());
  }
  static Need need(const Call& c) {
    const PoolShape s = pool_shape(c, 2);
    return {c.kernels<T>().pool.avg_workspace(s), pool_work<T>(s, s.kh + s.kw)};
  }
};

// ---- normalisation

template <class T> Need batch_norm_need(const Call& c) {
  const auto& kernels = c.kernels<T>().norm;
  const idx N = c.axis('N'), C = c.axis('C'), S = c.axis('*');
  return {(S == 1 ? kernels.partials(N, C) : kernels.channel_partials(N, C, S)) * idx(sizeof(T)), pass<T>(N * C * S)};
}
template <class T> struct BatchNormForward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().norm;
    const idx N = c.axis('N'), C = c.axis('C'), S = c.axis('*');
    const T *const x = c.data<const T>(0), *const gamma = c.data<const T>(1), *const beta = c.data<const T>(2);
    T *const out = c.data<T>(4), *const mean = c.data<T>(5), *const var = c.data<T>(6);
    if (S == 1)
      kernels.forward(row_major(x, N, C), gamma, beta, T(c.real(3)), row_major(out, N, C), mean, var, c.scratch<T>());
    else
      kernels.channel_forward({x, N, C, S, C * S}, gamma, beta, T(c.real(3)), out, mean, var, c.scratch<T>());
  }
  static constexpr auto need = batch_norm_need<T>;
};
template <class T> struct BatchNormInference {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().norm;
    const idx N = c.axis('N'), C = c.axis('C'), S = c.axis('*');
    const T *const x = c.data<const T>(0), *const gamma = c.data<const T>(1), *const beta = c.data<const T>(2),
                   *const mean = c.data<const T>(3), *const var = c.data<const T>(4);
    if (S == 1)
      kernels.inference(row_major(x, N, C), gamma, beta, mean, var, T(c.real(5)), row_major(c.data<T>(6), N, C));
    else
      kernels.channel_inference({x, N, C, S, C * S}, gamma, beta, mean, var, T(c.real(5)), c.data<T>(6));
  }
  static constexpr auto need = batch_norm_need<T>;
};
template <class T> struct BatchNormBackward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().norm;
    const idx N = c.axis('N'), C = c.axis('C'), S = c.axis('*');
    const T *const dout = c.data<const T>(0), *const x = c.data<const T>(1), *const gamma = c.data<const T>(2),
                   *const mean = c.data<const T>(3), *const var = c.data<const T>(4);
    T *const dx = c.data<T>(6), *const dgamma = c.data<T>(7), *const dbeta = c.data<T>(8);
    if (S == 1)
      kernels.backward(row_major(dout, N, C), row_major(x, N, C), gamma, mean, var, T(c.real(5)), row_major(dx, N, C),
                       dgamma, dbeta, c.scratch<T>());
    else
      kernels.channel_backward(dout, {x, N, C, S, C * S}, gamma, mean, var, T(c.real(5)), dx, dgamma, dbeta,
                               c.scratch<T>());
  }
  static constexpr auto need = batch_norm_need<T>;
};

// Layer normalisation is one group: `groups` is the argument that says how many there are, 0 for one.
template <class T, int groups> GroupShape group_shape(const Call& c) {
  const idx G = groups ? c.whole(groups) : 1;
  return {c.axis('N'), G, c.axis('C') / G, groups ? c.axis('*') : 1};
}
template <int groups> const char* check_groups(const Call& c, const std::vector<Buffer>&) {
  const idx G = c.whole(groups);
  return G >= 1 && c.axis('C') % G == 0 && c.axis('G') == G ? nullptr : "groups must divide the channels";
}
template <int at> const char* check_epsilon(const Call& c, const std::vector<Buffer>&) {
  return c[at].scalar < 0 && finite_from_0(c.real(at)) ? nullptr : "epsilon must be a number in [0, inf)";
}
const char* check_group_forward(const Call& c, const std::vector<Buffer>& buffers) {
  const char* const wrong = check_groups<3>(c, buffers);
  return wrong ? wrong : check_epsilon<4>(c, buffers);
}
template <class T, int groups> struct GroupForward {
  static void run(const Call& c) {
    const int at = groups ? 4 : 3;
    c.kernels<T>().norm.group_forward(c.data<const T>(0), group_shape<T, groups>(c), c.data<const T>(1),
                                      c.data<const T>(2), T(c.real(at)), c.data<T>(at + 1), c.data<T>(at + 2),
                                      c.data<T>(at + 3));
  }
  static Need need(const Call& c) {
    const GroupShape s = group_shape<T, groups>(c);
    return {0, pass<T>(s.N * s.G * s.K * s.S)};
  }
};
template <class T, int groups> struct GroupBackward {
  static void run(const Call& c) {
    const int at = groups ? 4 : 3;
    c.kernels<T>().norm.group_backward(c.data<const T>(0), c.data<const T>(1), group_shape<T, groups>(c),
                                       c.data<const T>(2), c.data<const T>(at), c.data<const T>(at + 1),
                                       c.data<T>(at + 2), c.data<T>(at + 3), c.data<T>(at + 4), c.scratch<T>());
  }
  static Need need(const Call& c) {
    const GroupShape s = group_shape<T, groups>(c);
    return {c.kernels<T>().norm.group_partials(s) * idx(sizeof(T)), 2 * pass<T>(s.N * s.G * s.K * s.S)};
  }
};

// ---- dropout

template <class T> struct DropoutForward {
  static void run(const Call& c) {
    c.kernels<T>().random.dropout_forward({c.data<const T>(0), c.axis('*')}, 0, c.real(1), c.key(2), T(c.real(3)),
                                          c.data<T>(4), c.data<uint64_t>(5));
  }
  static Need need(const Call& c) { return {0, 8.0 * double(c.axis('*'))}; }
};
template <class T> struct DropoutBackward {
  static void run(const Call& c) {
    c.kernels<T>().random.dropout_backward({c.data<const T>(0), c.axis('*')}, c.data<const uint64_t>(1), T(c.real(2)),
                                           c.data<T>(3));
  }
  static Need need(const Call& c) { return {0, 4.0 * double(c.axis('*'))}; }
};
template <class T> struct Dropout2dForward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().random;
    const idx channels = c.axis('N') * c.axis('C');
    kernels.draw_mask(channels, c.real(1), c.key(2), c.data<uint64_t>(5));
    kernels.channel_dropout(c.data<const T>(0), 0, channels, c.axis('*'), c.data<const uint64_t>(5), T(c.real(3)),
                            c.data<T>(4));
  }
  static Need need(const Call& c) { return {0, 4.0 * double(c.axis('N') * c.axis('C') * c.axis('*'))}; }
};
template <class T> struct Dropout2dBackward {
  static void run(const Call& c) {
    c.kernels<T>().random.channel_dropout(c.data<const T>(0), 0, c.axis('N') * c.axis('C'), c.axis('*'),
                                          c.data<const uint64_t>(1), T(c.real(2)), c.data<T>(3));
  }
  static Need need(const Call& c) { return {0, 4.0 * double(c.axis('N') * c.axis('C') * c.axis('*'))}; }
};
const char* check_ratio(const Call& c, const std::vector<Buffer>&) {
  return c[1].scalar < 0 && c.real(1) >= 0 && c.real(1) <= 1 ? nullptr : "ratio must be a number in [0, 1]";
}

// ---- sequences

template <class T> struct EmbeddingForward {
  static void run(const Call& c) {
    c.kernels<T>().embedding.forward(row_major(c.data<const T>(0), c.axis('V'), c.axis('D')), c.labels(1).labels,
                                     c.axis('*'), c.data<T>(2));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*') * c.axis('D'))}; }
};
template <class T> struct EmbeddingBackward {
  static void run(const Call& c) {
    const auto& kernels = c.kernels<T>().embedding;
    const idx V = c.axis('V'), D = c.axis('D');
    kernels.clear({c.data<T>(3), V * D});
    kernels.add_rows(c.data<const T>(0), c.labels(1).labels, c.axis('*'), row_major(c.data<T>(3), V, D));
  }
  static Need need(const Call& c) { return {0, pass<T>((c.axis('V') + c.axis('*')) * c.axis('D'))}; }
};
const char* check_table(const Call& c, const std::vector<Buffer>&) {
  return c.whole(2) == c.axis('V') ? nullptr : "V is not the number of rows of dW";
}

// Arguments of an operation by their place: -1 where it has none.
struct Places {
  int x, Wx, Wh, b, h0, c0, peephole, linear, b_h, activation, reverse, hs, cs, gates, dhs, dcT, dx;
};
constexpr Places kRecurrent[2][3] = {{{0, 1, 2, 3, 4, -1, -1, -1, -1, 5, 7, 9, -1, -1, -1, -1, -1},
                                      {0, 1, 2, 3, 4, 5, 6, -1, -1, -1, 8, 10, 11, 12, -1, -1, -1},
                                      {0, 1, 2, 3, 4, -1, -1, 5, 6, -1, 8, 10, -1, 11, -1, -1, -1}},
                                     {{1, 2, 3, -1, 4, -1, -1, -1, -1, 6, 8, 5, -1, -1, 0, -1, 10},
                                      {2, 3, 4, -1, 5, 6, 10, -1, -1, -1, 12, 7, 8, 9, 0, 1, 14},
                                      {1, 2, 3, -1, 4, -1, -1, 7, -1, -1, 9, 5, -1, 6, 0, -1, 11}}};
template <class T> T* maybe(const Call& c, int i) { return i < 0 ? nullptr : c.data<T>(i); }

template <class T, int kind, bool backward> struct Recurrent {  // kind: 0 rnn, 1 lstm, 2 gru
  static constexpr const Places& p = kRecurrent[backward][kind];
  static RecurrentLayer<T> layer(const Call& c) {
    const idx D = c.axis('D'), H = c.axis('H');
    return {c.data<const T>(p.x),
            row_major(c.data<const T>(p.Wx), D, c.axis('M')),
            c.axis('M') / std::max(H, idx(1)),
            c.axis('N'),
            c.axis('T'),
            D,
            H};
  }
  static Sequence<T> sequence(const Call& c) {
    Sequence<T> s{};
    s.cell = kind == 0 ? Cell::rnn : kind == 1 ? Cell::lstm : c.flag(p.linear) ? Cell::gru_linear : Cell::gru;
    if (kind == 0) s.activation = c.activation(p.activation);
    s.N = c.axis('N'), s.steps = c.axis('T'), s.H = c.axis('H');
    s.row_n = s.steps, s.row_t = 1;
    s.reverse = c.flag(p.reverse);
    s.Wh = c.data<const T>(p.Wh), s.h0 = maybe<const T>(c, p.h0), s.c0 = maybe<const T>(c, p.c0);
    s.b_h = maybe<const T>(c, p.b_h), s.peephole = maybe<const T>(c, p.peephole);
    s.hs = c.data<T>(p.hs), s.cs = maybe<T>(c, p.cs), s.gates = maybe<T>(c, p.gates);
    s.dhs = maybe<const T>(c, p.dhs), s.dcT = maybe<const T>(c, p.dcT);
    return s;
  }
  static idx state_bytes(const Sequence<T>& s) { return (s.N * s.H * idx(sizeof(T)) + 63) / 64 * 64; }
  static void run(const Call& c) {
    RecurrentLayer<T> l = layer(c);
    l.packed = static_cast<const T*>(c.instruction.packed);
    Sequence<T> s = sequence(c);
    if (!backward) {
      T* const out = kind == 0 ? s.hs : s.gates;
      const idx width = kind == 2 && s.cell == Cell::gru_linear ? 4 * s.H : c.axis('M');
      return recurrent_forward<T>(c.kernels<T>(), l, s, c.data<const T>(p.b), {out, l.rows(), c.axis('M'), width, 1},
                                  c.scratch<void>(), false);
    }
    // dx, dWx, dWh, db, dh0, then dc0 and dpeephole or db_h; dh0 and dc0 that nobody wants go to scratch.
    const int dx = p.dx;
    char* const scratch = c.scratch<char>();
    const auto state = [&](int i, idx number) {
      T* const wanted = c.data<T>(i);
      return wanted ? wanted : reinterpret_cast<T*>(scratch + number * state_bytes(s));
    };
    s.dh0 = state(dx + 4, 0);
    if (kind == 1) s.dc0 = state(dx + 5, 1), s.dpeephole = s.peephole ? c.data<T>(dx + 6) : nullptr;
    recurrent_backward<T>(c.kernels<T>(), l, s,
                          {c.data<T>(dx), c.data<T>(dx + 1), c.data<T>(dx + 2), c.data<T>(dx + 3),
                           kind == 2 ? c.data<T>(dx + 5) : nullptr},
                          scratch + 2 * state_bytes(s), false);
  }
  static Need need(const Call& c) {
    const RecurrentLayer<T> l = layer(c);
    const Sequence<T> s = sequence(c);
    return {recurrent_workspace<T>(c.kernels<T>(), l, s, backward) + (backward ? 2 * state_bytes(s) : 0),
            (backward ? 2 : 1) * (l.step_work() + l.input_work())};
  }
};
template <int kind, bool backward> const char* check_recurrent(const Call& c, const std::vector<Buffer>&) {
  constexpr const Places& p = kRecurrent[backward][kind];
  const idx H = c.axis('H');
  if (c.axis('T') < 1 || H < 1) return "there are no steps or no units";
  if (c.axis('M') != (kind == 0 ? 1 : kind == 1 ? 4 : 3) * H) return "the columns of Wh are not those of the gates";
  if (kind == 0 && c.activation(p.activation) != Activation::tanh && c.activation(p.activation) != Activation::relu &&
      c.activation(p.activation) != Activation::sigmoid)
    return "activation must be tanh, relu or sigmoid";
  if (kind == 1 && c[p.peephole].given && c.axis('P') != 3 * H) return "peephole must have 3 H elements";
  if (kind == 1 && backward && c[p.dx + 6].given && !c[p.peephole].given) return "dpeephole belongs to a peephole";
  if (kind == 2) {
    const bool linear = c.flag(p.linear);
    if (c.axis('Q') != (linear ? 4 : 3) * H) return "gates must have 3 H columns, 4 H with linear_before_reset";
    if (!linear && (backward ? c[p.dx + 5].given : c[p.b_h].given)) return "b_h belongs to linear_before_reset";
  }
  return nullptr;
}

// ---- updates: params, grads, `states` lists, the rule's own numbers, and from `tail` on weight_decay, clip_norm,
// clip_value

template <class T>
void update(const Call& c, Optimizer kind, OptimSettings settings, int states, int tail, bool decoupled = false) {
  const auto& kernels = c.kernels<T>().optim;
  const double rate = decoupled ? c.real(2 + states) : 0;
  settings.decoupled_decay = rate * (decoupled ? c.real(tail) : 0);
  settings.weight_decay = decoupled ? 0 : c.real(tail);
  settings.clip_value = c.real(tail + 2);
  const auto item = [&](int list, size_t i) {
    return reinterpret_cast<T*>(c.state.data[size_t(c[list].list[i].buffer)]);
  };
  // As the operation itself: all arrays at once, or in pieces one after the other.
  OptimArray<T>* const arrays = c.scratch<OptimArray<T>>();
  idx count = 0, elements = 0;
  for (size_t i = 0; i < c[0].list.size(); ++i) {
    T *const p = item(0, i), *const g = item(1, i), *const s = states > 0 ? item(2, i) : nullptr,
             *const t = states > 1 ? item(3, i) : nullptr;
    const idx n = c[0].list[i].n;
    elements += n;
    for (idx begin = 0; begin < n; begin += kOptimPiece)
      arrays[count++] = {p + begin, g + begin, s ? s + begin : nullptr, t ? t + begin : nullptr,
                         std::min(kOptimPiece, n - begin)};
  }
  const auto each = [&](auto f) {
    if (elements <= kOptimPiece) return f(arrays, count);
    for (idx i = 0; i < count; ++i) f(arrays + i, idx(1));
  };
  if (const double clip_norm = c.real(tail + 1); clip_norm > 0) {
    double sum = 0;
    double* const partial = reinterpret_cast<double*>(arrays + count);
    each([&](const OptimArray<T>* a, idx k) { sum += kernels.sum_of_squares(a, k, partial); });
    settings.grad_scale = clip_scale(clip_norm, std::sqrt(sum));
  }
  each([&](const OptimArray<T>* a, idx k) { kernels.update(kind, a, k, settings); });
}
template <class T> Need update_need(const Call& c) {
  idx pieces = 0, blocks = 0, elements = 0;
  for (const Item& item : c[0].list) {
    const OptimArray<T> array{nullptr, nullptr, nullptr, nullptr, item.n};
    pieces += item.n / kOptimPiece + 1, blocks += c.kernels<T>().optim.blocks(&array, 1) + item.n / kOptimPiece + 1;
    elements += item.n;
  }
  return {pieces * idx(sizeof(OptimArray<T>)) + blocks * 8, 8.0 * double(elements)};
}
template <class T> struct Sgd {
  static void run(const Call& c) { update<T>(c, Optimizer::sgd, {.lr = c.real(2)}, 0, 3); }
  static constexpr auto need = update_need<T>;
};
template <class T> struct Momentum {
  static void run(const Call& c) { update<T>(c, Optimizer::momentum, {.lr = c.real(3), .first = c.real(4)}, 1, 5); }
  static constexpr auto need = update_need<T>;
};
template <class T> struct Nesterov {
  static void run(const Call& c) {
    update<T>(c, Optimizer::nesterov, {.lr = c.real(3), .first = c.real(4), .lookahead = c.flag(5)}, 1, 6);
  }
  static constexpr auto need = update_need<T>;
};
template <class T> struct AdaGrad {
  static void run(const Call& c) { update<T>(c, Optimizer::adagrad, {.lr = c.real(3), .epsilon = c.real(4)}, 1, 5); }
  static constexpr auto need = update_need<T>;
};
template <class T> struct RmsProp {
  static void run(const Call& c) {
    update<T>(c, Optimizer::rmsprop, {.lr = c.real(3), .first = c.real(4), .epsilon = c.real(5)}, 1, 6);
  }
  static constexpr auto need = update_need<T>;
};
template <class T> struct Adam {
  static void run(const Call& c) {
    const double beta1 = c.real(5), beta2 = c.real(6);
    update<T>(
        c, Optimizer::adam,
        {.lr = adam_rate(c.real(4), beta1, beta2, c.real(8)), .first = beta1, .second = beta2, .epsilon = c.real(7)}, 2,
        10, c.flag(9));
  }
  static constexpr auto need = update_need<T>;
};

// arrays, values, momentum, factor
template <class T> struct MovingAverage {
  static void run(const Call& c) {
    idx count = 0;
    OptimArray<T>* const arrays = c.scratch<OptimArray<T>>();
    for (const Item& item : c[0].list) {
      const auto data = [&](int list) {
        return reinterpret_cast<T*>(c.state.data[size_t(c[list].list[size_t(count)].buffer)]);
      };
      T *const average = data(0), *const value = data(1);
      arrays[count++] = {average, value, nullptr, nullptr, item.n};
    }
    c.kernels<T>().optim.average(arrays, count, c.real(2), c.real(3));
  }
  static Need need(const Call& c) {
    idx elements = 0;
    for (const Item& item : c[0].list) elements += item.n;
    return {idx(c[0].list.size() * sizeof(OptimArray<T>)), 8.0 * double(elements)};
  }
};

// ---- attention, branches

template <class T, bool back> struct ScaledAttention {
  static Attention attention(const Call& c) {
    Attention a{};
    a.N = c.axis('N'), a.queries = c.axis('T'), a.keys = c.axis('S'), a.heads = c.axis('H');
    a.D = c.axis('D'), a.M = c.axis('M'), a.gradients = back, a.causal = c.flag(4 + back), a.offset = c.whole(5 + back);
    a.q = c.data<void>(back), a.k = c.data<void>(1 + back), a.v = c.data<void>(2 + back);
    if (back)
      a.dout = c.data<void>(0), a.dq = c.data<void>(7), a.dk = c.data<void>(8), a.dv = c.data<void>(9);
    else
      a.out = c.data<void>(6);
    return a;
  }
  static void run(const Call& c) {
    const Attention a = attention(c);
    if (!a.empty()) a.run<T>(c.table, 0, a.units(), c.scratch<void>());
  }
  static Need need(const Call& c) {
    const Attention a = attention(c);
    return {a.workspace<T>(c.table), a.work()};
  }
};
template <int offset> const char* check_attention(const Call& c, const std::vector<Buffer>&) {
  const idx n = c.whole(offset);
  return n == 0 || (c.flag(offset - 1) && std::abs(n) <= std::numeric_limits<int32_t>::max())
             ? nullptr
             : "offset is out of range, or causal is False";
}
template <class T> using AttentionForward = ScaledAttention<T, false>;
template <class T> using AttentionBackward = ScaledAttention<T, true>;

template <class T> struct AddArrays {
  static void run(const Call& c) {
    c.kernels<T>().branch.add({c.data<const T>(0), c.axis('*')}, c.data<const T>(1), c.data<T>(2));
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('*'))}; }
};
template <class T, bool joins> struct Columns {
  static void run(const Call& c) {
    const idx size = sizeof(T);
    const SideBySide s{c.axis('N'),
                       c.axis('C') * size,
                       c.axis('A') * size,
                       c.data<char>(joins ? 2 : 0),
                       c.data<char>(joins ? 0 : 2),
                       c.data<char>(joins ? 1 : 3)};
    joins ? s.join() : s.part();
  }
  static Need need(const Call& c) { return {0, pass<T>(c.axis('N') * c.axis('C'))}; }
};
template <class T> using Concatenate = Columns<T, true>;
template <class T> using Split = Columns<T, false>;
const char* check_columns(const Call& c, const std::vector<Buffer>&) {
  return c.axis('A') + c.axis('B') == c.axis('C') ? nullptr : "the columns of a and b are not those of both";
}
const char* check_split(const Call& c, const std::vector<Buffer>& buffers) {
  return c.whole(1) == c.axis('A') ? check_columns(c, buffers) : "columns is not the number of columns of a";
}

#define FASTNN_BOTH(...) \
  {__VA_ARGS__<float>::run, __VA_ARGS__<float>::need}, { __VA_ARGS__<double>::run, __VA_ARGS__<double>::need }
template <class T> using Softmax = SoftmaxForward<T, &SoftmaxKernels<T>::forward>;
template <class T> using SoftmaxBack = SoftmaxBackward<T, &SoftmaxKernels<T>::backward>;
template <class T> using LogSoftmax = SoftmaxForward<T, &SoftmaxKernels<T>::log_forward>;
template <class T> using LogSoftmaxBack = SoftmaxBackward<T, &SoftmaxKernels<T>::log_backward>;
template <class T> using SigmoidLossBackward = DifferenceBackward<T, true>;
template <class T> using SquaredErrorBackward = DifferenceBackward<T, false>;
template <class T> using LayerForward = GroupForward<T, 0>;
template <class T> using LayerBackward = GroupBackward<T, 0>;
template <class T> using GroupsForward = GroupForward<T, 3>;
template <class T> using GroupsBackward = GroupBackward<T, 3>;
template <class T> using Rnn = Recurrent<T, 0, false>;
template <class T> using RnnBack = Recurrent<T, 0, true>;
template <class T> using Lstm = Recurrent<T, 1, false>;
template <class T> using LstmBack = Recurrent<T, 1, true>;
template <class T> using Gru = Recurrent<T, 2, false>;
template <class T> using GruBack = Recurrent<T, 2, true>;

#define FASTNN_TAIL " weight_decay:r=0 clip_norm:r=0 clip_value:r=0"

const Operation operations[] = {
    {"matmul", "a:fND b:fDM out:FNM", FASTNN_BOTH(Matmul), nullptr},
    {"matmul_pairs", "a:fBIJ b:fBKL transpose_a:b=0 transpose_b:b=0 out:FBMN", FASTNN_BOTH(MatmulPairs), check_pairs},
    {"affine_forward", "x:fND W:wDM b:f?M activation:a alpha:r=0 out:FNM", FASTNN_BOTH(AffineForward), nullptr},
    {"affine_backward", "dout:fNM x:fND W:wDM dW:W?DM db:F?M dx:F?ND", FASTNN_BOTH(AffineBackward), nullptr},
    {"activation_forward", "x:f* kind:a alpha:r=0 out:G*", FASTNN_BOTH(ActivationForward), nullptr},
    {"activation_backward", "dout:f* saved:f* kind:a alpha:r=0 dx:G*", FASTNN_BOTH(ActivationBackward), nullptr},
    {"relu_forward", "x:f* out:F* mask:M*", FASTNN_BOTH(ReluForward), nullptr},
    {"relu_backward", "dout:f* mask:m* dx:G*", FASTNN_BOTH(ReluBackward), nullptr},
    {"softmax_forward", "x:fNV out:FNV", FASTNN_BOTH(Softmax), nullptr},
    {"softmax_backward", "dout:fNV y:fNV dx:FNV", FASTNN_BOTH(SoftmaxBack), nullptr},
    {"log_softmax_forward", "x:fNV out:FNV", FASTNN_BOTH(LogSoftmax), nullptr},
    {"log_softmax_backward", "dout:fNV y:fNV dx:FNV", FASTNN_BOTH(LogSoftmaxBack), nullptr},
    {"softmax_cross_entropy_forward", "x:fNV t:tNV weight:f?V ignore_index:i? label_smoothing:r=0 epsilon:r=0 y:FNV",
     FASTNN_BOTH(CrossEntropyForward), nullptr},
    {"softmax_cross_entropy_backward", "y:fNV t:tNV dout:r=1 weight:f?V ignore_index:i? label_smoothing:r=0 dx:GNV",
     FASTNN_BOTH(CrossEntropyBackward), nullptr},
    {"affine_softmax_cross_entropy",
     "x:fND W:wDV b:f?V t:tNV weight:f?V ignore_index:i? label_smoothing:r=0 epsilon:r=0 gradient:b=1 dW:W?DV db:F?V "
     "dx:F?ND",
     FASTNN_BOTH(AffineLoss), check_gradients},
    {"sigmoid_cross_entropy_forward", "x:f* t:f* epsilon:r=0 y:F*", FASTNN_BOTH(SigmoidLossForward), nullptr},
    {"sigmoid_cross_entropy_backward", "y:f* t:f* dout:r=1 dx:G*", FASTNN_BOTH(SigmoidLossBackward), nullptr},
    {"squared_error_forward", "y:f* t:f*", FASTNN_BOTH(SquaredErrorForward), nullptr},
    {"squared_error_backward", "y:f* t:f* scale:r dx:G*", FASTNN_BOTH(SquaredErrorBackward), nullptr},
    {"conv2d_forward",
     "x:fNCHW W:fFGKL b:f?F stride:2 padding:2 dilation:2 groups:i activation:a alpha:r=0 algorithm:c out:FNFYX",
     FASTNN_BOTH(ConvForward), check_conv2d<9>},
    {"conv2d_backward",
     "dout:fNFYX x:fNCHW W:fFGKL stride:2 padding:2 dilation:2 groups:i algorithm:c dx:F?NCHW dW:FFGKL db:F?F",
     FASTNN_BOTH(ConvBackward), check_conv2d<7>},
    {"conv_transpose2d_forward",
     "x:fNFYX W:fFGKL b:f?C stride:2 padding:2 output_padding:2 dilation:2 groups:i out:FNCHW",
     FASTNN_BOTH(TransposedForward), check_transposed},
    {"conv_transpose2d_backward",
     "dout:fNCHW x:fNFYX W:fFGKL stride:2 padding:2 output_padding:2 dilation:2 groups:i dx:F?NFYX dW:FFGKL db:F?C",
     FASTNN_BOTH(TransposedBackward), check_transposed},
    {"max_pool2d_forward", "x:fNCHW kernel:2 stride:2 padding:2 ceil_mode:b=0 out:FNCYX arg:PNCYX",
     FASTNN_BOTH(MaxPoolForward), check_max_forward},
    {"max_pool2d_backward", "dout:fNCYX arg:pNCYX input_shape:4 kernel:2 stride:2 padding:2 dx:FNCHW",
     FASTNN_BOTH(MaxPoolBackward), check_max_backward},
    {"avg_pool2d_forward", "x:fNCHW kernel:2 stride:2 padding:2 ceil_mode:b=0 count_include_pad:b=1 out:FNCYX",
     FASTNN_BOTH(AvgPoolForward), check_avg_forward},
    {"avg_pool2d_backward",
     "dout:fNCYX input_shape:4 kernel:2 stride:2 padding:2 ceil_mode:b count_include_pad:b dx:FNCHW",
     FASTNN_BOTH(AvgPoolBackward), check_avg_backward},
    {"batch_norm_forward", "x:fNC* gamma:fC beta:fC epsilon:r=1e-6 out:FNC* mean:FC var:FC",
     FASTNN_BOTH(BatchNormForward), check_epsilon<3>},
    {"batch_norm_inference", "x:fNC* gamma:fC beta:fC mean:fC var:fC epsilon:r=1e-6 out:FNC*",
     FASTNN_BOTH(BatchNormInference), check_epsilon<5>},
    {"batch_norm_backward", "dout:fNC* x:fNC* gamma:fC mean:fC var:fC epsilon:r=1e-6 dx:FNC* dgamma:FC dbeta:FC",
     FASTNN_BOTH(BatchNormBackward), check_epsilon<5>},
    {"layer_norm_forward", "x:fNC gamma:fC beta:fC epsilon:r=1e-5 out:FNC mean:FN rstd:FN", FASTNN_BOTH(LayerForward),
     check_epsilon<3>},
    {"layer_norm_backward", "dout:fNC x:fNC gamma:fC mean:fN rstd:fN dx:FNC dgamma:FC dbeta:FC",
     FASTNN_BOTH(LayerBackward), nullptr},
    {"group_norm_forward", "x:fNC* gamma:fC beta:fC groups:i epsilon:r=1e-5 out:FNC* mean:FNG rstd:FNG",
     FASTNN_BOTH(GroupsForward), check_group_forward},
    {"group_norm_backward", "dout:fNC* x:fNC* gamma:fC groups:i mean:fNG rstd:fNG dx:FNC* dgamma:FC dbeta:FC",
     FASTNN_BOTH(GroupsBackward), check_groups<3>},
    {"dropout_forward", "x:f* ratio:r key:k scale:r=1 out:G* mask:M*", FASTNN_BOTH(DropoutForward), check_ratio},
    {"dropout_backward", "dout:f* mask:m* scale:r=1 dx:G*", FASTNN_BOTH(DropoutBackward), nullptr},
    {"dropout2d_forward", "x:fNC* ratio:r key:k scale:r=1 out:GNC* mask:MNC", FASTNN_BOTH(Dropout2dForward),
     check_ratio},
    {"dropout2d_backward", "dout:fNC* mask:mNC scale:r=1 dx:GNC*", FASTNN_BOTH(Dropout2dBackward), nullptr},
    {"embedding_forward", "W:fVD index:u* out:F*D", FASTNN_BOTH(EmbeddingForward), nullptr},
    {"embedding_backward", "dout:f*D index:u* V:i dW:FVD", FASTNN_BOTH(EmbeddingBackward), check_table},
    {"rnn_forward", "x:fNTD Wx:fDM Wh:fHM b:f?M h0:f?NH activation:a lengths:n reverse:b=0 time_major:n hs:FNTH",
     FASTNN_BOTH(Rnn), check_recurrent<0, false>},
    {"rnn_backward",
     "dhs:fNTH x:fNTD Wx:fDM Wh:fHM h0:f?NH hs:fNTH activation:a lengths:n reverse:b=0 time_major:n "
     "dx:F?NTD dWx:FDM dWh:FHM db:F?M dh0:F?NH",
     FASTNN_BOTH(RnnBack), check_recurrent<0, true>},
    {"lstm_forward",
     "x:fNTD Wx:fDM Wh:fHM b:f?M h0:f?NH c0:f?NH peephole:f?P lengths:n reverse:b=0 time_major:n "
     "hs:FNTH cs:FNTH gates:FNTM",
     FASTNN_BOTH(Lstm), check_recurrent<1, false>},
    {"lstm_backward",
     "dhs:fNTH dcT:f?NH x:fNTD Wx:fDM Wh:fHM h0:f?NH c0:f?NH hs:fNTH cs:fNTH gates:fNTM peephole:f?P lengths:n "
     "reverse:b=0 time_major:n dx:F?NTD dWx:FDM dWh:FHM db:F?M dh0:F?NH dc0:F?NH dpeephole:F?P",
     FASTNN_BOTH(LstmBack), check_recurrent<1, true>},
    {"gru_forward",
     "x:fNTD Wx:fDM Wh:fHM b:f?M h0:f?NH linear_before_reset:b=0 b_h:f?H lengths:n reverse:b=0 time_major:n "
     "hs:FNTH gates:FNTQ",
     FASTNN_BOTH(Gru), check_recurrent<2, false>},
    {"gru_backward",
     "dhs:fNTH x:fNTD Wx:fDM Wh:fHM h0:f?NH hs:fNTH gates:fNTQ linear_before_reset:b=0 lengths:n reverse:b=0 "
     "time_major:n dx:F?NTD dWx:FDM dWh:FHM db:F?M dh0:F?NH db_h:F?H",
     FASTNN_BOTH(GruBack), check_recurrent<2, true>},
    {"scaled_dot_product_attention_forward", "q:fNTHD k:fNSHD v:fNSHM mask:n causal:b=0 offset:i=0 out:FNTHM",
     FASTNN_BOTH(AttentionForward), check_attention<5>},
    {"scaled_dot_product_attention_backward",
     "dout:fNTHM q:fNTHD k:fNSHD v:fNSHM mask:n causal:b=0 offset:i=0 dq:FNTHD dk:FNSHD dv:FNSHM",
     FASTNN_BOTH(AttentionBackward), check_attention<6>},
    {"add_arrays", "a:f* b:f* out:G*", FASTNN_BOTH(AddArrays), nullptr},
    {"concatenate", "a:fNA b:fNB out:FNC", FASTNN_BOTH(Concatenate), check_columns},
    {"split", "x:fNC columns:i a:FNA b:FNB", FASTNN_BOTH(Split), check_split},
    {"moving_average", "arrays:U values:L momentum:r factor:r=1", FASTNN_BOTH(MovingAverage), nullptr},
    {"sgd_update", "params:U grads:L lr:r" FASTNN_TAIL, FASTNN_BOTH(Sgd), nullptr},
    {"momentum_update", "params:U grads:L v:U lr:r momentum:r" FASTNN_TAIL, FASTNN_BOTH(Momentum), nullptr},
    {"nesterov_update", "params:U grads:L v:U lr:r momentum:r lookahead:b" FASTNN_TAIL, FASTNN_BOTH(Nesterov), nullptr},
    {"adagrad_update", "params:U grads:L h:U lr:r epsilon:r" FASTNN_TAIL, FASTNN_BOTH(AdaGrad), nullptr},
    {"rmsprop_update", "params:U grads:L h:U lr:r decay_rate:r epsilon:r" FASTNN_TAIL, FASTNN_BOTH(RmsProp), nullptr},
    {"adam_update", "params:U grads:L m:U v:U lr:r beta1:r beta2:r epsilon:r step:r decoupled:b=0" FASTNN_TAIL,
     FASTNN_BOTH(Adam), nullptr},
};

}  // namespace

template <class T> std::unique_ptr<void, GiveBack> pack_recurrent(const Call& c) {
  const auto pack = [&]<int kind>() {
    using Forward = Recurrent<T, kind, false>;
    return recurrent_pack<T>(c.kernels<T>(), Forward::layer(c), Forward::sequence(c));
  };
  const char cell = c.instruction.operation->name[0];
  return cell == 'r'   ? pack.template operator()<0>()
         : cell == 'l' ? pack.template operator()<1>()
                       : pack.template operator()<2>();
}
template std::unique_ptr<void, GiveBack> pack_recurrent<float>(const Call& c);
template std::unique_ptr<void, GiveBack> pack_recurrent<double>(const Call& c);

const Operation* find_operation(const char* name) {
  for (const Operation& operation : operations)
    if (!std::strcmp(operation.name, name)) return &operation;
  return nullptr;
}
std::vector<const char*> operation_names() {
  std::vector<const char*> names;
  for (const Operation& operation : operations) names.push_back(operation.name);
  return names;
}

}  // namespace fastnn::plan
