// What stands between the `|` of a pipeline: for each kind of stage a value that says what is wanted, and from which
// every run has its feeders made.
#pragma once

#include <leat/detail/pipeline_calls.hpp>
#include <leat/detail/pipeline_stages.hpp>
#include <leat/detail/stage_options.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/flow/retry.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::detail {

struct inline_stage {};

std::string describe_function(const char* name, const char* on_error, const stage_options* options);

/// map, filter, flat_map, tee(f), for_each.
template <stage_kind K, class F, class Policy, class Options>
class function_stage : public pipeline_stage {
public:
    static constexpr bool calls_function = true;
    static constexpr bool is_sink = K == stage_kind::for_each;
    template <class T>
    using output = typename stage_output<K, stage_types<K, F, Policy, T>, T>::type;

    function_stage(F function, Policy policy, Options options)
        : f(std::move(function)), policy_{policy}, options_{options}
    {
        if constexpr (own_tasks)
            if (options_.workers.get() == 0)
                throw_bad_amount();
    }
    template <class To>
    auto with_policy(To to) &&
    {
        return function_stage<K, F, To, Options>{std::move(f), to, options_};
    }

    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        stage_meter* const meter = run.meter(number);
        using caller = stage_caller<K, F, Policy, T>;
        caller call{f, policy_, run, meter};
        if constexpr (!own_tasks) {
            return function_feeder<K, F, Policy, T, Down>{call, std::move(down)};
        } else {
            // Both ways of giving on feed through one type, so that the choice can be made when it runs.
            const std::size_t workers = options_.workers.get();
            if (options_.ordered && K != stage_kind::for_each)
                return split_feeder<T, caller>{ordered<T>(run, meter, call, workers, std::move(down))};
            return split_feeder<T, caller>{unordered<T>(run, meter, call, workers, std::move(down))};
        }
    }
    std::string describe() const
    {
        constexpr const char* names[] = {"map", "filter", "flat_map", "tee", "for_each"};
        constexpr const char* answer = std::is_same_v<Policy, skip_on_error>      ? " on_error(skip)"
                                       : std::is_same_v<Policy, collect_on_error> ? " on_error(collect)"
                                       : std::is_same_v<Policy, retry_on_error>   ? " on_error(retry)"
                                                                                  : "";
        const char* const name = names[static_cast<std::size_t>(K)];
        if constexpr (own_tasks)
            return describe_function(name, answer, &options_);
        else
            return describe_function(name, answer, nullptr);
    }

    F f;

private:
    static constexpr bool own_tasks = std::is_same_v<Options, stage_options>;

    /// Feeds workers, who take items as they are free, or an order.
    template <class T, class Caller>
    class split_feeder {
    public:
        static constexpr bool async = true;
        static constexpr bool concurrent = false;

        explicit split_feeder(channel_feeder<T> plain) : plain_{std::move(plain)}
        {
        }
        explicit split_feeder(ordered_feeder<T, typename Caller::answer> in_order)
            : in_order_{std::move(in_order)}
        {
        }
        task<bool> feed(T item)
        {
            return plain_ ? plain_->feed(std::move(item)) : in_order_->feed(std::move(item));
        }
        task<> finish()
        {
            return plain_ ? plain_->finish() : in_order_->finish();
        }

    private:
        std::optional<channel_feeder<T>> plain_;
        std::optional<ordered_feeder<T, typename Caller::answer>> in_order_;
    };

    template <class T, class Caller, class Down>
    auto unordered(pipeline_run& run, stage_meter* meter, Caller call, std::size_t workers, Down down)
    {
        // Workers give on at the same time: to a channel, unless what is below is one.
        if constexpr (!Down::concurrent) {
            using U = output<T>;
            return start_workers<T>(run, meter, call, workers,
                                    begin_segment<U>(run, 0, "pipeline", nullptr, std::move(down)));
        } else {
            return start_workers<T>(run, meter, call, workers, std::move(down));
        }
    }
    template <class T, class Caller, class Down>
    channel_feeder<T> start_workers(pipeline_run& run, stage_meter* meter, Caller call, std::size_t workers,
                                    Down down)
    {
        using feeder_type = function_feeder<K, F, Policy, T, Down>;
        channel<T> between{options_.buffer.get()};
        if (meter != nullptr)
            meter->watch(channel_access::core(between));
        auto count = detail::make_shared_object<worker_count>(workers);
        for (std::size_t i = 0; i < workers; ++i)
            run.start(run_worker<T, feeder_type>(run, run.level(), receiver<T>{between},
                                                 feeder_type{call, down}, count),
                      "pipeline worker");
        run.deepen();
        return channel_feeder<T>{std::move(between)};
    }
    template <class T, class Caller, class Down>
    auto ordered(pipeline_run& run, stage_meter* meter, Caller call, std::size_t workers, Down down)
    {
        using answer = typename Caller::answer;
        using deliverer = stage_deliverer<K, typename Caller::types, T, Down>;
        channel<channel<answer>> order{workers + options_.buffer.get()};
        channel<ordered_job<T, answer>> work{options_.buffer.get()};
        if (meter != nullptr)
            meter->watch(channel_access::core(work));
        run.start(run_ordered_end<answer, Caller, deliverer>(
                      run, run.level(), receiver<channel<answer>>{order}, call, deliverer{std::move(down)}),
                  "pipeline order");
        run.deepen();
        for (std::size_t i = 0; i < workers; ++i)
            run.start(run_ordered_worker<T, Caller>(receiver<ordered_job<T, answer>>{work}, call),
                      "pipeline worker");
        return ordered_feeder<T, answer>{std::move(work), std::move(order)};
    }

    Policy policy_;
    [[no_unique_address]] Options options_;
};

