#include <leat/detail/blocking_wait.hpp>

#include <leat/detail/context_node.hpp>

#include "bare_scheduler.hpp"
#include "parker.hpp"
#include "pause.hpp"

#include <atomic>
#include <chrono>
#include <new>
#include <thread>

namespace leat::detail {
namespace {

/// "Runs" one root by letting a thread go on. Channels and joins need nothing else of a scheduler.
///
/// It does not yield before it sleeps, as std::atomic's wait() does: some schedulers take a whole slice from a
/// thread for each yield, so one that blocks often would soon stand behind every busy worker for seconds.
class thread_scheduler final : public bare_scheduler {
public:
    void ready(task_root&, turn*) noexcept override
    {
        parker_.wake();
        // The waiting thread may find itself woken, and be gone, before wake() has returned: it waits for this.
        left_.store(1, std::memory_order_release);
    }
    void wait() noexcept
    {
        while (!parker_.woken())
            parker_.wait(-1);
        // The waker has nothing left to do but to be run.
        constexpr int spins_before_sleep = 1000;
        for (int spins = 0; left_.load(std::memory_order_acquire) == 0; ++spins)
            if (spins < spins_before_sleep)
                pause_core();
            else
                std::this_thread::sleep_for(std::chrono::microseconds{20});
    }

private:
    parker parker_;
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

void require_no_task()
{
    if (current_turn() != nullptr)
        throw usage_error{
            "leat: a blocking call on a worker thread, which would stop every task of the worker: "
            "in a task, co_await the operation instead"};
}

thread_parker::thread_parker()
{
    static_assert(sizeof(self) <= sizeof(space_));
    require_no_task();
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
