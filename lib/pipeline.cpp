#include <leat/flow/for_each.hpp>
#include <leat/flow/pipeline.hpp>

#include <algorithm>
#include <mutex>

namespace leat::detail {

stage_meter::stage_meter(std::string what) : name{std::move(what)}
{
}

stage_meter::~stage_meter()
{
    watch(nullptr);
}

void stage_meter::watch(channel_base* to) noexcept
{
    if (to != nullptr)
        to->ref();
    {
        std::lock_guard hold{lock_};
        std::swap(queue_, to);
    }
    if (to != nullptr)
        to->unref();
}

std::size_t stage_meter::depth() const noexcept
{
    std::lock_guard hold{lock_};
    return queue_ != nullptr ? queue_->size() : 0;
}

pipeline_meters::pipeline_meters() = default;
pipeline_meters::~pipeline_meters() = default;

void pipeline_meters::add(std::string name)
{
    stages.push_back(make_owned<stage_meter>(std::move(name)));
}

pipeline_run::~pipeline_run() = default;

std::size_t pipeline_run::level() const noexcept
{
    return levels_.size();
}

const leat::context& pipeline_run::context() const noexcept
{
    return levels_.empty() ? group_.context() : levels_.back()->first;
}

stage_meter* pipeline_run::meter(std::size_t stage) const noexcept
{
    return meters_ != nullptr ? meters_->stages[stage].get() : nullptr;
}

pipeline_run::pipeline_run(task_group& group, pipeline_meters* meters) : group_{group}, meters_{meters}
{
}

void pipeline_run::deepen()
{
    levels_.push_back(make_owned<cancellable_context>(with_cancel(context())));
}

void pipeline_run::end_above(std::size_t level) noexcept
{
    if (level < levels_.size())
        levels_[level]->second.cancel();
}

void pipeline_run::collect(std::exception_ptr thrown)
{
    auto made = make_owned<failure>(std::move(thrown));
    std::lock_guard hold{lock_};
    made->before = std::move(collected_);
    collected_ = std::move(made);
}

void pipeline_run::rethrow_collected()
{
    if (!collected_)
        return;
    std::vector<std::exception_ptr> all;
    while (collected_) {
        all.push_back(std::move(collected_->thrown));
        collected_ = std::move(collected_->before);
    }
    std::reverse(all.begin(), all.end());
    throw group_error{std::move(all)};
}

bool pipeline_run::ended_from_below() const noexcept
{
    const turn* const here = current_turn();
    return here != nullptr && here->root->stop_requested() && !group_.context().cancelled();
}

void end_if_told()
{
    const turn* const here = current_turn();
    if (here == nullptr)
        return;
    here->root->settle();
    if (here->root->stop_requested())
        throw_stopped(*here->root);
}

void throw_bad_amount()
{
    throw usage_error{
        "leat: workers, sizes and counts of a stage are not negative, and there is at least one worker"};
}

std::size_t checked_workers(const stage_options& options)
{
    if (options.workers.get() == 0)
        throw_bad_amount();
    return options.workers.get();
}

namespace {

std::string describe_span(clock::duration span)
{
    const std::int64_t ns = span.count();
    if (ns % 1'000'000'000 == 0)
        return std::to_string(ns / 1'000'000'000) + " s";
    if (ns % 1'000'000 == 0)
        return std::to_string(ns / 1'000'000) + " ms";
    if (ns % 1'000 == 0)
        return std::to_string(ns / 1'000) + " us";
    return std::to_string(ns) + " ns";
}

}  // namespace

std::string describe_function(const char* name, const char* on_error, const stage_options* options)
{
    std::string text = name;
    if (options != nullptr) {
        const std::size_t workers = options->workers.get();
        text += " (" + std::to_string(workers) + (workers == 1 ? " worker" : " workers");
        if (options->ordered)
            text += ", ordered";
        if (options->buffer.get() != 0)
            text += ", buffer " + std::to_string(options->buffer.get());
        text += ")";
    }
    return text + on_error;
}

std::string batch_stage::describe() const
{
    return "batch (" + std::to_string(size_) + ")";
}

std::string timed_batch_stage::describe() const
{
    std::string text = std::string{name_} + " (";
    if (size_ != static_cast<std::size_t>(-1))
        text += std::to_string(size_) + ", ";
    return text + describe_span(wait_) + ")";
}

std::string window_stage::describe() const
{
    return "window (" + std::to_string(size_) + ", step " + std::to_string(step_) + ")";
}

std::string slice_stage::describe() const
{
    return beyond_ == endless ? "skip (" + std::to_string(first_) + ")"
                              : "take (" + std::to_string(beyond_) + ")";
}

std::string throttle_stage::describe() const
{
    return "throttle";
}

std::string debounce_stage::describe() const
{
    return "debounce (" + describe_span(silence_) + ")";
}

std::string timeout_stage::describe() const
{
    return "timeout (" + describe_span(limit_) + ")";
}

std::string collect_stage::describe() const
{
    return "collect";
}

}  // namespace leat::detail

namespace leat {

pipeline_observer::pipeline_observer(detail::shared<detail::pipeline_meters> of) noexcept
    : meters_{std::move(of)}
{
}

bool pipeline_observer::running() const noexcept
{
    return meters_->began.load() >= 0 && meters_->ended.load() < 0;
}

std::vector<stage_progress> pipeline_observer::stages() const
{
    const std::int64_t began = meters_->began.load();
    const std::int64_t ended = meters_->ended.load();
    const std::int64_t now = ended >= 0 ? ended : clock::now().time_since_epoch().count();
    const double seconds = began < 0 ? 0 : static_cast<double>(now - began) / 1e9;
    std::vector<stage_progress> all;
    for (const auto& each : meters_->stages) {
        stage_progress one;
        one.name = each->name;
        one.items_in = each->in.load(std::memory_order_relaxed);
        one.items_out = each->out.load(std::memory_order_relaxed);
        one.failed = each->failed.load(std::memory_order_relaxed);
        one.rate = seconds > 0 ? static_cast<double>(one.items_in) / seconds : 0;
        one.queue_depth = each->depth();
        one.busy = clock::duration{each->busy.load(std::memory_order_relaxed)};
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace leat
