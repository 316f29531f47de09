// The only place where kernels use threads. Work is given in scalar operations (a fused multiply-add counts 2; an
// element-wise pass counts what its bytes cost: see the callers).
#pragma once
#include "threads.h"

namespace FASTNN_NS {
namespace {
using namespace fastnn;

// For a function that is to exist once, whatever its callers pass (GCC makes a copy for a body it knows).
#if defined(__clang__)
#define FASTNN_ONCE __attribute__((noinline))
#else
#define FASTNN_ONCE __attribute__((noinline, noclone))
#endif

// Below this much work a thread does not pay: handing over costs 0.5 us while the others look for work, 70 us once they
// sleep.
constexpr idx kGrain = idx(1) << 19, kGrainAsleep = idx(1) << 22;

// Threads for this much work.
inline int team(idx work) {
  if (work < 2 * kGrain || (work < 2 * kGrainAsleep && !team::awake())) return 1;
  const idx n = work / kGrain, most = team::available();
  return int(n < most ? n : most);
}

// f(block) for every block in [0, count): blocks are cut by size alone, so results do not depend on the team.
template <class F> inline void parallel_for(idx count, idx work, const F& f) {
  const team::BlockBody body = [](const void* g, idx block) {
    const F own = *static_cast<const F*>(g);  // in registers: what f stores to cannot be its own pointers
    own(block);
  };
  const int threads = team(work);
  team::run_blocks(count, threads < count ? threads : int(count), body, &f);
}

// f(thread, threads) once in each thread of a team of at most `threads`; f may call barrier().
template <class F> inline void parallel_region(int threads, const F& f) {
  const team::RegionBody body = [](const void* g, int thread, int team) {
    const F own = *static_cast<const F*>(g);
    own(thread, team);
  };
  team::run_region(threads, body, &f);
}
inline void barrier() { team::wait(); }

}  // namespace
}  // namespace FASTNN_NS
