// The threads that large calls share: one team for the process, compiled once for all instruction sets.
#pragma once
#include "views.h"

namespace fastnn {

extern int thread_limit;  // set_num_threads() and the cgroup quota; accessed with __atomic builtins

namespace team {

int most();  // fastnn's limit and OpenMP's own (OMP_NUM_THREADS, threadpoolctl)
// Threads for so much work, in scalar operations (a fused multiply-add counts 2).
int size(idx work);
// Threads for a large call that follows one that had to wait so many ns for a member: for tests.
int size_after(idx waited);
// Of a call that is made again and again: whether threads pay for it, on this machine and at this time.
struct Pace {
  int calls = -16;
  bool together = true;
  int64_t times[2][3] = {};  // ns: the way in use, the other one
};
// Around a call of many operations, `work` in all: the members are awake when the first of them comes, and smaller
// operations are shared.
struct Run {
  Run(idx work, Pace& pace);
  ~Run();

 private:
  Pace& pace;
  const int outer;
  int trial = -1;  // place among the calls that are timed
  int64_t begin = 0;
};

// body(f, i) for i in [0, count) by at most `threads` threads: each its own range of blocks, always the same one, then
// those that others have not begun.
using BlockBody = void (*)(const void* f, idx block);
void run_blocks(idx count, int threads, BlockBody body, const void* f);

// body(f, thread, team) once in each of a team of at most `threads` that are ready at the same time; wait() returns
// when all of them have called it.
using RegionBody = void (*)(const void* f, int thread, int team);
void run_region(int threads, RegionBody body, const void* f);
void wait();

}  // namespace team
}  // namespace fastnn
