#include "plan.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "labels.h"

namespace fastnn::plan {
namespace {
using namespace py::literals;
using std::string;

constexpr idx kAlign = 64;
constexpr idx kMost = idx(1) << 48;  // elements of an array, bytes of the arena

constexpr idx kSparseWeights = 1 << 14;  // so many that a look for zeros in a hidden layer's input pays

idx aligned(idx bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
bool multiply(idx a, idx b, idx& product) { return !__builtin_mul_overflow(a, b, &product) && product <= kMost; }

[[gnu::cold]] string text(Size size) {
  if (size.per_n == 0) return std::to_string(size.fixed);
  return size.per_n == 1 ? "N" : std::to_string(size.per_n) + " N";
}
[[gnu::cold]] string text(const Buffer& b) {
  string s = "(" + text(b.first);
  for (idx n : b.rest) s += ", " + std::to_string(n);
  return s + (b.nd() == 1 ? ",)" : ")");
}
[[gnu::cold]] string text(const ArrayProxy* a) {
  string s = "(";
  for (int i = 0; i < a->nd; ++i) s += (i ? ", " : "") + std::to_string(a->dimensions[i]);
  return s + (a->nd == 1 ? ",)" : ")");
}
[[gnu::cold]] string text(py::handle h) { return py::repr(h).cast<string>(); }

constexpr const char* kTypes[] = {"float", "uint8", "int32", "int64", "labels", "mask"};

bool is_a(py::handle h, const char* type) { return !std::strcmp(Py_TYPE(h.ptr())->tp_name, type); }

bool parse_whole(py::handle h, idx& n) {
  if (!PyLong_Check(h.ptr())) return false;
  n = PyLong_AsSsize_t(h.ptr());
  if (n != -1 || !PyErr_Occurred()) return true;
  return PyErr_Clear(), false;
}

// Another number in each forked child: a plan that a thread of the parent was running is not running there.
unsigned process() {
  static std::atomic<unsigned> number{1};
#if !defined(_WIN32)
  static const bool counts = [] {
    pthread_atfork(nullptr, nullptr, [] { number.fetch_add(1, std::memory_order_relaxed); });
    return true;
  }();
  (void)counts;
#endif
  return number.load(std::memory_order_relaxed);
}

class Plan {
 public:
  // frozen: the arrays never change, and this buffer is the result; -1: neither. share: a frozen plan of the same
  // arrays, whose packed weights are this one's too, or None.
  Plan(const string& dtype, const py::list& program, const py::list& buffers, idx arena_bytes, idx capacity, idx frozen,
       const py::object& share)
      : table_(*active_table), wide_(dtype == "float64"), arena_bytes_(arena_bytes), capacity_(capacity) {
    if (dtype != "float32" && dtype != "float64")
      throw py::type_error("Plan: dtype is '" + dtype + "'; it must be float32 or float64");
    if (capacity < 1 || capacity > kMost || arena_bytes < 0 || arena_bytes > kMost)
      throw py::value_error("Plan: capacity and arena_bytes must be positive");
    for (py::handle record : buffers) add_buffer(record);
    refuse_unknown(program);
    for (py::handle instruction : program) add_instruction(instruction);
    if (frozen >= 0) {
      find_result(size_t(frozen));
      const Plan* const other = share.is_none() ? nullptr : share.cast<const Plan*>();
      wide_ ? pack_weights(table_.f64, other) : pack_weights(table_.f32, other);
    }
    own_ = new_state();
    prepare(own_, capacity_);
  }

  // Instructions [begin, end), without one that is None; those from 0 on begin a new loss. scalars: a tuple, or a
  // function that makes it, which is called once nothing can fail any more but by Ctrl-C; its argument says whether
  // that is looked for.
  py::object run(idx n, const py::tuple& inputs, const py::object& scalars, idx begin, py::handle end_) {
    ended_ = false;
    const unsigned here = process();
    if (busy_ == here) throw std::runtime_error("Plan.run: the plan is running");
    check_n(n, "run");
    const idx count = idx(instructions_.size());
    idx end = count;
    if ((!end_.is_none() && !parse_whole(end_, end)) || begin < 0 || begin > end || end > count)
      throw py::value_error("Plan.run: [" + std::to_string(begin) + ", " + text(end_) + ") is not a range of the " +
                            std::to_string(count) + " instructions");
    for (idx i = begin; i < end; ++i)
      if (!instructions_[size_t(i)].operation)
        throw py::value_error("Plan.run: instruction " + std::to_string(i) + " is None");
    // Before the caller's functions run: they may call the plan again, and other threads have the GIL meanwhile.
    busy_ = here;
    const struct Busy {
      unsigned& flag;
      ~Busy() { flag = 0; }
    } guard{busy_};
    read_inputs(own_, n, inputs);
    prepare(own_, n);
    const bool given = PyTuple_Check(scalars.ptr());
    if (given) {
      read_scalars(own_, scalars);
    } else {
      const auto drawn = py::reinterpret_steal<py::object>(
          PyObject_CallOneArg(scalars.ptr(), own_.work > table_.chunk_work ? Py_True : Py_False));
      if (!drawn) throw py::error_already_set();
      read_scalars(own_, py::tuple(drawn));
    }
    if (begin == 0) own_.loss = 0;
    execute(own_, size_t(begin), size_t(end));
    ended_ = end == count || !has_gaps_;
    return has_loss_ ? py::object(py::float_(own_.loss)) : py::none();
  }

  // The frozen result for n samples x, the only input, in `out` or a new array; null where x or out is not as it has to
  // be. classes: the places of the largest elements along the last axis, as np.argmax has them, int64.
  py::object predict(py::handle x, py::handle out, bool classes) {
    const Buffer &in = buffers_[size_t(input_)], &b = buffers_[size_t(result_)];
    const bool indices = in.type == Type::labels;
    const ArrayProxy* const a = as_array(x, kPlain, in.nd());
    if (!a || (!indices && type_of(a) != (wide_ ? type_num<double> : type_num<float>))) return {};
    const idx n = a->dimensions[0];
    if (n < 1 || n > capacity_ || !std::equal(in.rest.begin(), in.rest.end(), a->dimensions + 1)) return {};
    ssize_t shape[16] = {n};
    std::copy(b.rest.begin(), b.rest.end(), shape + 1);
    const Range read{a->data, a->data + (indices ? 0 : in.count().at(n) * itemsize())};  // indices are copied
    const py::object array = classes ? Out<int64_t>(out, b.nd() - 1, shape, {read}).object()
                             : wide_ ? Out<double>(out, b.nd(), shape, {read}).object()
                                     : Out<float>(out, b.nd(), shape, {read}).object();
    if (!array) return {};
    auto state = take_state();
    for (size_t i = 0; i < slots_.size(); ++i)
      if (!read_integers(*state, a, i)) return {};
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (buffers_[i].kind == Kind::input) state->data[i] = a->data;
    prepare(*state, n);
    char* const data = reinterpret_cast<const ArrayProxy*>(array.ptr())->data;
    char*& place = state->data[size_t(written_)];
    char* const planned = place;
    if (direct_ && !classes) place = data;
    execute(*state, 0, instructions_.size());
    const idx count = b.count().at(n);
    if (classes) {
      const idx V = b.rest.back();
      int64_t* const to = reinterpret_cast<int64_t*>(data);
      wide_ ? table_.f64.softmax.argmax(row_major(reinterpret_cast<const double*>(planned), count / V, V), to)
            : table_.f32.softmax.argmax(row_major(reinterpret_cast<const float*>(planned), count / V, V), to);
    } else if (!direct_) {
      std::memcpy(data, planned, size_t(count * itemsize()));
    }
    place = planned;
    states_.push_back(std::move(state));
    return array;
  }

  // Whether the last run came to its end; of a plan with instructions that are None, to the end of the program.
  bool ended() const { return ended_; }
  // Memory of the runs so far, but for packed weights.
  idx nbytes() const {
    idx sum = arena_bytes_ + own_.scratch_bytes;
    for (const auto& state : states_) sum += arena_bytes_ + state->scratch_bytes;
    return sum;
  }

  // f(x, out=None), which is `predict` and, where that gives nothing, otherwise(x, out), or None without one. None: the
  // plan is not frozen, has other inputs than x (N, ...), or its last instruction does not write the result (N, ...).
  static py::object function(const py::object& self, const py::object& otherwise, bool classes);

  // The same without a plan at first: after a call of `otherwise` it takes its attribute `plan`, if that is one.
  static py::object function_later(const py::object& otherwise, bool classes);
  bool frozen() const { return frozen_; }

  // What is in buffer i of the arena after a run of n samples; `self` keeps the memory alive.
  [[gnu::cold]] py::object view(const py::object& self, idx i, idx n) const {
    check_n(n, "view");
    if (i < 0 || i >= idx(buffers_.size()) || buffers_[size_t(i)].kind != Kind::arena)
      throw py::index_error("Plan.view: " + std::to_string(i) + " is not a buffer of the arena");
    const Buffer& b = buffers_[size_t(i)];
    std::vector<ssize_t> shape{b.first.at(n)};
    shape.insert(shape.end(), b.rest.begin(), b.rest.end());
    if (b.type == Type::mask) shape = {mask_bytes(b.count().at(n))};
    const py::dtype dtype = b.type == Type::real   ? py::dtype(wide_ ? "float64" : "float32")
                            : b.type == Type::mask ? py::dtype("uint8")
                                                   : py::dtype(kTypes[int(b.type)]);
    return py::array(dtype, shape, {}, own_.data[size_t(i)], self);
  }

 private:
  // ---- construction: cold, which keeps it small

  [[noreturn]] void fail(const string& what) const {
    throw py::value_error("Plan: instruction " + std::to_string(instructions_.size()) +
                          (current_ ? string(", ") + current_->name : "") + ": " + what);
  }
  idx itemsize() const { return wide_ ? 8 : 4; }
  static idx mask_bytes(idx count) { return (count + 63) / 64 * 8; }
  idx bytes(const Buffer& b, idx n) const {
    const idx count = b.count().at(n);
    switch (b.type) {
      case Type::real:
        return count * itemsize();
      case Type::mask:
        return mask_bytes(count);
      case Type::uint8:
        return count;
      case Type::int32:
        return count * 4;
      default:
        return count * 8;
    }
  }

  [[gnu::cold]] void add_buffer(py::handle record) {
    const string name = "Plan: buffer " + std::to_string(buffers_.size());
    const auto bad = [&] { throw py::value_error(name + " is " + text(record)); };
    if (!PyTuple_Check(record.ptr()) || PyTuple_GET_SIZE(record.ptr()) != 5) bad();
    const auto field = py::reinterpret_borrow<py::tuple>(record);
    Buffer b{};
    const string kind = py::str(field[0]), type = py::str(field[1]);
    if (kind != "input" && kind != "arena" && kind != "array") bad();
    b.kind = kind == "input" ? Kind::input : kind == "arena" ? Kind::arena : Kind::array;
    const auto known = std::find(std::begin(kTypes), std::end(kTypes), type);
    if (known == std::end(kTypes)) bad();
    b.type = Type(known - std::begin(kTypes));
    idx rows;
    if (!parse_whole(field[2], rows) || rows < 0 || !PyTuple_Check(field[3].ptr())) bad();
    std::vector<idx> shape;
    idx elements = rows ? rows : 1;
    for (py::handle size : py::tuple(field[3])) {
      idx n;
      if (!parse_whole(size, n) || n < 0 || !multiply(elements, n, elements)) bad();
      shape.push_back(n);
    }
    if (shape.size() > 14 || (rows && !multiply(elements, capacity_, elements))) bad();
    if (rows) {
      b.first = {0, rows};
    } else if (!shape.empty()) {
      b.first = {shape[0], 0};
      shape.erase(shape.begin());
    } else {
      b.first = {1, 0};
    }
    for (idx n : shape) b.row *= n;
    b.rest = std::move(shape);
    if ((b.type == Type::labels) != (b.type == Type::labels && b.kind == Kind::input)) bad();
    if (b.kind == Kind::array) {
      b.array = py::reinterpret_borrow<py::object>(field[4]);
      const ArrayProxy* a = as_array(b.array, kPlain, -1);
      b.transposed = !a && b.type == Type::real && (a = as_array(b.array, kTransposed, 2));
      const int wanted = b.type == Type::real    ? wide_ ? type_num<double> : type_num<float>
                         : b.type == Type::int32 ? type_num<int32_t>
                         : b.type == Type::int64 ? type_num<int64_t>
                                                 : type_num<uint8_t>;
      if (!a || type_of(a) != wanted || rows || (b.transposed && (b.nd() != 2 || b.row != a->dimensions[1])))
        throw py::value_error(name + ": the array must be a C-contiguous one of " + (wide_ ? "float64" : "float32") +
                              " whose shape does not depend on N");
      if (element_count(a) != (b.type == Type::mask ? mask_bytes(b.count().fixed) : b.count().fixed))
        throw py::value_error(name + ": the array is " + text(a) + " but the record says " + text(b));
      b.writable = a->flags & kWritable;
    } else if (!parse_whole(field[4], b.where) || b.where < 0) {
      bad();
    }
    if (b.kind == Kind::arena && (b.where % kAlign || b.where > arena_bytes_ - bytes(b, capacity_)))
      throw py::value_error(name + ": " + text(b) + " at byte " + std::to_string(b.where) + " does not fit into the " +
                            std::to_string(arena_bytes_) + " bytes of the arena for N = " + std::to_string(capacity_) +
                            ", or is not at a multiple of 64");
    if (b.kind == Kind::input) {
      b.writable = false;
      if (b.where >= 64) bad();
      inputs_ = std::max(inputs_, size_t(b.where) + 1);
    }
    buffers_.push_back(std::move(b));
  }

  const Buffer& buffer(py::handle h, int& number) const {
    idx i;
    if (!is_a(h, "Buffer") || !parse_whole(h, i) || i < 0 || i >= idx(buffers_.size()))
      fail(text(h) + " is not one of the " + std::to_string(buffers_.size()) + " buffers");
    number = int(i);
    return buffers_[size_t(i)];
  }

  [[gnu::cold]] void refuse_unknown(const py::list& program) const {
    py::list numbers;
    string names;
    for (size_t i = 0; i < program.size(); ++i) {
      if (!PyTuple_Check(program[i].ptr()) || PyTuple_GET_SIZE(program[i].ptr()) != 2) continue;
      const string name = py::str(py::tuple(program[i])[0]);
      if (find_operation(name.c_str())) continue;
      names += (names.empty() ? "" : ", ") + name;
      numbers.append(i);
    }
    if (names.empty()) return;
    const py::tuple arguments = py::make_tuple("Plan: not operations of native plans: " + names, numbers);
    PyErr_SetObject(PyExc_NotImplementedError, arguments.ptr());
    throw py::error_already_set();
  }

  [[gnu::cold]] void add_instruction(py::handle given) {
    current_ = nullptr;
    if (given.is_none()) {
      has_gaps_ = true;
      return instructions_.push_back({nullptr, {}, {}, false});
    }
    if (!PyTuple_Check(given.ptr()) || PyTuple_GET_SIZE(given.ptr()) != 2) fail("it is not (name, arguments)");
    const auto pair = py::reinterpret_borrow<py::tuple>(given);
    const string name = py::str(pair[0]);
    current_ = find_operation(name.c_str());
    const py::tuple arguments(pair[1]);
    Instruction instruction{current_, {}, {}, false};
    bool bound[27] = {};
    size_t count = 0;
    for (const char* word = current_->arguments; *word;) {
      const char* const end = std::strchr(word, ' ') ? std::strchr(word, ' ') : word + std::strlen(word);
      const string description(word, end);
      const py::object argument = count < arguments.size() ? py::object(arguments[count]) : py::object();
      instruction.arguments.push_back(read(description, argument, instruction, bound));
      ++count;
      word = *end ? end + 1 : end;
    }
    if (arguments.size() > count)
      fail("takes " + std::to_string(count) + " arguments but " + std::to_string(arguments.size()) + " were given");
    finish(instruction);
    instructions_.push_back(std::move(instruction));
    current_ = nullptr;
  }

  // One argument as `description` has it; a null object was not given.
  [[gnu::cold]] Argument read(const string& description, const py::object& object, Instruction& instruction,
                              bool (&bound)[27]) {
    const size_t colon = description.find(':'), equal = description.find('=');
    const string name = description.substr(0, colon);
    const char type = description[colon + 1];
    const bool optional = description[colon + 2] == '?';
    const string axes = description.substr(colon + 2 + optional, equal == string::npos ? equal : equal - colon - 2);
    Argument a;
    const auto wrong = [&](const char* wanted) { fail(name + " is " + text(object) + "; it must be " + wanted); };
    if (!object) {
      if (equal == string::npos && !optional) fail("argument " + name + " is missing");
      a.given = false;
      if (equal != string::npos) a.number = std::atof(description.c_str() + equal + 1);
      return a;
    }
    switch (type) {
      case 'r':
        if (is_a(object, "Scalar")) {
          read_scalar(object, name, 'r', a);
        } else {
          a.number = PyFloat_AsDouble(object.ptr());
          if (PyErr_Occurred()) PyErr_Clear(), wrong("a number or a Scalar");
        }
        return a;
      case 'k':
        if (is_a(object, "Scalar")) {
          read_scalar(object, name, 'k', a);
        } else {
          a.key = PyLong_Check(object.ptr()) ? PyLong_AsUnsignedLongLong(object.ptr()) : 0;
          if (!PyLong_Check(object.ptr()) || PyErr_Occurred()) PyErr_Clear(), wrong("a 64-bit key or a Scalar");
        }
        return a;
      case 'a': {
        Activation kind;
        if (!parse_activation(object, kind)) wrong("the name of an activation");
        a.sizes[0] = idx(kind);
        return a;
      }
      case 'c': {
        const char* const names[] = {"auto", "direct", "winograd"};
        const string given = py::str(object);
        const auto known = std::find(std::begin(names), std::end(names), given);
        if (known == std::end(names)) wrong("auto, direct or winograd");
        a.sizes[0] = known - std::begin(names);
        return a;
      }
      case 'b':
        if (!PyBool_Check(object.ptr())) wrong("True or False");
        a.number = object.ptr() == Py_True;
        return a;
      case 'n':
        if (!object.is_none() && object.ptr() != Py_False) wrong("None or False");
        return a;
      case 'i':
        a.given = !object.is_none();
        if (a.given ? !parse_whole(object, a.sizes[0]) : !optional) wrong("a whole number");
        return a;
      case '2':
      case '4': {
        const ssize_t length = type - '0';
        if (!PyTuple_Check(object.ptr()) || PyTuple_GET_SIZE(object.ptr()) != length) wrong("a tuple of sizes");
        for (ssize_t i = 0; i < length; ++i) {
          const py::handle item = PyTuple_GET_ITEM(object.ptr(), i);
          if (item.is_none()) continue;  // N
          if (!parse_whole(item, a.sizes[i]) || a.sizes[i] < 0 || a.sizes[i] > std::numeric_limits<int32_t>::max())
            wrong("a tuple of sizes");
        }
        return a;
      }
      case 'L':
      case 'U':
        read_list(object, name, type == 'U', instruction, a);
        return a;
      default:
        break;
    }
    if (object.is_none() || object.ptr() == Py_False) {
      if (!optional) wrong("a buffer");
      a.given = false;
      return a;
    }
    const Buffer& b = buffer(object, a.buffer);
    const bool weights = type == 'w' || type == 'W', fits = type == 'f' || type == 'F' || type == 'G' || weights
                                                                ? b.type == Type::real && (weights || !b.transposed)
                                                            : type == 'm' || type == 'M' ? b.type == Type::mask
                                                            : type == 'p' || type == 'P'
                                                                ? b.type == Type::uint8 || b.type == Type::int32
                                                            : type == 'l' ? b.type == Type::int64
                                                                          : b.type == Type::labels;
    if (!fits) fail(name + " is a buffer of " + (b.transposed ? "transposed " : "") + kTypes[int(b.type)]);
    const bool written = std::isupper(type);
    if (written && !b.writable) fail(name + " is written but its buffer must not be");
    if (written && b.kind == Kind::array) writes_arrays_ = true;
    if (type == 't' || type == 'u') return a;  // looked at when it is given
    a.transposed = b.transposed;
    match(name, b, axes, instruction, bound);
    return a;
  }

  // Binds the letters of `axes` to the sizes of b, or compares them with what they are bound to.
  [[gnu::cold]] void match(const string& name, const Buffer& b, const string& axes, Instruction& instruction,
                           bool (&bound)[27]) const {
    const bool rest = axes.back() == '*', leading = axes.size() > 1 && axes[0] == '*';
    if (leading ? b.nd() < 2 : rest ? b.nd() < int(axes.size()) - (axes != "*") : b.nd() != int(axes.size()))
      fail(name + " is " + text(b) + "; it must have " + std::to_string(axes.size()) + " axes");
    for (size_t i = 0; i < axes.size(); ++i) {
      const size_t letter = axes[i] == '*' ? 26 : size_t(axes[i] - 'A');
      Size size;
      if (leading) {  // "*D"
        const idx last = b.rest.back();
        size = i ? Size{last, 0} : last ? Size{b.first.fixed * (b.row / last), b.first.per_n * (b.row / last)} : Size{};
      } else if (axes[i] != '*') {
        size = i == 0 ? b.first : Size{b.rest[i - 1], 0};
      } else if (i == 0) {
        size = b.count();
      } else {
        size = {1, 0};
        for (size_t k = i - 1; k < b.rest.size(); ++k) size.fixed *= b.rest[k];
      }
      if (!bound[letter]) {
        bound[letter] = true;
        instruction.axes[letter] = size;
      } else if (instruction.axes[letter] != size) {
        fail(name + " is " + text(b) + " but " +
             (axes[i] == '*' ? "it must have " : string("its axis ") + std::to_string(i) + " must be ") +
             text(instruction.axes[letter]) + (axes[i] == '*' ? " elements" : ""));
      }
    }
  }

  [[gnu::cold]] void read_scalar(py::handle object, const string& name, char type, Argument& a) {
    idx i;
    if (!parse_whole(object, i) || i < 0 || i >= 1 << 16) fail(name + " is scalar " + text(object));
    a.scalar = int(i);
    if (scalars_.size() <= size_t(i)) scalars_.resize(size_t(i) + 1, 0);
    char& known = scalars_[size_t(i)];
    if (known && known != type) fail(name + ": the scalar is a number for one instruction and a key for another");
    known = type;
  }

  [[gnu::cold]] void read_list(py::handle object, const string& name, bool written, Instruction& instruction,
                               Argument& a) {
    if (!PyList_Check(object.ptr())) fail(name + " is " + text(object) + "; it must be a list of buffers");
    for (py::handle h : py::reinterpret_borrow<py::list>(object)) {
      int number;
      const Buffer& b = buffer(h, number);
      if (b.type != Type::real || b.transposed || b.first.per_n || (written && !b.writable))
        fail(name + " has " + text(b) + " of " + kTypes[int(b.type)] + ", which cannot be updated");
      a.list.push_back({number, b.count().fixed});
      if (written && b.kind == Kind::array) writes_arrays_ = true;
    }
    instruction.updates |= written;
    if (instruction.arguments.empty()) return;
    const auto& first = instruction.arguments[0].list;
    const auto same = [](const Item& x, const Item& y) { return x.n == y.n; };
    if (!std::equal(first.begin(), first.end(), a.list.begin(), a.list.end(), same))
      fail(name + " does not match the shapes of the first list");
  }

  // Refuses an output that shares memory with another argument, but for one that may take the place of an input.
  [[gnu::cold]] void separate(const Instruction& instruction) const {
    const char* word = current_->arguments;
    for (const Argument& a : instruction.arguments) {
      const char* const type = std::strchr(word, ':') + 1;
      if (a.buffer >= 0 && std::isupper(*type))
        for (const Argument& other : instruction.arguments) {
          if (&a == &other || other.buffer < 0) continue;
          const Buffer &x = buffers_[size_t(a.buffer)], &y = buffers_[size_t(other.buffer)];
          if (x.kind != y.kind) continue;
          const bool in_place = *type == 'G' && place(x) == place(y);
          if (!in_place && place(x) < place(y) + uintptr_t(bytes(y, capacity_)) &&
              place(y) < place(x) + uintptr_t(bytes(x, capacity_)))
            fail(string(word, type - 1) + " shares memory with another argument");
        }
      word = std::strchr(word, ' ') ? std::strchr(word, ' ') + 1 : word;
    }
  }
  static uintptr_t place(const Buffer& b) {  // inside the arena: from its beginning
    const auto at = b.kind == Kind::array
                        ? reinterpret_cast<uintptr_t>(reinterpret_cast<const ArrayProxy*>(b.array.ptr())->data)
                        : uintptr_t(b.where);
    return at;
  }

  [[gnu::cold]] void finish(Instruction& instruction) {
    separate(instruction);
    for (size_t i = 0; i < instruction.arguments.size(); ++i) {
      Argument& a = instruction.arguments[i];
      if (a.buffer < 0 || buffers_[size_t(a.buffer)].type != Type::labels) continue;
      // weight and label_smoothing are the arguments of these names, whatever their place
      const bool entropy = std::strstr(current_->name, "softmax_cross_entropy");
      const Argument* ignore = nullptr;
      bool plain = true;
      if (entropy) {
        const size_t weight = i + (std::strstr(current_->name, "backward") ? 2 : 1);  // ignore_index, label_smoothing
        const auto at = [&](size_t k) -> const Argument& { return instruction.arguments[weight + k]; };
        ignore = &at(1);
        plain = at(0).buffer < 0 && at(2).number == 0 && at(2).scalar < 0;
        if (at(2).scalar >= 0 || !(at(2).number >= 0 && at(2).number <= 1))
          fail("label_smoothing must be a number in [0, 1]");
      }
      const bool ignores = ignore && ignore->given;
      Slot slot{a.buffer,
                instruction.axes[entropy ? 'N' - 'A' : 26],
                instruction.axes['V' - 'A'].fixed,
                entropy,
                ignores,
                ignores ? ignore->sizes[0] : 0,
                plain,
                label_bytes_,
                current_->name};
      if (instruction.axes['V' - 'A'].per_n) fail("the number of classes depends on N");
      const auto same = [&](const Slot& s) {
        return s.buffer == slot.buffer && s.rows == slot.rows && s.V == slot.V && s.ignores == ignores &&
               s.ignore == slot.ignore && s.plain == plain && s.may_be_targets == entropy;
      };
      const auto known = std::find_if(slots_.begin(), slots_.end(), same);
      a.slot = int(known - slots_.begin());
      if (known == slots_.end()) {
        label_bytes_ += aligned(slot.rows.at(capacity_) * 8);
        slots_.push_back(slot);
      }
    }
    if (current_->check) {
      State state;
      state.n = capacity_;
      if (const char* wrong = current_->check({instruction, state, table_}, buffers_)) fail(wrong);
    }
    has_loss_ |= (std::strstr(current_->name, "cross_entropy") && !std::strstr(current_->name, "backward")) ||
                 !std::strcmp(current_->name, "squared_error_forward");
  }

  // Weights that never change: packed once. Zeros of a single row need not be multiplied with them where they are
  // finite.
  template <class T> [[gnu::cold]] void pack_weights(const Kernels<T>& kernels, const Plan* share) {
    const auto take = [&](idx elements) {
      std::unique_ptr<void, GiveBack> block(pool::take(size_t(elements) * sizeof(T)));
      if (!block) throw std::bad_alloc();
      packed_.emplace_back(std::move(block));
      return static_cast<T*>(std::memset(packed_.back().get(), 0, size_t(elements) * sizeof(T)));
    };
    State state = new_state();
    state.n = 1;
    for (Instruction& instruction : instructions_) {
      const string name = instruction.operation ? instruction.operation->name : "";
      const bool steps = name == "rnn_forward" || name == "lstm_forward" || name == "gru_forward";
      if (writes_arrays_ || (name != "affine_forward" && name != "conv2d_forward" && !steps)) continue;
      const Buffer &x = buffers_[size_t(instruction.arguments[0].buffer)],
                   &W = buffers_[size_t(instruction.arguments[1].buffer)];
      if (W.kind != Kind::array) continue;
      if (steps) {
        const Buffer& Wh = buffers_[size_t(instruction.arguments[2].buffer)];
        if (Wh.kind != Kind::array || instruction.axes['T' - 'A'].fixed < 2) continue;
        if (take_packed(instruction, 2, share)) continue;
        packed_.emplace_back(pack_recurrent<T>({instruction, state, table_}));
        instruction.packed = packed_.back().get();
        continue;
      }
      const T* const data = reinterpret_cast<const T*>(reinterpret_cast<const ArrayProxy*>(W.array.ptr())->data);
      if (name == "conv2d_forward") {
        const ConvShape s = conv2d_shape({instruction, state, table_});
        const ConvAlgorithm algorithm = ConvAlgorithm(instruction.arguments[kConvAlgorithm].sizes[0]);
        if (kernels.conv.choose(s, algorithm) != ConvAlgorithm::winograd || take_packed(instruction, 1, share))
          continue;
        T* const to = take(kernels.conv.transformed_elements(s));
        kernels.conv.transform(s, data, to);
        instruction.packed = to;
      } else {
        const idx D = W.first.fixed, M = W.row;
        const Mat<const T> view = W.transposed ? transposed(row_major(data, M, D)) : row_major(data, D, M);
        if (!take_packed(instruction, 1, share)) {
          T* const to = take(kernels.affine.packed_elements(view.rows, view.cols));
          kernels.affine.pack(view, to);
          instruction.packed = to;
        }
        instruction.skips_zeros = (x.kind == Kind::input || view.rows * view.cols >= kSparseWeights) &&
                                  std::all_of(data, data + view.rows * view.cols, [](T v) { return std::isfinite(v); });
      }
    }
  }

  // What `share` has packed of the same `count` arrays, which follow the first argument -> whether there was any.
  [[gnu::cold]] bool take_packed(Instruction& instruction, size_t count, const Plan* share) {
    if (!share || &share->table_ != &table_ || share->wide_ != wide_) return false;
    const auto array = [](const Plan& plan, const Instruction& i, size_t argument) -> const Buffer& {
      return plan.buffers_[size_t(i.arguments[argument].buffer)];
    };
    for (const Instruction& other : share->instructions_) {
      if (other.operation != instruction.operation || !other.packed) continue;
      bool same = true;
      for (size_t i = 1; i <= count; ++i) {
        const Buffer &a = array(*this, instruction, i), &b = array(*share, other, i);
        same &= a.kind == b.kind && place(a) == place(b) && a.transposed == b.transposed && a.first == b.first &&
                a.rest == b.rest;
      }
      if (!same) continue;
      for (const auto& block : share->packed_)
        if (block.get() == other.packed) packed_.push_back(block);
      instruction.packed = other.packed;
      return true;
    }
    return false;
  }

  // Whether `predict` can give buffer `result` (N, ...), which the last instruction has to write, for an input (N,
  // ...).
  [[gnu::cold]] void find_result(size_t result) {
    for (const Instruction& instruction : instructions_)
      if (!instruction.operation) return;
    if (instructions_.empty() || result >= buffers_.size() || inputs_ != 1 || writes_arrays_ || !scalars_.empty())
      return;
    const Instruction& last = instructions_.back();
    const char* word = last.operation->arguments;
    for (const Argument& a : last.arguments) {
      const char type = std::strchr(word, ':')[1];
      if ((type == 'F' || type == 'G') && written_ < 0) written_ = a.buffer;
      word = std::strchr(word, ' ') ? std::strchr(word, ' ') + 1 : word;
    }
    if (written_ < 0) return;
    int uses = 0;
    for (const Instruction& instruction : instructions_)
      for (const Argument& a : instruction.arguments) uses += a.buffer == written_;
    direct_ = uses == 1;
    for (size_t i = buffers_.size(); i--;)
      if (buffers_[i].kind == Kind::input) input_ = int(i);  // others are views of it
    const Buffer &b = buffers_[result], &from = buffers_[size_t(written_)];
    frozen_ = input_ >= 0 && b.kind == Kind::arena && from.kind == Kind::arena && b.where == from.where &&
              b.type == Type::real && b.count() == from.count() && b.first == Size{0, 1} && b.nd() > 1 && b.row > 0;
    for (const Buffer& x : buffers_) {
      if (x.kind != Kind::input || !frozen_) continue;
      const Buffer& first = buffers_[size_t(input_)];
      const bool real = x.type == Type::real;
      frozen_ = (real || x.type == Type::labels) && x.type == first.type && x.count() == first.count() &&
                first.first == Size{0, 1} && first.nd() > int(real);
    }
    for (const Slot& slot : slots_) frozen_ &= !slot.may_be_targets && slot.rows == buffers_[size_t(input_)].count();
    result_ = int(result);
  }

  // ---- running

  void check_n(idx n, const char* call) const {
    if (n < 1 || n > capacity_)
      throw py::value_error(string("Plan.") + call + ": n is " + std::to_string(n) + "; the plan is for 1 to " +
                            std::to_string(capacity_));
  }

  State new_state() const {
    State state;
    const auto take = [](idx size) {
      void* const block = size ? pool::take(size_t(size)) : nullptr;
      if (size && !block) throw std::bad_alloc();
      return std::unique_ptr<void, GiveBack>(block);
    };
    state.arena = take(arena_bytes_);
    state.label_memory = take(label_bytes_);
    state.labels.resize(slots_.size());
    state.scalars.resize(scalars_.size());
    for (const Buffer& b : buffers_)
      state.data.push_back(b.kind == Kind::arena   ? static_cast<char*>(state.arena.get()) + b.where
                           : b.kind == Kind::array ? reinterpret_cast<const ArrayProxy*>(b.array.ptr())->data
                                                   : nullptr);
    return state;
  }
  std::unique_ptr<State> take_state() {
    if (states_.empty()) return std::make_unique<State>(new_state());
    auto state = std::move(states_.back());
    states_.pop_back();
    return state;
  }
  // Scratch and estimated work for n samples.
  void prepare(State& state, idx n) const {
    if (state.n == n) return;
    state.n = n;
    state.work = 0;
    state.pace = {};
    idx most = 0;
    for (const Instruction& instruction : instructions_) {
      if (!instruction.operation) continue;
      const Need need = need_of(instruction, state);
      most = std::max(most, need.scratch);
      state.work += need.work;
    }
    if (most <= state.scratch_bytes) return;
    state.scratch.reset();
    state.scratch_bytes = 0;
    state.scratch.reset(pool::take(size_t(most)));
    if (!state.scratch) {
      state.n = -1;  // nothing is prepared
      throw std::bad_alloc();
    }
    state.scratch_bytes = most;
  }
  Need need_of(const Instruction& instruction, State& state) const {
    const Call call{instruction, state, table_};
    return wide_ ? instruction.operation->f64.need(call) : instruction.operation->f32.need(call);
  }

  void read_inputs(State& state, idx n, const py::tuple& inputs) const {
    if (inputs.size() != inputs_)
      throw py::value_error("Plan: " + std::to_string(inputs_) + " inputs are needed but " +
                            std::to_string(inputs.size()) + " were given");
    for (size_t i = 0; i < buffers_.size(); ++i) {
      const Buffer& b = buffers_[i];
      if (b.kind != Kind::input || b.type == Type::labels) continue;
      const py::handle h = PyTuple_GET_ITEM(inputs.ptr(), b.where);
      const ArrayProxy* a = as_array(h, kPlain, -1);
      const int wanted = b.type == Type::real    ? wide_ ? type_num<double> : type_num<float>
                         : b.type == Type::int32 ? type_num<int32_t>
                         : b.type == Type::int64 ? type_num<int64_t>
                                                 : type_num<uint8_t>;
      const string name = "Plan: input " + std::to_string(b.where);
      if (!a || type_of(a) != wanted)
        throw py::type_error(name + " must be a C-contiguous array of " +
                             (b.type != Type::real ? kTypes[int(b.type)]
                              : wide_              ? "float64"
                                                   : "float32"));
      if (element_count(a) != b.count().at(n) || a->nd == 0 || (b.first.per_n && a->dimensions[0] % n))
        throw py::value_error(name + " is " + text(a) + " but N is " + std::to_string(n) + " and the plan takes " +
                              text(b));
      state.data[i] = a->data;
    }
    for (size_t i = 0; i < slots_.size(); ++i) read_slot(state, n, inputs, i);
  }

  void read_slot(State& state, idx n, const py::tuple& inputs, size_t i) const {
    const Slot& slot = slots_[i];
    const py::handle h = PyTuple_GET_ITEM(inputs.ptr(), buffers_[size_t(slot.buffer)].where);
    const string name =
        "Plan: " + string(slot.operation) + ": input " + std::to_string(buffers_[size_t(slot.buffer)].where);
    const ArrayProxy* a = as_array(h, kPlain, -1);
    if (!a) throw py::type_error(name + " must be a C-contiguous array of integers, or of targets");
    const idx rows = slot.rows.at(n), count = element_count(a);
    int64_t* const to = labels_at(state, i);
    const int type = type_of(a);
    if (type == type_num<float> || type == type_num<double>) {
      if (!slot.may_be_targets || a->nd < 2 || a->dimensions[a->nd - 1] != slot.V || count != rows * slot.V)
        throw py::value_error(name + " is " + text(a) + "; it must be labels (" + std::to_string(rows) +
                              (slot.may_be_targets
                                   ? ",) or targets (" + std::to_string(rows) + ", " + std::to_string(slot.V) + ")"
                                   : ",)"));
      const bool one_hot =
          slot.plain &&
          (type == type_num<float>
               ? table_.f32.softmax.one_hot_labels(row_major(reinterpret_cast<const float*>(a->data), rows, slot.V), to)
               : table_.f64.softmax.one_hot_labels(row_major(reinterpret_cast<const double*>(a->data), rows, slot.V),
                                                   to));
      if (!one_hot && type != (wide_ ? type_num<double> : type_num<float>))
        throw py::type_error(name + " must be of the plan's dtype");
      state.labels[i] = one_hot ? Labels{to, nullptr} : Labels{nullptr, a->data};
      return;
    }
    if (count != rows)
      throw py::value_error(name + " is " + text(a) + " but there are " + std::to_string(rows) + " rows");
    if (!read_integers(state, a, i))
      throw py::index_error(name + " must be integers in [0, " + std::to_string(slot.V) + ")");
  }
  int64_t* labels_at(const State& state, size_t i) const {
    return reinterpret_cast<int64_t*>(static_cast<char*>(state.label_memory.get()) + slots_[i].offset);
  }
  // False: not integers, or one is outside.
  bool read_integers(State& state, const ArrayProxy* a, size_t i) const {
    const Slot& slot = slots_[i];
    state.labels[i] = {labels_at(state, i), nullptr};
    return read_labels(a, {slot.V, slot.ignores ? &slot.ignore : nullptr}, labels_at(state, i));
  }

  void read_scalars(State& state, const py::tuple& scalars) const {
    if (scalars.size() != scalars_.size())
      throw py::value_error("Plan: " + std::to_string(scalars_.size()) + " scalars are needed but " +
                            std::to_string(scalars.size()) + " were given");
    for (size_t i = 0; i < scalars_.size(); ++i) {
      PyObject* const h = PyTuple_GET_ITEM(scalars.ptr(), ssize_t(i));
      if (scalars_[i] == 'k')
        state.scalars[i].key = PyLong_Check(h) ? PyLong_AsUnsignedLongLong(h) : (PyErr_SetNone(PyExc_TypeError), 0);
      else
        state.scalars[i].real = PyFloat_AsDouble(h);
      if (!PyErr_Occurred()) continue;
      PyErr_Clear();
      throw py::type_error("Plan: scalar " + std::to_string(i) + " is " + text(h));
    }
  }

  // Runs [next, end), or less when that takes more than `most` scalar operations -> whether it came to the end. After
  // a loss that is not finite nothing is updated. which: of instructions that update arrays, and others.
  enum Which { kAll, kUpdates, kOthers };
  bool run_some(State& state, size_t& next, size_t end, double most, Which which) const {
    double done = 0;
    for (; next < end; ++next) {
      const Instruction& instruction = instructions_[next];
      if (which != kAll && instruction.updates != (which == kUpdates)) continue;
      if (most > 0) {
        if (done > most) return false;
        done += need_of(instruction, state).work;
      }
      if (instruction.updates && !std::isfinite(state.loss)) continue;
      const Call call{instruction, state, table_};
      (wide_ ? instruction.operation->f64 : instruction.operation->f32).run(call);
    }
    return true;
  }
  void execute(State& state, size_t begin, size_t end) const {
    if (state.work < kReleaseWork) {
      run_some(state, begin, end, 0, kAll);
    } else if (state.work <= table_.chunk_work) {
      const WithoutGil without;
      const team::Run whole(idx(std::min(state.work, 1e15)), state.pace);
      run_some(state, begin, end, 0, kAll);
    } else {
      // With a look for Ctrl-C now and then, and all updates after the last one: they are made as a whole or not at
      // all.
      size_t next = begin;
      for (bool finished = false; !finished;) {
        {
          const WithoutGil without;
          const team::Run whole(idx(std::min(state.work, 1e15)), state.pace);
          finished = run_some(state, next, end, table_.chunk_work, kOthers);
          if (finished) run_some(state, next = begin, end, 0, kUpdates);
        }
        if (!finished && PyErr_CheckSignals() != 0) throw py::error_already_set();
      }
    }
    if (!state.places_fit) {
      state.places_fit = true;
      throw py::value_error("Plan: places of maxima are outside their windows");
    }
  }

  const KernelTable& table_;
  const bool wide_;
  const idx arena_bytes_, capacity_;
  idx label_bytes_ = 0;
  std::vector<Buffer> buffers_;
  std::vector<Instruction> instructions_;
  std::vector<Slot> slots_;
  std::vector<char> scalars_;  // 'r' or 'k'; 0: not used
  size_t inputs_ = 0;
  int result_ = -1, written_ = -1, input_ = -1;  // of frozen plans; written_: the last instruction's own of the result
  bool writes_arrays_ = false, has_loss_ = false, frozen_ = false, direct_ = false;
  unsigned busy_ = 0;  // the process that runs it
  bool ended_ = false, has_gaps_ = false;
  const Operation* current_ = nullptr;  // being read
  State own_;
  std::vector<std::shared_ptr<void>> packed_;
  std::vector<std::unique_ptr<State>> states_;  // of frozen runs, not in use; guarded by the GIL
};

// What a function of a frozen plan calls. The plan is set once, so that no call finds another one when it ends.
struct Target {
  Plan* plan = nullptr;
  py::object keeper;  // the plan's object

  void set(const py::object& object) {
    if (plan || !py::isinstance<Plan>(object) || !object.cast<Plan&>().frozen()) return;
    keeper = object;
    plan = object.cast<Plan*>();
  }
};

// self: the target as a capsule, what is called otherwise.
template <bool classes> PyObject* call_predict(PyObject* self, PyObject* const* given, Py_ssize_t n, PyObject* names) {
  const bool named =
      names && PyTuple_GET_SIZE(names) == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "out") == 0;
  Target& target = *static_cast<Target*>(PyCapsule_GetPointer(PyTuple_GET_ITEM(self, 0), nullptr));
  Plan* const plan = target.plan;
  if (plan && (named ? n == 1 : !names && (n == 1 || n == 2))) {
    try {
      py::object result = plan->predict(given[0], named || n == 2 ? given[1] : Py_None, classes);
      if (result) return result.release().ptr();
    } catch (py::error_already_set& error) {
      error.restore();
      return nullptr;
    } catch (const py::builtin_exception& error) {
      error.set_error();
      return nullptr;
    } catch (const std::bad_alloc&) {
      return PyErr_NoMemory();
    }
  }
  PyObject* const otherwise = PyTuple_GET_ITEM(self, 1);
  if (otherwise == Py_None) Py_RETURN_NONE;
  PyObject* const result = PyObject_Vectorcall(otherwise, given, size_t(n), names);
  if (result && !plan) {
    const auto made = py::reinterpret_steal<py::object>(PyObject_GetAttrString(otherwise, "plan"));
    if (made)
      target.set(made);
    else
      PyErr_Clear();
  }
  return result;
}

py::object make_function(std::unique_ptr<Target> target, const py::object& otherwise, bool classes) {
#define FASTNN_METHOD(name, classes, text)                                                \
  {                                                                                       \
    #name, reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(call_predict<classes>)), \
        METH_FASTCALL | METH_KEYWORDS, #name "(x, out=None)\n--\n\n" text                 \
  }
  static PyMethodDef methods[] = {
      FASTNN_METHOD(predict, false, "x (N, ...) -> (N, ...): see fastnn.network.Predictor."),
      FASTNN_METHOD(predict_classes, true, "x (N, ...) -> places of the largest scores: see fastnn.network.Predictor."),
  };
#undef FASTNN_METHOD
  const py::capsule owner(target.get(), [](void* own) { delete static_cast<Target*>(own); });
  target.release();
  const py::tuple bound = py::make_tuple(owner, otherwise);
  return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&methods[classes], bound.ptr(), nullptr));
}
py::object Plan::function(const py::object& self, const py::object& otherwise, bool classes) {
  auto target = std::make_unique<Target>();
  target->set(self);
  return target->plan ? make_function(std::move(target), otherwise, classes) : py::none();
}
py::object Plan::function_later(const py::object& otherwise, bool classes) {
  return make_function(std::make_unique<Target>(), otherwise, classes);
}

}  // namespace
}  // namespace fastnn::plan

