// Threads that may block, for blocking().
//
// Threads are started on demand, one for each job that finds no idle thread, up to a bound, and end after some
// idle time. The queue and its lock are those of blocking_queue; the condition variable has a mutex of its own
// and is only used to sleep: a thread re-reads the queue's length under that mutex before it sleeps, and
// job_pushed() takes the mutex after the push, so no push is missed.
#pragma once

#include <leat/detail/blocking_queue.hpp>

#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>
#include <thread>

namespace leat::detail {

class blocking_pool final : public blocking_queue {
public:
    explicit blocking_pool(std::size_t max_threads) noexcept : max_threads_{max_threads}
    {
    }
    ~blocking_pool() override;

    void job_pushed() noexcept override;

    /// Jobs that are queued or run.
    std::size_t outstanding() const noexcept;
    std::size_t threads() const noexcept;
    std::size_t waiting() noexcept;
    /// Whether the calling thread is one of them.
    bool on_its_thread() const noexcept;

    /// Lets every job that has begun end, saying so every few seconds, and ends the threads. A job that is
    /// pushed afterwards is never begun: its task can be destroyed.
    void stop() noexcept;

private:
    void work() noexcept;
    bool run_one() noexcept;

    const std::size_t max_threads_;
    mutable std::mutex mutex_;
    std::condition_variable pushed_;
    std::condition_variable ended_;
    std::list<std::thread> finished_;  ///< threads that have ended or are about to, to be joined
    std::list<std::thread> running_;
    std::size_t idle_ = 0;
    std::size_t busy_ = 0;
    std::size_t promised_ = 0;  ///< wake-ups that idle threads have not yet followed
    bool stopping_ = false;
};

}  // namespace leat::detail
