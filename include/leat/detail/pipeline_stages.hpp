// The stages of pipelines that are no functions: what they keep in the pipeline, and the feeders that each run has.
#pragma once

#include <leat/detail/pipeline_core.hpp>
#include <leat/detail/range.hpp>
#include <leat/flow/fan.hpp>
#include <leat/flow/generate.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/select.hpp>
#include <leat/this_task.hpp>
#include <leat/time.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>  // std::hash
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::detail {

/// The base of everything that can stand behind a `|`.
struct pipeline_stage {};

// ---- Feeders of stages with a state, within a segment --------------------------------------------------

/// What a feeder needs that may put out several items for one, or some at the end: `next(item, put)` is called for each
/// item, `rest(put)` at the end. put() takes what is put out. Both say whether more is wanted.
template <class State, class T, class Out, class Down>
class state_feeder {
public:
    static constexpr bool async = Down::async;
    static constexpr bool concurrent = false;

    state_feeder(State state, stage_meter* meter, Down down)
        : state_(std::move(state)), meter_{meter}, down_(std::move(down))
    {
    }
    auto feed(T item)
    {
        if constexpr (!async) {
            std::optional<Out> made;
            const bool more = next(std::move(item), made);
            return (!made || down_.feed(std::move(*made))) && more;
        } else {
            return feed_later(std::move(item));
        }
    }
    auto finish()
    {
        if constexpr (!async) {
            std::optional<Out> made;
            rest(made);
            if (made)
                static_cast<void>(down_.feed(std::move(*made)));
            down_.finish();
        } else {
            return finish_later();
        }
    }

private:
    bool next(T&& item, std::optional<Out>& made)
    {
        count_in(meter_);
        bool more = false;
        {
            const busy_time at_work{meter_};
            more = state_.next(std::move(item), made);
        }
        if (made)
            count_out(meter_);
        return more;
    }
    void rest(std::optional<Out>& made)
    {
        state_.rest(made);
        if (made)
            count_out(meter_);
    }
    task<bool> feed_later(T item)
    {
        std::optional<Out> made;
        bool more = next(std::move(item), made);
        if (made) {
            const bool wanted = co_await down_.feed(std::move(*made));
            more = more && wanted;
        }
        co_return more;
    }
    task<> finish_later()
    {
        std::optional<Out> made;
        rest(made);
        if (made) {
            const bool wanted = co_await down_.feed(std::move(*made));
            static_cast<void>(wanted);
        }
        co_await down_.finish();
    }

    State state_;
    stage_meter* meter_;
    Down down_;
};

template <class T>
class batch_state {
public:
    explicit batch_state(std::size_t size) : size_{size}
    {
    }
    bool next(T item, std::optional<std::vector<T>>& out)
    {
        items_.push_back(std::move(item));
        if (items_.size() >= size_)
            out = std::exchange(items_, {});
        return true;
    }
    void rest(std::optional<std::vector<T>>& out)
    {
        if (!items_.empty())
            out = std::exchange(items_, {});
    }

private:
    std::size_t size_;
    std::vector<T> items_;
};

template <class T>
class window_state {
public:
    window_state(std::size_t size, std::size_t step) : size_{size}, step_{step}
    {
    }
    bool next(T item, std::optional<std::vector<T>>& out)
    {
        if (gap_ != 0) {
            --gap_;
            return true;
        }
        items_.push_back(std::move(item));
        if (items_.size() < size_)
            return true;
        out.emplace(items_);
        if (step_ >= size_) {
            gap_ = step_ - size_;
            items_.clear();
        } else {
            items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(step_));
        }
        return true;
    }
    void rest(std::optional<std::vector<T>>&) noexcept
    {
    }

private:
    std::size_t size_;
    std::size_t step_;
    std::size_t gap_ = 0;
    std::vector<T> items_;
};

template <class T>
class slice_state {
public:
    slice_state(std::size_t first, std::size_t beyond) : first_{first}, beyond_{beyond}
    {
    }
    bool next(T item, std::optional<T>& out)
    {
        const std::size_t at = at_++;
        if (at >= first_ && at < beyond_)
            out.emplace(std::move(item));
        return at_ < beyond_;
    }
    void rest(std::optional<T>&) noexcept
    {
    }

private:
    std::size_t first_;
    std::size_t beyond_;
    std::size_t at_ = 0;
};

/// Values that have been seen: a table with open addressing.
template <class K>
class seen_set {
public:
    /// True if it is new.
    bool insert(const K& key)
    {
        if (2 * (size_ + 1) > places_.size())
            grow();
        if (!place(places_, key))
            return false;
        ++size_;
        return true;
    }

private:
    static bool place(std::vector<std::optional<K>>& into, const K& key)
    {
        // What std::hash gives for numbers is the number: spread it.
        std::uint64_t hash = std::hash<K>{}(key);
        hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15U;
        std::size_t at = static_cast<std::size_t>(hash >> 20) & (into.size() - 1);
        while (into[at]) {
            if (*into[at] == key)
                return false;
            at = (at + 1) & (into.size() - 1);
        }
        into[at].emplace(key);
        return true;
    }
    void grow()
    {
        std::vector<std::optional<K>> larger(places_.empty() ? 16 : 2 * places_.size());
        for (const std::optional<K>& each : places_)
            if (each)
                place(larger, *each);
        places_.swap(larger);
    }

