// The GIL, given up for the length of a scope.
#pragma once
#include <pybind11/pybind11.h>

namespace fastnn {

// Once the interpreter has begun to end, Python before 3.14 ends any other thread that asks for the GIL: it unwinds the
// thread's stack, which C++ answers with abort() as soon as that meets a destructor. This one keeps such a thread where
// it is instead, as Python does from 3.14 on; the process ends without it.
class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {  // the unwinding: to leave this handler would end the process
      wait_for_the_end();
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  [[noreturn]] static void wait_for_the_end();
  PyThreadState* const thread_;
};

}  // namespace fastnn
