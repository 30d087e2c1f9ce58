#pragma once

#include <leat/detail/delayed.hpp>
#include <leat/detail/pipeline_core.hpp>
#include <leat/detail/pipeline_links.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/flow/retry.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

/// What an observer sees of one stage.
struct stage_progress {
    std::string name;             ///< as describe() calls it
    std::uint64_t items_in = 0;   ///< what it has taken; of the first stage, what the source has given
    std::uint64_t items_out = 0;  ///< what it has given on; of the last stage, what it is done with
    std::uint64_t failed = 0;     ///< calls that failed, with an on_error()
    double rate = 0;              ///< items in, for each second since the run began
    std::size_t queue_depth = 0;  ///< items in the buffer before its workers
    /// Time spent on items, of all workers together, waits of its function included; but not what it waits for itself:
    /// items, room, tokens, or the next attempt.
    clock::duration busy{};
};

/// Watches a pipeline while it runs. Keeps what it watches; outlives the run. Of several runs at a time it sees the sums,
/// and the first that ends is the end. Threads: any.
class pipeline_observer {
public:
    std::vector<stage_progress> stages() const;
    bool running() const noexcept;

    // For the library.
    explicit pipeline_observer(detail::shared<detail::pipeline_meters> of) noexcept;

private:
    detail::shared<detail::pipeline_meters> meters_;
};

/// A pipeline: a source and stages. A value: nothing runs before it is awaited.
///
///     auto sums = co_await (leat::from(paths) | leat::map(digest, {.workers = 8}) | leat::collect());
///
/// Awaiting it runs it, in a group of its own: neighbouring stages in one task, stages that are given options or wait
/// for time in tasks of their own. It ends when its source has and everything has come through, or when a stage wants
/// no more, as take(n) does; then what is above is cancelled. When it returns every task has ended.
///
/// Result   that of its last stage: of fold() its value, of collect() a vector, of for_each() nothing.
/// Throws   the first failure, once all has ended: it cancels every stage, upwards and downwards. group_error: the
///          failures that an on_error(collect) has collected, after a run to the end. cancelled_error,
///          timed_out_error: the context of the task that awaits it ended.
/// Cancel   by that context, and with it every stage.
/// Threads  as any value. An lvalue that is awaited is copied, and so can be awaited again, at the same time too.
/// Cost     a call for each item and stage; a coroutine frame for each item where a stage's function is a coroutine
///          and at the end of each task's part; a channel between tasks.
template <class Source, class... Stages>
class pipeline {
    static constexpr std::size_t count = sizeof...(Stages);
    using first_item = typename Source::value_type;

    template <std::size_t I>
    using item_before = typename detail::item_before<I, first_item, Stages...>::type;
    template <bool Any, class = void>
    struct last_of {
        using type = void;
    };
    template <class Unused>
    struct last_of<true, Unused> {
        using type = std::tuple_element_t<count - 1, std::tuple<Stages...>>;
    };
    static constexpr bool complete() noexcept
    {
        if constexpr (count == 0)
            return false;
        else
            return detail::is_sink_stage<typename last_of<(count > 0)>::type>;
    }
    static auto result_tag()
    {
        if constexpr (complete())
            return std::type_identity<typename detail::pipeline_result<typename last_of<(count > 0)>::type,
                                                                       item_before<count - 1>>::type>{};
        else
            return std::type_identity<void>{};
    }

public:
    using value_type = typename decltype(result_tag())::type;

    explicit pipeline(Source source, std::tuple<Stages...> stages)
        : source_(std::move(source)), stages_(std::move(stages))
    {
    }

    /// Its stages in a line: "from -> map (8 workers, buffer 4) -> for_each".
    std::string describe() const
    {
        std::string text = "from";
        std::apply([&](const Stages&... each) { (text.append(" -> ").append(each.describe()), ...); },
                   stages_);
        return text;
    }

    /// Has what runs counted from now on, for this pipeline and copies made later; not for what is made of it by a
    /// further `|`. Costs two looks at the clock for each item and stage.
    pipeline_observer observe()
    {
        meters_ = detail::make_shared_object<detail::pipeline_meters>();
        std::apply([&](const Stages&... each) { (meters_->add(each.describe()), ...); }, stages_);
        return pipeline_observer{meters_};
    }

