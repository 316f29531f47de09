#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace fastnn::team {
namespace {

using Clock = std::chrono::steady_clock;
using Time = int64_t;  // ns
constexpr Time kMicrosecond = 1000, kMillisecond = 1000 * kMicrosecond;

constexpr Time kSpin = 300 * kMicrosecond;  // a member without work looks for it this long, then sleeps
constexpr Time kJoin = 3 * kMicrosecond;    // a region waits this long for members that are awake,
constexpr Time kWake = 100 * kMicrosecond;  // and this long for those that sleep
// A member without work lets another process have its processor once in so long, better then than in a block, and
// leaves the one that its caller is on: beside a loop of low priority the kernel may put both on the other one.
constexpr Time kYield = 1 * kMillisecond;
constexpr Time kPatience = 50 * kMicrosecond;
// A call waits so long for a member only if another process has its processor: for a turn of 1 to 4 ms. Some are met
// everywhere, twice in a second and beside a loop of nice 19 too, so calls may wait kAllowance and 1 / kShare of the
// time. What comes later than that is late: the next calls use one thread, for kPause.
constexpr Time kLong = 500 * kMicrosecond, kAllowance = 5 * kMillisecond, kShare = 20, kPause = 100 * kMillisecond;
constexpr int kMost = 256;  // members

// Below this much work a thread does not pay: handing over takes 0.3 to 1 us while the others look for work, 70 us once
// they sleep. In a run of many operations a thread finds in its caches what it wrote before, and what the others wrote
// takes longer than the work on it: see docs/benchmarks.md, "Two threads".
constexpr idx kGrain = idx(1) << 18, kGrainInRun = idx(1) << 15, kGrainAsleep = idx(1) << 22;
constexpr idx kSureWork = idx(1) << 28;  // threads always pay
constexpr int kTrials = 1024;

Time now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count(); }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
// Waits until done() -> the time it took, 0 when it took none; gives up at `most`. Who waits for long may hold the
// processor that the others need.
template <class F> Time spin(F done, Time most = INT64_MAX) {
  if (done()) return 0;
  const Time begin = now();
  for (;;) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return now() - begin;
      pause();
    }
    const Time waited = now() - begin;
    if (waited > most) return waited;
    if (most == INT64_MAX && waited > kPatience) std::this_thread::yield();
  }
}

// Processor of this thread, -1 if not known.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}
// To another processor, if this thread may use one.
void leave(int processor) {
#if defined(__linux__)
  cpu_set_t all, others;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  others = all;
  CPU_CLR(processor, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  sched_setaffinity(0, sizeof all, &all);
#else
  (void)processor;
#endif
}

// The blocks of a job are cut into one range for each thread, always the same one, so that a thread finds in its caches
// what it wrote in the job before; when its own range is done it takes from the others. A range is counted down:
// whoever lowers `left` owns what it took, and the job cannot end before that is done. What the job is may therefore be
// read after that, never before. A range is one line of the caches: handing it over costs two transfers of lines
// between processors (0.1 to 0.3 us each), and one for what f points to.
struct alignas(64) Range {
  std::atomic<idx> left{0};
  idx end = 0;
  BlockBody body = nullptr;
  const void* f = nullptr;

  // -> how many blocks it has run. A quarter of what is left at a time.
  idx run() {
    idx all = 0, seen = left.load(std::memory_order_acquire);
    while (seen > 0) {
      const idx after = seen - (seen + 3) / 4;
      if (!left.compare_exchange_weak(seen, after, std::memory_order_acq_rel)) continue;
      for (idx i = end - seen; i < end - after; ++i) body(f, i);
      all += seen - after;
      seen = left.load(std::memory_order_acquire);
    }
    return all;
  }
};
struct Team {
  Range ranges[kMost];                   // 0: the caller's, k + 1: that of member k
  alignas(64) std::atomic<idx> done{0};  // blocks that members have ever run
  alignas(64) idx expected = 0;          // of the jobs so far
  std::atomic<bool> taken{false};        // by the call of some thread
  Time owed = 0, owed_at = 0;            // beyond the share of the time that calls may wait
  std::atomic<Time> alone_until{0};
  std::atomic<int> members{0};
  std::atomic<int> callers{-1};  // processor

  alignas(64) std::atomic<int> size{0};  // of the region; 0: not yet known
  std::atomic<int> joined{0};
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> round{0};

  alignas(64) std::atomic<int> sleeping{0};
  std::mutex mutex;
  std::condition_variable work;
  uint64_t wakes = 0;  // guarded by the mutex

  // A member may miss this, or wake too late: nobody waits for one that has not begun.
  void hand_out(int range, idx begin, idx end, BlockBody body, const void* f) {
    Range& r = ranges[range];
    if (begin == end && r.left.load(std::memory_order_relaxed) == 0) return;  // keep the line as it is
    r.end = end, r.body = body, r.f = f;
    r.left.store(end - begin, std::memory_order_release);
  }
  void waited_long(Time waited) {
    const Time time = now();
    owed = std::max(Time(0), owed - (time - owed_at) / kShare) + waited;
    owed_at = time;
    if (owed <= kAllowance) return;
    owed = 0;
    alone_until.store(time + kPause, std::memory_order_relaxed);
  }
  // Waits for what others took; this thread worked itself since `begin`.
  void finish(Time begin) {
    const auto all_done = [&] { return done.load(std::memory_order_acquire) == expected; };
    if (all_done()) return;
    const Time own = now() - begin, waited = spin(all_done);
    if (waited > kLong && waited > own) waited_long(waited);
  }
  void wake() {
    if (sleeping.load(std::memory_order_relaxed) == 0) return;
    {
      const std::lock_guard lock(mutex);
      ++wakes;
    }
    work.notify_all();
  }
  void live(int number);
  void ensure(int threads);
};

Team* the_team_ = nullptr;
Team& the_team() {
  static const bool made = [] {
    the_team_ = new Team;  // never destroyed: its members run until the process ends
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { the_team_ = new Team; });  // a child has no members
#endif
    return true;
  }();
  (void)made;
  return *the_team_;
}

