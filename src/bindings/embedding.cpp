#include "families.h"
#include "function.h"
#include "labels.h"

namespace fastnn {
namespace {
using namespace py::literals;

// Rows of a table of V rows: an array of any integer dtype and shape, as int64 in scratch, with more bytes behind them.
class Index {
 public:
  Index(py::handle h, idx V, size_t more = 0)
      : array_(as_array(h, kPlain, -1)), scratch_(size_t(array_ ? element_count(array_) : 0) * 8 + more) {
    if (array_ && !read_labels(array_, {.V = V}, scratch_.as<int64_t>())) array_ = nullptr;
  }
  explicit operator bool() const { return array_; }
  int nd() const { return array_->nd; }
  idx size() const { return element_count(array_); }
  const ssize_t* shape() const { return array_->dimensions; }
  int64_t* data() const { return scratch_.as<int64_t>(); }
  void* behind() const { return data() + size(); }
  // dout has one row for each index: its shape is that of the index and D.
  template <class T> bool fits(const In<T>& dout) const {
    return dout && dout.nd() == nd() + 1 && std::equal(shape(), shape() + nd(), dout.shape());
  }

 private:
  const ArrayProxy* array_;
  Scratch scratch_;
};

template <class T> double work_of(idx n) { return double(n) * sizeof(T) * sizeof(T); }  // estimated scalar operations

bool parse_size(py::handle h, idx& n) {
  if (!PyLong_CheckExact(h.ptr())) return false;
  n = PyLong_AsSsize_t(h.ptr());
  if (n >= 0) return n < idx(1) << 31;  // the interval of fastnn/ops/_bounds.py
  PyErr_Clear();
  return false;
}

py::object embedding_forward(py::handle W_, py::handle index_, py::handle out_) {
  return by_dtype(W_, [&]<class T>() -> py::object {
    const In<T> W(W_, 2);
    if (!W) return py::none();
    const Index index(index_, W.dim(0));
    if (!index || index.nd() >= 16) return py::none();
    ssize_t shape[16];
    std::copy(index.shape(), index.shape() + index.nd(), shape)[0] = W.dim(1);
    const Out<T> out(out_, index.nd() + 1, shape, {W.range()});
    if (!out) return py::none();
    run_rows(index.size(), work_of<T>(index.size() * W.dim(1)), [&](idx begin, idx end) {
      active<T>().embedding.forward(W.mat(), index.data() + begin, end - begin, out.data() + begin * W.dim(1));
    });
    return out.object();
  });
}

py::object embedding_backward(py::handle dout_, py::handle index_, py::handle V_, py::handle dW_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    idx V;
    if (!dout || !parse_size(V_, V)) return py::none();
    const Index index(index_, V);
    if (!index || !index.fits(dout)) return py::none();
    const idx D = dout.dim(index.nd());
    const Out<T> dW(dW_, {V, D}, {dout.range()});
    if (!dW) return py::none();
    const auto& kernels = active<T>().embedding;
    run_rows(V, work_of<T>(V * D),
             [&](idx begin, idx end) { kernels.clear({dW.data() + begin * D, (end - begin) * D}); });
    run_rows(index.size(), work_of<T>(dout.size()), [&](idx begin, idx end) {
      kernels.add_rows(dout.data() + begin * D, index.data() + begin, end - begin, dW.mat());
    });
    return dW.object();
  });
}

// slot[i] of index[i]: rows are numbered by first appearance -> how many there are. `place` (V numbers) may hold
// anything: a number counts only if `rows` confirms it (Briggs and Torczon 1993).
idx number_rows(int64_t* index, idx n, int64_t* rows, uint32_t* place) {
  idx count = 0;
  for (idx i = 0; i < n; ++i) {
    const int64_t row = index[i];
    idx k = place[row];
    if (k >= count || rows[k] != row) {
      k = count++;
      rows[k] = row;
      place[row] = uint32_t(k);
    }
    index[i] = k;
  }
  return count;
}

py::object embedding_backward_rows(py::handle dout_, py::handle index_, py::handle V_) {
  return by_dtype(dout_, [&]<class T>() -> py::object {
    const In<T> dout(dout_);
    idx V;
    if (!dout || !parse_size(V_, V)) return py::none();
    const ArrayProxy* given = as_array(index_, kPlain, -1);
    if (!given) return py::none();
    const idx n = element_count(given);
    const Index index(index_, V, size_t(n) * 8 + size_t(V) * 4);
    if (!index || !index.fits(dout)) return py::none();
    int64_t* rows_found = static_cast<int64_t*>(index.behind());
    const idx count = number_rows(index.data(), n, rows_found, reinterpret_cast<uint32_t*>(rows_found + n)),
              D = dout.dim(index.nd());
    const Out<int64_t> rows(py::none(), {count});
    const Out<T> values(py::none(), {count, D});
    std::copy(rows_found, rows_found + count, rows.data());
    idx seen = 0;
    run_rows(n, work_of<T>(dout.size()), [&](idx begin, idx end) {
      active<T>().embedding.sum_rows(dout.data() + begin * D, index.data() + begin, end - begin, D, seen,
                                     values.data());
      for (idx i = begin; i < end; ++i) seen = std::max(seen, idx(index.data()[i]) + 1);
    });
    return py::make_tuple(rows.object(), values.object());
  });
}

}  // namespace

void bind_embedding(py::module_& m) {
  const py::object none = py::none();
  define<embedding_forward>(m, "embedding_forward", "W index out", {none});
  define<embedding_backward>(m, "embedding_backward", "dout index V dW", {none});
  define<embedding_backward_rows>(m, "embedding_backward_rows", "dout index V");
}

}  // namespace fastnn
