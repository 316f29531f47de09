// THE list of native operations: one struct of function pointers per family and dtype, filled once per instruction set.
#pragma once
#include "views.h"

namespace fastnn {

// Element-wise kinds, in the order of the enumeration: the names are those of ACTIVATIONS in numpy_backend.
// clang-format off
#define FASTNN_ACTIVATIONS(X)                                                                                   \
  X(identity) X(step) X(sigmoid) X(tanh) X(relu) X(leaky_relu) X(elu) X(selu) X(softplus) X(softsign)           \
  X(hard_sigmoid) X(swish) X(gelu) X(gelu_tanh) X(mish)
// clang-format on
#define FASTNN_ENUMERATOR(name) name,
enum class Activation : int { FASTNN_ACTIVATIONS(FASTNN_ENUMERATOR) };
#undef FASTNN_ENUMERATOR

// y[0, n) = kind(y). Products and convolutions that end with an activation are given the function of their own
// instruction set: kernels never look at the active table, which may be another one by the time a plan runs.
template <class T> using Activate = void (*)(int kind, T alpha, T* y, idx n);

template <class T> struct AffineKernels {
  idx (*matmul_workspace)(idx M, idx N, idx K);  // bytes of 64-byte aligned scratch
  void (*matmul)(Mat<const T> a, Mat<const T> b, Mat<T> out, void* scratch);
  // The same, or out += a @ b, by the thread that calls: a part of something larger.
  idx (*product_workspace)(idx M, idx N, idx K);
  void (*product)(Mat<const T> a, Mat<const T> b, Mat<T> out, bool accumulate, void* scratch);
  idx (*forward_workspace)(idx N, idx D, idx M);
  void (*forward)(Mat<const T> x, Mat<const T> W, const T* b, Activation kind, T alpha, Activate<T> activate,
                  Mat<T> out, void* scratch);
  // With W packed once, to zeroed memory of packed_elements. skip_zeros: those of a single row x; same bits for finite
  // W.
  idx (*packed_elements)(idx D, idx M);
  void (*pack)(Mat<const T> W, T* packed);
  void (*forward_packed)(Mat<const T> x, Mat<const T> W, const T* packed, const T* b, Activation kind, T alpha,
                         Activate<T> activate, bool skip_zeros, Mat<T> out, void* scratch);
  idx (*backward_workspace)(idx N, idx D, idx M);
  // An output whose data is null is not computed. dW and db go on from what is there when `accumulate`.
  void (*backward)(Mat<const T> dout, Mat<const T> x, Mat<const T> W, Mat<T> dx, Mat<T> dW, T* db, bool accumulate,
                   void* scratch);
};

template <class T> struct ActivationKernels {
  void (*forward)(Activation kind, T alpha, Vec<const T> x, T* out);
  void (*backward)(Activation kind, T alpha, Vec<const T> dout, const T* saved, T* dx);
  Activate<T> in_place;
  void (*relu_forward)(Vec<const T> x, T* out, uint64_t* mask);
  void (*relu_backward)(Vec<const T> dout, const uint64_t* mask, T* dx);
};

template <class T> struct CrossEntropyTarget {
  const int64_t* labels;  // (N) in [-1, V), -1: the row does not count; or null
  const T* targets;       // (N, V), or null
  const T* weight;        // (V) of the classes, or null
  double smoothing;
};
template <class T> struct SoftmaxKernels {
  void (*forward)(Mat<const T> x, T* out);
  void (*backward)(Mat<const T> dout, const T* y, T* dx);
  void (*log_forward)(Mat<const T> x, T* out);
  void (*log_backward)(Mat<const T> dout, const T* y, T* dx);
  void (*argmax)(Mat<const T> x, int64_t* out);
  // `partial`: row_blocks(N, V) or blocks(n) numbers. Losses are sums, not yet divided.
  idx (*row_blocks)(idx N, idx V);
  idx (*blocks)(idx n);
  bool (*one_hot_labels)(Mat<const T> t, int64_t* labels);  // false: t is not one-hot
  double (*cross_entropy_divisor)(const CrossEntropyTarget<T>& t, idx N);
  // y may be x.
  double (*cross_entropy_forward)(Mat<const T> x, CrossEntropyTarget<T> t, T epsilon, T* y, double* partial);
  void (*cross_entropy_backward)(Mat<const T> y, CrossEntropyTarget<T> t, double scale, T* dx);
  double (*sigmoid_loss_forward)(Vec<const T> x, const T* t, T epsilon, T* y, double* partial);
  double (*squared_error_forward)(Vec<const T> y, const T* t, double* partial);
  void (*difference_backward)(Vec<const T> y, const T* t, T scale, T* dx);  // scale (y - t)
};

template <class T> struct PoolKernels {  // arg: uint8, int32 for windows of more than 256
  idx (*max_workspace)(const PoolShape& s);
  void (*max_forward)(const T* x, const PoolShape& s, T* out, void* arg, void* scratch);
  bool (*places_fit)(const void* arg, idx n, idx size);
  void (*max_backward)(const T* dout, const void* arg, const PoolShape& s, T* dx);
  idx (*avg_workspace)(const PoolShape& s);
  void (*avg_forward)(const T* x, const PoolShape& s, bool count_include_pad, T* out, void* scratch);
  void (*avg_backward)(const T* dout, const PoolShape& s, bool count_include_pad, T* dx, void* scratch);
};

template <class T> struct NormKernels {
  // Columns: every (D) vector belongs to those of x (N, D). `partial`: partials(N, D) numbers.
  idx (*partials)(idx N, idx D);
  void (*forward)(Mat<const T> x, const T* gamma, const T* beta, T epsilon, Mat<T> out, T* mean, T* var, T* partial);
  void (*inference)(Mat<const T> x, const T* gamma, const T* beta, const T* mean, const T* var, T epsilon, Mat<T> out);
  void (*backward)(Mat<const T> dout, Mat<const T> x, const T* gamma, const T* mean, const T* var, T epsilon, Mat<T> dx,
                   T* dgamma, T* dbeta, T* partial);
  // Channels: every vector (C); dout, out and dx are laid out as x. `partial`: channel_partials(N, C, S) numbers.
  idx (*channel_partials)(idx N, idx C, idx S);
  void (*channel_forward)(Channels<const T> x, const T* gamma, const T* beta, T epsilon, T* out, T* mean, T* var,
                          T* partial);
  void (*channel_inference)(Channels<const T> x, const T* gamma, const T* beta, const T* mean, const T* var, T epsilon,
                            T* out);
  void (*channel_backward)(const T* dout, Channels<const T> x, const T* gamma, const T* mean, const T* var, T epsilon,
                           T* dx, T* dgamma, T* dbeta, T* partial);
  // Groups: gamma and beta (G K), mean and rstd (N, G). `partial`: group_partials(s) numbers.
  void (*group_forward)(const T* x, const GroupShape& s, const T* gamma, const T* beta, T epsilon, T* out, T* mean,
                        T* rstd);
  idx (*group_partials)(const GroupShape& s);
  void (*group_backward)(const T* dout, const T* x, const GroupShape& s, const T* gamma, const T* mean, const T* rstd,
                         T* dx, T* dgamma, T* dbeta, T* partial);
  // The same in steps: blocks of images from `first` on, all of 0 ... group_blocks(s) - 1 in order.
  idx (*group_blocks)(const GroupShape& s);
  void (*group_backward_blocks)(const T* dout, const T* x, const GroupShape& s, const T* gamma, const T* mean,
                                const T* rstd, T* dx, T* dgamma, T* dbeta, T* partial, idx first, idx last);
};

constexpr idx kTwisterWords = 624;  // state of MT19937, without the position
template <class T> struct RandomKernels {
  // Elements 64 * first_word and on of a larger array: a part has the bits of the whole.
  void (*dropout_forward)(Vec<const T> x, idx first_word, double ratio, uint64_t key, T scale, T* out, uint64_t* mask);
  void (*dropout_backward)(Vec<const T> dout, const uint64_t* mask, T scale, T* dx);
  void (*legacy_dropout_forward)(Vec<const T> x, double ratio, T scale, uint32_t* state, T* out, uint64_t* mask);
  void (*draw_mask)(idx n, double ratio, uint64_t key, uint64_t* mask);
  // Whole channels, from `first` on, of S elements: dx = dout * bit * scale.
  void (*channel_dropout)(const T* dout, idx first, idx channels, idx S, const uint64_t* mask, T scale, T* dx);
};

// transformed: winograd whose W was transformed before.
enum class ConvAlgorithm : int { automatic, direct, winograd, transformed };
template <class T> struct ConvKernels {
  // Direct or Winograd: what is wanted, or what is faster; direct where Winograd's does not apply.
  ConvAlgorithm (*choose)(const ConvShape& s, ConvAlgorithm wanted);
  // Scratch in bytes of any of the three below, by the chosen algorithm; grows with N.
  idx (*workspace)(const ConvShape& s, ConvAlgorithm algorithm);
  void (*forward)(const ConvShape& s, ConvAlgorithm algorithm, const T* x, const T* W, const T* b, Activation kind,
                  T alpha, Activate<T> activate, T* out, void* scratch);
  // The W of ConvAlgorithm::transformed, for any N, where `choose` gives winograd.
  idx (*transformed_elements)(const ConvShape& s);
  void (*transform)(const ConvShape& s, const T* W, T* transformed);
  // dx (+ b of every channel, if not null), which is also the forward pass of a transposed convolution.
  void (*backward_input)(const ConvShape& s, ConvAlgorithm algorithm, const T* dout, const T* W, const T* b, T* dx,
                         void* scratch);
  // dW, and db (F) if not null; both are added to what is there when `accumulate`.
  void (*backward_weight)(const ConvShape& s, ConvAlgorithm algorithm, const T* dout, const T* x, T* dW, T* db,
                          bool accumulate, void* scratch);
  // Over samples and positions of x (N, C, area).
  void (*channel_sums)(const T* x, idx N, idx C, idx area, T* sums, bool accumulate);
  idx (*patch_workspace)(const ConvShape& s);
  void (*im2col)(const ConvShape& s, const T* x, T* col, void* scratch);  // s: F, groups and dilation do not count
  void (*col2im)(const ConvShape& s, const T* col, T* x, void* scratch);
};

enum class Optimizer : int { sgd, momentum, nesterov, adagrad, rmsprop, adam };
template <class T> struct OptimArray {
  T* p;        // parameter
  const T* g;  // gradient
  T *s, *t;    // states: v of momentum and Nesterov, h of AdaGrad and RMSprop, m and v of Adam
  idx n;
};
struct OptimSettings {
  double lr, first = 0, second = 0;  // first: momentum, decay rate or beta1; second: beta2; lr of Adam: bias-corrected
  double epsilon = 0, decoupled_decay = 0;
  double grad_scale = 1, clip_value = 0, weight_decay = 0;
  bool lookahead = false;
};
template <class T> struct OptimKernels {
  idx (*blocks)(const OptimArray<T>* arrays, idx count);  // length of `partial` below
  void (*update)(Optimizer kind, const OptimArray<T>* arrays, idx count, const OptimSettings& settings);
  double (*sum_of_squares)(const OptimArray<T>* arrays, idx count, double* partial);
  void (*scale)(const OptimArray<T>* arrays, idx count, T scale);
  void (*average)(const OptimArray<T>* arrays, idx count, double momentum, double factor);
};

template <class T> struct EmbeddingKernels {  // index: n rows of the table, all inside it; dout, out (n, D)
  void (*forward)(Mat<const T> W, const int64_t* index, idx n, T* out);
  void (*clear)(Vec<T> x);
  void (*add_rows)(const T* dout, const int64_t* index, idx n, Mat<T> dW);
  void (*sum_rows)(const T* dout, const int64_t* slot, idx n, idx D, idx seen, T* values);
};

enum class Cell : int { rnn, lstm, gru, gru_linear };  // gru_linear: reset after the product, as cuDNN
// A recurrent layer over whole sequences. Step t of sequence n is row n * row_n + t * row_t of an array of steps.
template <class T> struct Sequence {
  Cell cell;
  Activation activation;  // of Cell::rnn
  idx N, steps, D, H, row_n, row_t;
  bool reverse;
  const int64_t* lengths;  // (N) or null: steps t < lengths[n] are taken
  const T *x, *Wx, *b;     // of forward, if RnnKernels::takes_input
  const T *Wh, *b_h, *peephole, *h0, *c0;
  T *hs, *cs, *gates;  // results of forward, and what backward reads; unless takes_input, `gates` (rnn: hs) is x @ Wx +
                       // b before
  const T *dhs, *dcT;  // backward only, from here on
  T *da, *du, *dh0, *dc0;  // da: gradient of x @ Wx + b; du: of the candidate's product with Wh (gru_linear)
  T *before, *reset;       // of each step: the state that it started from; that times r (gru)
  T* dpeephole;
  void (*matmul)(Mat<const T> a, Mat<const T> b, Mat<T> out, void* scratch);
  void* matmul_scratch;
  T* scratch;
  T* panels;  // of forward: Wh packed, as the beginning of scratch is after forward(s, 0, 0) with N > 1; null: not yet
};
// With so few columns of x one pass over da makes dx, dWx and db, by all threads (LSTM (8,1000,1,64), float32,
// training: two threads 1.63 times as fast as one before, now 1.9).
constexpr idx kNarrowInput = 8;
// dx, dWx and db from the gradient da (rows, width) of x @ Wx + b, in blocks of kSumRows rows; D = 0: db alone.
template <class T> struct InputGradients {
  const T *da, *x, *Wx;  // x (rows, D), Wx (D, width)
  T *dx, *dWx, *db;      // dx may be null
  idx rows, D, width;
  T* partial;  // (blocks, D + 1, width)
};
constexpr idx kSumRows = 512;
constexpr idx sum_blocks_of_rows(idx rows) { return (rows + kSumRows - 1) / kSumRows; }
template <class T> struct RnnKernels {
  idx (*workspace)(const Sequence<T>& s, bool backward);  // bytes of s.scratch, 64-byte aligned
  bool (*takes_input)(const Sequence<T>& s);              // whether the steps make x @ Wx + b too; s.D counts
  // Steps [begin, end) of all, in the order of their computation; the first call prepares, that which reaches the last
  // step finishes.
  void (*forward)(const Sequence<T>& s, idx begin, idx end);
  void (*backward)(const Sequence<T>& s, idx begin, idx end);
  void (*input_gradients)(const InputGradients<T>& g, idx begin, idx end);  // blocks in order; the last one finishes
  bool (*any_infinite)(const T* x, idx n);
};

template <class T> struct AttentionKernels {  // see attention.h
  void (*weights)(Mat<T> x, idx allowed, const T* open, T scale, T* top, T* sum, Mat<T> out);
  void (*divide)(Mat<T> out, const T* sum, idx blind);
  void (*gradients)(Mat<T> p, Mat<T> g, idx allowed, const T* open, const T* sum, idx blind, T scale);
  bool (*finite)(Mat<const T> x);
  void (*total)(Mat<T> out, const T* parts, idx count, idx stride);
};

template <class T> struct BranchKernels {
  void (*add)(Vec<const T> a, const T* b, T* out);  // out may be a or b
};

template <class T> struct Kernels {
  AffineKernels<T> affine;
  ActivationKernels<T> activation;
  SoftmaxKernels<T> softmax;
  PoolKernels<T> pool;
  NormKernels<T> norm;
  RandomKernels<T> random;
  OptimKernels<T> optim;
  EmbeddingKernels<T> embedding;
  RnnKernels<T> rnn;
  ConvKernels<T> conv;
  AttentionKernels<T> attention;
  BranchKernels<T> branch;
};

struct KernelTable {
  const char* isa;
  double
      chunk_work;  // scalar operations that take about 50 ms on one thread of this ISA: Ctrl-C is looked for in between
  void (*widen)(const float* from, idx n, double* to);  // a float32 operand beside float64 ones
  Kernels<float> f32;
  Kernels<double> f64;
};

#define FASTNN_FAMILIES(X) \
  X(affine)                \
  X(activation) X(softmax) X(norm) X(random) X(optim) X(embedding) X(conv) X(pool) X(rnn) X(attention) X(branch)

extern const KernelTable* active_table;
template <class T> const Kernels<T>& active();
template <> inline const Kernels<float>& active<float>() { return active_table->f32; }
template <> inline const Kernels<double>& active<double>() { return active_table->f64; }

const KernelTable* find_table(const char* isa);  // null: not built, or this processor cannot run it
const char* const* available_isas(int* count);   // best first

}  // namespace fastnn