thread_local bool inside = false;  // a body
enum { kSeparate, kTogether, kAlone };
thread_local int mode = kSeparate;  // of the calls that this thread makes: by their own size, or in a Run

void Team::live(int number) {
  inside = true;
  uint64_t seen = 0;
  Range& own = ranges[number + 1];
  // Asks for the line for writing: who takes blocks writes, and would have to ask again.
  const auto called = [&] {
    idx none = 0;
    return !own.left.compare_exchange_strong(none, 0, std::memory_order_acquire);
  };
  for (Time yielded = 0;;) {
    if (const Time time = now(); !called() && time - yielded > kYield) {
      const int here = processor();
      here >= 0 && here == callers.load(std::memory_order_relaxed) ? leave(here) : std::this_thread::yield();
      yielded = time;
    }
    if (spin(called, kSpin) <= kSpin) {
      done.fetch_add(own.run(), std::memory_order_acq_rel);
      const int most = members.load(std::memory_order_relaxed) + 1;
      for (int i = 0; i < most; ++i)
        if (const idx blocks = ranges[i].run()) done.fetch_add(blocks, std::memory_order_acq_rel);
      continue;
    }
    std::unique_lock lock(mutex);
    sleeping.fetch_add(1);
    if (!called()) work.wait(lock, [&] { return wakes != seen; });
    sleeping.fetch_sub(1);
    seen = wakes;
  }
}

// The members are OpenMP's, in one region that never ends: they are placed as OMP_PROC_BIND and OMP_PLACES say. A
// region for each call would wait at its end for every thread, also for one whose processor another process has.
void Team::ensure(int threads) {
  const int first = members.load(std::memory_order_relaxed), more = threads - 1 - first;
  if (more <= 0) return;
#if !defined(_WIN32)
  sigset_t all, before;  // signals are the caller's
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
  try {
    std::thread([this, first, more] {
#if defined(_OPENMP)
#pragma omp parallel num_threads(more)
      live(first + omp_get_thread_num());
#else
      for (int i = 1; i < more; ++i) std::thread([this, first, i] { live(first + i); }).detach();
      live(first);
#endif
    }).detach();
    members.store(first + more, std::memory_order_relaxed);
  } catch (const std::system_error&) {  // no more threads: those that are there do it
  }
#if !defined(_WIN32)
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
}

// The team for one call of this thread, if nobody else has it.
struct Hold {
  Team& team;
  const bool held;
  Hold() : team(the_team()), held(!inside && !team.taken.exchange(true, std::memory_order_acquire)) { inside |= held; }
  // The members know where the caller is.
  void tell() const {
    const int here = processor();
    if (here != team.callers.load(std::memory_order_relaxed)) team.callers.store(here, std::memory_order_relaxed);
  }
  ~Hold() {
    if (!held) return;
    inside = false;
    team.taken.store(false, std::memory_order_release);
  }
};

struct Region {
  Team* team;
  RegionBody body;
  const void* f;
};
thread_local int region_size = 1;  // threads of the region that this one is in

}  // namespace

int most() {
  const int limit = __atomic_load_n(&thread_limit, __ATOMIC_RELAXED);
#if defined(_OPENMP)
  const int other = omp_get_max_threads();
#else
  static const int other = int(std::thread::hardware_concurrency());
#endif
  const int n = other > 0 && other < limit ? other : limit;
  return n < kMost ? n : kMost;
}

// Threads that a call made now may use: 1 inside a parallel call, inside a region of OpenMP, while another thread's
// call has the team, or for a while after its members were kept from their processors.
static int available() {
  if (inside) return 1;
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
#endif
  const int n = most();
  if (n <= 1) return 1;
  Team& team = the_team();
  if (team.taken.load(std::memory_order_relaxed)) return 1;
  const Time until = team.alone_until.load(std::memory_order_relaxed);
  return until && now() < until ? 1 : n;
}

