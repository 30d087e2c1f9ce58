#include <leat/spawn.hpp>

#include <leat/detail/context_node.hpp>

#include "destroy_chain.hpp"

#include <mutex>

namespace leat::detail {

spawn_site spawn_site::here(const spawn_options& options, location place)
{
    scheduler* const sched = ambient_scheduler();
    if (sched == nullptr)
        throw usage_error{
            "leat: spawn() outside of every task; use runtime::spawn, world::spawn or leat::run"};
    return on(*sched, options, place);
}

spawn_site spawn_site::on(scheduler& sched, const spawn_options& options, location place)
{
    turn* const by = current_turn();
    spawn_site site;
    site.sched = &sched;
    site.by = by;
    site.name = options.name;
    site.place = place;
    if (options.context.get() != nullptr) {
        site.context = &options.context.get()->node();
    } else if (by != nullptr && by->root != nullptr) {
        // What the new task inherits has to be what cancelling the running one cancels.
        by->root->own_context();
        site.context = &by->root->context();
    } else {
        site.context = &sched.root_context();
    }
    return site;
}

joinable_root::joinable_root(const spawn_site& site)
    : task_root{*site.sched, *site.context, site.context->stop(),
                site.sched->new_id(site.by, site.younger_than)},
      // The scheduler's own context and that of a group outlive their tasks.
      counted_context_{!site.context_outlives && site.context != &site.sched->root_context()},
      scope_{site.scope}
{
#if LEAT_REGISTRY
    place_ = site.place;
#endif
    set_name(site.name);
    if (counted_context_)
        context_->ref();
}

joinable_root::~joinable_root()
{
    if (counted_context_)
        context_->unref();
}

void discard_root(joinable_root& root) noexcept
{
    delete &root;
}

void destroy_unlaunched(joinable_root& root) noexcept
{
    root.current.destroy();
    discard_root(root);
}

void joinable_root::launch(turn* by, bool with_handle) noexcept
{
    if (with_handle)
        holders_.store(2, std::memory_order_relaxed);
    announce(by);
    queue(by);
}

void joinable_root::announce(turn* by) noexcept
{
    sched().task_created(by);
}

void joinable_root::queue(turn* by) noexcept
{
    scheduler& where = sched();
    // From outside one might spawn for ever, and the end would never come.
    if ((by == nullptr || by->sched != &where) && where.refuses_tasks())
        destroy_chain(*this);
    else
        where.ready_later(*this, by);
}

void joinable_root::own_context()
{
    if (own_ != nullptr)
        return;
    // Without a handle nobody will cancel it. But whoever had one may have done so, and the flag would go with
    // the task into contexts that are not concerned.
    if (holders_.load(std::memory_order_acquire) == 1 && !cancel_requested_.load(std::memory_order_relaxed))
        return;
    context_->ref();
    cancel_node* const node = cancel_node::make(context_);
    leave_context();
    bool cancelled = false;
    {
        std::lock_guard hold{join_lock};
        own_ = node;
        cancelled = cancel_requested_.exchange(false, std::memory_order_seq_cst);
    }
    if (counted_context_)
        context_->unref();
    counted_context_ = true;
    exchange_context(*node);
    if (cancelled)
        node->cancel(errc::cancelled);
}

void joinable_root::cancel() noexcept
{
    cancel_node* node = nullptr;
    bool won = false;
    {
        std::lock_guard hold{join_lock};
        if (done())
            return;
        if (own_ != nullptr) {
            node = own_;
            node->ref();
        } else {
            cancel_requested_.store(true, std::memory_order_seq_cst);
            won = claim_for_context() == claim_result::won;
        }
    }
    if (won) {
        if (on_stop == nullptr)
            sched().ready(*this, current_turn());
        else
            on_stop->context_ended(current_turn());
    }
    if (node != nullptr) {
        node->cancel(errc::cancelled);
        node->unref();
    }
}

void joinable_root::finished(turn& here) noexcept
{
    const std::coroutine_handle<> frame = current;
    keep_result(promise_base::of(frame));
    // Before the frame goes, so that the context's end is judged at the task's.
    const bool stopped = stop_requested();
    frame.destroy();
    end(&here, stopped);
}

void joinable_root::abandoned() noexcept
{
    end(nullptr, true);
}

void joinable_root::end(turn* by, bool stopped) noexcept
{
    destroy_callable();
    leave_context();
    sched().task_ended(by);
    // No copy of a failure is kept here: whoever joins may be done with it at any moment after the next lock, and
    // the last to let go frees it.
    if (scope_ != nullptr) {
        observed_ = true;
        scope_->child_ended(*this, failure(), stopped, by);
    }
    // Without a handle nobody is left who could ask, wait or cancel.
    if (holders_.load(std::memory_order_acquire) != 1) {
        wake_list wakes;
        {
            std::lock_guard hold{join_lock};
            done_.store(true, std::memory_order_release);
            own_ = nullptr;
            joiners.win_all(wakes);
        }
        wakes.flush(by);
    }
    release();
}

void joinable_root::drop_handle() noexcept
{
    release();
}

// The last holder frees the block. If nobody has seen a failure, nobody will: it is reported, unless it is
// a cancellation.
void joinable_root::release() noexcept
{
    if (holders_.load(std::memory_order_acquire) != 1 &&
        holders_.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    if (const std::exception_ptr thrown = observed_ ? nullptr : failure()) {
        bool is_order = false;
        try {
            std::rethrow_exception(thrown);
        } catch (const cancelled_error&) {
            is_order = true;
        } catch (...) {
        }
        if (!is_order)
            scheduler::tell_unhandled(&sched(), *this, thrown);
    }
    delete this;
}

void throw_empty_handle()
{
    throw usage_error{"leat: an empty join_handle was awaited; moving or detaching a handle empties it"};
}

}  // namespace leat::detail