    std::vector<std::optional<K>> places_;
    std::size_t size_ = 0;
};

template <class T, class Key>
class distinct_state {
    using key = std::remove_cvref_t<std::invoke_result_t<Key&, const T&>>;

public:
    explicit distinct_state(Key of) : key_(std::move(of))
    {
    }
    bool next(T item, std::optional<T>& out)
    {
        if (seen_.insert(key_(static_cast<const T&>(item))))
            out.emplace(std::move(item));
        return true;
    }
    void rest(std::optional<T>&) noexcept
    {
    }

private:
    Key key_;
    seen_set<key> seen_;
};

struct identity {
    template <class T>
    const T& operator()(const T& item) const noexcept
    {
        return item;
    }
};

/// A stage that is a state.
template <class Out, class T, class State, class Down>
auto make_state_feeder(State state, stage_meter* meter, Down down)
{
    return state_feeder<State, T, Out, Down>{std::move(state), meter, std::move(down)};
}

/// Waits for a token, then passes on.
template <class T, class Down>
class throttle_feeder {
public:
    static constexpr bool async = true;
    static constexpr bool concurrent = false;

    throttle_feeder(rate_limiter limiter, stage_meter* meter, Down down)
        : limiter_{std::move(limiter)}, meter_{meter}, down_(std::move(down))
    {
    }
    task<bool> feed(T item)
    {
        count_in(meter_);
        co_await limiter_.wait();
        count_out(meter_);
        bool more = false;
        if constexpr (Down::async)
            more = co_await down_.feed(std::move(item));
        else
            more = down_.feed(std::move(item));
        co_return more;
    }
    auto finish()
    {
        if constexpr (Down::async)
            return down_.finish();
        else {
            down_.finish();
            return nothing_to_finish();
        }
    }

private:
    rate_limiter limiter_;
    stage_meter* meter_;
    Down down_;
};

/// Sends a copy to a channel, and passes on.
template <class T, class To, class Down>
class tee_feeder {
public:
    static constexpr bool async = true;
    static constexpr bool concurrent = false;

    tee_feeder(To to, stage_meter* meter, Down down)
        : to_{std::move(to)}, meter_{meter}, down_(std::move(down))
    {
    }
    task<bool> feed(T item)
    {
        count_in(meter_);
        if (open_) {
            T copy(item);
            const result<> sent = co_await as_result(to_.send(std::move(copy)));
            open_ = !unread(sent);
        }
        count_out(meter_);
        bool more = false;
        if constexpr (Down::async)
            more = co_await down_.feed(std::move(item));
        else
            more = down_.feed(std::move(item));
        co_return more;
    }
    auto finish()
    {
        if constexpr (Down::async)
            return down_.finish();
        else {
            down_.finish();
            return nothing_to_finish();
        }
    }

private:
    To to_;
    stage_meter* meter_;
    Down down_;
    bool open_ = true;
};

// ---- Segments of their own: stages that wait for time ---------------------------------------------------

/// Feeds, whether that waits or not.
template <class T, class Down>
task<bool> feed_any(Down& down, T item)
{
    bool more = false;
    if constexpr (Down::async)
        more = co_await down.feed(std::move(item));
    else
        more = down.feed(std::move(item));
    co_return more;
}
/// Where such a stage has its items from.
template <class T>
class timed_input {
public:
    timed_input(receiver<T> from, stage_meter* of) : items{std::move(from)}, meter{of}
    {
    }
    receiver<T> items;
    stage_meter* meter;
};
template <class T, class Down>
task<> end_timed(pipeline_run& run, std::size_t level, timed_input<T>& in, Down& down)
{
    in.items.close();
    if constexpr (Down::async)
        co_await down.finish();
    else
        down.finish();
    run.end_above(level);
}

inline clock::time_point later(clock::time_point now, clock::duration span) noexcept
{
    return span > clock::time_point::max() - now ? clock::time_point::max() : now + span;
}

/// What a receive with a deadline gives.
template <class T>
class timed_item {
public:
    std::optional<T> item;
    bool late = false;
};
template <class T>
task<> receive_until(timed_input<T>& in, clock::time_point until, timed_item<T>& got)
{
    // In this order: what is there in time is in time.
    co_await select_biased(on(in.items.recv(), [&](std::optional<T> item) { got.item = std::move(item); }),
                           on(sleep_until(until), [&] { got.late = true; }));
    if (got.item)
        count_in(in.meter);
}

