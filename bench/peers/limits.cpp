// What this processor can do at most: multiply-adds on registers, and reading memory. Compiled by machine.py.

#ifdef __AVX512F__
constexpr int kVecBytes = 64;
#elif defined(__AVX__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif
constexpr int kAccumulators = 12;  // at least latency times units, and with two constants in 16 registers

template <class T> double fma_loop(long n, T a, T b) {
  typedef T Vec __attribute__((vector_size(kVecBytes)));
  const Vec scale = a - Vec{}, shift = b - Vec{};
  Vec r0{}, r1{}, r2{}, r3{}, r4{}, r5{}, r6{}, r7{}, r8{}, r9{}, r10{}, r11{};  // an array would not stay in registers
  for (long i = 0; i < n; ++i) {
    r0 = r0 * scale + shift, r1 = r1 * scale + shift, r2 = r2 * scale + shift, r3 = r3 * scale + shift;
    r4 = r4 * scale + shift, r5 = r5 * scale + shift, r6 = r6 * scale + shift, r7 = r7 * scale + shift;
    r8 = r8 * scale + shift, r9 = r9 * scale + shift, r10 = r10 * scale + shift, r11 = r11 * scale + shift;
    asm volatile("" : "+v"(r0), "+v"(r1), "+v"(r2), "+v"(r3), "+v"(r4), "+v"(r5), "+v"(r6), "+v"(r7));
    asm volatile("" : "+v"(r8), "+v"(r9), "+v"(r10), "+v"(r11));  // all computed, each round
  }
  return (r0 + r1 + r2 + r3 + r4 + r5 + r6 + r7 + r8 + r9 + r10 + r11)[0];
}

extern "C" {
// n rounds; the number of floating point operations is n * flops_per_round.
double fma_float32(long n) { return fma_loop<float>(n, 0.5f, 1.0f); }
double fma_float64(long n) { return fma_loop<double>(n, 0.5, 1.0); }
int flops_per_round_float32() { return 2 * kAccumulators * kVecBytes / 4; }
int flops_per_round_float64() { return 2 * kAccumulators * kVecBytes / 8; }

// The sum of n floats: one pass over memory. n is a multiple of 64.
float read_memory(const float* data, long n) {
  typedef float Vec __attribute__((vector_size(kVecBytes), aligned(4)));
  const Vec* v = reinterpret_cast<const Vec*>(data);
  Vec r0{}, r1{}, r2{}, r3{};
  for (long i = 0; i < n / (kVecBytes / 4); i += 4) r0 += v[i], r1 += v[i + 1], r2 += v[i + 2], r3 += v[i + 3];
  return (r0 + r1 + r2 + r3)[0];
}
}
