// What the build decides, and how.
//
//   LEAT_REGISTRY             1: tasks remember their name and spawn place, frames where they stand.
//   LEAT_TRANSFER_SYMMETRIC   resume by symmetric transfer: needs a compiler that makes it a tail call.
//   LEAT_TRANSFER_TRAMPOLINE  resume through the scheduler's loop: right everywhere, a little slower.
//
// Left alone, Clang gets symmetric transfer and GCC the trampoline: GCC makes the tail call only at -O2
// and without sanitizers, and has no macro that tells -O1 from -O2. Both modes work together in one
// program (the mode is part of the names of everything that depends on it), so that an unoptimised
// program can use an optimised leat.
#pragma once

#ifndef LEAT_REGISTRY
#define LEAT_REGISTRY 1
#endif

#if defined(LEAT_TRANSFER_SYMMETRIC) && defined(LEAT_TRANSFER_TRAMPOLINE)
#error "leat: choose one of LEAT_TRANSFER_SYMMETRIC and LEAT_TRANSFER_TRAMPOLINE"
#endif

// With LEAT_LINT, Clang 18 and later diagnose coroutines whose reference parameters outlive what they refer
// to. It then also insists that every function which returns a task is a coroutine or is marked
// [[clang::coro_wrapper]], so it is for the user to ask for.
#if defined(LEAT_LINT) && defined(__clang__) && __has_cpp_attribute(clang::coro_lifetimebound)
#define LEAT_TASK_LINT [[clang::coro_return_type, clang::coro_lifetimebound]]
#define LEAT_MAKES_TASK [[clang::coro_wrapper]]
#else
#define LEAT_TASK_LINT
#define LEAT_MAKES_TASK
#endif

namespace leat::detail {

enum class transfer { trampoline, symmetric };

#if defined(LEAT_TRANSFER_SYMMETRIC)
inline namespace symmetric_transfer {
constexpr transfer transfer_mode = transfer::symmetric;
}
#elif defined(LEAT_TRANSFER_TRAMPOLINE) || !defined(__clang__)
inline namespace trampoline_transfer {
constexpr transfer transfer_mode = transfer::trampoline;
}
#else
inline namespace symmetric_transfer {
constexpr transfer transfer_mode = transfer::symmetric;
}
#endif

}  // namespace leat::detail
