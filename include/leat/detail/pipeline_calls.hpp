// The stages of pipelines that call a function: how they call it, in the task of the stage before or by workers of their
// own, and what becomes of its failures.
#pragma once

#include <leat/detail/pipeline_core.hpp>
#include <leat/detail/range.hpp>
#include <leat/flow/retry.hpp>
#include <leat/this_task.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace leat::detail {

enum class stage_kind : unsigned char { map, filter, flat_map, tee, for_each };

/// What a stage does about an item for which its function fails.
struct fail_on_error {};
struct skip_on_error {};
struct collect_on_error {};

template <class Policy>
constexpr bool tries_again = std::is_same_v<Policy, retry_on_error>;

template <stage_kind K, class F, class Policy, class T>
struct stage_types {
    static constexpr bool looks = K == stage_kind::filter || K == stage_kind::tee;
    using argument = std::conditional_t<looks, const T&, std::conditional_t<tries_again<Policy>, T&, T&&>>;
    static_assert(std::invocable<F&, argument>,
                  "leat: the function of this stage can not be called with what the stage before it gives");
    using answer = std::remove_cvref_t<result_of<F, argument>>;
    static constexpr bool calls_later = is_coroutine<F, argument>;
    using kept =
        std::conditional_t<std::is_void_v<answer> || K == stage_kind::tee || K == stage_kind::for_each,
                           std::monostate, answer>;
};

template <stage_kind K, class Types, class T>
struct stage_output {
    using type = T;
};
template <class Types, class T>
struct stage_output<stage_kind::map, Types, T> {
    using type = typename Types::answer;
    static_assert(!std::is_void_v<type>,
                  "leat: the function of map() gives a value; for one that does not there is "
                  "tee(f), which passes the item on, and for_each(f)");
};
template <class Types, class T>
struct stage_output<stage_kind::flat_map, Types, T> {
    using type = range_value<typename Types::answer>;
};

/// The answer of a stage's function for an item; empty if the item is left out.
template <class Types, class T>
class stage_answer {
public:
    std::optional<typename Types::kept> made;
    std::optional<T> item;  ///< if it is passed on
};

/// Calls the function of a stage, and does about failures what the policy says.
template <stage_kind K, class F, class Policy, class T>
class stage_caller {
public:
    using types = stage_types<K, F, Policy, T>;
    using answer = stage_answer<types, T>;
    static constexpr bool async = types::calls_later || tries_again<Policy>;

    stage_caller(F& f, const Policy& policy, pipeline_run& run, stage_meter* meter) noexcept
        : f_{&f}, policy_{&policy}, run_{&run}, meter_{meter}
    {
    }

    /// If nothing in it waits.
    answer call(T&& item)
    {
        answer got;
        count_in(meter_);
        if constexpr (std::is_same_v<Policy, fail_on_error>) {
            call_now(item, got);
        } else {
            try {
                call_now(item, got);
            } catch (...) {
                failed(std::current_exception());
                got.made.reset();
            }
        }
        keep(item, got);
        return got;
    }
    task<> call_later(T& item, answer& got)
    {
        count_in(meter_);
        if constexpr (std::is_same_v<Policy, fail_on_error>) {
            co_await call_once(item, got);
        } else if constexpr (tries_again<Policy>) {
            retry_state state{policy_->policy};
            for (;;) {
                std::exception_ptr failure;
                try {
                    co_await call_once(item, got);
                } catch (...) {
                    failure = std::current_exception();
                }
                if (!failure)
                    break;
                end_if_told();
                count_failure();
                clock::duration wait{};
                if (!state.next(failure, wait))
                    std::rethrow_exception(failure);
                failure = nullptr;
                co_await sleep_for(wait);
            }
        } else {
            std::exception_ptr failure;
            try {
                co_await call_once(item, got);
            } catch (...) {
                failure = std::current_exception();
            }
            if (failure) {
                failed(std::move(failure));
                got.made.reset();
            }
        }
        keep(item, got);
    }
    void passed_on() noexcept
    {
        count_out(meter_);
    }
    bool observed() const noexcept
    {
        return meter_ != nullptr;
    }
    /// Nothing but the call, for those who need no more.
    decltype(auto) bare(T&& item)
    {
        return (*f_)(static_cast<typename types::argument>(item));
    }

private:
    void call_now(T& item, answer& got)
    {
        const busy_time at_work{meter_};
        if constexpr (std::is_same_v<typename types::kept, std::monostate>) {
            static_cast<void>((*f_)(static_cast<typename types::argument>(item)));
            got.made.emplace();
        } else {
            got.made.emplace((*f_)(static_cast<typename types::argument>(item)));
        }
    }
    task<> call_once(T& item, answer& got)
    {
        if constexpr (!types::calls_later) {
            call_now(item, got);
            co_return;
        } else if constexpr (std::is_same_v<typename types::kept, std::monostate>) {
            const busy_time at_work{meter_};
            static_cast<void>(co_await (*f_)(static_cast<typename types::argument>(item)));
            got.made.emplace();
        } else {
            const busy_time at_work{meter_};
            got.made.emplace(co_await (*f_)(static_cast<typename types::argument>(item)));
        }
    }
    static void keep(T& item, answer& got)
    {
        if constexpr (types::looks)
            if (got.made)
                got.item.emplace(std::move(item));
    }
    void count_failure() noexcept
    {
        if (meter_ != nullptr)
            meter_->failed.fetch_add(1, std::memory_order_relaxed);
    }
    void failed(std::exception_ptr failure)
    {
        end_if_told();
        count_failure();
        if constexpr (std::is_same_v<Policy, collect_on_error>)
            run_->collect(std::move(failure));
    }

