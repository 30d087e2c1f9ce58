#include <leat/asio/channel.hpp>

#include <leat/detail/context_node.hpp>

#include "bare_scheduler.hpp"

#include <thread>

namespace leat::detail {

/// The operations of one execution context that wait.
class async_wait_service final : public asio::execution_context::service {
public:
    inline static asio::execution_context::id id;

    explicit async_wait_service(asio::execution_context& of) : service{of}
    {
    }

    void enter(async_wait_root& root) noexcept
    {
        const spin_guard hold{lock_};
        waiting_.push_back(root);
    }
    void leave(async_wait_root& root) noexcept
    {
        const spin_guard hold{lock_};
        waiting_.remove(root);
    }
    /// Has one posted that a peer has won. It may be gone afterwards.
    void hand_over(async_wait_root& root) noexcept
    {
        {
            const spin_guard hold{lock_};
            waiting_.remove(root);
            ++leaving_;
        }
        root.won();
        const spin_guard hold{lock_};
        --leaving_;
    }

private:
    void shutdown() noexcept override
    {
        for (bool more = true; more;) {
            async_wait_root* claimed = nullptr;
            {
                const spin_guard hold{lock_};
                for (task_root* each = waiting_.front(); each != nullptr; each = waiting_.after(*each))
                    if (each->claim_for_shutdown() == claim_result::won) {
                        waiting_.remove(*each);
                        claimed = static_cast<async_wait_root*>(each);
                        break;
                    }
                more = leaving_ != 0 || !waiting_.empty() || claimed != nullptr;
            }
            if (claimed != nullptr) {
                claimed->unlink();
                claimed->lost();
            } else if (more) {
                std::this_thread::yield();
            }
        }
    }

    spinlock lock_;
    linked_list<task_root> waiting_;  ///< under lock_
    int leaving_ = 0;                 ///< under lock_: have been won, and are being posted
};

class async_wait_scheduler final : public bare_scheduler {
public:
    void ready(task_root& root, turn*) noexcept override
    {
        auto& waiting = static_cast<async_wait_root&>(root);
        waiting.service_.hand_over(waiting);
    }
};

namespace {

/// Has no state, and is never destroyed: peers may wake operations while the process exits.
scheduler& schedules_handlers() noexcept
{
    static auto* const one = new async_wait_scheduler;
    return *one;
}

}  // namespace

async_wait_root::async_wait_root(asio::execution_context& of)
    : task_root{schedules_handlers(), background_node(), never_stopped(), 0},
      service_{asio::use_service<async_wait_service>(of)}
{
}

bool async_wait_root::start(waiter& op) noexcept
{
    op_ = &op;
    if (try_now())
        return false;
    service_.enter(*this);
    spinlock& source = op.source();
    wake_list wakes;
    source.lock();
    const bool complete = op.try_complete(wakes);
    if (!complete) {
        // Nobody stops it, so it parks.
        static_cast<void>(prepare_park());
        op.link();
    }
    source.unlock();
    if (!complete)
        return true;
    service_.leave(*this);
    wakes.flush(current_turn());
    return false;
}

bool async_wait_root::try_now() noexcept
{
    wake_list wakes;
    bool complete = false;
    {
        const spin_guard hold{op_->source()};
        complete = op_->try_complete(wakes);
    }
    wakes.flush(current_turn());
    return complete;
}

bool async_wait_root::withdraw() noexcept
{
    if (claim_for_context() != claim_result::won)
        return false;
    service_.leave(*this);
    unlink();
    return true;
}

void async_wait_root::unlink() noexcept
{
    {
        const spin_guard hold{op_->source()};
        op_->unlink();
    }
    op_->unlinked();
}

}  // namespace leat::detail
