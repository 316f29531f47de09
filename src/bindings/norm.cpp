#include <algorithm>

#include "families.h"
#include "function.h"

namespace fastnn {
namespace {
// A vector (D) for the columns of a matrix.
template <class T> class ColumnVector {
 public:
  ColumnVector(py::handle h, idx D) : in_(h, 1), good_(in_ && in_.dim(0) == D) {}
  explicit operator bool() const { return good_; }
  const T* data() const { return in_.data(); }
  Range range() const { return in_.range(); }

 private:
  In<T> in_;
  bool good_;
};

// Columns begin ... end - 1 of a row-major matrix.
template <class T> Mat<T> columns(Mat<T> m, idx begin, idx end) {
  return {m.data + begin, m.rows, end - begin, m.rs, m.cs};
}

template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }  // estimated scalar operations

// x (N, D), or (N, C, S) with whatever shape S has.
template <class T> struct Batch {
  In<T> x;
  idx N = 0, C = 0, S = 1;
  explicit Batch(py::handle h) : x(h) {
    if (!*this) return;
    N = x.dim(0), C = x.dim(1);
    for (int i = 2; i < x.nd(); ++i) S *= x.dim(i);
  }
  explicit operator bool() const { return x && x.nd() >= 2; }
  Mat<const T> mat() const { return row_major(x.data(), N, C); }
  Channels<const T> channels(idx begin, idx end) const { return {x.data() + begin * S, N, end - begin, S, C * S}; }
};

py::object batch_norm_forward(py::handle x_, py::handle gamma_, py::handle beta_, Real epsilon, py::handle out_,
                              py::handle mean_, py::handle var_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Batch<T> batch(x_);
    if (!batch || !finite_from_0(epsilon)) return py::none();
    const auto& [x, N, C, S] = batch;
    const ColumnVector<T> gamma(gamma_, C), beta(beta_, C);
    if (!gamma || !beta) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range(), gamma.range(), beta.range()});
    if (!out) return py::none();
    Out<T> mean(mean_, {C}, {x.range(), gamma.range(), beta.range(), out.range()});
    if (!mean) return py::none();
    Out<T> var(var_, {C}, {x.range(), gamma.range(), beta.range(), out.range(), mean.range()});
    if (!var) return py::none();
    const auto& kernels = active<T>().norm;
    const bool matrix = batch.S == 1;
    Scratch scratch((matrix ? kernels.partials(N, C) : kernels.channel_partials(N, C, S)) * idx(sizeof(T)));
    run_rows(C, work_of<T>(x.size()), [&](idx begin, idx end) {
      if (matrix)
        kernels.forward(columns(batch.mat(), begin, end), gamma.data() + begin, beta.data() + begin, T(epsilon),
                        columns(row_major(out.data(), batch.N, batch.C), begin, end), mean.data() + begin,
                        var.data() + begin, scratch.as<T>());
      else
        kernels.channel_forward(batch.channels(begin, end), gamma.data() + begin, beta.data() + begin, T(epsilon),
                                out.data() + begin * batch.S, mean.data() + begin, var.data() + begin, scratch.as<T>());
    });
    return py::make_tuple(out.object(), mean.object(), var.object());
  });
}

py::object batch_norm_inference(py::handle x_, py::handle gamma_, py::handle beta_, py::handle mean_, py::handle var_,
                                Real epsilon, py::handle out_) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Batch<T> batch(x_);
    if (!batch || !finite_from_0(epsilon)) return py::none();
    const auto& [x, N, C, S] = batch;
    const ColumnVector<T> gamma(gamma_, C), beta(beta_, C), mean(mean_, C), var(var_, C);
    if (!gamma || !beta || !mean || !var) return py::none();
    Out<T> out(out_, x.nd(), x.shape(), {x.range(), gamma.range(), beta.range(), mean.range(), var.range()});
    if (!out) return py::none();
    const auto& kernels = active<T>().norm;
    run_rows(C, work_of<T>(x.size()), [&](idx begin, idx end) {
      if (batch.S == 1)
        kernels.inference(columns(batch.mat(), begin, end), gamma.data() + begin, beta.data() + begin,
                          mean.data() + begin, var.data() + begin, T(epsilon),
                          columns(row_major(out.data(), batch.N, batch.C), begin, end));
      else
        kernels.channel_inference(batch.channels(begin, end), gamma.data() + begin, beta.data() + begin,
                                  mean.data() + begin, var.data() + begin, T(epsilon), out.data() + begin * batch.S);
    });
    return out.object();
  });
}