    F* f_;
    const Policy* policy_;
    pipeline_run* run_;
    stage_meter* meter_;
};

/// Gives on what a function has answered.
template <stage_kind K, class Types, class T, class Down>
class stage_deliverer {
    /// What has no size may be endless: others get a turn, and a cancelled task ends.
    static constexpr bool yields =
        K == stage_kind::flat_map && !requires(typename Types::kept& all) { std::size(all); };

public:
    static constexpr bool async = Down::async || yields;

    explicit stage_deliverer(Down down) : down_(std::move(down))
    {
    }
    template <class Caller>
    bool deliver(stage_answer<Types, T>& got, Caller& caller)
    {
        if (!got.made)
            return true;
        if constexpr (K == stage_kind::for_each) {
            caller.passed_on();
            return true;
        } else if constexpr (K == stage_kind::flat_map) {
            for (auto&& each : *got.made) {
                caller.passed_on();
                if (!down_.feed(take_out<typename Types::kept>(each)))
                    return false;
            }
            return true;
        } else if constexpr (K == stage_kind::filter) {
            if (!static_cast<bool>(*got.made))
                return true;
            caller.passed_on();
            return down_.feed(std::move(*got.item));
        } else {
            caller.passed_on();
            if constexpr (K == stage_kind::tee)
                return down_.feed(std::move(*got.item));
            else
                return down_.feed(std::move(*got.made));
        }
    }
    template <class Caller>
    task<bool> deliver_later(stage_answer<Types, T>& got, Caller& caller)
    {
        bool more = true;
        if constexpr (!async) {
            more = deliver(got, caller);
        } else if (got.made) {
            if constexpr (K == stage_kind::flat_map) {
                std::uint32_t until_yield = items_between_yields;
                for (auto&& each : *got.made) {
                    caller.passed_on();
                    if constexpr (Down::async)
                        more = co_await down_.feed(take_out<typename Types::kept>(each));
                    else
                        more = down_.feed(take_out<typename Types::kept>(each));
                    if (!more)
                        break;
                    if (--until_yield == 0) {
                        until_yield = items_between_yields;
                        co_await this_task::yield();
                    }
                }
            } else if constexpr (K == stage_kind::filter) {
                if (static_cast<bool>(*got.made)) {
                    caller.passed_on();
                    more = co_await down_.feed(std::move(*got.item));
                }
            } else {
                caller.passed_on();
                if constexpr (K == stage_kind::tee)
                    more = co_await down_.feed(std::move(*got.item));
                else
                    more = co_await down_.feed(std::move(*got.made));
            }
        }
        co_return more;
    }
    static constexpr bool finishes_later = Down::async;
    Down& down() noexcept
    {
        return down_;
    }

private:
    Down down_;
};

template <stage_kind K, class F, class Policy, class T, class Down>
class function_feeder {
    using caller = stage_caller<K, F, Policy, T>;
    using types = typename caller::types;

public:
    static constexpr bool async = caller::async || stage_deliverer<K, types, T, Down>::async;
    static constexpr bool concurrent = false;

