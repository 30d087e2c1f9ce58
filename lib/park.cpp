#include <leat/detail/park.hpp>

#include <leat/detail/context_node.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/detail/operation.hpp>

#include "pause.hpp"
#include "run_turn.hpp"

#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace leat::detail {
namespace {

constinit thread_local turn* this_threads_turn = nullptr;

// The schedulers that can be told of failures. Looked at only when a failure is dropped unseen.
constinit spinlock enlisted_lock;
constinit scheduler* enlisted = nullptr;

[[noreturn]] void report_dropped_coroutine() noexcept
{
    std::fputs("leat: a coroutine returned without having parked or ended. g++ 12.0 to 12.2 drop the body of "
               "a coroutine that has no local variable and awaits in the condition of an if, switch or loop: "
               "give it one, or use a newer compiler (docs/compilers.md). Another way to get here is to "
               "resume a coroutine handle of leat's by hand.\n",
               stderr);
    std::terminate();
}

}  // namespace

[[gnu::noinline]] turn* current_turn() noexcept
{
    asm volatile("");
    return this_threads_turn;
}

[[gnu::noinline]] void set_current_turn(turn* to) noexcept
{
    asm volatile("");
    this_threads_turn = to;
}

std::uint32_t turn::choose(std::uint32_t bound) noexcept
{
    if (bound <= 1)
        return 0;
    if (scripted)
        return sched->choose(bound);
    // Marsaglia's xorshift64*, and Lemire's multiplication instead of a division. The bias is below 2^-32
    // for the few cases that a select has.
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    const std::uint64_t draw = (random * 0x2545f4914f6cdd1dU) >> 32;
    return static_cast<std::uint32_t>((draw * bound) >> 32);
}

void run_turn(turn& here, task_root& root) noexcept
{
    root.now = &here;
    here.root = &root;
    here.budget = turn_budget;
    here.left = false;
    here.ended = false;
    if (root.on_turn != nullptr) [[unlikely]]
        if (!std::exchange(root.on_turn, nullptr)->begin_turn(here)) {
            here.root = nullptr;
            return;
        }
    std::coroutine_handle<> frame = root.current;
    do {
        here.next = {};
        frame.resume();
        frame = here.next;
    } while (frame);
    here.root = nullptr;
    if (here.ended)
        root.finished(here);
    else if (!here.left) [[unlikely]]
        report_dropped_coroutine();
}

void yield_turn(task_root& root) noexcept
{
    turn& here = *root.now;
    here.left = true;
    root.sched().yielded(root, &here);
}

void throw_stopped(task_root& root)
{
    if (root.stop_reason() == errc::deadline_exceeded)
        throw timed_out_error{};
    cancel_node* const node = root.context().canceller();
    throw cancelled_error{node != nullptr ? node->cause() : nullptr};
}

task_root::~task_root()
{
    if (name_ != nullptr)
        free_frame(name_, std::strlen(name_) + 1);
    if (left_behind_ != nullptr)
        left_behind_->unref();
}

// Tasks do not count their scheduler's root context, which outlives them. One that moves may outlive it; only
// the first scheduler's context can be the task's.
void task_root::move_to(scheduler& to) noexcept
{
    leave_context();
    if (left_behind_ == nullptr) {
        left_behind_ = &sched_->root_context();
        left_behind_->ref();
    }
    sched_ = &to;
}

void task_root::set_name(std::string_view name)
{
    // What is freed is as long as what strlen() finds.
    name = name.substr(0, name.find('\0'));
    if (name.empty())
        return;
    name_ = static_cast<char*>(allocate_frame(name.size() + 1));
    std::memcpy(name_, name.data(), name.size());
    name_[name.size()] = '\0';
}

context_node* task_root::exchange_context(context_node& to) noexcept
{
    context_node* const before = context_;
    context_ = &to;
    stop_ = &to.stop();
    return before;
}

void task_root::change_enrolment() noexcept
{
    change_enrolment_to(stop_);
}

void task_root::change_enrolment_to(stop_state* to) noexcept
{
    if (enrolled_ != nullptr)
        enrolled_->expel(*this);
    enrolled_ = to;
    if (to != nullptr)
        to->enroll(*this);
}

task_root::word task_root::wait_for_inspector() noexcept
{
    for (;;) {
        const word seen = word_.load(std::memory_order_seq_cst);
        if (seen != inspected)
            return seen;
        pause_core();
        std::this_thread::yield();
    }
}

void scheduler::enlist() noexcept
{
    std::lock_guard hold{enlisted_lock};
    enlisted_before_ = std::exchange(enlisted, this);
}

void scheduler::forget() noexcept
{
    {
        std::lock_guard hold{enlisted_lock};
        for (scheduler** at = &enlisted; *at != nullptr; at = &(*at)->enlisted_before_)
            if (*at == this) {
                *at = enlisted_before_;
                break;
            }
    }
    while (tellers_.load(std::memory_order_acquire) != 0)
        std::this_thread::yield();
}

void scheduler::tell_unhandled(scheduler* of, task_root& root, std::exception_ptr thrown) noexcept
{
    bool there = false;
    {
        std::lock_guard hold{enlisted_lock};
        for (scheduler* each = enlisted; each != nullptr && !there; each = each->enlisted_before_)
            there = each == of;
        if (there)
            of->tellers_.fetch_add(1, std::memory_order_relaxed);
    }
    if (there) {
        of->unhandled(root, std::move(thrown));
        of->tellers_.fetch_sub(1, std::memory_order_release);
        return;
    }
    try {
        std::fprintf(stderr, "leat: a task of a runtime that has gone had failed, and nobody asked: %s\n",
                     describe(thrown).c_str());
    } catch (...) {
    }
}

void wake_list::schedule(turn* by) noexcept
{
    task_root* root = std::exchange(first_, nullptr);
    if (root->queued == nullptr) {
        root->sched().ready(*root, by);
        return;
    }
    // Many at once go to the back, in order: only one can be next.
    while (root != nullptr) {
        task_root* const following = root->queued;
        root->sched().ready_later(*root, by);
        root = following;
    }
}

}  // namespace leat::detail
