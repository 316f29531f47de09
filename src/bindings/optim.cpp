#include "optim.h"

#include <span>
#include <tuple>
#include <vector>

#include "families.h"
#include "function.h"

namespace fastnn {
namespace {
// The lists of one update as kernel arguments. False: fastnn.ops checks and explains.
template <class T> class Arrays {
 public:
  bool read(py::handle params, py::handle grads, std::span<const py::handle> states) {
    if (!PyList_CheckExact(params.ptr()) || !PyList_CheckExact(grads.ptr())) return false;
    const ssize_t count = PyList_GET_SIZE(params.ptr());
    if (PyList_GET_SIZE(grads.ptr()) != count) return false;
    for (py::handle list : states)
      if (!PyList_CheckExact(list.ptr()) || PyList_GET_SIZE(list.ptr()) != count) return false;
    for (ssize_t i = 0; i < count; ++i) {
      const In<T> p = item(params, i), g = item(grads, i);
      const bool by_rows = p && !g && p.nd() == 2;
      if (!p || !writable(params, i) || (by_rows ? !read_rows(grads, i, p) : !g || !p.same_shape(g))) return false;
      T* state[2] = {nullptr, nullptr};
      int k = 0;
      for (py::handle list : states) {
        const In<T> s = item(list, i);
        if (!s || !s.same_shape(p) || !writable(list, i)) return false;
        state[k++] = const_cast<T*>(s.data());
        written_.push_back(s.range());
      }
      written_.push_back(p.range());
      if (!by_rows) {
        add(const_cast<T*>(p.data()), g.data(), state[0], state[1], p.size());
        continue;
      }
      const In<int64_t> rows(held_[held_.size() - 2]);
      const In<T> values(held_.back());
      const idx D = p.dim(1);
      for (idx k = 0; k < rows.size(); ++k) {
        const idx row = rows.data()[k] * D;
        add(const_cast<T*>(p.data()) + row, values.data() + k * D, at(state[0], row), at(state[1], row), D);
      }
    }
    return !shared();
  }

  bool read_only(py::handle grads) {  // for the norm: nothing is written
    if (!PyList_CheckExact(grads.ptr())) return false;
    for (ssize_t i = 0; i < PyList_GET_SIZE(grads.ptr()); ++i) {
      const In<T> g = item(grads, i);
      if (!g) return false;
      add(nullptr, g.data(), nullptr, nullptr, g.size());
    }
    return true;
  }

  double work() const { return 8.0 * double(elements_); }

  // f(arrays, count) on all pieces at once, or on one after the other when the call is long.
  template <class F> void each(F&& f) const {
    if (elements_ <= kOptimPiece) return run(work(), [&] { f(pieces_.data(), idx(pieces_.size())); });
    for (const OptimArray<T>& piece : pieces_) {
      {
        const WithoutGil without;
        f(&piece, idx(1));
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }

  double norm() const {
    double sum = 0;
    idx blocks = 0;
    for (const OptimArray<T>& piece : pieces_) blocks += active<T>().optim.blocks(&piece, 1);
    Scratch scratch(size_t(blocks) * sizeof(double));
    each([&](const OptimArray<T>* arrays, idx count) {
      sum += active<T>().optim.sum_of_squares(arrays, count, scratch.as<double>());
    });
    return std::sqrt(sum);
  }

 private:
  // The RowGradient grads[i] of a table p: `rows` (U) of it, each once, and their `values` (U, D).
  bool read_rows(py::handle grads, ssize_t i, const In<T>& p) {
    PyObject* const gradient = PyList_GET_ITEM(grads.ptr(), i);
    for (const char* name : {"rows", "values"}) {
      held_.push_back(py::reinterpret_steal<py::object>(PyObject_GetAttrString(gradient, name)));
      if (!held_.back()) return PyErr_Clear(), false;
    }
    const In<int64_t> rows(held_[held_.size() - 2], 1);
    const In<T> values(held_.back(), 2);
    if (!rows || !values || values.dim(0) != rows.size() || values.dim(1) != p.dim(1)) return false;
    for (idx k = 0; k < rows.size(); ++k)
      if (rows.data()[k] < 0 || rows.data()[k] >= p.dim(0)) return false;
    return true;
  }
  static T* at(T* a, idx begin) { return a ? a + begin : nullptr; }

  void add(T* p, const T* g, T* s, T* t, idx n) {
    elements_ += n;
    for (idx begin = 0; begin < n; begin += kOptimPiece)
      pieces_.push_back({at(p, begin), g + begin, at(s, begin), at(t, begin), std::min(kOptimPiece, n - begin)});
  }
  static In<T> item(py::handle list, ssize_t i) { return In<T>(py::handle(PyList_GET_ITEM(list.ptr(), i))); }
  static bool writable(py::handle list, ssize_t i) {
    return as_array(py::handle(PyList_GET_ITEM(list.ptr(), i)), kWritable, -1);
  }
  // The same memory twice among what is written has to be updated one after the other: not by several threads.
  bool shared() const {
    constexpr idx kSerial = idx(1) << 18;  // below this a call is one thread's, in the order of the list
    if (elements_ < kSerial) return false;
    for (size_t i = 0; i < written_.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (written_[i].overlaps(written_[j])) return true;
    return false;
  }

  std::vector<OptimArray<T>> pieces_;
  std::vector<Range> written_;
  std::vector<py::object> held_;  // arrays of row gradients
  idx elements_ = 0;
};

bool is_empty_list(py::handle list) { return PyList_CheckExact(list.ptr()) && PyList_GET_SIZE(list.ptr()) == 0; }

py::handle first_item(py::handle list) {
  if (!PyList_CheckExact(list.ptr()) || PyList_GET_SIZE(list.ptr()) == 0) return py::none();
  return PyList_GET_ITEM(list.ptr(), 0);
}

// What one rule asks for: the arguments that all updates share are read in apply.
struct Step {
  Optimizer kind;
  OptimSettings settings;
  py::handle states[2] = {};  // null: not used
  bool decoupled = false;     // AdamW
  double rate = 0;            // the learning rate that multiplies its decay
  bool in_range = true;       // what only this rule has, by the table of fastnn/ops/_bounds.py
};

bool divides(double epsilon) { return epsilon >= 1e-38 && finite_from_0(epsilon); }  // not 0 in float32

py::object update(py::handle params, py::handle grads, const Step& step, double clip_norm) {
  if (is_empty_list(params) && is_empty_list(grads)) return py::reinterpret_borrow<py::object>(params);
  return by_dtype(first_item(params), [&]<class T>() -> py::object {
    Arrays<T> arrays;
    const size_t states = step.states[1] ? 2 : step.states[0] ? 1 : 0;
    if (!arrays.read(params, grads, {step.states, states})) return py::none();
    OptimSettings settings = step.settings;
    if (clip_norm > 0) settings.grad_scale = clip_scale(clip_norm, arrays.norm());
    arrays.each([&](const OptimArray<T>* a, idx count) { active<T>().optim.update(step.kind, a, count, settings); });
    return py::reinterpret_borrow<py::object>(params);
  });
}

// An update: params, grads, the rule's own arguments, and those that end every update.
template <class... Own, size_t... I>
py::object apply(Step (*rule)(Own...), const py::handle* a, std::index_sequence<I...>) {
  const auto good = [](const auto& given) {
    if constexpr (requires { given.ok; }) return given.ok;
    return true;
  };
  const std::tuple<Own...> own{argument<Own>(a[2 + I])...};
  const py::handle* const tail = a + 2 + sizeof...(Own);
  const Real decay = Real::of(tail[0]), norm = Real::of(tail[1]), value = Real::of(tail[2]);
  if (!(good(std::get<I>(own)) && ... && (decay.ok && norm.ok && value.ok))) return py::none();
  Step step = rule(std::get<I>(own)...);
  if (!step.in_range || std::isnan(step.rate) || !finite_from_0(decay) || !(norm >= 0) || !(value >= 0))
    return py::none();
  step.settings.clip_value = value;
  step.settings.decoupled_decay = step.decoupled ? step.rate * decay : 0.0;
  step.settings.weight_decay = step.decoupled ? 0.0 : double(decay);
  return update(a[0], a[1], step, norm);
}

template <auto rule>
void define_update(py::module_& m, const char* name, const char* names, std::initializer_list<py::object> defaults) {
  define(m, name, names, defaults, [](const py::handle* a) {
    return []<class... Own>(Step (*f)(Own...), const py::handle* args) {
      return apply(f, args, std::index_sequence_for<Own...>{});
    }(+rule, a);
  });
}

py::object grad_norm(py::handle grads) {
  if (is_empty_list(grads)) return py::float_(0.0);
  return by_dtype(first_item(grads), [&]<class T>() -> py::object {
    Arrays<T> arrays;
    if (!arrays.read_only(grads)) return py::none();
    return py::float_(arrays.norm());
  });
}

py::object scale_arrays(py::handle list, Real scale) {
  if (!scale.ok) return py::none();
  if (is_empty_list(list)) return py::reinterpret_borrow<py::object>(list);
  return by_dtype(first_item(list), [&]<class T>() -> py::object {
    Arrays<T> arrays;
    if (!arrays.read(list, list, {})) return py::none();
    arrays.each([&](const OptimArray<T>* a, idx count) { active<T>().optim.scale(a, count, T(scale)); });
    return py::reinterpret_borrow<py::object>(list);
  });
}

py::object moving_average(py::handle list, py::handle values, Real momentum, Real factor) {
  if (!from_0_to_1(momentum) || !std::isfinite(factor)) return py::none();
  if (is_empty_list(list) && is_empty_list(values)) return py::reinterpret_borrow<py::object>(list);
  return by_dtype(first_item(list), [&]<class T>() -> py::object {
    Arrays<T> arrays;
    if (!arrays.read(list, values, {})) return py::none();
    arrays.each([&](const OptimArray<T>* a, idx count) { active<T>().optim.average(a, count, momentum, factor); });
    return py::reinterpret_borrow<py::object>(list);
  });
}

}  // namespace

void bind_optim(py::module_& m) {
  using H = py::handle;
#define FASTNN_TAIL " weight_decay clip_norm clip_value"
  const py::object zero = py::float_(0.0), no = py::bool_(false);
  define_update<[](Real lr) { return Step{.kind = Optimizer::sgd, .settings = {.lr = lr}, .rate = lr}; }>(
      m, "sgd_update", "params grads lr" FASTNN_TAIL, {zero, zero, zero});
  define_update<[](H v, Real lr, Real momentum) {
    return Step{.kind = Optimizer::momentum,
                .settings = {.lr = lr, .first = momentum},
                .states = {v},
                .rate = lr,
                .in_range = from_0_to_1(momentum)};
  }>(m, "momentum_update", "params grads v lr momentum" FASTNN_TAIL, {zero, zero, zero});
  define_update<[](H v, Real lr, Real momentum, bool lookahead) {
    return Step{.kind = Optimizer::nesterov,
                .settings = {.lr = lr, .first = momentum, .lookahead = lookahead},
                .states = {v},
                .rate = lr,
                .in_range = from_0_to_1(momentum)};
  }>(m, "nesterov_update", "params grads v lr momentum lookahead" FASTNN_TAIL, {zero, zero, zero});
  define_update<[](H h, Real lr, Real epsilon) {
    return Step{.kind = Optimizer::adagrad,
                .settings = {.lr = lr, .epsilon = epsilon},
                .states = {h},
                .rate = lr,
                .in_range = divides(epsilon)};
  }>(m, "adagrad_update", "params grads h lr epsilon" FASTNN_TAIL, {zero, zero, zero});
  define_update<[](H h, Real lr, Real decay_rate, Real epsilon) {
    return Step{.kind = Optimizer::rmsprop,
                .settings = {.lr = lr, .first = decay_rate, .epsilon = epsilon},
                .states = {h},
                .rate = lr,
                .in_range = from_0_to_1(decay_rate) && divides(epsilon)};
  }>(m, "rmsprop_update", "params grads h lr decay_rate epsilon" FASTNN_TAIL, {zero, zero, zero});
  define_update<[](H ms, H vs, Real lr, Real beta1, Real beta2, Real epsilon, Real step, bool decoupled) {
    const bool in_range = from_0_to_1(beta1) && beta1 < 1 && from_0_to_1(beta2) && beta2 < 1 && divides(epsilon) &&
                          step >= 1 && step <= 0x1p53;
    return Step{
        .kind = Optimizer::adam,
        .settings = {.lr = adam_rate(lr, beta1, beta2, step), .first = beta1, .second = beta2, .epsilon = epsilon},
        .states = {ms, vs},
        .decoupled = decoupled,
        .rate = lr,
        .in_range = in_range};
  }>(m, "adam_update", "params grads m v lr beta1 beta2 epsilon step decoupled" FASTNN_TAIL, {no, zero, zero, zero});
#undef FASTNN_TAIL
  define<grad_norm>(m, "grad_norm", "grads");
  define<scale_arrays>(m, "scale_arrays", "arrays scale");
  define<moving_average>(m, "moving_average", "arrays values momentum factor", {py::float_(1.0)});
}

}  // namespace fastnn
