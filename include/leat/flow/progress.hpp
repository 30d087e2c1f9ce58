// What a pipeline has done so far, on a terminal.
//
// The stage counts what passes it; a task of the run, at the stage's level, draws the line again and again, and once
// more at its end, however it ends: when the stage has no more items it closes the channel that the task waits at, and
// when the stage is ended from below, cancelled or has failed, so has the task.
#pragma once

#include <leat/detail/pipeline_stages.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/stage_options.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

namespace leat {

struct progress_options {
    detail::stage_amount total{};  ///< how many items there will be; zero: not known, and there is no bar
    clock::duration every = clock::duration{200'000'000};
    std::FILE* to = nullptr;      ///< null: standard error
    const char* label = nullptr;  ///< what stands before it; copied
};

namespace detail {

class progress_line {
public:
    progress_line(std::string label, std::uint64_t total, std::FILE* to);

    static bool can_show_on(std::FILE* to) noexcept;

    void count() noexcept
    {
        items_.fetch_add(1, std::memory_order_relaxed);
    }
    /// Over what was drawn before. The last stays, and what comes after it begins a new line.
    void draw(bool last) noexcept;

private:
    std::string text() const;

    const std::string label_;
    const std::uint64_t total_;
    std::FILE* const to_;
    const clock::time_point began_;
    std::atomic<std::uint64_t> items_{0};
};

/// Draws the last line, whatever the end was.
class last_progress_line {
public:
    explicit last_progress_line(progress_line& of) noexcept : of_{of}
    {
    }
    last_progress_line(const last_progress_line&) = delete;
    last_progress_line& operator=(const last_progress_line&) = delete;
    ~last_progress_line()
    {
        of_.draw(true);
    }

private:
    progress_line& of_;
};

/// A template, as nothing_to_finish() is.
template <class = void>
task<> show_progress(shared<progress_line> line, clock::duration every, timed_input<bool> over)
{
    const last_progress_line at_end{*line};
    for (bool goes_on = true; goes_on;) {
        line->draw(false);
        timed_item<bool> next;
        co_await receive_until(over, later(clock::now(), every), next);
        goes_on = next.late;
    }
}

template <class T>
class progress_state {
public:
    /// Without a line it shows nothing.
    progress_state(shared<progress_line> line, std::optional<channel<bool>> over)
        : line_{std::move(line)}, over_{std::move(over)}
    {
    }
    bool next(T item, std::optional<T>& out)
    {
        if (line_)
            line_->count();
        out.emplace(std::move(item));
        return true;
    }
    void rest(std::optional<T>&) noexcept
    {
        if (over_)
            over_->close();
    }

private:
    shared<progress_line> line_;
    std::optional<channel<bool>> over_;
};

class progress_stage : public pipeline_stage {
public:
    template <class T>
    using output = T;

    explicit progress_stage(const progress_options& options);

    template <class T, class Down>
    auto feeder(pipeline_run& run, std::size_t number, Down down)
    {
        shared<progress_line> line;
        std::optional<channel<bool>> over;
        if (progress_line::can_show_on(to_)) {
            line = make_shared_object<progress_line>(label_, total_, to_);
            over.emplace();
            run.start(show_progress<>(line, every_, timed_input<bool>{receiver<bool>{*over}, nullptr}),
                      "progress");
        }
        return make_state_feeder<T, T>(progress_state<T>{std::move(line), std::move(over)}, run.meter(number),
                                       std::move(down));
    }
    std::string describe() const;

private:
    std::string label_;
    std::uint64_t total_;
    clock::duration every_;
    std::FILE* to_;
};

}  // namespace detail

/// A stage that passes everything on, and shows on a terminal how many items have passed it: with a bar, if it knows how
/// many there will be.
///
///     co_await (leat::from(paths) | leat::map(digest, {.workers = 8}) | leat::progress({.total = paths.size()}) | ...);
///
///     digest 52 % [############            ] 5200/10000  1300/s  4.0 s
///
/// The line is drawn over itself, at the beginning, at a fixed pace, and a last time when the pipeline has ended,
/// whether that has succeeded or not. Where `to` is no terminal nothing is written, and no task is started.
///
/// Throws   usage_error: `every` is not positive.
/// Life     `to` stays open as long as the pipeline runs.
/// Cost     a counter for each item; a task. It writes as any task does: a terminal that has been stopped stops it too.
[[nodiscard]] inline auto progress(const progress_options& options = {})
{
    return detail::progress_stage{options};
}

}  // namespace leat
