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

// Work of a part, at least, where parts are cut by sizes alone because the result or the scratch depends on the cut.
constexpr idx kGrain = idx(1) << 19;

// Threads for this much work.
inline int team(idx work) { return team::size(work); }

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
