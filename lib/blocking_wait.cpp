#include <leat/detail/blocking_wait.hpp>

#include <leat/detail/context_node.hpp>
#include <leat/detail/timers.hpp>

#include <chrono>
#include <exception>
#include <new>
#include <thread>

namespace leat::detail {
namespace {

/// "Runs" one root by letting a thread go on. Channels and joins need nothing else of a scheduler.
class thread_scheduler final : public scheduler {
public:
    void ready(task_root&, turn*) noexcept override
    {
        awake_.store(1, std::memory_order_release);
        awake_.notify_one();
        // The waiting thread may see the store and be gone before notify_one() is: it waits for this.
        left_.store(1, std::memory_order_release);
    }
    void ready_later(task_root& root, turn* by) noexcept override
    {
        ready(root, by);
    }
    void wait() noexcept
    {
        awake_.wait(0, std::memory_order_acquire);
        // It has nothing left to do but to be run.
        while (left_.load(std::memory_order_acquire) == 0)
            std::this_thread::yield();
    }

    void task_created(turn*) noexcept override
    {
    }
    void task_ended(turn*) noexcept override
    {
    }
    std::int64_t now() noexcept override
    {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }
    timer_shard& timers(turn*) noexcept override
    {
        std::terminate();
    }
    void timer_armed(timer_shard&, std::int64_t, turn*) noexcept override
    {
    }
    blocking_queue& blocking() noexcept override
    {
        std::terminate();
    }
    void unhandled(task_root&, std::exception_ptr) noexcept override
    {
    }
    std::uint32_t choose(std::uint32_t) noexcept override
    {
        return 0;
    }
    std::uint64_t new_id(turn*, std::uint64_t) noexcept override
    {
        return 0;
    }

private:
    std::atomic<int> awake_{0};
    std::atomic<int> left_{0};
};

class thread_root final : public task_root {
public:
    explicit thread_root(scheduler& sched) noexcept : task_root{sched, background_node(), never_stopped(), 0}
    {
    }
    void finished(turn&) noexcept override
    {
    }
    void abandoned() noexcept override
    {
    }
};

}  // namespace

class thread_parker::self {
public:
    self() noexcept : root{sched}
    {
    }
    thread_scheduler sched;
    thread_root root;
};

thread_parker::thread_parker()
{
    static_assert(sizeof(self) <= sizeof(space_));
    if (current_turn() != nullptr)
        throw usage_error{
            "leat: a blocking call on a worker thread, which would stop every task of the worker: "
            "in a task, co_await the operation instead"};
    self_ = new (space_) self;
    here_.sched = &self_->sched;
    self_->root.now = &here_;
}

thread_parker::~thread_parker()
{
    self_->~self();
}

task_root& thread_parker::root() noexcept
{
    return self_->root;
}

void thread_parker::wait() noexcept
{
    self_->sched.wait();
}

}  // namespace leat::detail
