#include "families.h"
#include "function.h"

namespace fastnn {
namespace {
using namespace py::literals;

template <class T> Mat<T> rows(Mat<T> m, idx begin, idx end) { return {m.row(begin), end - begin, m.cols, m.rs, m.cs}; }

// Matrices in pairs. Few large ones have all threads each, one after the other.
template <class T> py::object matmul_pairs(py::handle a_, py::handle b_, py::handle out_) {
  constexpr idx kSlots = 32;  // most threads
  const StridedMat<T> a(a_, 3), b(b_, 3);
  if (!a || !b || a.count() != b.count() || a.mat().cols != b.mat().rows) return py::none();
  const idx count = a.count(), M = a.mat().rows, K = a.mat().cols, N = b.mat().cols;
  const Out<T> out(out_, {count, M, N}, {a.range(), b.range()});
  if (!out) return py::none();
  const auto& kernels = active<T>().affine;
  const double work = 2.0 * double(M) * double(N) * double(K) + 2.0 * sizeof(T) * double(M * K + K * N + M * N);
  const bool one_by_one = count < kSlots && work > kReleaseWork;
  const idx slots = std::min(count, kSlots), each = (kernels.product_workspace(M, N, K) + 63) / 64 * 64;
  Scratch scratch(size_t(one_by_one ? kernels.matmul_workspace(M, N, K) : slots * each));
  struct Pairs {
    const StridedMat<T>&a, &b;
    T* out;
    char* scratch;
    idx size, each, next, end;
    Mat<T> result(idx i) const { return row_major(out + i * size, a.mat().rows, b.mat().cols); }
  } pairs{a, b, out.data(), scratch.as<char>(), M * N, each, 0, 0};
  run_rows(count, work * double(count), [&](idx begin, idx end) {
    pairs.next = begin, pairs.end = end;
    for (idx i = begin; one_by_one && i < end; ++i) kernels.matmul(a.mat(i), b.mat(i), pairs.result(i), scratch);
    if (!one_by_one)
      share(
          slots, work * double(end - begin),
          [](const void* f, idx slot) {
            auto& p = *static_cast<Pairs*>(const_cast<void*>(f));
            for (idx i; (i = __atomic_fetch_add(&p.next, 1, __ATOMIC_RELAXED)) < p.end;)
              active<T>().affine.product(p.a.mat(i), p.b.mat(i), p.result(i), false, p.scratch + slot * p.each);
          },
          &pairs);
  });
  return out.object();
}

py::object matmul(py::handle a_, py::handle b_, py::handle out_) {
  return by_dtype(a_, [&]<class T>() -> py::object {
    if (as_array(a_, 0, 3)) return matmul_pairs<T>(a_, b_, out_);
    const StridedMat<T> a_in(a_), b_in(b_);
    if (!a_in || !b_in) return py::none();
    const Mat<const T> a = a_in.mat(), b = b_in.mat();
    if (a.cols != b.rows) return py::none();
    Out<T> out(out_, {a.rows, b.cols}, {a_in.range(), b_in.range()});
    if (!out) return py::none();
    const auto& kernels = active<T>().affine;
    const Mat<T> result = out.mat();
    Scratch scratch(kernels.matmul_workspace(a.rows, b.cols, a.cols));
    run_rows(a.rows, 2.0 * double(a.rows) * double(a.cols) * double(b.cols),
             [&](idx begin, idx end) { kernels.matmul(rows(a, begin, end), b, rows(result, begin, end), scratch); });
    return out.object();
  });
}

py::object affine_forward(py::handle x_, py::handle W_, py::handle b_, py::handle activation, Real alpha,
                          py::handle out_) {
  return by_promoted_dtype(x_, W_, [&]<class T>() -> py::object {
    const In<T> W(W_, 2, true), x(x_, 2, true);
    Activation kind;
    if (!x || !W || x.dim(1) != W.dim(0) || !parse_activation(activation, kind) || !alpha.ok) return py::none();
    const idx N = x.dim(0), D = W.dim(0), M = W.dim(1);
    const OptionalVec<T> b(b_, M);
    if (!b) return py::none();
    Out<T> out(out_, {N, M}, {x.range(), W.range(), b.range()});
    if (!out) return py::none();
    const auto& kernels = active<T>().affine;
    const Mat<T> result = out.mat();
    Scratch scratch(kernels.forward_workspace(N, D, M));
    run_rows(N, 2.0 * double(N) * double(D) * double(M), [&](idx begin, idx end) {
      kernels.forward(rows(x.mat(), begin, end), W.mat(), b.data(), kind, T(alpha), rows(result, begin, end), scratch);
    });
    return out.object();
  });
}

py::object affine_backward(py::handle dout_, py::handle x_, py::handle W_, py::handle dW_, py::handle db_,
                           py::handle dx_) {
  return by_promoted_dtype(dout_, W_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 2, true), x(x_, 2, true), W(W_, 2, true);
    if (!dout || !x || !W) return py::none();
    const idx N = x.dim(0), D = W.dim(0), M = W.dim(1);
    if (dout.dim(0) != N || dout.dim(1) != M || x.dim(1) != D) return py::none();
    Out<T> dW(dW_, {D, M}, {dout.range(), x.range(), W.range()});
    if (!dW) return py::none();
    Out<T> db(db_, {M}, {dout.range(), x.range(), W.range(), dW.range()});
    if (!db) return py::none();
    Out<T> dx(dx_, {N, D}, {dout.range(), x.range(), W.range(), dW.range(), db.range()});
    if (!dx) return py::none();
    const auto& kernels = active<T>().affine;
    Scratch scratch(kernels.backward_workspace(N, D, M));
    const double work = 4.0 * double(N) * double(D) * double(M);
    if (work < active_table->chunk_work) {
      run(work, [&] { kernels.backward(dout.mat(), x.mat(), W.mat(), dx.mat(), dW.mat(), db.data(), false, scratch); });
    } else {  // long: dx by rows of the batch, dW by rows of W, each in chunks
      run_rows(N, work / 2, [&](idx begin, idx end) {
        kernels.backward(rows(dout.mat(), begin, end), {}, W.mat(), rows(dx.mat(), begin, end), {}, nullptr, false,
                         scratch);
      });
      run_rows(D, work / 2, [&](idx begin, idx end) {
        const Mat<const T> columns{x.data() + begin, N, end - begin, D, 1};
        kernels.backward(dout.mat(), columns, {}, {}, rows(dW.mat(), begin, end), begin ? nullptr : db.data(), false,
                         scratch);
      });
    }
    return py::make_tuple(dx.object(), dW.object(), db.object());
  });
}

}  // namespace

void bind_affine(py::module_& m) {
  const py::object none = py::none();
  define<matmul>(m, "matmul", "a b out", {none});
  define<affine_forward>(m, "affine_forward", "x W b activation alpha out",
                         {py::str("identity"), py::float_(0.0), none});
  define<affine_backward>(m, "affine_backward", "dout x W dW db dx", {none, none, none});
}

}  // namespace fastnn
