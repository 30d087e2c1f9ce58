#include "blocking_pool.hpp"

#include <leat/detail/frame_pool.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <system_error>

namespace leat::detail {
namespace {

constexpr std::chrono::milliseconds idle_before_flush{20};
constexpr std::chrono::seconds idle_before_end{5};
constexpr std::chrono::seconds between_reports{5};

constinit thread_local const blocking_pool* this_threads_pool = nullptr;

}  // namespace

blocking_pool::~blocking_pool()
{
    stop();
}

void blocking_pool::job_pushed() noexcept
{
    std::unique_lock hold{mutex_};
    if (stopping_)
        return;
    if (idle_ > promised_) {
        ++promised_;
        pushed_.notify_one();
        return;
    }
    if (running_.size() >= max_threads_)
        return;
    try {
        running_.emplace_back([this] { work(); });
    } catch (const std::exception&) {
        // No thread to be had. One that exists takes the job when it is free; if there is none at all, the
        // job runs here: late is better than never.
        if (!running_.empty() && running_.back().get_id() == std::thread::id{})
            running_.pop_back();
        if (running_.empty()) {
            hold.unlock();
            run_one();
        }
    }
}

bool blocking_pool::run_one() noexcept
{
    blocking_job* job = nullptr;
    {
        std::lock_guard hold{static_cast<spinlock&>(*this)};
        job = take();
    }
    if (job == nullptr)
        return false;
    task_root& root = *job->root;
    job->run();
    root.end_call(*job);
    root.sched().ready(root, nullptr);
    return true;
}

bool blocking_pool::on_its_thread() const noexcept
{
    return this_threads_pool == this;
}

void blocking_pool::work() noexcept
{
    this_threads_pool = this;
    std::unique_lock hold{mutex_};
    for (;;) {
        ++busy_;
        bool more = true;
        while (more && !stopping_) {
            hold.unlock();
            more = run_one();
            hold.lock();
        }
        --busy_;
        if (stopping_)
            break;
        if (waiting() != 0)
            continue;
        ++idle_;
        const auto needed = [&] { return promised_ != 0 || stopping_; };
        bool called = pushed_.wait_for(hold, idle_before_flush, needed);
        if (!called) {
            // Its memory may be wanted elsewhere.
            hold.unlock();
            flush_frames();
            hold.lock();
            called = pushed_.wait_for(hold, idle_before_end, needed);
        }
        --idle_;
        if (called && promised_ != 0)
            --promised_;
        if (!called || stopping_)
            break;
    }
    const auto self = std::find_if(running_.begin(), running_.end(), [](const std::thread& each) {
        return each.get_id() == std::this_thread::get_id();
    });
    // A thread can not join itself: the next to end, or stop(), does.
    std::list<std::thread> before = std::move(finished_);
    finished_.clear();
    finished_.splice(finished_.end(), running_, self);
    ended_.notify_all();
    hold.unlock();
    for (std::thread& each : before)
        each.join();
    flush_frames();
}

std::size_t blocking_pool::outstanding() const noexcept
{
    std::lock_guard hold{mutex_};
    return busy_ + promised_ + const_cast<blocking_pool*>(this)->waiting();
}

std::size_t blocking_pool::threads() const noexcept
{
    std::lock_guard hold{mutex_};
    return running_.size();
}

std::size_t blocking_pool::waiting() noexcept
{
    std::lock_guard hold{static_cast<spinlock&>(*this)};
    return queued();
}

void blocking_pool::stop() noexcept
{
    std::unique_lock hold{mutex_};
    stopping_ = true;
    pushed_.notify_all();
    while (!ended_.wait_for(hold, between_reports, [&] { return running_.empty(); }))
        std::fprintf(stderr, "leat: the end of the runtime waits for %zu blocking call(s)\n", busy_);
    std::list<std::thread> left = std::move(finished_);
    finished_.clear();
    hold.unlock();
    for (std::thread& each : left)
        each.join();
}

}  // namespace leat::detail
