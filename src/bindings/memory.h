// Memory behind results and scratch. First touch of fresh memory costs 2 us a page, 14 times a warm rewrite, so large
// results are recycled (Pool) and kernels' scratch persists per thread (Scratch).
#pragma once
#include <cstddef>

namespace fastnn {

// Blocks of at least 64 KiB, 64-byte aligned, in size classes a quarter of an octave apart. Freed blocks are kept up to
// `limit` bytes in all. Locked; usable in a forked child; never destroyed, since arrays may outlive the module.
namespace pool {
constexpr size_t kSmallest = size_t(64) << 10;
void* take(size_t bytes);  // null when the system has no memory left
void give(void* block);
void trim();  // hand every kept block back to the system
void set_limit(size_t bytes);
struct Stats {
  size_t used, kept, limit;  // bytes in live results, in recycled blocks, most that may be kept
};
Stats stats();
}  // namespace pool

// 64-byte aligned scratch of the calling thread, kept from call to call. Throws std::bad_alloc. A call made while the
// buffer is in use (by a signal handler between two chunks of a long call) gets memory of its own.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator void*() const { return data_; }
  template <class T> T* as() const { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
  bool own_ = false;
};
void trim_scratch();  // of the calling thread

}  // namespace fastnn
