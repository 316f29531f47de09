#include "attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "arguments.h"
#include "families.h"
#include "function.h"

namespace fastnn {
namespace {

// Queries and keys of a block: scores of 128 KiB in float32 stay in L2 beside the keys and values.
constexpr idx kQueryBlock = 64, kKeyBlock = 512;
// Sums of dk and dv that are made side by side where there are few heads, then added in order.
constexpr idx kParts = 8;
constexpr idx kSlots = 32;                                  // most threads of a call
constexpr idx kMost = std::numeric_limits<int32_t>::max();  // elements along an axis

constexpr idx round_up(idx n, idx unit) { return (n + unit - 1) / unit * unit; }

template <class T> const Kernels<T>& kernels_of(const KernelTable& table) {
  if constexpr (std::is_same_v<T, float>)
    return table.f32;
  else
    return table.f64;
}

// A block of queries, and the keys [0, seen) that they may look at.
struct Block {
  idx first, rows, seen;
  idx allowed;  // keys that the first query may look at; the next ones one more each
  idx blind;    // queries, the first ones, that look at nothing
  const uint8_t* mask;

  Block(const Attention& a, idx head, idx number)
      : first(number * kQueryBlock),
        rows(std::min(a.queries - first, kQueryBlock)),
        allowed(a.causal ? first + 1 + a.offset : a.keys),
        mask(a.mask ? a.mask + head / a.heads * a.keys : nullptr) {
    seen = std::clamp(a.causal ? allowed + rows - 1 : a.keys, idx(0), a.keys);
    idx open = 0;
    while (mask && open < seen && !mask[open]) ++open;
    blind = open >= seen ? rows : std::clamp(open + 1 - allowed, idx(0), rows);
  }
  bool looks(idx query, idx key) const { return key < allowed + query && (!mask || mask[key]); }
  bool all_look() const { return allowed >= seen && !mask; }  // every query at every key
  // Whether a query does not look at one of the keys [begin, begin + x.rows) whose row in x is not finite.
  template <class T> bool spoils(const AttentionKernels<T>& kernels, Mat<const T> x, idx begin) const {
    if (all_look()) return false;
    const auto finite = [&](idx from, idx to) {  // rows of x
      return from >= to || kernels.finite({x.row(from), to - from, x.cols, x.rs, 1});
    };
    const idx later = std::clamp(allowed - begin, idx(0), x.rows);  // from here on the first query does not look
    for (idx j = 0, end; mask && j < later; j = end + 1) {  // [j, end): nobody looks; then one that is looked at
      for (end = j; end < later && !mask[begin + end];) ++end;
      if (!finite(j, end)) return true;
    }
    return !finite(later, x.rows);
  }
  // The mask of keys [begin, begin + n) as numbers.
  template <class T> const T* open(idx begin, idx n, T* to) const {
    if (!mask) return nullptr;
    for (idx j = 0; j < n; ++j) to[j] = T(mask[begin + j] != 0);
    return to;
  }
};

template <class T> Mat<const T> read(Mat<T> m) { return {m.data, m.rows, m.cols, m.rs, m.cs}; }

// out (+)= p @ x without the terms where row i of p does not look at row j of x: p is 0 there, but x may be NaN or
// infinite. As the plain product, with 0 in the place of such elements, and then the terms that count. copy: as x.
template <class T, class Product, class Looks> void careful_product(Mat<const T> p, Mat<const T> x, Mat<T> out,
                                                                    bool accumulate, T* copy, Product product,
                                                                    Looks looks) {
  const Mat<T> clean = row_major(copy, x.rows, x.cols);
  for (idx j = 0; j < x.rows; ++j)
    for (idx c = 0; c < x.cols; ++c) clean.row(j)[c] = std::isfinite(x.row(j)[c]) ? x.row(j)[c] : T(0);
  product(p, read(clean), out, accumulate);
  for (idx j = 0; j < x.rows; ++j)
    for (idx c = 0; c < x.cols; ++c)
      for (idx i = 0; i < p.rows && !std::isfinite(x.row(j)[c]); ++i)
        if (looks(i, j)) out.row(i)[c] += p.data[i * p.rs + j * p.cs] * x.row(j)[c];
}

}  // namespace

double Attention::work() const {
  return double(N) * double(heads) * double(queries) * double(keys) *
         (gradients ? 6.0 * double(D) + 4.0 * double(M) + 64 : 2.0 * double(D + M) + 32);
}
idx Attention::blocks() const { return (queries + kQueryBlock - 1) / kQueryBlock; }
idx Attention::parts() const {
  const idx all = N * heads;
  return gradients && all > 0 && all < kParts ? std::clamp(kParts / all, idx(1), std::max(blocks(), idx(1))) : 1;
}
idx Attention::units() const { return N * heads * (gradients ? parts() : blocks()); }

// Sizes in elements.
template <class T> struct Attention::Layout {
  const Attention& a;
  const Kernels<T>& kernels;
  idx ld, product;                     // from row to row of scores; scratch of a product
  idx open, top, panels, clean, slot;  // places in the scratch of a thread, and its size
  idx slots, partial;                  // a part's sums of dk and dv, 0: none
  T scale;

  Layout(const Attention& attention, const KernelTable& table) : a(attention), kernels(kernels_of<T>(table)) {
    constexpr idx line = 64 / idx(sizeof(T));
    const bool back = a.gradients;
    const idx rows = std::min(kQueryBlock, a.queries), keys = back ? a.keys : std::min(kKeyBlock, a.keys);
    ld = round_up(keys, line);
    if (ld / line % 2 == 0) ld += line;  // an odd number of cache lines: the rows of a column meet all sets
    const auto bytes = kernels.affine.product_workspace;
    product = std::max(bytes(rows, keys, std::max(a.D, back ? a.M : 0)), bytes(rows, std::max(a.M, a.D), keys));
    if (back) product = std::max(product, bytes(keys, std::max(a.D, a.M), rows));
    open = (back ? 2 : 1) * rows * ld, top = open + ld, panels = top + 2 * kQueryBlock;
    panels = round_up(panels, line), clean = panels + round_up(product / idx(sizeof(T)) + 1, line);
    const idx most = back ? std::max(keys * a.D, rows * std::max(a.D, a.M)) : keys * a.M;
    slot = clean + (a.mask || a.causal ? round_up(most, line) : 0);
    slots = std::min(a.units(), kSlots);
    partial = a.parts() > 1 ? round_up(a.keys * (a.D + a.M), line) : 0;
    scale = T(1 / std::sqrt(double(std::max(a.D, idx(1)))));
  }
  // Steps [first, first + count) of a head of x (N, length, heads, width).
  template <class X> Mat<X> steps(X* x, idx head, idx length, idx width, idx first, idx count) const {
    return {x + ((head / a.heads * length + first) * a.heads + head % a.heads) * width, count, width, a.heads * width,
            1};
  }
};

template <class T> idx Attention::workspace(const KernelTable& table) const {
  const Layout<T> layout(*this, table);
  return (layout.slots * layout.slot + units() * layout.partial) * idx(sizeof(T));
}

// Over blocks of keys, with the largest score and the sum of each query so far (Milakov and Gimelshein 2018; Dao et al.
// 2022).
template <class T> void Attention::forward(const Layout<T>& layout, idx unit, T* scratch) const {
  const idx head = unit / blocks();
  const Block b(*this, head, unit % blocks());
  const auto& kernels = layout.kernels;
  T *const top = scratch + layout.top, *const sum = top + kQueryBlock, *const panels = scratch + layout.panels;
  const Mat<const T> query = layout.steps(static_cast<const T*>(q), head, queries, D, b.first, b.rows);
  const Mat<T> result = layout.steps(static_cast<T*>(out), head, queries, M, b.first, b.rows);
  std::fill(top, top + kQueryBlock, -std::numeric_limits<T>::infinity());
  std::fill(sum, sum + kQueryBlock, T(0));
  for (idx begin = 0; begin < b.seen; begin += kKeyBlock) {
    const idx n = std::min(b.seen - begin, kKeyBlock);
    const Mat<T> score{scratch, b.rows, n, layout.ld, 1};
    kernels.affine.product(query, transposed(layout.steps(static_cast<const T*>(k), head, keys, D, begin, n)), score,
                           false, panels);
    kernels.attention.weights(score, b.allowed - begin, b.open(begin, n, scratch + layout.open), layout.scale, top, sum,
                              begin ? result : Mat<T>{});
    const auto product = [&](Mat<const T> x, Mat<const T> y, Mat<T> to, bool accumulate) {
      kernels.affine.product(x, y, to, accumulate, panels);
    };
    const Mat<const T> value = layout.steps(static_cast<const T*>(v), head, keys, M, begin, n);
    if (!b.spoils(kernels.attention, value, begin))
      product(read(score), value, result, begin > 0);
    else
      careful_product(read(score), value, result, begin > 0, scratch + layout.clean, product,
                      [&](idx query, idx key) { return b.looks(query, begin + key); });
  }
  kernels.attention.divide(result, sum, b.blind);
}

// The blocks of queries of one part: each with the weights to all keys, made anew. sums: of dk and dv, or null.
template <class T> void Attention::backward(const Layout<T>& layout, idx unit, T* scratch, T* sums) const {
  const idx head = unit / parts(), part = unit % parts();
  const auto& kernels = layout.kernels;
  const auto all = [&](const void* x, idx width) {
    return layout.steps(static_cast<T*>(const_cast<void*>(x)), head, keys, width, 0, keys);
  };
  const Mat<T> dkey = sums ? row_major(sums, keys, D) : all(dk, D),
               dvalue = sums ? row_major(sums + keys * D, keys, M) : all(dv, M);
  for (idx j = 0; j < keys; ++j) std::fill_n(dkey.row(j), D, T(0)), std::fill_n(dvalue.row(j), M, T(0));
  T *const top = scratch + layout.top, *const sum = top + kQueryBlock, *const panels = scratch + layout.panels;
  for (idx number = part; number < blocks(); number += parts()) {
    const Block b(*this, head, number);
    const auto rows = [&](const void* x, idx width) {
      return layout.steps(static_cast<T*>(const_cast<void*>(x)), head, queries, width, b.first, b.rows);
    };
    const auto seen = [&](Mat<T> m) { return Mat<T>{m.data, b.seen, m.cols, m.rs, 1}; };
    const Mat<T> query = rows(q, D), gradient = rows(dout, M), key = seen(all(k, D)), value = seen(all(v, M));
    const Mat<T> p{scratch, b.rows, b.seen, layout.ld, 1},
        g{scratch + b.rows * layout.ld, b.rows, b.seen, layout.ld, 1};
    const auto product = [&](Mat<const T> x, Mat<const T> y, Mat<T> to, bool accumulate) {
      kernels.affine.product(x, y, to, accumulate, panels);
    };
    product(read(query), read(transposed(key)), p, false);
    product(read(gradient), read(transposed(value)), g, false);
    std::fill(top, top + kQueryBlock, -std::numeric_limits<T>::infinity());
    std::fill(sum, sum + kQueryBlock, T(0));
    const T* const open = b.open(0, b.seen, scratch + layout.open);
    kernels.attention.weights(p, b.allowed, open, layout.scale, top, sum, {});
    kernels.attention.gradients(p, g, b.allowed, open, sum, b.blind, layout.scale);
    T* const clean = scratch + layout.clean;
    const auto for_keys = [&](Mat<T> x, Mat<T> y, Mat<T> to) {  // y: of the queries
      if (b.all_look() || kernels.attention.finite(read(y))) return product(read(transposed(x)), read(y), to, true);
      careful_product(read(transposed(x)), read(y), to, true, clean, product,
                      [&](idx at, idx from) { return b.looks(from, at); });
    };
    for_keys(g, query, seen(dkey));
    for_keys(p, gradient, seen(dvalue));
    if (!b.spoils(kernels.attention, read(key), 0))
      product(read(g), read(key), rows(dq, D), false);
    else
      careful_product(read(g), read(key), rows(dq, D), false, clean, product,
                      [&](idx query, idx at) { return b.looks(query, at); });
  }
}

template <class T> void Attention::run(const KernelTable& table, idx begin, idx end, void* scratch) const {
  const Layout<T> layout(*this, table);
  struct Run {
    const Attention& a;
    const Layout<T>& layout;
    T *memory, *sums;
    idx next, end;
  } state{*this, layout, static_cast<T*>(scratch), static_cast<T*>(scratch) + layout.slots * layout.slot, begin, end};
  const double work = this->work() * double(end - begin) / double(std::max(units(), idx(1)));
  // A thread takes the next unit when it has done one.
  share(
      layout.slots, work,
      [](const void* f, idx slot) {
        Run& run = *static_cast<Run*>(const_cast<void*>(f));
        T* const own = run.memory + slot * run.layout.slot;
        for (idx unit; (unit = __atomic_fetch_add(&run.next, 1, __ATOMIC_RELAXED)) < run.end;) {
          if (!run.a.gradients)
            run.a.forward(run.layout, unit, own);
          else
            run.a.backward(run.layout, unit, own, run.layout.partial ? run.sums + unit * run.layout.partial : nullptr);
        }
      },
      &state);
  if (!layout.partial || end < units()) return;
  share(
      N * heads * 2, double(units() * layout.partial) * sizeof(T),
      [](const void* f, idx i) {
        const Run& run = *static_cast<const Run*>(f);
        const Attention& a = run.a;
        const idx head = i / 2, width = i % 2 ? a.M : a.D, parts = a.parts();
        const T* const sums = run.sums + head * parts * run.layout.partial + (i % 2 ? a.keys * a.D : 0);
        run.layout.kernels.attention.total(
            run.layout.steps(static_cast<T*>(i % 2 ? a.dv : a.dk), head, a.keys, width, 0, a.keys), sums, parts,
            run.layout.partial);
      },
      &state);
}

#define FASTNN_INSTANTIATE(T)                                           \
  template idx Attention::workspace<T>(const KernelTable& table) const; \
  template void Attention::run<T>(const KernelTable& table, idx begin, idx end, void* scratch) const;
FASTNN_INSTANTIATE(float)
FASTNN_INSTANTIATE(double)
#undef FASTNN_INSTANTIATE

namespace {

// q (N, queries, D) or (N, queries, heads, D), k, v and dout alike; mask (N, keys) of bool or None.
struct Call : Arguments {
  Attention a{};
  bool split = false;  // into heads

