// Jobs that may block a thread, and the threads kept for them.
//
// A job is a waiter whose source is the queue: its task parks when the job is queued. The thread that takes
// a job claims the task *before* it runs the job, under the queue's lock. So a job either has been withdrawn
// by a cancellation and never runs, or it has begun, and its task can not be woken by anything but its end:
// the frame that the job works in stays where it is.
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <cstddef>

namespace leat::detail {

class blocking_job : public waiter {
public:
    /// Does the work; on a thread that may block, with the task claimed and no lock held.
    virtual void run() noexcept = 0;

protected:
    ~blocking_job() = default;
};

class blocking_queue : public spinlock {
public:
    virtual ~blocking_queue() = default;

    /// Called after a job has been pushed, without the lock: sees to it that a thread will run it.
    virtual void job_pushed() noexcept = 0;

    // Under the lock.
    void push(blocking_job& job) noexcept
    {
        jobs_.push_back(job);
        ++queued_;
    }
    void remove(blocking_job& job) noexcept
    {
        if (!job.linked)
            return;
        jobs_.remove(job);
        --queued_;
    }
    /// The first job whose task can be claimed; the claim has been made, and end_call() is owed. Null if there
    /// is none.
    blocking_job* take() noexcept
    {
        while (waiter* const first = jobs_.pop_front()) {
            --queued_;
            if (first->root->claim(*first) == claim_result::won) {
                first->root->begin_call();
                return static_cast<blocking_job*>(first);
            }
        }
        return nullptr;
    }
    std::size_t queued() const noexcept
    {
        return queued_;
    }

private:
    waiter_list jobs_;
    std::size_t queued_ = 0;
};

}  // namespace leat::detail