    /// As a task: for spawn(), timeout() and everything else that takes one.
    [[nodiscard]] task<value_type> run() &&
    {
        return start(std::move(*this));
    }
    [[nodiscard]] task<value_type> run() const&
    {
        return start(pipeline(*this));
    }
    [[nodiscard]] task<value_type> operator()() const&
    {
        return start(pipeline(*this));
    }
    [[nodiscard]] task<value_type> operator()() &&
    {
        return start(std::move(*this));
    }

    // For the library.
    auto await_in(detail::task_root& root) &&
    {
        return awaiter<true>{start(std::move(*this)).release(), root};
    }
    auto await_in(detail::task_root& root) const&
    {
        return awaiter<true>{start(pipeline(*this)).release(), root};
    }
    auto await_result_in(detail::task_root& root) &&
    {
        return awaiter<false>{start(std::move(*this)).release(), root};
    }
    auto await_result_in(detail::task_root& root) const&
    {
        return awaiter<false>{start(pipeline(*this)).release(), root};
    }
    template <class Stage>
    auto then(Stage stage) &&
    {
        static_assert(!complete(), "leat: there is nothing behind for_each, fold and collect");
        pipeline<Source, Stages..., Stage> longer{
            std::move(source_), std::tuple_cat(std::move(stages_), std::tuple<Stage>{std::move(stage)})};
        return longer;
    }
    template <class Policy>
    auto on_error(Policy policy) &&
    {
        static_assert(
            count > 0 && requires { last_of<(count > 0)>::type::calls_function; },
            "leat: on_error() stands behind a stage that calls a function");
        return with_policy(policy, std::make_index_sequence<count - 1>{});
    }

private:
    template <bool Throwing>
    using awaiter = detail::task_awaiter<value_type, detail::transfer_mode, Throwing>;

    template <class Policy, std::size_t... I>
    auto with_policy(Policy policy, std::index_sequence<I...>)
    {
        auto last = std::move(std::get<count - 1>(stages_)).with_policy(policy);
        using last_type = decltype(last);
        return pipeline<Source, std::tuple_element_t<I, std::tuple<Stages...>>..., last_type>{
            std::move(source_), std::tuple<std::tuple_element_t<I, std::tuple<Stages...>>..., last_type>{
                                    std::move(std::get<I>(stages_))..., std::move(last)}};
    }

    static task<value_type> start(pipeline what)
    {
        static_assert(complete(), "leat: a pipeline ends in for_each(), fold() or collect()");
        return run_it(std::move(what));
    }
    static task<value_type> run_it(pipeline what)
    {
        if (what.meters_) {
            what.meters_->ended.store(-1);
            what.meters_->began.store(clock::now().time_since_epoch().count());
        }
        const end_mark mark{what.meters_.get()};
        detail::delayed<detail::pipeline_run> run;  // lasts until every task has ended
        if constexpr (std::is_void_v<value_type>) {
            auto body = [&](task_group& group) -> task<> {
                run.emplace(group, what.meters_.get());
                begin(what, *run, detail::no_feeder{}, std::integral_constant<std::size_t, count>{});
                co_return;
            };
            co_await with_group([&](task_group& group) { return body(group); });
            run->rethrow_collected();
        } else {
            value_type made = std::get<count - 1>(what.stages_).template initial<item_before<count - 1>>();
            auto body = [&](task_group& group) -> task<> {
                run.emplace(group, what.meters_.get());
                begin(what, *run,
                      std::get<count - 1>(what.stages_)
                          .template sink<item_before<count - 1>>(made, run->meter(count - 1)),
                      std::integral_constant<std::size_t, count - 1>{});
                co_return;
            };
            co_await with_group([&](task_group& group) { return body(group); });
            run->rethrow_collected();
            co_return made;
        }
    }
    /// Builds the feeders of the first I stages, from the end to the source, and starts the source.
    template <class Down, std::size_t I>
    static void begin(pipeline& what, detail::pipeline_run& run, Down down,
                      std::integral_constant<std::size_t, I> at)
    {
        auto head = build(what, run, std::move(down), at);
        using head_type = decltype(head);
        run.start(detail::run_source<Source, head_type>(run, run.level(), what.source_, std::move(head)),
                  "pipeline");
    }
    template <class Down, std::size_t I>
    static auto build(pipeline& what, detail::pipeline_run& run, Down down,
                      std::integral_constant<std::size_t, I>)
    {
        if constexpr (I == 0)
            return down;
        else
            return build(what, run,
                         std::get<I - 1>(what.stages_)
                             .template feeder<item_before<I - 1>>(run, I - 1, std::move(down)),
                         std::integral_constant<std::size_t, I - 1>{});
    }

