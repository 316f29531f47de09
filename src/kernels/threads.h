// The threads that large calls share: one team for the process, compiled once for all instruction sets.
#pragma once
#include "views.h"

namespace fastnn {

extern int thread_limit;  // set_num_threads() and the cgroup quota; accessed with __atomic builtins

namespace team {

int most();  // fastnn's limit and OpenMP's own (OMP_NUM_THREADS, threadpoolctl)
// Threads that a call made now may use: 1 inside a parallel call, inside a region of OpenMP, while another thread's
// call has the team, or for a while after its members were kept from their processors.
int available();
bool awake();  // whether its members wait for work in a loop, so that it costs them 0.2 us to begin
void wake();   // for a call of many operations: they are ready when the first of them comes

// body(f, i) for i in [0, count) by at most `threads` threads; whoever is free takes the next blocks.
using BlockBody = void (*)(const void* f, idx block);
void run_blocks(idx count, int threads, BlockBody body, const void* f);

// body(f, thread, team) once in each of a team of at most `threads` that are ready at the same time; wait() returns
// when all of them have called it.
using RegionBody = void (*)(const void* f, int thread, int team);
void run_region(int threads, RegionBody body, const void* f);
void wait();

}  // namespace team
}  // namespace fastnn