py::object batch_norm_backward(py::handle dout_, py::handle x_, py::handle gamma_, py::handle mean_, py::handle var_,
                               Real epsilon, py::handle dx_, py::handle dgamma_, py::handle dbeta_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    const Batch<T> batch(x_);
    if (!dout || !batch || !dout.same_shape(batch.x) || !finite_from_0(epsilon)) return py::none();
    const auto& [x, N, C, S] = batch;
    const ColumnVector<T> gamma(gamma_, C), mean(mean_, C), var(var_, C);
    if (!gamma || !mean || !var) return py::none();
    Out<T> dx(dx_, x.nd(), x.shape(), {dout.range(), x.range(), gamma.range(), mean.range(), var.range()});
    if (!dx) return py::none();
    Out<T> dgamma(dgamma_, {C}, {dout.range(), x.range(), gamma.range(), mean.range(), var.range(), dx.range()});
    if (!dgamma) return py::none();
    Out<T> dbeta(dbeta_, {C},
                 {dout.range(), x.range(), gamma.range(), mean.range(), var.range(), dx.range(), dgamma.range()});
    if (!dbeta) return py::none();
    const auto& kernels = active<T>().norm;
    const bool matrix = batch.S == 1;
    Scratch scratch((matrix ? kernels.partials(N, C) : kernels.channel_partials(N, C, S)) * idx(sizeof(T)));
    run_rows(C, 2 * work_of<T>(x.size()), [&](idx begin, idx end) {
      if (matrix)
        kernels.backward(columns(row_major(dout.data(), batch.N, batch.C), begin, end),
                         columns(batch.mat(), begin, end), gamma.data() + begin, mean.data() + begin,
                         var.data() + begin, T(epsilon), columns(row_major(dx.data(), batch.N, batch.C), begin, end),
                         dgamma.data() + begin, dbeta.data() + begin, scratch.as<T>());
      else
        kernels.channel_backward(dout.data() + begin * batch.S, batch.channels(begin, end), gamma.data() + begin,
                                 mean.data() + begin, var.data() + begin, T(epsilon), dx.data() + begin * batch.S,
                                 dgamma.data() + begin, dbeta.data() + begin, scratch.as<T>());
    });
    return py::make_tuple(dx.object(), dgamma.object(), dbeta.object());
  });
}

// Layer and group normalisation: x (N, D) is one group of D numbers.
template <class T> py::object group_forward(const In<T>& x, GroupShape s, py::handle gamma_, py::handle beta_,
                                            Real epsilon, std::initializer_list<ssize_t> statistics, py::handle out_,
                                            py::handle mean_, py::handle rstd_) {
  const ColumnVector<T> gamma(gamma_, s.G * s.K), beta(beta_, s.G * s.K);
  if (!gamma || !beta || !finite_from_0(epsilon)) return py::none();
  Out<T> out(out_, x.nd(), x.shape(), {x.range(), gamma.range(), beta.range()});
  if (!out) return py::none();
  Out<T> mean(mean_, statistics, {x.range(), gamma.range(), beta.range(), out.range()});
  if (!mean) return py::none();
  Out<T> rstd(rstd_, statistics, {x.range(), gamma.range(), beta.range(), out.range(), mean.range()});
  if (!rstd) return py::none();
  const idx image = s.G * s.K * s.S;
  run_rows(s.N, work_of<T>(x.size()), [&](idx begin, idx end) {
    active<T>().norm.group_forward(x.data() + begin * image, {end - begin, s.G, s.K, s.S}, gamma.data(), beta.data(),
                                   T(epsilon), out.data() + begin * image, mean.data() + begin * s.G,
                                   rstd.data() + begin * s.G);
  });
  return py::make_tuple(out.object(), mean.object(), rstd.object());
}

template <class T> py::object group_backward(const In<T>& dout, const In<T>& x, GroupShape s, py::handle gamma_,
                                             const In<T>& mean, const In<T>& rstd, py::handle dx_, py::handle dgamma_,
                                             py::handle dbeta_) {
  const ColumnVector<T> gamma(gamma_, s.G * s.K);
  const auto statistics = [&](const In<T>& v) {
    return v && v.dim(0) == s.N && v.size() == s.N * s.G && (v.nd() == 1 || v.dim(1) == s.G);
  };
  if (!gamma || !statistics(mean) || !statistics(rstd) || !dout.same_shape(x)) return py::none();
  Out<T> dx(dx_, x.nd(), x.shape(), {dout.range(), x.range(), gamma.range(), mean.range(), rstd.range()});
  if (!dx) return py::none();
  const idx C = s.G * s.K;
  Out<T> dgamma(dgamma_, {C}, {dout.range(), x.range(), gamma.range(), mean.range(), rstd.range(), dx.range()});
  if (!dgamma) return py::none();
  Out<T> dbeta(dbeta_, {C},
               {dout.range(), x.range(), gamma.range(), mean.range(), rstd.range(), dx.range(), dgamma.range()});
  if (!dbeta) return py::none();
  const auto& kernels = active<T>().norm;
  Scratch scratch(kernels.group_partials(s) * idx(sizeof(T)));
  run_rows(kernels.group_blocks(s), 2 * work_of<T>(x.size()), [&](idx first, idx last) {
    kernels.group_backward_blocks(dout.data(), x.data(), s, gamma.data(), mean.data(), rstd.data(), dx.data(),
                                  dgamma.data(), dbeta.data(), scratch.as<T>(), first, last);
  });
  return py::make_tuple(dx.object(), dgamma.object(), dbeta.object());
}