    class end_mark {
    public:
        explicit end_mark(detail::pipeline_meters* of) noexcept : of_{of}
        {
        }
        end_mark(const end_mark&) = delete;
        end_mark& operator=(const end_mark&) = delete;
        ~end_mark()
        {
            if (of_ != nullptr)
                of_->ended.store(clock::now().time_since_epoch().count());
        }

    private:
        detail::pipeline_meters* of_;
    };

    Source source_;
    std::tuple<Stages...> stages_;
    detail::shared<detail::pipeline_meters> meters_;
};

/// `pipeline | stage`
template <class Source, class... Stages, class Stage>
    requires std::derived_from<Stage, detail::pipeline_stage>
[[nodiscard]] auto operator|(pipeline<Source, Stages...> line, Stage stage)
{
    return std::move(line).then(std::move(stage));
}
template <class Source, class... Stages, class Policy>
[[nodiscard]] auto operator|(pipeline<Source, Stages...> line, detail::on_error_stage<Policy> what)
{
    return std::move(line).on_error(what.policy);
}
template <class Source, class... Stages>
[[nodiscard]] auto operator|(pipeline<Source, Stages...> line, detail::skip_stage what)
{
    return std::move(line).then(detail::slice_stage{what.count, detail::slice_stage::endless});
}

/// A pipeline's source: the elements of a range, which is copied or moved into it, arrays too; what a receiver gives,
/// until it ends; or what a function gives, plain or a coroutine, until that is an empty optional, if it gives optionals.
template <class S>
[[nodiscard]] auto from(S&& source)
{
    using type = std::decay_t<S>;
    if constexpr (detail::receivable<type>) {
        using made = detail::channel_source<detail::received_from<type>>;
        return pipeline<made>{made{receiver<detail::received_from<type>>{source}}, std::tuple<>{}};
    } else if constexpr (std::invocable<type&>) {
        using made = detail::call_source<type>;
        return pipeline<made>{made{std::forward<S>(source)}, std::tuple<>{}};
    } else {
        static_assert(detail::range<S>,
                      "leat: from() takes a range, a receiver or a function without arguments");
        using made = detail::range_source<detail::kept_range<S>>;
        return pipeline<made>{made{detail::keep_range(std::forward<S>(source))}, std::tuple<>{}};
    }
}

// Stages. Functions are plain or coroutines. Without options a stage's function is called in the task of the stage
// before it; with options by tasks of its own, which all call the same object. It is given each item as an rvalue, filter
// and tee as a const lvalue; a function that on_error(retry) may call again as an lvalue, as the attempt before has left it.

/// What f makes of each item.
template <class F>
[[nodiscard]] auto map(F f)
{
    return detail::make_function_stage<detail::stage_kind::map>(std::move(f));
}
template <class F>
[[nodiscard]] auto map(F f, const stage_options& options)
{
    return detail::make_function_stage<detail::stage_kind::map>(std::move(f), options);
}
/// The items for which f is true.
template <class F>
[[nodiscard]] auto filter(F f)
{
    return detail::make_function_stage<detail::stage_kind::filter>(std::move(f));
}
template <class F>
[[nodiscard]] auto filter(F f, const stage_options& options)
{
    return detail::make_function_stage<detail::stage_kind::filter>(std::move(f), options);
}
/// The elements of the ranges that f makes of each item. Those of a range that owns them, or that
/// makes them as one looks, are moved, those of a view copied.
template <class F>
[[nodiscard]] auto flat_map(F f)
{
    return detail::make_function_stage<detail::stage_kind::flat_map>(std::move(f));
}
template <class F>
[[nodiscard]] auto flat_map(F f, const stage_options& options)
{
    return detail::make_function_stage<detail::stage_kind::flat_map>(std::move(f), options);
}
/// Passes each item on after f has seen it.
template <class F>
    requires(!detail::receivable<F>)
