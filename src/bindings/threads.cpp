#include "threads.h"

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

namespace fastnn::team {
namespace {

using Clock = std::chrono::steady_clock;
using Time = int64_t;  // ns
constexpr Time kMicrosecond = 1000, kMillisecond = 1000 * kMicrosecond;

constexpr Time kSpin = 300 * kMicrosecond;  // a member without work looks for it this long, then sleeps
constexpr Time kJoin = 3 * kMicrosecond;    // a region waits this long for members that are awake,
constexpr Time kWake = 100 * kMicrosecond;  // and this long for those that sleep
// A member that comes back this late was kept from its processor by another process. The second time within kOften the
// next calls use one thread, for kAlone.
constexpr Time kLate = 500 * kMicrosecond, kOften = 40 * kMillisecond, kAlone = 100 * kMillisecond;
constexpr int kMost = 256;  // members

Time now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count(); }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
// Waits until done() -> the time it took, 0 when it took none; gives up at `most`.
template <class F> Time spin(F done, Time most = INT64_MAX) {
  if (done()) return 0;
  const Time begin = now();
  for (;;) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return now() - begin;
      pause();
    }
    if (const Time waited = now() - begin; waited > most) return waited;
  }
}

// Blocks are counted down: whoever lowers `left` owns what it took of them, and the job cannot end before it is done.
// What a job is may therefore be read after that, never before.
struct Team {
  alignas(64) std::atomic<idx> left{0};
  alignas(64) std::atomic<idx> done{0};
  alignas(64) std::atomic<int> wanted{0};  // members that may take part
  std::atomic<idx> step{1};                // blocks that are taken at a time
  idx count = 0;
  BlockBody body = nullptr;
  const void* f = nullptr;

  alignas(64) std::atomic<bool> taken{false};  // by the call of some thread
  std::atomic<Time> late_at{0}, alone_until{0};

  alignas(64) std::atomic<int> size{0};  // of the region; 0: not yet known
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> round{0};

  alignas(64) std::atomic<int> sleeping{0};
  std::mutex mutex;
  std::condition_variable work;
  uint64_t wakes = 0;  // guarded by the mutex
  std::atomic<int> members{0};

  bool take(idx& begin, idx& end) {
    idx seen = left.load(std::memory_order_acquire);
    while (seen > 0) {
      const idx some = step.load(std::memory_order_relaxed);  // of this job or, harmlessly, of another
      const idx after = seen > some ? seen - some : 0;
      if (left.compare_exchange_weak(seen, after, std::memory_order_acq_rel)) {
        begin = count - seen, end = count - after;
        return true;
      }
    }
    return false;
  }
  // Runs blocks until none is left.
  void help() {
    idx begin, end;
    while (take(begin, end)) {
      for (idx i = begin; i < end; ++i) body(f, i);
      done.fetch_add(end - begin, std::memory_order_acq_rel);
    }
  }
  void came_late() {
    const Time time = now(), before = late_at.exchange(time, std::memory_order_relaxed);
    if (time - before < kOften) alone_until.store(time + kAlone, std::memory_order_relaxed);
  }
  // Waits for what others took; this thread worked itself since `begin`.
  void finish(idx all, Time begin) {
    if (done.load(std::memory_order_acquire) == all) return;
    const Time own = now() - begin;
    const Time waited = spin([&] { return done.load(std::memory_order_acquire) == all; });
    if (waited > kLate && waited > own) came_late();
  }
  void wake() {
    if (sleeping.load() == 0) return;
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

void Team::live(int number) {
  inside = true;
  uint64_t seen = 0;
  for (;;) {
    const auto called = [&] {
      return left.load(std::memory_order_acquire) > 0 && number < wanted.load(std::memory_order_relaxed);
    };
    if (spin(called, kSpin) <= kSpin) {
      help();
      continue;
    }
    std::unique_lock lock(mutex);
    sleeping.fetch_add(1);
    if (left.load() == 0) work.wait(lock, [&] { return wakes != seen; });
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

int available() {
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

bool awake() {
  Team& team = the_team();
  return team.members.load(std::memory_order_relaxed) > 0 && team.sleeping.load(std::memory_order_relaxed) == 0;
}

void wake() {
  const int threads = available();
  if (threads <= 1) return;
  const Hold hold;
  if (!hold.held) return;
  hold.team.ensure(threads);
  hold.team.wake();
}

void run_blocks(idx count, int threads, BlockBody body, const void* f) {
  const auto alone = [&] {
    for (idx i = 0; i < count; ++i) body(f, i);
  };
  if (threads <= 1) return alone();
  const Hold hold;
  if (!hold.held) return alone();
  Team& team = hold.team;
  team.ensure(threads);
  team.count = count, team.body = body, team.f = f;
  team.step = count / (16 * threads) + 1;
  team.done.store(0, std::memory_order_relaxed);
  team.wanted.store(threads - 1, std::memory_order_relaxed);
  team.left.store(count);
  team.wake();
  const Time begin = now();
  team.help();
  team.finish(count, begin);
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
  Region region{&team, body, f};
  const idx seats = threads - 1;
  team.count = seats, team.step = 1, team.f = &region;
  team.body = [](const void* g, idx seat) {
    const Region& r = *static_cast<const Region*>(g);
    spin([&] { return r.team->size.load(std::memory_order_acquire) > 0; });
    region_size = r.team->size.load(std::memory_order_relaxed);
    r.body(r.f, int(seat) + 1, region_size);
  };
  team.done.store(0, std::memory_order_relaxed);
  team.size.store(0, std::memory_order_relaxed);
  team.arrived.store(0, std::memory_order_relaxed);
  team.wanted.store(int(seats), std::memory_order_relaxed);
  const bool asleep = team.sleeping.load(std::memory_order_relaxed) > 0;
  team.left.store(seats);
  team.wake();
  spin([&] { return team.left.load(std::memory_order_acquire) == 0; }, asleep ? kWake : kJoin);
  const idx empty = team.left.exchange(0, std::memory_order_acq_rel);
  const int size = threads - int(empty);
  team.size.store(size, std::memory_order_release);
  const Time begin = now();
  region_size = size;
  body(f, 0, size);
  team.finish(seats - empty, begin);
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