namespace fastnn {
void bind_plan(py::module_& m) {
  using plan::Plan;
  using namespace py::literals;
  py::class_<Plan>(m, "Plan", "A program that is run as one call; see fastnn.network.program.")
      .def(py::init<const std::string&, const py::list&, const py::list&, idx, idx, idx, const py::object&>(),
           "dtype"_a, "program"_a, "buffers"_a, "arena_bytes"_a, "capacity"_a, "frozen"_a = -1, "share"_a = py::none())
      .def("run", &Plan::run, "n"_a, "inputs"_a, "scalars"_a = py::tuple(), "begin"_a = 0, "end"_a = py::none())
      .def("function", &Plan::function, "otherwise"_a = py::none(), "classes"_a = false)
      .def_static("function_later", &Plan::function_later, "otherwise"_a, "classes"_a = false)
      .def_property_readonly("ended", &Plan::ended)
      .def_property_readonly("nbytes", &Plan::nbytes)
      .def(
          "view", [](const py::object& self, idx i, idx n) { return self.cast<const Plan&>().view(self, i, n); },
          "buffer"_a, "n"_a)
      .def_property_readonly_static("operations", [](const py::object&) {
        py::list names;
        for (const char* name : plan::operation_names()) names.append(name);
        return py::frozenset(names);
      });
}
}  // namespace fastnn
