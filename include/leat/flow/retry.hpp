#pragma once

#include <leat/detail/callback.hpp>
#include <leat/detail/outlet.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <limits>
#include <type_traits>
#include <utility>

namespace leat {

/// How often, and when, something that failed is tried again. The waits grow by a factor, up to a bound.
struct retry_policy {
    std::size_t attempts = 3;                              ///< the first included; zero: any number
    clock::duration delay = clock::duration{100'000'000};  ///< before the second attempt
    double factor = 2;
    clock::duration max_delay = clock::duration{30'000'000'000};
    /// What part of each wait is left to chance, so that many who failed together do not come back together: of 1, a
    /// wait is anything between nothing and its full length.
    double jitter = 0;
    /// No attempt begins when so much time has passed since the first, and no wait goes beyond it.
    clock::duration budget = clock::duration::max();
    /// Whether it makes sense to try again after this failure; none: after any. A function, or a lambda that captures
    /// references, pointers and numbers, up to 32 bytes. In a stage with workers several threads call it at a time.
    detail::trivial_callback<bool(const std::exception_ptr& failure)> when{};
};

namespace detail {

/// The waits of one call.
class retry_state {
public:
    explicit retry_state(const retry_policy& policy) noexcept;

    /// After a failure: says how long to wait for the next attempt; false if there is to be no other, or if the
    /// task's context has ended.
    [[nodiscard]] bool next(const std::exception_ptr& failure, clock::duration& wait);

private:
    retry_policy policy_;
    clock::time_point began_;
    std::size_t made_ = 0;
    double delay_;
};

template <class T, class F>
task<T> run_retry(retry_policy policy, F f)
{
    retry_state state{policy};
    for (;;) {
        std::exception_ptr failure;
        try {
            if constexpr (is_coroutine<F>) {
                if constexpr (std::is_void_v<T>) {
                    co_await f();
                    co_return;
                } else {
                    co_return co_await f();
                }
            } else {
                if constexpr (std::is_void_v<T>) {
                    f();
                    co_return;
                } else {
                    co_return f();
                }
            }
        } catch (...) {
            failure = std::current_exception();
        }
        clock::duration wait{};
        if (!state.next(failure, wait))
            std::rethrow_exception(failure);
        failure = nullptr;
        co_await sleep_for(wait);
    }
}

/// As a stage's answer to failures.
class retry_on_error {
public:
    explicit retry_on_error(const retry_policy& how) noexcept : policy{how}
    {
    }
    retry_policy policy;
};

class retry_function {
public:
    template <class F>
        requires std::invocable<F&>
    [[nodiscard]] auto operator()(const retry_policy& policy, F f) const -> task<result_of<F>>
    {
        return run_retry<result_of<F>, F>(policy, std::move(f));
    }
    template <class F>
        requires std::invocable<F&>
    [[nodiscard]] auto operator()(F f) const -> task<result_of<F>>
    {
        return run_retry<result_of<F>, F>(retry_policy{}, std::move(f));
    }
    [[nodiscard]] retry_on_error operator()(const retry_policy& policy) const noexcept
    {
        return retry_on_error{policy};
    }
};

}  // namespace detail

/// Calls a function, plain or a coroutine, until it succeeds: `co_await retry({.attempts = 5}, fetch)`.
///
/// Result   what the function gives.
/// Throws   what it has thrown last, once it is not to be tried again; cancelled_error, timed_out_error: the task's
///          context ended, which is never tried again.
/// Cancel   also while it waits for the next attempt.
///
/// In a pipeline `on_error(retry(policy))` has the stage before it try an item again.
inline constexpr detail::retry_function retry{};

}  // namespace leat