[[nodiscard]] auto tee(F f)
{
    return detail::make_function_stage<detail::stage_kind::tee>(std::move(f));
}
/// Passes each item on after a copy of it has been sent to a channel, which is left open at the end. When somebody
/// closes it, it gets no more.
template <class T>
[[nodiscard]] auto tee(sender<T> to)
{
    return detail::channel_tee_stage<sender<T>>{std::move(to)};
}
template <class T>
[[nodiscard]] auto tee(channel<T> to)
{
    return detail::channel_tee_stage<channel<T>>{std::move(to)};
}
/// Items as vectors of `size`; the last may be smaller.
[[nodiscard]] inline auto batch(detail::stage_amount size)
{
    return detail::batch_stage{size.get()};
}
/// The same, but no item waits longer than that for its vector to be full.
template <class Rep, class Period>
[[nodiscard]] auto batch(detail::stage_amount size, std::chrono::duration<Rep, Period> max_wait)
{
    return detail::timed_batch_stage{size.get(), detail::span_of(max_wait), "batch"};
}
/// The last `size` items, as vectors, after every `step` items.
[[nodiscard]] inline auto window(detail::stage_amount size, detail::stage_amount step = 1)
{
    return detail::window_stage{size.get(), step.get()};
}
/// What comes within each such span, as vectors; a span begins with its first item.
template <class Rep, class Period>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> span)
{
    return detail::timed_batch_stage{static_cast<std::size_t>(-1), detail::span_of(span), "window"};
}
/// Each value once; or, of those for which `key` gives the same, the first. Remembers all of them.
[[nodiscard]] inline auto distinct()
{
    return detail::distinct_stage<detail::identity>{detail::identity{}};
}
template <class Key>
[[nodiscard]] auto distinct(Key key)
{
    return detail::distinct_stage<Key>{std::move(key)};
}
/// The first n items; then what is before it is cancelled, and what that throws then is dropped. What is before it may
/// have taken more from the source by then; take(0) does not start the source. skip(n): all but the first n.
[[nodiscard]] inline auto take(detail::stage_amount n)
{
    return detail::slice_stage{0, n.get()};
}
/// One item for each token.
[[nodiscard]] inline auto throttle(rate_limiter limiter)
{
    return detail::throttle_stage{std::move(limiter)};
}
/// The latest item, once there has been none for so long; and the last.
template <class Rep, class Period>
[[nodiscard]] auto debounce(std::chrono::duration<Rep, Period> silence)
{
    return detail::debounce_stage{detail::span_of(silence)};
}
/// Fails with timed_out_error if an item, or the end, is longer in coming than that.
template <class Rep, class Period>
[[nodiscard]] auto timeout(std::chrono::duration<Rep, Period> limit)
{
    return detail::timeout_stage{detail::span_of(limit)};
}

// Last stages.

/// Calls f for each item. `ordered` has no meaning here.
template <class F>
[[nodiscard]] auto for_each(F f)
{
    return detail::make_function_stage<detail::stage_kind::for_each>(std::move(f));
}
template <class F>
[[nodiscard]] auto for_each(F f, const stage_options& options)
{
    return detail::make_function_stage<detail::stage_kind::for_each>(std::move(f), options);
}
/// f(f(f(initial, a), b), c)...
template <class R, class F>
[[nodiscard]] auto fold(R initial, F f)
{
    return detail::fold_stage<R, F>{std::move(initial), std::move(f)};
}
/// All items, as a vector. on_error(collect): the failures of a stage, thrown at the end as one group_error.
inline constexpr detail::collect_stage collect{};

/// What becomes of an item for which the function of the stage before this one fails: skip leaves it out,
/// retry(policy) has it tried again, collect leaves it out and throws all such failures at the end. That a task is
/// told to end is no failure.
[[nodiscard]] inline auto on_error(detail::skip_function) noexcept
{
    return detail::on_error_stage<detail::skip_on_error>{{}};
}
[[nodiscard]] inline auto on_error(detail::collect_stage) noexcept
{
    return detail::on_error_stage<detail::collect_on_error>{{}};
}
[[nodiscard]] inline auto on_error(detail::retry_on_error how) noexcept
{
    return detail::on_error_stage<detail::retry_on_error>{how};
}
[[nodiscard]] inline auto on_error(const retry_policy& policy) noexcept
{
    return detail::on_error_stage<detail::retry_on_error>{detail::retry_on_error{policy}};
}

}  // namespace leat