  Call(const py::handle* args) {  // q, k, v, mask, causal, offset
    const ArrayProxy *q = begin(args[0], -1), *v = as_array(args[2], kPlain, -1), *k = as_array(args[1], kPlain, -1);
    ok = ok && k && v && (q->nd == 3 || q->nd == 4) && k->nd == q->nd && v->nd == q->nd;
    if (!ok) return;
    split = q->nd == 4;
    a.N = q->dimensions[0], a.queries = q->dimensions[1], a.keys = k->dimensions[1];
    a.heads = split ? q->dimensions[2] : 1, a.D = q->dimensions[q->nd - 1], a.M = v->dimensions[q->nd - 1];
    for (idx n : {a.N, a.queries, a.keys, a.heads, a.D, a.M}) ok = ok && n <= kMost;
    a.q = read(args[0], a.queries, a.D), a.k = read(args[1], a.keys, a.D), a.v = read(args[2], a.keys, a.M);
    a.causal = flag(args[4]);
    ok = ok && parse_offset(args[5]);
    if (!ok || args[3].is_none()) return;
    const ArrayProxy* const mask = as_array(args[3], kPlain, 2);
    ok = mask && type_of(mask) == NumpyApi::NPY_BOOL_ && mask->dimensions[0] == a.N && mask->dimensions[1] == a.keys;
    if (!ok) return;
    note(mask);
    a.mask = reinterpret_cast<const uint8_t*>(mask->data);
  }
  bool parse_offset(py::handle h) {
    if (!PyLong_CheckExact(h.ptr())) return false;
    int overflow;
    a.offset = PyLong_AsLongLongAndOverflow(h.ptr(), &overflow);
    return !overflow && -kMost <= a.offset && a.offset <= kMost && (a.causal || !a.offset);
  }
  const void* read(py::handle h, idx steps, idx width) {
    return split ? in(h, {a.N, steps, a.heads, width}) : in(h, {a.N, steps, width});
  }
  void* make(py::handle h, idx steps, idx width) {
    return split ? out(h, {a.N, steps, a.heads, width}) : out(h, {a.N, steps, width});
  }
  template <class T> void run_as() {
    const idx units = a.units();
    Scratch scratch(size_t(a.workspace<T>(*active_table)));
    const double chunks = a.work() / active_table->chunk_work;
    if (chunks <= 1) return run(a.work(), [&] { a.run<T>(*active_table, 0, units, scratch); });
    const idx step = std::max(idx(double(units) / chunks), kParts);  // then a look for Ctrl-C
    for (idx first = 0; first < units; first += step) {
      {
        const WithoutGil without;
        a.run<T>(*active_table, first, std::min(first + step, units), scratch);
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }
  py::object finish() {
    if (ok && !a.empty()) size == sizeof(float) ? run_as<float>() : run_as<double>();
    return result();
  }
};

py::object forward(const py::handle* args) {
  Call call(args);
  call.a.out = call.make(args[6], call.a.queries, call.a.M);
  return call.finish();
}
py::object backward(const py::handle* args) {
  Call call(args + 1);
  call.a.gradients = true;
  call.a.dout = call.read(args[0], call.a.queries, call.a.M);
  call.a.dq = call.make(args[7], call.a.queries, call.a.D), call.a.dk = call.make(args[8], call.a.keys, call.a.D);
  call.a.dv = call.make(args[9], call.a.keys, call.a.M);
  return call.finish();
}

}  // namespace

void bind_attention(py::module_& m) {
  const py::object none = py::none(), zero = py::int_(0), no = py::bool_(false);
  define(m, "scaled_dot_product_attention_forward", "q k v mask causal offset out", {none, no, zero, none}, forward);
  define(m, "scaled_dot_product_attention_backward", "dout q k v mask causal offset dq dk dv",
         {none, no, zero, none, none, none}, backward);
}

}  // namespace fastnn
