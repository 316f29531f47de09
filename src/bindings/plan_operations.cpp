// The operations of a plan: what each takes, and its call of the kernels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "mask.h"
#include "optim.h"
#include "plan.h"

namespace fastnn::plan {
namespace {

// Estimated scalar operations of a pass over n elements.
template <class T> double pass(idx n) { return double(n) * sizeof(T) * sizeof(T); }

// ---- affine, activation

template <class T> struct AffineForward {
  static void run(const Call& c) {
    const idx N = c.axis('N'), D = c.axis('D'), M = c.axis('M');
    c.kernels<T>().affine.forward(row_major(c.data<const T>(0), N, D), row_major(c.data<const T>(1), D, M),
                                  c.data<const T>(2), c.activation(3), T(c.real(4)), row_major(c.data<T>(5), N, M),
                                  c.scratch<void>());
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
                                   row_major(c.data<const T>(2), D, M), row_major(c.data<T>(5), N, D),
                                   row_major(c.data<T>(3), D, M), c.data<T>(4), c.scratch<void>());
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

template <class T> CrossEntropyTarget<T> target(const Call& c, int weight, int smoothing) {
  const Labels& t = c.labels(1);
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

#define FASTNN_BOTH(...) \
  {__VA_ARGS__<float>::run, __VA_ARGS__<float>::need}, { __VA_ARGS__<double>::run, __VA_ARGS__<double>::need }
template <class T> using Softmax = SoftmaxForward<T, &SoftmaxKernels<T>::forward>;
template <class T> using SoftmaxBack = SoftmaxBackward<T, &SoftmaxKernels<T>::backward>;
template <class T> using LogSoftmax = SoftmaxForward<T, &SoftmaxKernels<T>::log_forward>;
template <class T> using LogSoftmaxBack = SoftmaxBackward<T, &SoftmaxKernels<T>::log_backward>;
template <class T> using SigmoidLossBackward = DifferenceBackward<T, true>;
template <class T> using SquaredErrorBackward = DifferenceBackward<T, false>;

#define FASTNN_TAIL " weight_decay:r=0 clip_norm:r=0 clip_value:r=0"

const Operation operations[] = {
    {"matmul", "a:fND b:fDM out:FNM", FASTNN_BOTH(Matmul), nullptr},
    {"affine_forward", "x:fND W:fDM b:f?M activation:a alpha:r=0 out:FNM", FASTNN_BOTH(AffineForward), nullptr},
    {"affine_backward", "dout:fNM x:fND W:fDM dW:F?DM db:F?M dx:F?ND", FASTNN_BOTH(AffineBackward), nullptr},
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
    {"sigmoid_cross_entropy_forward", "x:f* t:f* epsilon:r=0 y:F*", FASTNN_BOTH(SigmoidLossForward), nullptr},
    {"sigmoid_cross_entropy_backward", "y:f* t:f* dout:r=1 dx:G*", FASTNN_BOTH(SigmoidLossBackward), nullptr},
    {"squared_error_forward", "y:f* t:f*", FASTNN_BOTH(SquaredErrorForward), nullptr},
    {"squared_error_backward", "y:f* t:f* scale:r dx:G*", FASTNN_BOTH(SquaredErrorBackward), nullptr},
    {"sgd_update", "params:U grads:L lr:r" FASTNN_TAIL, FASTNN_BOTH(Sgd), nullptr},
    {"momentum_update", "params:U grads:L v:U lr:r momentum:r" FASTNN_TAIL, FASTNN_BOTH(Momentum), nullptr},
    {"nesterov_update", "params:U grads:L v:U lr:r momentum:r lookahead:b" FASTNN_TAIL, FASTNN_BOTH(Nesterov), nullptr},
    {"adagrad_update", "params:U grads:L h:U lr:r epsilon:r" FASTNN_TAIL, FASTNN_BOTH(AdaGrad), nullptr},
    {"rmsprop_update", "params:U grads:L h:U lr:r decay_rate:r epsilon:r" FASTNN_TAIL, FASTNN_BOTH(RmsProp), nullptr},
    {"adam_update", "params:U grads:L m:U v:U lr:r beta1:r beta2:r epsilon:r step:r decoupled:b=0" FASTNN_TAIL,
     FASTNN_BOTH(Adam), nullptr},
};

}  // namespace

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
