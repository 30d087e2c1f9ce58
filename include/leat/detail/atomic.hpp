// The atomics on which the protocols between threads rest: parking, locks, contexts, queues. A model build
// (test/model_test.cpp) puts atomics of its own in their place, each operation of which is a point where
// another thread may go on, and searches the interleavings.
#pragma once

#if defined(LEAT_MODEL_ATOMIC)
#include LEAT_MODEL_ATOMIC
#else

#include <atomic>

namespace leat::detail {

template <class T>
using atomic = std::atomic<T>;

}  // namespace leat::detail

#endif