template <stage_kind K, class F>
auto make_function_stage(F f)
{
    return function_stage<K, F, fail_on_error, inline_stage>{std::move(f), {}, {}};
}
template <stage_kind K, class F>
auto make_function_stage(F f, const stage_options& options)
{
    return function_stage<K, F, fail_on_error, stage_options>{std::move(f), {}, options};
}

class batch_stage : public pipeline_stage {
public:
    template <class T>
    using output = std::vector<T>;

    explicit batch_stage(std::size_t size) : size_{size}
    {
        if (size_ == 0)
            throw_bad_amount();
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        return make_state_feeder<std::vector<T>, T>(batch_state<T>{size_}, run.meter(number),
                                                    std::move(down));
    }
    std::string describe() const;

private:
    std::size_t size_;
};

class timed_batch_stage : public pipeline_stage {
public:
    template <class T>
    using output = std::vector<T>;

    timed_batch_stage(std::size_t size, clock::duration wait, const char* name)
        : size_{size}, wait_{wait}, name_{name}
    {
        if (size_ == 0)
            throw_bad_amount();
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        const std::size_t level = run.level();
        return begin_timed_segment<T>(run, name_, run.meter(number), [&](timed_input<T> in) {
            return run_batch<T, Down>(run, level, std::move(in), size_, wait_, std::move(down));
        });
    }
    std::string describe() const;

private:
    std::size_t size_;
    clock::duration wait_;
    const char* name_;
};

class window_stage : public pipeline_stage {
public:
    template <class T>
    using output = std::vector<T>;

    window_stage(std::size_t size, std::size_t step) : size_{size}, step_{step}
    {
        if (size_ == 0 || step_ == 0)
            throw_bad_amount();
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        return make_state_feeder<std::vector<T>, T>(window_state<T>{size_, step_}, run.meter(number),
                                                    std::move(down));
    }
    std::string describe() const;

private:
    std::size_t size_;
    std::size_t step_;
};

class slice_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    static constexpr std::size_t endless = static_cast<std::size_t>(-1);

    slice_stage(std::size_t first, std::size_t beyond) noexcept : first_{first}, beyond_{beyond}
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        if (beyond_ == 0)
            run.want_nothing();
        return make_state_feeder<T, T>(slice_state<T>{first_, beyond_}, run.meter(number), std::move(down));
    }
    std::string describe() const;

private:
    std::size_t first_;
    std::size_t beyond_;
};

template <class Key>
class distinct_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit distinct_stage(Key key) : key_(std::move(key))
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        return make_state_feeder<T, T>(distinct_state<T, Key>{key_}, run.meter(number), std::move(down));
    }
    std::string describe() const
    {
        return "distinct";
    }

private:
    Key key_;
};

class throttle_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit throttle_stage(rate_limiter limiter) noexcept : limiter_{std::move(limiter)}
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        return throttle_feeder<T, Down>{limiter_, run.meter(number), std::move(down)};
    }
    std::string describe() const;

private:
    rate_limiter limiter_;
};

template <class To>
class channel_tee_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit channel_tee_stage(To to) : to_{std::move(to)}
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        return tee_feeder<T, To, Down>{to_, run.meter(number), std::move(down)};
    }
    std::string describe() const
    {
        return "tee";
    }

private:
    To to_;
};