    function_feeder(caller call, Down down) : caller_{call}, deliverer_{std::move(down)}
    {
    }
    auto feed(T item)
    {
        if constexpr (!async) {
            auto got = caller_.call(std::move(item));
            return deliverer_.deliver(got, caller_);
        } else if constexpr (!caller::async && K == stage_kind::map &&
                             std::is_same_v<Policy, fail_on_error>) {
            // What is below is a coroutine; this stage need not be one, too.
            if (!caller_.observed())
                return deliverer_.down().feed(caller_.bare(std::move(item)));
            return feed_later(std::move(item));
        } else {
            return feed_later(std::move(item));
        }
    }
    auto finish()
    {
        if constexpr (!async)
            deliverer_.down().finish();
        else if constexpr (Down::async)
            return deliverer_.down().finish();
        else {
            deliverer_.down().finish();
            return nothing_to_finish();
        }
    }

private:
    task<bool> feed_later(T item)
    {
        typename caller::answer got;
        if constexpr (caller::async)
            co_await caller_.call_later(item, got);
        else
            got = caller_.call(std::move(item));
        const bool more = co_await deliverer_.deliver_later(got, caller_);
        co_return more;
    }

    caller caller_;
    stage_deliverer<K, types, T, Down> deliverer_;
};

// ---- Workers -----------------------------------------------------------------------------------------

/// How many workers of a stage still work. Freed by the last.
class worker_count {
public:
    explicit worker_count(std::size_t n) noexcept : left_{n}
    {
    }
    bool last() noexcept
    {
        return left_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }

private:
    std::atomic<std::size_t> left_;
};

template <class T, class Feeder>
task<> run_worker(pipeline_run& run, std::size_t level, receiver<T> in, Feeder feeder,
                  shared<worker_count> count)
{
    while (auto item = co_await in.recv()) {
        bool more = false;
        if constexpr (Feeder::async)
            more = co_await feeder.feed(std::move(*item));
        else
            more = feeder.feed(std::move(*item));
        if (!more)
            break;
    }
    if (!count->last())
        co_return;
    if constexpr (Feeder::async)
        co_await feeder.finish();
    else
        feeder.finish();
    run.end_above(level);
}

/// One item under way in an ordered stage, and where its answer is expected.
template <class T, class Answer>
class ordered_job {
public:
    ordered_job(T i, channel<Answer> to) : item(std::move(i)), answer{std::move(to)}
    {
    }
    T item;
    channel<Answer> answer;
};

template <class T, class Caller>
task<> run_ordered_worker(receiver<ordered_job<T, typename Caller::answer>> in, Caller caller)
{
    while (auto job = co_await in.recv()) {
        typename Caller::answer got;
        if constexpr (Caller::async)
            co_await caller.call_later(job->item, got);
        else
            got = caller.call(std::move(job->item));
        static_cast<void>(job->answer.try_send(std::move(got)));
    }
}

template <class Answer, class Caller, class Deliverer>
task<> run_ordered_end(pipeline_run& run, std::size_t level, receiver<channel<Answer>> in, Caller caller,
                       Deliverer deliverer)
{
    while (auto next = co_await in.recv()) {
        auto got = co_await next->recv();
        bool more = false;
        if (got)
            more = co_await deliverer.deliver_later(*got, caller);
        if (!more)
            break;
    }
    in.close();
    if constexpr (Deliverer::finishes_later)
        co_await deliverer.down().finish();
    else
        deliverer.down().finish();
    run.end_above(level);
}

/// Hands each item to the workers, and its place in the order to the end.
template <class T, class Answer>
class ordered_feeder {
public:
    static constexpr bool async = true;
    static constexpr bool concurrent = false;

    ordered_feeder(channel<ordered_job<T, Answer>> work, channel<channel<Answer>> order)
        : work_{std::move(work)}, order_{std::move(order)}
    {
    }
    task<bool> feed(T item)
    {
        const channel<Answer> answer{1};
        const result<> queued = co_await as_result(order_.send(answer));
        if (unread(queued))
            co_return false;
        ordered_job<T, Answer> job{std::move(item), answer};
        const result<> sent = co_await as_result(work_.send(std::move(job)));
        co_return !unread(sent);
    }
    task<> finish()
    {
        work_.close();
        order_.close();
        return nothing_to_finish();
    }

private:
    channel<ordered_job<T, Answer>> work_;
    channel<channel<Answer>> order_;
};

}  // namespace leat::detail
