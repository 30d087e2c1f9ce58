#pragma once

#include <leat/channel.hpp>
#include <leat/detail/call.hpp>
#include <leat/group.hpp>
#include <leat/select.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

struct hedge_policy {
    std::size_t attempts = 2;  ///< at most so many
    clock::duration after =
        clock::duration{100'000'000};  ///< so long after the last one, if none has an answer
};

namespace detail {

[[noreturn]] void throw_bad_hedge();

template <class T, class F>
class hedging {
public:
    hedging(const hedge_policy& policy, F& f) : policy_{policy}, f_{f}, answers_{policy.attempts}
    {
    }

    task<result<T>> run(task_group& attempts)
    {
        std::size_t begun = 0;
        std::size_t failed = 0;
        clock::time_point last_began{};
        std::optional<result<T>> answer;
        const auto take = [&answer](std::optional<result<T>> got) { answer = std::move(got); };
        for (bool begin = true;;) {
            if (begin) {
                last_began = clock::now();
                auto starting = attempts.spawn(attempt(*this));
                static_cast<void>(co_await starting);
                ++begun;
            }
            answer.reset();
            const clock::duration left = policy_.after - (clock::now() - last_began);
            co_await select(on(answers_.recv(), take), on_if(begun < policy_.attempts, after(left), [] {}));
            begin = true;
            if (!answer)
                continue;
            if (answer->has_value())
                break;
            begin = ++failed == begun;
            if (failed == policy_.attempts)
                break;
        }
        attempts.cancel();
        co_return std::move(*answer);
    }

private:
    static task<> attempt(hedging& of)
    {
        result<T> answer{errc::failed};
        try {
            task<T> call = call_as_task(of.f_);
            answer = co_await as_result(std::move(call));
        } catch (...) {
            answer = std::current_exception();
        }
        // There is room for as many as there are attempts.
        static_cast<void>(of.answers_.try_send(std::move(answer)));
    }

    const hedge_policy policy_;
    F& f_;
    channel<result<T>> answers_;
};

template <class T, class F>
task<T> run_hedge(hedge_policy policy, F f)
{
    if (policy.attempts == 0)
        throw_bad_hedge();
    hedging<T, F> all{policy, f};
    result<T> answer = co_await with_group([&](task_group& attempts) { return all.run(attempts); });
    co_return std::move(answer).value();
}

}  // namespace detail

/// Asks again, side by side, when the answer takes long, and takes the first that comes: cuts off the slowest answers at
/// the price of a few calls more.
///
/// Calls the function, plain or a coroutine; if it has not ended after a time, again, and so on; if all that are under way
/// have failed, at once. It has to bear being called several times, and concurrently.
///
/// Result   that of the first call to succeed; the others have been cancelled, and have ended.
/// Throws   what the last call has thrown, when all have failed; usage_error: no attempts are allowed.
/// Cancel   all calls.
/// Cost     a group, and a task for each call.
template <class F>
    requires std::invocable<std::decay_t<F>&>
[[nodiscard]] auto hedge(const hedge_policy& policy, F&& f) -> task<detail::result_of<std::decay_t<F>>>
{
    using function = std::decay_t<F>;
    return detail::run_hedge<detail::result_of<function>, function>(policy, std::forward<F>(f));
}
template <class F>
    requires std::invocable<std::decay_t<F>&>
[[nodiscard]] auto hedge(F&& f) -> task<detail::result_of<std::decay_t<F>>>
{
    return hedge(hedge_policy{}, std::forward<F>(f));
}

}  // namespace leat
