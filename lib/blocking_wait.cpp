#include <leat/detail/blocking_wait.hpp>

#include <leat/detail/context_node.hpp>

#include "bare_scheduler.hpp"

#include <new>
#include <thread>

namespace leat::detail {
namespace {

/// "Runs" one root by letting a thread go on. Channels and joins need nothing else of a scheduler.
class thread_scheduler final : public bare_scheduler {
public:
    void ready(task_root&, turn*) noexcept override
    {
        awake_.store(1, std::memory_order_release);
        awake_.notify_one();
        // The waiting thread may see the store and be gone before notify_one() is: it waits for this.
        left_.store(1, std::memory_order_release);
    }
    void wait() noexcept
    {
        awake_.wait(0, std::memory_order_acquire);
        // It has nothing left to do but to be run.
        while (left_.load(std::memory_order_acquire) == 0)
            std::this_thread::yield();
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
