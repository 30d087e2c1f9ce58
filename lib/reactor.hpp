// The pool's view of Asio: an io_context without a thread of its own. At any time at most one worker, the one
// that holds the role, polls it or waits in it; the handlers run on that worker.
#pragma once

#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace leat::detail {

class reactor {
public:
    reactor() : own_{std::make_unique<asio::io_context>(1)}, io_{*own_}
    {
    }
    /// A view of a context that others run: context() is all that may be asked of it.
    explicit reactor(asio::io_context& of) noexcept : io_{of}
    {
    }

    asio::io_context& context() noexcept
    {
        return io_;
    }

    /// Becomes the one who may poll and wait.
    [[nodiscard]] bool try_take_role() noexcept
    {
        return !taken_.load(std::memory_order_relaxed) && !taken_.exchange(true, std::memory_order_acquire);
    }
    bool attended() const noexcept
    {
        return taken_.load(std::memory_order_relaxed);
    }
    void give_role_back() noexcept
    {
        taken_.store(false, std::memory_order_release);
    }

    // With the role.

    /// Runs what is ready, within reason; returns how many handlers ran.
    std::size_t poll();
    /// Waits until something has happened, or for so long; forever if negative. Whether something has.
    bool wait(std::int64_t nanoseconds);
    /// Whether no operation is under way. Exact only while nobody can start one.
    bool quiet();

    /// Makes wait() return. Any thread.
    void interrupt();

private:
    static constexpr std::size_t handlers_per_poll = 128;

    // One thread at a time runs it, which is all that the hint of 1 promises: that thread need not wake
    // another when there is more than one handler, and queues what its handlers post without a lock. Everything
    // that other threads do (start, cancel, post) is locked as ever, and wakes the one that waits.
    std::unique_ptr<asio::io_context> own_;
    asio::io_context& io_;
    std::atomic<bool> taken_{false};
};

}  // namespace leat::detail
