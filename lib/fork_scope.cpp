#include <leat/detail/fork_scope.hpp>

#include "absent_children.hpp"

#include <mutex>
#include <utility>

namespace leat::detail {

void forked_root::own_context()
{
    settle();
}

void forked_root::settle_context()
{
    exchange_context(scope_->context(now));
}

void forked_root::ended(turn* by) noexcept
{
    leave_context();
    sched().task_ended(by);
    scope_->child_ended(index_, nullptr, false, by);
}

void forked_root::failed(std::exception_ptr thrown, turn& here) noexcept
{
    // Whether its context has ended is judged before the frame goes.
    bool stopped = false;
    try {
        settle();
        stopped = stop_requested();
    } catch (...) {
    }
    current.destroy();
    leave_context();
    sched().task_ended(&here);
    scope_->child_ended(index_, std::move(thrown), stopped, &here);
}

void fork_scope::launch(std::coroutine_handle<> frame) noexcept
{
    turn* const by = owner_.now;
    scheduler& where = *by->sched;
    owner_.current = frame;
    by->left = true;
    owner_.waits_for("group's end");
    owner_.prepare_shielded_park();
    // One that has waited before is in the list of a context, and has settled: it is known, as are those above.
    state_.store(owner_.listed() ? added_ | known : added_, std::memory_order_relaxed);
    const std::uint32_t count = added_ / one;
    auto* child = static_cast<forked_root*>(forked_);
    std::uint64_t id = where.tasks_forked(by, count) + (count - 1) * by->id_step;
    while (task_root* const before = child->queued) {
        child->id_ = id;
        id -= by->id_step;
        where.fork(*child, by);
        child = static_cast<forked_root*>(before);
    }
    child->id_ = id;
    where.go_on(*child, by);
}

void fork_scope::child_ended(std::uint32_t index, std::exception_ptr thrown, bool stopped, turn* by) noexcept
{
    if (matters(thrown)) [[unlikely]] {
        if (note_child(index, thrown, stopped))
            cancel(thrown);
        // This may not be the last to hold what the owner throws: libstdc++ counts the holders where
        // ThreadSanitizer does not see it.
        thrown = nullptr;
    }
    count_end(by);
}

void fork_scope::count_end(turn* by) noexcept
{
    task_root& owner = owner_;
    std::uint32_t seen = state_.load(std::memory_order_relaxed);
    while ((seen & known) == 0)
        if (state_.compare_exchange_weak(seen, seen - one, std::memory_order_acq_rel,
                                         std::memory_order_relaxed)) {
            if (seen == one)
                owner.sched().go_on(owner, by);
            return;
        }
    bool won = false;
    {
        std::lock_guard hold{lock_};
        won = state_.fetch_sub(one, std::memory_order_acq_rel) == (one | known) &&
              owner.claim(*this) == claim_result::won;
    }
    if (won)
        owner.sched().go_on(owner, by);
}

void fork_scope::cancel(const std::exception_ptr& cause) noexcept
{
    cancel_node* node = nullptr;
    {
        std::lock_guard hold{lock_};
        node = node_.load(std::memory_order_relaxed);
        if (!std::exchange(cancelled_, true)) {
            ended_itself_ = node == nullptr || node->error() == 0;
            if (node == nullptr)
                cause_ = cause;
        }
    }
    if (node != nullptr)
        node->cancel(errc::cancelled, cause);
}

/// By whoever is below a child that has not ended, in its turn: nothing here can go.
cancel_node& fork_scope::context(turn* by)
{
    // Who has a node is below others that have one. From there down, without recursion.
    std::vector<fork_scope*> without;
    for (fork_scope* each = this; each != nullptr && each->node_.load(std::memory_order_acquire) == nullptr;
         each = each->owner_.forked_in())
        without.push_back(each);
    for (; !without.empty(); without.pop_back())
        without.back()->make_context(by);
    return *node_.load(std::memory_order_acquire);
}

// The lock keeps the other children out, who may want to do the same, and have nothing else to do until it is done. No
// code of the user's can be reached from a node that nobody else has seen yet.
void fork_scope::make_context(turn* by)
{
    {
        std::lock_guard hold{lock_};
        if (node_.load(std::memory_order_relaxed) != nullptr)
            return;
        owner_.now = by;
        owner_.settle();
        owner_.own_context();
        owner_.context().ref();
        cancel_node* const made = cancel_node::make(&owner_.context());
        if (cancelled_)
            made->cancel(errc::cancelled, cause_);
        // Before the first who does not go through this scope can find the owner.
        if ((state_.load(std::memory_order_relaxed) & known) == 0)
            state_.fetch_add(known, std::memory_order_relaxed);
        node_.store(made, std::memory_order_release);
    }
    // Without the lock: a deadline that nobody has watched may have passed, and telling of it calls the user's code. The
    // owner stays where it is: the child in whose turn this is has not ended.
    owner_.enroll();
}

/// Null if it is known already.
task_root* fork_scope::reveal_owner() noexcept
{
    std::lock_guard hold{lock_};
    if ((state_.load(std::memory_order_relaxed) & known) != 0)
        return nullptr;
    state_.fetch_add(known, std::memory_order_relaxed);
    return &owner_;
}

void add_unknown_owners(task_root& leaf, std::vector<task_root*>& into)
{
    const task_root* below = &leaf;
    while (fork_scope* const scope = below->forked_in()) {
        task_root* const owner = scope->reveal_owner();
        if (owner == nullptr)
            return;
        if (owner->claim_for_shutdown() != claim_result::lost)
            into.push_back(owner);
        below = owner;
    }
}

std::uint32_t fork_scope::live() const noexcept
{
    std::lock_guard hold{lock_};
    return state_.load(std::memory_order_acquire) / one;
}

/// By the destructor, of a scope that has made its node or belonged to an owner that was destroyed.
void fork_scope::leave_known() noexcept
{
    if (live() != 0) [[unlikely]] {
        cancel(nullptr);
        wait_for_absent_children([this] { return live(); });
    }
    if (cancel_node* const node = node_.load(std::memory_order_acquire)) {
        node->cancel(errc::cancelled);
        node->unref();
    }
}

void fork_scope::rethrow_failure()
{
    const cancel_node* const node = node_.load(std::memory_order_acquire);
    scope_verdict::rethrow(owner_.stop_requested() ||
                           (node != nullptr && node->error() != 0 && !ended_itself_));
}

}  // namespace leat::detail
