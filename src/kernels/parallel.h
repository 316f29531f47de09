// The only place that starts threads. Work is given in scalar operations (a fused multiply-add counts 2; an
// element-wise pass counts what its bytes cost: see the callers).
#pragma once
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "views.h"

namespace fastnn {
extern int thread_limit;  // set_num_threads() and the cgroup quota; accessed with __atomic builtins
}

namespace FASTNN_NS {
namespace {
using namespace fastnn;

// For a function that is to exist once, whatever its callers pass (GCC makes a copy for a body it knows).
#if defined(__clang__)
#define FASTNN_ONCE __attribute__((noinline))
#else
#define FASTNN_ONCE __attribute__((noinline, noclone))
#endif

// Below this much work a thread is not worth waking: a region costs 1 us while workers spin, 72 us once they sleep.
constexpr idx kGrain = idx(1) << 22;

// Threads for this much work: at most fastnn's limit and OpenMP's own (OMP_NUM_THREADS, threadpoolctl), 1 inside a
// region.
inline int team(idx work) {
#if defined(_OPENMP)
  if (work < 2 * kGrain || omp_in_parallel()) return 1;
  idx n = work / kGrain;
  const int limit = __atomic_load_n(&thread_limit, __ATOMIC_RELAXED), omp_limit = omp_get_max_threads();
  if (n > limit) n = limit;
  if (n > omp_limit) n = omp_limit;
  return n < 1 ? 1 : int(n);
#else
  (void)work;
  return 1;
#endif
}

// The loops of parallel_for, compiled once for all bodies: a body is one function, and no copy of it for the team.
using BlockBody = void (*)(const void* f, idx block);
FASTNN_ONCE inline void run_blocks(idx count, idx work, BlockBody body, const void* f) {
  int threads = team(work);
  if (threads > count) threads = int(count);
  if (threads <= 1) {
    for (idx i = 0; i < count; ++i) body(f, i);
    return;
  }
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx i = 0; i < count; ++i) body(f, i);
#endif
}

// f(block) for every block in [0, count): blocks are cut by size alone, so results do not depend on the team.
template <class F> inline void parallel_for(idx count, idx work, const F& f) {
  const BlockBody body = [](const void* g, idx block) {
    const F own = *static_cast<const F*>(g);  // in registers: what f stores to cannot be its own pointers
    own(block);
  };
  run_blocks(count, work, body, &f);
}

using RegionBody = void (*)(const void* f, int thread, int threads);
FASTNN_ONCE inline void run_region(int threads, RegionBody body, const void* f) {
#if defined(_OPENMP)
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    body(f, omp_get_thread_num(), omp_get_num_threads());
    return;
  }
#endif
  (void)threads;
  body(f, 0, 1);
}

// f(thread, threads) once in each thread of the team; f may call barrier().
template <class F> inline void parallel_region(int threads, const F& f) {
  const RegionBody body = [](const void* g, int thread, int team) {
    const F own = *static_cast<const F*>(g);
    own(thread, team);
  };
  run_region(threads, body, &f);
}
inline void barrier() {
#if defined(_OPENMP)
#pragma omp barrier
#endif
}

}  // namespace
}  // namespace FASTNN_NS
