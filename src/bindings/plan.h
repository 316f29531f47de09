// A plan: the instructions of a program with every argument resolved, checked once and then only run. An instruction is
// a row of the table of operations, the places of its arguments and the sizes that its axes have in common.
#pragma once
#include <string>
#include <vector>

#include "array.h"
#include "threads.h"

namespace fastnn::plan {

// A size of an array: `fixed`, or `per_n` times the n of the run.
struct Size {
  idx fixed = 0, per_n = 0;
  idx at(idx n) const { return fixed + per_n * n; }
  bool operator==(const Size&) const = default;
};

enum class Kind : uint8_t { input, arena, array };
enum class Type : uint8_t { real, uint8, int32, int64, labels, mask };

struct Buffer {
  Kind kind;
  Type type;
  Size first;             // axis 0
  std::vector<idx> rest;  // the other axes
  idx row = 1;            // their product
  idx where = 0;          // number of the input, or byte offset in the arena
  py::object array;
  bool writable = true;
  bool transposed = false;  // the view of an array (rest, first)

  Size count() const { return {first.fixed * row, first.per_n * row}; }
  int nd() const { return 1 + int(rest.size()); }
};

struct Item {  // of a list: a buffer and its elements
  int buffer;
  idx n;
};
struct Argument {
  int buffer = -1;  // -1: a constant, or not given
  int scalar = -1;  // number of the scalar that is read at run time
  int slot = -1;    // labels
  bool given = true;
  bool transposed = false;  // of its buffer
  double number = 0;
  uint64_t key = 0;
  idx sizes[4] = {};
  std::vector<Item> list;
};

// Labels (or targets) of one run, as the kernels take them.
struct Slot {
  int buffer;
  Size rows;
  idx V;
  bool may_be_targets, ignores;
  int64_t ignore;
  bool plain;  // neither weights nor smoothing: one-hot targets may become labels
  idx offset;  // of their int64 in the state's memory
  const char* operation;
};
struct Labels {
  const int64_t* labels;
  const void* targets;
};

struct Number {
  double real;
  uint64_t key;
};

// What a run works on: one for each thread that runs a frozen plan.
struct State {
  std::vector<char*> data;  // of every buffer
  std::vector<Labels> labels;
  std::vector<Number> scalars;
  std::unique_ptr<void, GiveBack> arena, label_memory, scratch;
  idx scratch_bytes = 0;
  idx n = 0;        // the run's
  double work = 0;  // scalar operations of a run with this n
  team::Pace pace;
  double loss = 0;
  bool places_fit = true;  // those of a pooling's maxima were inside their windows
};

struct Operation;
struct Instruction {
  const Operation* operation;  // null: one in Python, which is not run here
  std::vector<Argument> arguments;
  Size axes[27];                 // by letter; 26: "*"
  bool updates;                  // a list of arrays
  const void* packed = nullptr;  // weights that never change, packed once
  bool skips_zeros = false;      // of an input of one sample
};

struct Call {
  const Instruction& instruction;
  State& state;
  const KernelTable& table;

  template <class T> const Kernels<T>& kernels() const {
    if constexpr (std::is_same_v<T, float>)
      return table.f32;
    else
      return table.f64;
  }
  const Argument& operator[](int i) const { return instruction.arguments[size_t(i)]; }
  idx axis(char letter) const { return instruction.axes[letter == '*' ? 26 : letter - 'A'].at(state.n); }
  template <class T> T* data(int i) const {  // null: not given
    const int buffer = (*this)[i].buffer;
    return buffer < 0 ? nullptr : reinterpret_cast<T*>(state.data[size_t(buffer)]);
  }
  template <class T> Mat<T> weights(int i, idx rows, idx cols) const {
    return (*this)[i].transposed ? transposed(row_major(data<T>(i), cols, rows)) : row_major(data<T>(i), rows, cols);
  }
  double real(int i) const {
    const Argument& a = (*this)[i];
    return a.scalar < 0 ? a.number : state.scalars[size_t(a.scalar)].real;
  }
  uint64_t key(int i) const {
    const Argument& a = (*this)[i];
    return a.scalar < 0 ? a.key : state.scalars[size_t(a.scalar)].key;
  }
  idx whole(int i) const { return (*this)[i].sizes[0]; }
  bool flag(int i) const { return (*this)[i].number != 0; }
  Activation activation(int i) const { return Activation(whole(i)); }
  const Labels& labels(int i) const { return state.labels[size_t((*this)[i].slot)]; }
  template <class T> T* scratch() const { return static_cast<T*>(state.scratch.get()); }
};

struct Need {
  idx scratch = 0;  // bytes
  double work = 0;  // scalar operations
};

// Arguments are described by words "name:t?AXES=default": t is the type, `?` says that None may stand for it, each
// capital letter is an axis (`*`: all that are left, as one), equal letters have equal sizes.
//   f float array  F one that is written  G the same, or in the place of an input  w, W like f, F, perhaps a transposed
//   view  m mask  M written  p places of maxima  P written  t labels  l int64 array  L list of float arrays  U one that
//   is written  r real number  k key of a generator  a activation  c algorithm of a convolution  b bool  i whole number
//   2 pair of whole numbers  4 sizes of an array
struct Operation {
  const char* name;
  const char* arguments;
  struct {
    void (*run)(const Call&);
    Need (*need)(const Call&);
  } f32, f64;
  // Null: fine; else what is wrong with the sizes.
  const char* (*check)(const Call&, const std::vector<Buffer>&);
};
const Operation* find_operation(const char* name);
template <class T> std::unique_ptr<void, GiveBack> pack_recurrent(const Call& c);  // of rnn, lstm and gru_forward
ConvShape conv2d_shape(const Call& c);                                             // of conv2d_forward
constexpr size_t kConvAlgorithm = 9;                                               // its argument
std::vector<const char*> operation_names();

}  // namespace fastnn::plan
