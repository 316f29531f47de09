// Which instruction sets this build has and this processor (with its operating system) can run.
#include <cstring>

#include "isas.h"
#include "table.h"

#define FASTNN_DECLARE_FILL(family) void fill_##family(fastnn::KernelTable&);
#define FASTNN_DECLARE_ISA(isa)          \
  namespace fastnn_##isa {               \
    FASTNN_FAMILIES(FASTNN_DECLARE_FILL) \
  }
FASTNN_ISAS(FASTNN_DECLARE_ISA)

namespace fastnn {

int thread_limit = 1 << 20;
const KernelTable* active_table = nullptr;

namespace {

bool supported(const char* isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();  // the x86-64-v* levels include the check that the system saves the registers
  if (!std::strcmp(isa, "avx512")) return __builtin_cpu_supports("x86-64-v4");
  if (!std::strcmp(isa, "avx2")) return __builtin_cpu_supports("x86-64-v3");
#endif
  return !std::strcmp(isa, "baseline");
}

double chunk_work(const char* isa) { return !std::strcmp(isa, "avx512") ? 4e9 : !std::strcmp(isa, "avx2") ? 2e9 : 4e8; }

struct Built {
  const char* isa;
  void (*fill)(KernelTable&);
};

#define FASTNN_CALL_FILL(family) fill_##family(table);
#define FASTNN_BUILT(name)             \
  {#name, [](KernelTable& table) {     \
     using namespace fastnn_##name;    \
     FASTNN_FAMILIES(FASTNN_CALL_FILL) \
   }},
const Built built[] = {FASTNN_ISAS(FASTNN_BUILT)};
constexpr int kBuilt = sizeof built / sizeof built[0];

struct Tables {
  KernelTable table[kBuilt];
  const char* names[kBuilt];
  int count = 0;
  Tables() {
    for (const Built& b : built) {
      if (!supported(b.isa)) continue;
      table[count].isa = names[count] = b.isa;
      table[count].chunk_work = chunk_work(b.isa);
      b.fill(table[count++]);
    }
  }
};
const Tables& tables() {
  static const Tables all;
  return all;
}

}  // namespace

const KernelTable* find_table(const char* isa) {
  for (int i = 0; i < tables().count; ++i)
    if (!std::strcmp(tables().names[i], isa)) return &tables().table[i];
  return nullptr;
}

const char* const* available_isas(int* count) {
  *count = tables().count;
  return tables().names;
}

}  // namespace fastnn