py::object layer_norm_forward(py::handle x_, py::handle gamma, py::handle beta, Real epsilon, py::handle out,
                              py::handle mean, py::handle rstd) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const In<T> x(x_, 2);
    if (!x) return py::none();
    return group_forward<T>(x, {x.dim(0), 1, x.dim(1), 1}, gamma, beta, epsilon, {x.dim(0)}, out, mean, rstd);
  });
}

py::object layer_norm_backward(py::handle dout_, py::handle x_, py::handle gamma, py::handle mean_, py::handle rstd_,
                               py::handle dx, py::handle dgamma, py::handle dbeta) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_, 2), x(x_, 2), mean(mean_, 1), rstd(rstd_, 1);
    if (!dout || !x) return py::none();
    return group_backward<T>(dout, x, {x.dim(0), 1, x.dim(1), 1}, gamma, mean, rstd, dx, dgamma, dbeta);
  });
}

// False where fastnn.ops has to look at them.
template <class T> bool parse_groups(const Batch<T>& batch, py::handle groups, GroupShape& s) {
  if (!batch || !PyLong_Check(groups.ptr())) return false;
  const ssize_t G = PyLong_AsSsize_t(groups.ptr());
  if (G == -1 && PyErr_Occurred()) PyErr_Clear();
  if (G < 1 || G > std::max(batch.C, idx(1)) || batch.C % G != 0) return false;
  s = {batch.N, G, batch.C / G, batch.S};
  return true;
}

py::object group_norm_forward(py::handle x_, py::handle gamma, py::handle beta, py::handle groups, Real epsilon,
                              py::handle out, py::handle mean, py::handle rstd) {
  return by_dtype(x_, [&]<class T>() -> py::object {
    const Batch<T> batch(x_);
    GroupShape s;
    if (!parse_groups(batch, groups, s)) return py::none();
    return group_forward<T>(batch.x, s, gamma, beta, epsilon, {s.N, s.G}, out, mean, rstd);
  });
}

py::object group_norm_backward(py::handle dout_, py::handle x_, py::handle gamma, py::handle groups, py::handle mean_,
                               py::handle rstd_, py::handle dx, py::handle dgamma, py::handle dbeta) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const Batch<T> batch(x_);
    const In<T> dout(dout_), mean(mean_, 2), rstd(rstd_, 2);
    GroupShape s;
    if (!dout || !parse_groups(batch, groups, s)) return py::none();
    return group_backward<T>(dout, batch.x, s, gamma, mean, rstd, dx, dgamma, dbeta);
  });
}

}  // namespace

void bind_norm(py::module_& m) {
  const py::object none = py::none();
  define<batch_norm_forward>(m, "batch_norm_forward", "x gamma beta epsilon out mean var",
                             {py::float_(1e-6), none, none, none});
  define<batch_norm_inference>(m, "batch_norm_inference", "x gamma beta mean var epsilon out",
                               {py::float_(1e-6), none});
  define<batch_norm_backward>(m, "batch_norm_backward", "dout x gamma mean var epsilon dx dgamma dbeta",
                              {py::float_(1e-6), none, none, none});
  define<layer_norm_forward>(m, "layer_norm_forward", "x gamma beta epsilon out mean rstd",
                             {py::float_(1e-5), none, none, none});
  define<layer_norm_backward>(m, "layer_norm_backward", "dout x gamma mean rstd dx dgamma dbeta", {none, none, none});
  define<group_norm_forward>(m, "group_norm_forward", "x gamma beta groups epsilon out mean rstd",
                             {py::float_(1e-5), none, none, none});
  define<group_norm_backward>(m, "group_norm_backward", "dout x gamma groups mean rstd dx dgamma dbeta",
                              {none, none, none});
}

}  // namespace fastnn