class debounce_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit debounce_stage(clock::duration silence) noexcept : silence_{silence}
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        const std::size_t level = run.level();
        return begin_timed_segment<T>(run, "debounce", run.meter(number), [&](timed_input<T> in) {
            return run_debounce<T, Down>(run, level, std::move(in), silence_, std::move(down));
        });
    }
    std::string describe() const;

private:
    clock::duration silence_;
};

class timeout_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit timeout_stage(clock::duration limit) noexcept : limit_{limit}
    {
    }
    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        const std::size_t level = run.level();
        return begin_timed_segment<T>(run, "timeout", run.meter(number), [&](timed_input<T> in) {
            return run_timeout<T, Down>(run, level, std::move(in), limit_, std::move(down));
        });
    }
    std::string describe() const;

private:
    clock::duration limit_;
};

// ---- Sinks with a result -------------------------------------------------------------------------------

template <class T, class R, class F>
class fold_feeder {
public:
    static constexpr bool async = is_coroutine<F, R, T>;
    static constexpr bool concurrent = false;

    fold_feeder(R& into, F& f, stage_meter* meter) noexcept : into_{&into}, f_{&f}, meter_{meter}
    {
    }
    auto feed(T item)
    {
        if constexpr (async) {
            return feed_later(std::move(item));
        } else {
            count_in(meter_);
            {
                const busy_time at_work{meter_};
                *into_ = (*f_)(std::move(*into_), std::move(item));
            }
            count_out(meter_);
            return true;
        }
    }
    auto finish()
    {
        if constexpr (async)
            return nothing_to_finish();
    }

private:
    task<bool> feed_later(T item)
    {
        count_in(meter_);
        {
            const busy_time at_work{meter_};
            R next = co_await (*f_)(std::move(*into_), std::move(item));
            *into_ = std::move(next);
        }
        count_out(meter_);
        co_return true;
    }
    R* into_;
    F* f_;
    stage_meter* meter_;
};

template <class R, class F>
class fold_stage : public pipeline_stage {
public:
    static constexpr bool is_sink = true;
    template <class T>
    using result_type = R;

    fold_stage(R initial, F f) : initial_(std::move(initial)), f_(std::move(f))
    {
    }
    template <class T>
    R initial()
    {
        return std::move(initial_);
    }
    template <class T>
    auto sink(R& into, stage_meter* meter)
    {
        return fold_feeder<T, R, F>{into, f_, meter};
    }
    std::string describe() const
    {
        return "fold";
    }

private:
    R initial_;
    F f_;
};

template <class T>
class collect_feeder {
public:
    static constexpr bool async = false;
    static constexpr bool concurrent = false;

    collect_feeder(std::vector<T>& into, stage_meter* meter) noexcept : into_{&into}, meter_{meter}
    {
    }
    bool feed(T item)
    {
        count_in(meter_);
        {
            const busy_time at_work{meter_};
            into_->push_back(std::move(item));
        }
        count_out(meter_);
        return true;
    }
    void finish() noexcept
    {
    }

private:
    std::vector<T>* into_;
    stage_meter* meter_;
};

class collect_stage : public pipeline_stage {
public:
    static constexpr bool is_sink = true;
    template <class T>
    using result_type = std::vector<T>;

    template <class T>
    std::vector<T> initial()
    {
        return {};
    }
    template <class T>
    auto sink(std::vector<T>& into, stage_meter* meter)
    {
        return collect_feeder<T>{into, meter};
    }
    std::string describe() const;
    /// `| collect()` as well as `| collect`.
    constexpr collect_stage operator()() const noexcept
    {
        return *this;
    }
};

template <class S>
constexpr bool is_sink_stage = false;
template <class S>
    requires requires { S::is_sink; }
constexpr bool is_sink_stage<S> = S::is_sink;

template <class Policy>
class on_error_stage {
public:
    explicit on_error_stage(Policy p) : policy{p}
    {
    }
    Policy policy;
};

/// The type of the items before stage I.
template <std::size_t I, class T, class... Stages>
struct item_before {
    using type = T;
};
template <std::size_t I, class T, class First, class... Rest>
    requires(I > 0)
struct item_before<I, T, First, Rest...> : item_before<I - 1, typename First::template output<T>, Rest...> {};

template <class Last, class T>
struct pipeline_result {
    using type = void;
};
template <class Last, class T>
    requires requires { typename Last::template result_type<T>; }
struct pipeline_result<Last, T> {
    using type = typename Last::template result_type<T>;
};

}  // namespace leat::detail
