#include <leat/asio/use_task.hpp>

#include <thread>

namespace leat::detail {

cancel_request::cancel_request(asio_wait& of) noexcept : of_{&of}
{
    of.ref();
}

cancel_request::~cancel_request()
{
    if (of_ != nullptr)
        of_->unref();
}

void cancel_request::operator()() noexcept
{
    of_->emit();
}

asio_wait::~asio_wait()
{
    forget_executor();
}

void asio_wait::forget_executor() noexcept
{
    if (const executor_kind* const kind = kind_.exchange(nullptr, std::memory_order_acquire))
        kind->destroy(executor_);
}

void asio_wait::finish() noexcept
{
    lock.lock();
    ending_ = true;
    // For as long as it takes to queue a function: the executor's context must not go before that.
    while (posting_) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    const bool left_to_emitter = emitting_;
    lock.unlock();
    if (!left_to_emitter)
        settle();
}

void asio_wait::settle() noexcept
{
    // Before the task goes on, because then the executor's context may go; and not under the lock, because
    // a strand that is destroyed takes locks of Asio's. Since ending_, nobody else looks at the executor.
    forget_executor();
    wake_list wakes;
    lock.lock();
    done = true;
    if (waiting != nullptr)
        std::exchange(waiting, nullptr)->win(wakes);
    lock.unlock();
    wakes.flush(current_turn());
}

void asio_wait::request_cancel() noexcept
{
    lock.lock();
    if (ending_) {
        lock.unlock();
        return;
    }
    const executor_kind* const kind = kind_.load(std::memory_order_acquire);
    posting_ = kind != nullptr;
    lock.unlock();
    if (kind == nullptr) {
        emit();
        return;
    }
    bool posted = true;
    try {
        kind->post(executor_, *this);
    } catch (...) {
        posted = false;
    }
    lock.lock();
    posting_ = false;
    lock.unlock();
    // No memory for the request: better here than never.
    if (!posted)
        emit();
}

void asio_wait::emit() noexcept
{
    lock.lock();
    if (ending_ || detached_) {
        lock.unlock();
        return;
    }
    emitting_ = true;
    lock.unlock();
    try {
        signal_.emit(asio::cancellation_type::terminal);
    } catch (...) {
        // An operation that can not be cancelled is waited for.
    }
    lock.lock();
    emitting_ = false;
    const bool ended = ending_;
    lock.unlock();
    if (ended)
        settle();
}

void asio_wait::detach() noexcept
{
    lock.lock();
    while (emitting_) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    detached_ = true;
    waiting = nullptr;
    lock.unlock();
}

bool asio_awaiter_base::may_start() noexcept
{
    if (root->stop_requested()) {
        state_ = state::refused;
        return false;
    }
    // Now, as nothing may come between the lock and the park.
    root->enroll();
    return true;
}

bool asio_awaiter_base::is_over() noexcept
{
    wait_->lock.lock();
    const bool done = wait_->done;
    wait_->lock.unlock();
    if (!done)
        return false;
    state_ = state::complete;
    return --root->now->budget > 0;
}

bool asio_awaiter_base::await_suspend(std::coroutine_handle<> frame) noexcept
{
    root->current = frame;
    root->now->left = true;
    if (state_ == state::complete) {
        yield_turn(*root);
        return true;
    }
    root->waits_for(kind());
    asio_wait& wait = *wait_;
    wait.lock.lock();
    if (wait.done) {
        wait.lock.unlock();
        state_ = state::complete;
        return false;
    }
    state_ = state::parked;
    root->on_stop = this;
    switch (root->prepare_park()) {
    case park_result::parked: link(); break;
    case park_result::claimed: break;  // the canceller waits for the lock, in context_ended()
    case park_result::refused: see_through(); return true;
    }
    wait.lock.unlock();
    return true;
}

// With the lock, which it releases. Afterwards the task may have gone.
void asio_awaiter_base::see_through() noexcept
{
    asio_wait& wait = *wait_;
    root->prepare_shielded_park();
    link();
    wait.cancelling = true;
    wait.ref();
    wait.lock.unlock();
    wait.request_cancel();
    wait.unref();
}

void asio_awaiter_base::context_ended(turn* by) noexcept
{
    wait_->lock.lock();
    if (!wait_->done) {
        see_through();
        return;
    }
    wait_->lock.unlock();
    root->sched().ready(*root, by);
}

void asio_awaiter_base::unpark() noexcept
{
    state_ = state::complete;
    root->finish_park();
    root->on_stop = nullptr;
}

void asio_awaiter_base::leave() noexcept
{
    if (state_ == state::parked)
        wait_->detach();
    wait_->unref();
}

spinlock& asio_awaiter_base::source() noexcept
{
    return wait_->lock;
}

bool asio_awaiter_base::try_complete(wake_list&) noexcept
{
    return wait_->done;
}

void asio_awaiter_base::link() noexcept
{
    wait_->waiting = this;
}

void asio_awaiter_base::unlink() noexcept
{
    wait_->waiting = nullptr;
}

const char* asio_awaiter_base::kind() const noexcept
{
    return "operation of Asio";
}

}  // namespace leat::detail