int size(idx work) {
  const idx grain = mode == kTogether ? kGrainInRun : kGrain;
  if (work < 2 * grain || mode == kAlone) return 1;
  if (work < 2 * kGrainAsleep) {
    Team& team = the_team();
    if (team.members.load(std::memory_order_relaxed) == 0 || team.sleeping.load(std::memory_order_relaxed) > 0)
      return 1;
  }
  const idx n = work / grain, most = available();
  return int(n < most ? n : most);
}

int size_after(idx waited) {
  if (const Hold hold; hold.held) hold.team.waited_long(waited);
  return size(kSureWork);
}

// Of kTrials calls the first four are made in the way that is in use, four more in the other one; the medians of three
// decide. (6 x 100 with batch normalisation, 340 us by one thread: by two 220, but 400 in some hours, when a line of
// the caches took 0.7 us from one processor to the other instead of 0.1.)
Run::Run(idx work, Pace& pace) : pace(pace), outer(mode) {
  if (work < 2 * kGrainAsleep) return;
  const int threads = available();
  if (threads <= 1) return;
  bool together = true;
  if (work < kSureWork) {
    if (++pace.calls == kTrials) pace.calls = 0;
    if (pace.calls >= 0 && pace.calls < 8) {
      trial = pace.calls;
      begin = now();
    }
    together = pace.together == (trial < 4);
  }
  mode = together ? kTogether : kAlone;
  if (!together) return;
  const Hold hold;
  if (!hold.held) return;
  hold.team.ensure(threads);
  hold.team.wake();
}
Run::~Run() {
  mode = outer;
  if (trial < 0) return;
  if (trial % 4) pace.times[trial / 4][trial % 4 - 1] = now() - begin;
  if (trial != 7) return;
  const auto median = [](const int64_t (&t)[3]) {
    return std::max(std::min(t[0], t[1]), std::min(std::max(t[0], t[1]), t[2]));
  };
  if (median(pace.times[1]) < median(pace.times[0])) pace.together = !pace.together;
}

void run_blocks(idx count, int threads, BlockBody body, const void* f) {
  const auto run = [=](idx begin, idx end) {
    for (idx i = begin; i < end; ++i) body(f, i);
  };
  if (threads <= 1) return run(0, count);
  const Hold hold;
  if (!hold.held) return run(0, count);
  Team& team = hold.team;
  team.ensure(threads);
  hold.tell();
  const auto first = [=](int range) { return count * range / threads; };
  for (int i = 1; i < threads; ++i) team.hand_out(i, first(i), first(i + 1), body, f);
  const idx begin = (first(1) + 3) / 4;
  team.hand_out(0, begin, first(1), body, f);
  team.wake();
  const Time time = now();
  run(0, begin);
  idx own = begin + team.ranges[0].run();
  const auto others_done = [&] { return team.done.load(std::memory_order_acquire) == team.expected + count - own; };
  for (int i = 1; i < threads && !others_done(); ++i) own += team.ranges[i].run();
  team.expected += count - own;
  team.finish(time);
}

void run_region(int threads, RegionBody body, const void* f) {
  const Hold hold;
  if (threads <= 1 || !hold.held) {
    const int outer = region_size;
    region_size = 1;
    body(f, 0, 1);
    region_size = outer;
    return;
  }
  Team& team = hold.team;
  team.ensure(threads);
  hold.tell();
  Region region{&team, body, f};
  team.size.store(0, std::memory_order_relaxed);
  team.joined.store(0, std::memory_order_relaxed);
  team.arrived.store(0, std::memory_order_relaxed);
  const auto seat = [](const void* g, idx) {
    const Region& r = *static_cast<const Region*>(g);
    const int thread = 1 + r.team->joined.fetch_add(1);
    spin([&] { return r.team->size.load(std::memory_order_acquire) > 0; });
    region_size = r.team->size.load(std::memory_order_relaxed);
    r.body(r.f, thread, region_size);
    region_size = 1;
  };
  const bool asleep = team.sleeping.load(std::memory_order_relaxed) > 0;
  for (int i = 1; i < threads; ++i) team.hand_out(i, i, i + 1, seat, &region);
  team.wake();
  const auto begun = [&] {
    for (int i = 1; i < threads; ++i)
      if (team.ranges[i].left.load(std::memory_order_acquire)) return false;
    return true;
  };
  spin(begun, asleep ? kWake : kJoin);
  int size = 1;
  for (int i = 1; i < threads; ++i) size += team.ranges[i].left.exchange(0, std::memory_order_acq_rel) == 0;
  team.size.store(size, std::memory_order_release);
  const Time time = now();
  region_size = size;
  body(f, 0, size);
  region_size = 1;
  team.expected += size - 1;
  team.finish(time);
}

void wait() {
  const int size = region_size;
  if (size <= 1) return;
  Team& team = the_team();
  const int round = team.round.load(std::memory_order_acquire);
  if (team.arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
    team.arrived.store(0, std::memory_order_relaxed);
    team.round.store(round + 1, std::memory_order_release);
  } else {
    spin([&] { return team.round.load(std::memory_order_acquire) != round; });
  }
}

}  // namespace fastnn::team