/// Batches that do not wait for ever: at most `size` items, at most `wait` after the first of them.
template <class T, class Down>
task<> run_batch(pipeline_run& run, std::size_t level, timed_input<T> in, std::size_t size,
                 clock::duration wait, Down down)
{
    bool more = true;
    bool open = true;
    while (more && open) {
        auto first = co_await in.items.recv();
        if (!first)
            break;
        count_in(in.meter);
        std::vector<T> items;
        items.push_back(std::move(*first));
        const clock::time_point until = later(clock::now(), wait);
        while (items.size() < size) {
            timed_item<T> next;
            co_await receive_until(in, until, next);
            open = next.late || next.item.has_value();
            if (!next.item)
                break;
            items.push_back(std::move(*next.item));
        }
        count_out(in.meter);
        more = co_await feed_any(down, std::move(items));
    }
    co_await end_timed(run, level, in, down);
}

/// The latest item, once there has been silence for so long.
template <class T, class Down>
task<> run_debounce(pipeline_run& run, std::size_t level, timed_input<T> in, clock::duration silence,
                    Down down)
{
    bool more = true;
    bool open = true;
    while (more && open) {
        auto latest = co_await in.items.recv();
        if (!latest)
            break;
        count_in(in.meter);
        for (bool quiet = false; open && !quiet;) {
            timed_item<T> next;
            co_await receive_until(in, later(clock::now(), silence), next);
            quiet = next.late;
            open = next.late || next.item.has_value();
            if (next.item)
                latest = std::move(next.item);
        }
        count_out(in.meter);
        more = co_await feed_any(down, std::move(*latest));
    }
    co_await end_timed(run, level, in, down);
}

/// Fails if an item is longer in coming than that.
template <class T, class Down>
task<> run_timeout(pipeline_run& run, std::size_t level, timed_input<T> in, clock::duration limit, Down down)
{
    for (bool more = true; more;) {
        timed_item<T> next;
        co_await receive_until(in, later(clock::now(), limit), next);
        if (next.late)
            throw timed_out_error{};
        if (!next.item)
            break;
        count_out(in.meter);
        more = co_await feed_any(down, std::move(*next.item));
    }
    co_await end_timed(run, level, in, down);
}

/// Starts such a segment; returns what feeds it.
template <class T, class Start>
channel_feeder<T> begin_timed_segment(pipeline_run& run, const char* name, stage_meter* meter, Start start)
{
    channel<T> between;
    if (meter != nullptr)
        meter->watch(channel_access::core(between));
    run.start(start(timed_input<T>{receiver<T>{between}, meter}), name);
    run.deepen();
    return channel_feeder<T>{std::move(between)};
}

// ---- Sources -------------------------------------------------------------------------------------------

template <class R>
class range_source {
public:
    using value_type = range_value<R>;

    explicit range_source(R items) : items_(std::move(items))
    {
    }
    template <class Head>
    task<> run(Head& head)
    {
        std::uint32_t until_yield = items_between_yields;
        for (auto&& each : items_) {
            bool more = false;
            value_type item = take_out<R>(each);
            if constexpr (Head::async)
                more = co_await head.feed(std::move(item));
            else
                more = head.feed(std::move(item));
            if (!more)
                break;
            if (--until_yield == 0) {
                until_yield = items_between_yields;
                co_await this_task::yield();
            }
        }
    }

private:
    R items_;
};

template <class T>
class channel_source {
public:
    using value_type = T;

    explicit channel_source(receiver<T> in) : in_{std::move(in)}
    {
    }
    template <class Head>
    task<> run(Head& head)
    {
        while (auto item = co_await in_.recv()) {
            bool more = false;
            if constexpr (Head::async)
                more = co_await head.feed(std::move(*item));
            else
                more = head.feed(std::move(*item));
            if (!more)
                break;
        }
    }

private:
    receiver<T> in_;
};

template <class F>
class call_source {
public:
    using value_type = typename without_optional<result_of<F>>::type;

    explicit call_source(F f) : f_(std::move(f))
    {
    }
    template <class Head>
    task<> run(Head& head)
    {
        std::uint32_t until_yield = items_between_yields;
        for (;;) {
            std::optional<value_type> item;
            if constexpr (is_coroutine<F>)
                item = co_await f_();
            else
                item = f_();
            if (!item)
                break;
            bool more = false;
            if constexpr (Head::async)
                more = co_await head.feed(std::move(*item));
            else
                more = head.feed(std::move(*item));
            if (!more)
                break;
            if (--until_yield == 0) {
                until_yield = items_between_yields;
                co_await this_task::yield();
            }
        }
    }

private:
    F f_;
};

template <class Source, class Head>
task<> run_source(pipeline_run& run, std::size_t level, Source& source, Head head)
{
    if (run.wanted())
        co_await source.run(head);
    if constexpr (Head::async)
        co_await head.finish();
    else
        head.finish();
    run.end_above(level);
}

}  // namespace leat::detail
