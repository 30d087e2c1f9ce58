// How a pipeline runs.
//
// It is cut into segments, each run by one task, with a channel between two. Within a segment items are *fed* from
// stage to stage by plain calls: a feeder takes one item and gives to the feeder below it what it makes of it. So
// neighbouring stages cost a call each, and only those stages that ask for it (workers, a buffer, a wait of their
// own) begin a segment. A feeder has
//
//     static constexpr bool async;       feed() and finish() are coroutines: something below waits, or calls one
//     static constexpr bool concurrent;  may be fed by several tasks at a time: it is a channel
//     feed(T) -> bool or task<bool>      false: no more items are wanted
//     finish() -> void or task<>         there are no more; called once, whoever has ended it
//
// Ends. Downwards: a segment that has no more items finishes its feeders, the last of which closes the channel to the
// next segment. Upwards: segments have levels, counted from the end, and a context each, which is the child of that
// of the level below. A segment that ends, early or not, cancels the level above it, and so all that are above:
// whatever they wait for, they end, and nobody hears of it. They may say so in their own words, as functions do that
// turn every error into one of theirs: so whatever a task throws is dropped if its level has ended and the group has
// not. Else a failure fails the group, which cancels all levels.
//
// The pipeline lies in the frame of the coroutine that runs it; its group has ended before that goes. So feeders refer
// to the functions in it, and each run has feeders of its own.
#pragma once

#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/detail/outlet.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/group.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace leat::detail {

/// What is counted of a stage. Written by its tasks, read by observers.
class stage_meter {
public:
    explicit stage_meter(std::string what);
    stage_meter(const stage_meter&) = delete;
    stage_meter& operator=(const stage_meter&) = delete;
    ~stage_meter();
    void watch(channel_base* to) noexcept;
    std::size_t depth() const noexcept;

    std::string name;
    std::atomic<std::uint64_t> in{0};
    std::atomic<std::uint64_t> out{0};
    std::atomic<std::uint64_t> failed{0};
    std::atomic<std::int64_t> busy{0};

private:
    mutable spinlock lock_;
    channel_base* queue_ = nullptr;  ///< counted
};

// With a meter only if somebody watches.

inline void count_in(stage_meter* of) noexcept
{
    if (of != nullptr)
        of->in.fetch_add(1, std::memory_order_relaxed);
}
inline void count_out(stage_meter* of) noexcept
{
    if (of != nullptr)
        of->out.fetch_add(1, std::memory_order_relaxed);
}

/// What a stage does as long as this lasts is work on an item.
class busy_time {
public:
    explicit busy_time(stage_meter* of) noexcept : of_{of}
    {
        if (of_ != nullptr)
            since_ = clock::now();
    }
    busy_time(const busy_time&) = delete;
    busy_time& operator=(const busy_time&) = delete;
    ~busy_time()
    {
        if (of_ != nullptr)
            of_->busy.fetch_add((clock::now() - since_).count(), std::memory_order_relaxed);
    }

private:
    stage_meter* of_;
    clock::time_point since_{};
};

/// Shared by a pipeline, its copies and its observers.
class pipeline_meters {
public:
    pipeline_meters();
    pipeline_meters(const pipeline_meters&) = delete;
    pipeline_meters& operator=(const pipeline_meters&) = delete;
    ~pipeline_meters();

    void add(std::string name);

    std::vector<owned<stage_meter>> stages;
    std::atomic<std::int64_t> began{-1};
    std::atomic<std::int64_t> ended{-1};
};

/// One run: the levels of its segments, and the failures that are collected.
class pipeline_run {
public:
    pipeline_run(task_group& group, pipeline_meters* meters);
    pipeline_run(const pipeline_run&) = delete;
    pipeline_run& operator=(const pipeline_run&) = delete;
    ~pipeline_run();

    /// The level that is being built, from the end to the source.
    std::size_t level() const noexcept;
    void deepen();
    /// Cancels all that is above a level.
    void end_above(std::size_t level) noexcept;

    /// A template, as nothing_to_finish() is.
    template <class T>
    void start(task<T> what, const char* name)
    {
        group_.try_spawn(run_until_ended(*this, std::move(what)), {.name = name, .context = context()});
    }
    /// A stage that is being built wants no items at all, so that the source need not give any.
    void want_nothing() noexcept
    {
        wanted_ = false;
    }
    bool wanted() const noexcept
    {
        return wanted_;
    }
    stage_meter* meter(std::size_t stage) const noexcept;

    void collect(std::exception_ptr failure);
    /// Throws what has been collected.
    void rethrow_collected();

private:
    const leat::context& context() const noexcept;
    /// Whether the running task is to end, because its level is, and not the group.
    bool ended_from_below() const noexcept;

    template <class T>
    static task<> run_until_ended(pipeline_run& run, task<T> what)
    {
        try {
            co_await std::move(what);
        } catch (...) {
            if (!run.ended_from_below())
                throw;
        }
    }

    task_group& group_;
    pipeline_meters* meters_;
    std::vector<owned<cancellable_context>> levels_;
    /// A failure that is collected; allocated before the lock is taken.
    class failure {
    public:
        explicit failure(std::exception_ptr what) noexcept : thrown{std::move(what)}
        {
        }
        std::exception_ptr thrown;
        owned<failure> before;
    };
    spinlock lock_;
    owned<failure> collected_;  ///< the last
    bool wanted_ = true;        ///< written before the source is started
};

/// After a failure: if the running task is to end it throws that, since the failure is none of the stage's.
void end_if_told();

// ---- Feeding -----------------------------------------------------------------------------------------

/// Items between two looks at whether the task is to end, and turns of others.
inline constexpr std::uint32_t items_between_yields = 128;

/// Ends at once. A template, so that it costs nothing where it is not used; and not in the library, which may have been
/// built with the other way of resuming.
template <class = void>
task<> nothing_to_finish()
{
    co_return;
}

/// The end of a segment: a channel to the next.
template <class T>
class channel_feeder {
public:
    static constexpr bool async = true;
    static constexpr bool concurrent = true;

    explicit channel_feeder(channel<T> to) : to_{std::move(to)}
    {
    }
    task<bool> feed(T item)
    {
        const result<> sent = co_await as_result(to_.send(std::move(item)));
        co_return !unread(sent);
    }
    task<> finish()
    {
        to_.close();
        return nothing_to_finish();
    }

private:
    channel<T> to_;
};

/// The end of the pipeline, where a stage has nothing to pass on.
class no_feeder {
public:
    static constexpr bool async = false;
    static constexpr bool concurrent = true;
    void finish() noexcept
    {
    }
};

/// Runs one segment from a channel.
template <class T, class Head>
task<> run_segment(pipeline_run& run, std::size_t level, receiver<T> in, Head head)
{
    while (auto item = co_await in.recv()) {
        bool more = false;
        if constexpr (Head::async)
            more = co_await head.feed(std::move(*item));
        else
            more = head.feed(std::move(*item));
        if (!more)
            break;
    }
    in.close();
    if constexpr (Head::async)
        co_await head.finish();
    else
        head.finish();
    run.end_above(level);
}

/// Begins a segment whose head is `head`; returns what feeds it.
template <class T, class Head>
channel_feeder<T> begin_segment(pipeline_run& run, std::size_t buffer, const char* name, stage_meter* meter,
                                Head head)
{
    channel<T> between{buffer};
    if (meter != nullptr)
        meter->watch(channel_access::core(between));
    run.start(run_segment<T, Head>(run, run.level(), receiver<T>{between}, std::move(head)), name);
    run.deepen();
    return channel_feeder<T>{std::move(between)};
}

}  // namespace leat::detail
