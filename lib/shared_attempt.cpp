#include <leat/detail/shared_attempt.hpp>

#include <leat/detail/context_node.hpp>

#include "serve.hpp"

#include <utility>

namespace leat::detail {

attempt_base::~attempt_base()
{
    if (work_ != nullptr)
        work_->unref();
}

cancel_node* attempt_base::leave() noexcept
{
    if (state_ != state::flying || --interested_ != 0)
        return nullptr;
    state_ = state::orphaned;
    owner_.forget(*this, false);
    if (work_ != nullptr)
        work_->ref();
    return work_;
}

void attempt_base::cancel_work(cancel_node* work) noexcept
{
    if (work == nullptr)
        return;
    work->cancel(errc::cancelled);
    work->unref();
}

context attempt_base::open_context(turn& here)
{
    here.root->settle();
    context_node& callers = here.root->context();
    context_node& above = callers.canceller() != nullptr ? here.sched->root_context() : background_node();
    above.ref();
    cancel_node* const node = cancel_node::make(&above);
    node->borrow_values(callers);
    node->ref();
    {
        const spin_guard hold{lock};
        work_ = node;
    }
    return make_context(node);
}

void attempt_base::land() noexcept
{
    cancel_node* work = nullptr;
    bool more = true;
    while (more) {
        wake_list wakes;
        {
            const spin_guard hold{lock};
            if (work_ != nullptr)
                work = std::exchange(work_, nullptr);
            if (state_ == state::flying) {
                owner_.forget(*this, true);
                state_ = state::landed;
            }
            int room = wakes_per_lock;
            while (room > 0 && waiters.win_front(wakes) != nullptr)
                --room;
            more = room == 0;
        }
        wakes.flush(current_turn());
    }
    if (work != nullptr)
        work->unref();
}

}  // namespace leat::detail
