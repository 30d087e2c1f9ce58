#include <leat/asio/guest.hpp>
#include <leat/asio/spawn.hpp>

#include <leat/detail/callback.hpp>
#include <leat/detail/context_node.hpp>
#include <leat/detail/fork_scope.hpp>
#include <leat/detail/timers.hpp>

#include "blocking_pool.hpp"
#include "destroy_chain.hpp"
#include "reactor.hpp"
#include "run_turn.hpp"
#include "unhandled.hpp"

#include <asio/basic_waitable_timer.hpp>
#include <asio/execution/blocking.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace leat::detail {
namespace {

/// So many turns a drain runs before other functions of the executor have theirs.
constexpr int turns_per_drain = 64;

/// How many of the executors that come and go are compared to find one again.
constexpr int remembered = 8;

constexpr unsigned guest_tick_shift = 16;  // timers are rounded up to 65 microseconds

constexpr std::size_t guest_blocking_threads = 64;

/// Runs what a context's thread has for it, in place.
class in_place_executor {
public:
    explicit in_place_executor(asio::execution_context& of) noexcept : context_{&of}
    {
    }
    asio::execution_context& query(asio::execution::context_t) const noexcept
    {
        return *context_;
    }
    static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept
    {
        return asio::execution::blocking.always;
    }
    template <class F>
    void execute(F&& f) const
    {
        std::decay_t<F> kept{std::forward<F>(f)};
        kept();
    }
    bool operator==(const in_place_executor&) const noexcept = default;

private:
    asio::execution_context* context_;
};

using guest_timer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                               in_place_executor>;

}  // namespace

class guest_service final : public asio::execution_context::service {
public:
    inline static asio::execution_context::id id;

    explicit guest_service(asio::execution_context& of)
        : service{of}, root_{cancel_node::make(nullptr)}, unstoppable_{cancel_node::make(nullptr)},
          blocking_{guest_blocking_threads}, base_{*this},
          shard_{timer_shard::make(base_, guest_tick_shift, base_.now())}
    {
    }
    ~guest_service() override
    {
        // The latest first, as they are listed.
        while (!all_.empty())
            all_.pop_back();
        shard_.leave();
        root_->unref();
        unstoppable_->unref();
    }

    guest_scheduler& find(const void* kind, const void* executor,
                          std::unique_ptr<guest_executor> (*make)(const void* executor));
    void occupied(guest_scheduler& of) noexcept;
    void vacated(guest_scheduler& of) noexcept;
    void set_timer(std::int64_t deadline) noexcept;
    /// At the end of each drain: has the timer set, if it has to be earlier.
    void mind_timer() noexcept
    {
        const std::int64_t earliest = shard_.earliest_hint();
        if (earliest < armed_for_.load(std::memory_order_relaxed)) [[unlikely]]
            set_timer(earliest);
    }
    void set_handler(callback<void(const unhandled_failure&)> handler)
    {
        const std::lock_guard hold{mutex_};
        on_unhandled_ = std::move(handler);
    }
    callback<void(const unhandled_failure&)> handler() noexcept
    {
        const std::lock_guard hold{mutex_};
        return on_unhandled_;
    }
    /// The first of so many in a row.
    std::uint64_t new_ids(std::uint64_t above, std::uint32_t count) noexcept
    {
        std::uint64_t last = ids_.load(std::memory_order_relaxed);
        std::uint64_t first = 0;
        do
            first = std::max(last, above) + 1;
        while (!ids_.compare_exchange_weak(last, first + count - 1, std::memory_order_relaxed));
        return first;
    }
    bool over() const noexcept
    {
        return over_.load(std::memory_order_seq_cst);
    }
    reactor* io_of(const guest_scheduler& of) noexcept
    {
        asio::io_context* const io = of.host_ != nullptr ? of.host_->io() : nullptr;
        if (io == nullptr)
            return nullptr;
        const std::lock_guard hold{mutex_};
        if (!reactor_)
            reactor_.emplace(*io);
        return &*reactor_;
    }
    std::uint64_t seed() noexcept
    {
        return seeds_.fetch_add(1, std::memory_order_relaxed);
    }

private:
    friend class guest_scheduler;

    void shutdown() noexcept override;
    guest_scheduler* look_up(const void* kind, const void* executor) noexcept;
    void occupy_locked(guest_scheduler& of);
    void timer_expired(std::uint64_t setting) noexcept;
    void stop_timer() noexcept;
    std::uint64_t live() noexcept;
    void collect(std::vector<task_root*>& left);

    std::mutex mutex_;
    std::vector<std::unique_ptr<guest_scheduler>> all_;  ///< under mutex_, as are the next five
    std::vector<guest_scheduler*> lasting_;              ///< of executors that their contexts give
    linked_list<guest_scheduler> others_;                ///< the one used last at the front
    std::vector<guest_scheduler*> vacant_;
    std::optional<reactor> reactor_;
    callback<void(const unhandled_failure&)> on_unhandled_;
    atomic<std::size_t> busy_{0};  ///< schedulers with users; changes under mutex_

    cancel_node* root_;
    cancel_node* unstoppable_;
    blocking_pool blocking_;
    guest_scheduler base_;  ///< owns the wheel, and never has a task
    timer_shard& shard_;
    atomic<std::uint64_t> ids_{0};
    atomic<std::uint64_t> seeds_{1};
    atomic<bool> over_{false};

    std::mutex timer_mutex_;
    std::optional<guest_timer> timer_;                    ///< under timer_mutex_
    std::uint64_t setting_ = 0;                           ///< under timer_mutex_
    atomic<std::int64_t> armed_for_{timer_wheel::never};  ///< written under timer_mutex_
};

// ---- The service ---------------------------------------------------------------------------------

guest_scheduler* guest_service::look_up(const void* kind, const void* executor) noexcept
{
    for (guest_scheduler* const each : lasting_)
        if (each->host_->is(kind, executor))
            return each;
    int left = remembered;
    for (guest_scheduler* each = others_.front(); each != nullptr && left != 0;
         each = others_.after(*each), --left)
        if (each->host_->is(kind, executor)) {
            others_.remove(*each);
            others_.push_front(*each);
            return each;
        }
    return nullptr;
}

guest_scheduler& guest_service::find(const void* kind, const void* executor,
                                     std::unique_ptr<guest_executor> (*make)(const void* executor))
{
    std::unique_lock hold{mutex_};
    guest_scheduler* found = look_up(kind, executor);
    if (found == nullptr) {
        hold.unlock();
        std::unique_ptr<guest_executor> host = make(executor);
        hold.lock();
        if (over())
            throw std::system_error{make_error_code(errc::abandoned), "leat: the execution context ends"};
        // Somebody else may have been as quick.
        found = look_up(kind, executor);
        if (found == nullptr) {
            if (vacant_.empty()) {
                all_.push_back(std::make_unique<guest_scheduler>(*this));
                // It has room for all, so that vacated() need not allocate.
                if (vacant_.capacity() < all_.size())
                    vacant_.reserve(2 * all_.size());
                vacant_.push_back(all_.back().get());
            }
            found = vacant_.back();
            if (host->lasting())
                lasting_.push_back(found);
            else
                others_.push_front(*found);
            vacant_.pop_back();
            found->host_ = std::move(host);
        }
    }
    if (over())
        throw std::system_error{make_error_code(errc::abandoned), "leat: the execution context ends"};
    found->users_.fetch_add(guest_scheduler::one_pin, std::memory_order_acq_rel);
    try {
        occupy_locked(*found);
    } catch (...) {
        hold.unlock();
        found->unpin();
        throw;
    }
    return *found;
}

/// Under mutex_: holds the executor's work, if there are users and nobody does yet.
void guest_service::occupy_locked(guest_scheduler& of)
{
    if (of.working_ || of.users_.load(std::memory_order_acquire) == 0 || of.host_ == nullptr)
        return;
    of.host_->hold_work();
    of.working_ = true;
    busy_.fetch_add(1, std::memory_order_seq_cst);
}

void guest_service::occupied(guest_scheduler& of) noexcept
{
    const std::lock_guard hold{mutex_};
    occupy_locked(of);
}

/// The last user has gone, unless there is another by now.
void guest_service::vacated(guest_scheduler& of) noexcept
{
    std::unique_ptr<guest_executor> host;
    const std::lock_guard hold{mutex_};
    if (of.users_.load(std::memory_order_acquire) != 0 || of.host_ == nullptr)
        return;
    if (std::exchange(of.working_, false)) {
        if (busy_.fetch_sub(1, std::memory_order_seq_cst) == 1)
            stop_timer();
        of.host_->drop_work();
    }
    if (of.host_->lasting())
        return;
    others_.remove(of);
    vacant_.push_back(&of);
    host = std::move(of.host_);
}

void guest_service::set_timer(std::int64_t deadline) noexcept
{
    // Without users there would be nobody to wait for it; the first drain sets it.
    if (busy_.load(std::memory_order_seq_cst) == 0)
        return;
    const std::lock_guard hold{timer_mutex_};
    if (over() || deadline >= armed_for_.load(std::memory_order_relaxed))
        return;
    if (!timer_)
        timer_.emplace(in_place_executor{context()});
    armed_for_.store(deadline, std::memory_order_relaxed);
    timer_->expires_at(std::chrono::steady_clock::time_point{std::chrono::nanoseconds{deadline}});
    timer_->async_wait([this, setting = ++setting_](const asio::error_code& failed) {
        if (!failed)
            timer_expired(setting);
    });
}

void guest_service::timer_expired(std::uint64_t setting) noexcept
{
    {
        const std::lock_guard hold{timer_mutex_};
        if (setting == setting_)
            armed_for_.store(timer_wheel::never, std::memory_order_relaxed);
    }
    shard_.run(base_.now(), nullptr);
    mind_timer();
}

void guest_service::stop_timer() noexcept
{
    const std::lock_guard hold{timer_mutex_};
    ++setting_;
    armed_for_.store(timer_wheel::never, std::memory_order_relaxed);
    if (timer_)
        timer_->cancel();
}

std::uint64_t guest_service::live() noexcept
{
    std::uint64_t tasks = 0;
    for (const auto& each : all_)
        tasks += each->tasks();
    return tasks;
}

void guest_service::collect(std::vector<task_root*>& left)
{
    for (const auto& each : all_) {
        const std::lock_guard hold{each->lock_};
        for (; each->first_ != nullptr; each->first_ = each->first_->queued) {
            left.push_back(each->first_);
            add_unknown_owners(*each->first_, left);
        }
        each->last_ = nullptr;
    }
    claim_parked_tasks(left, [this](scheduler& of) {
        guest_scheduler* const guest = of.guest();
        return guest != nullptr && &guest->service_ == this;
    });
}

// All are claimed before the first is destroyed, so that none can wake another; those that are just being won
// elsewhere are waited for. What destructors spawn is refused, and destroyed at once.
void guest_service::shutdown() noexcept
{
    over_.store(true, std::memory_order_seq_cst);
    root_->cancel(errc::cancelled);
    blocking_.stop();
    shard_.close();
    {
        const std::lock_guard hold{timer_mutex_};
        timer_.reset();
    }
    std::vector<task_root*> left;
    while (live() != 0) {
        collect(left);
        if (left.size() < live())
            std::this_thread::yield();
        else
            destroy_chains(left);
    }
    for (const auto& each : all_) {
        std::unique_ptr<guest_executor> host;
        const std::lock_guard hold{mutex_};
        host = std::move(each->host_);
    }
}

// ---- A scheduler ---------------------------------------------------------------------------------

guest_scheduler::guest_scheduler(guest_service& of) noexcept : service_{of}
{
    root_context_ = of.root_;
    unstoppable_ = of.unstoppable_;
    enlist();
}

guest_scheduler::~guest_scheduler()
{
    forget();
}

void guest_scheduler::add(std::uint64_t users) noexcept
{
    if (users_.fetch_add(users, std::memory_order_acq_rel) == 0)
        service_.occupied(*this);
}

void guest_scheduler::drop(std::uint64_t users) noexcept
{
    if (users_.fetch_sub(users, std::memory_order_acq_rel) == users)
        service_.vacated(*this);
}

void guest_scheduler::pin() noexcept
{
    add(one_pin);
}

void guest_scheduler::unpin() noexcept
{
    drop(one_pin);
}

void guest_scheduler::task_created(turn*) noexcept
{
    add(one_task);
}

void guest_scheduler::task_ended(turn*) noexcept
{
    drop(one_task);
}

void guest_scheduler::ready(task_root& root, turn* by) noexcept
{
    push(root, by, true);
}

void guest_scheduler::ready_later(task_root& root, turn* by) noexcept
{
    push(root, by, false);
}

void guest_scheduler::push(task_root& root, turn* by, bool hand_over) noexcept
{
    if (by == nullptr)
        by = current_turn();
    const bool inside = by != nullptr && by->sched == this;
    bool post = false;
    lock_.lock();
    // The drain that runs `by` comes to it, if nobody else does before.
    const bool left_to_drain = inside && (host_->serial() || (hand_over && first_ == nullptr));
    root.queued = nullptr;
    (first_ != nullptr ? last_->queued : first_) = &root;
    last_ = &root;
    if (!pending_ && !left_to_drain && !service_.over()) {
        pending_ = post = true;
        users_.fetch_add(one_pin, std::memory_order_relaxed);
    }
    lock_.unlock();
    if (post)
        host_->post(*this);
}

/// The first task of a drain, which sees to it that others can help.
task_root* guest_scheduler::begin() noexcept
{
    bool post = false;
    lock_.lock();
    pending_ = false;
    task_root* const root = first_;
    if (root != nullptr) {
        first_ = root->queued;
        if (first_ != nullptr && !host_->serial()) {
            pending_ = post = true;
            users_.fetch_add(one_pin, std::memory_order_relaxed);
        }
    }
    lock_.unlock();
    if (post)
        host_->post(*this);
    return root;
}

task_root* guest_scheduler::take() noexcept
{
    const spin_guard hold{lock_};
    task_root* const root = first_;
    if (root != nullptr)
        first_ = root->queued;
    return root;
}

/// A drain ends: what is left needs another.
void guest_scheduler::hand_on() noexcept
{
    bool post = false;
    lock_.lock();
    if (first_ != nullptr && !pending_ && !service_.over()) {
        pending_ = post = true;
        users_.fetch_add(one_pin, std::memory_order_relaxed);
    }
    lock_.unlock();
    if (post)
        host_->post(*this);
    service_.mind_timer();
}

/// A thread in a drain, with the drain's pin. Its end is the drain's, whether by return or by an exception.
class guest_scheduler::attendance {
public:
    explicit attendance(guest_scheduler& of) noexcept : of_{of}, outer_{current_turn()}
    {
        here.sched = &of;
        // The finisher of splitmix64: seeds are consecutive, what is drawn from them must not be.
        std::uint64_t mixed = of.service_.seed() * 0x9e3779b97f4a7c15U;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
        here.random = (mixed ^ (mixed >> 27)) | 1;
        enter();
    }
    attendance(const attendance&) = delete;
    attendance& operator=(const attendance&) = delete;
    ~attendance()
    {
        leave();
        of_.hand_on();
        of_.unpin();
    }
    void enter() noexcept
    {
        set_current_turn(&here);
    }
    void leave() noexcept
    {
        set_current_turn(outer_);
    }

    guest_turn here;

private:
    guest_scheduler& of_;
    turn* outer_;
};

void guest_scheduler::drain()
{
    attendance me{*this};
    int left = turns_per_drain;
    for (task_root* root = begin(); root != nullptr; root = --left != 0 ? take() : nullptr) {
        run_turn(me.here, *root);
        if (after_turn* const job = std::exchange(me.here.after, nullptr)) {
            // A handler of the user's, who may take his time: others need not wait for it.
            me.leave();
            hand_on();
            job->turn_over();
            me.enter();
        }
    }
}

std::int64_t guest_scheduler::now() noexcept
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

timer_shard& guest_scheduler::timers(turn*) noexcept
{
    return service_.shard_;
}

void guest_scheduler::timer_armed(timer_shard&, std::int64_t deadline, turn* by) noexcept
{
    guest_scheduler* const armed_in = by != nullptr ? by->sched->guest() : nullptr;
    // There the drain does it at its end, once for all.
    if (armed_in == nullptr || &armed_in->service_ != &service_)
        service_.set_timer(deadline);
}

reactor* guest_scheduler::io_reactor() noexcept
{
    return service_.io_of(*this);
}

blocking_queue& guest_scheduler::blocking() noexcept
{
    return service_.blocking_;
}

void guest_scheduler::unhandled(task_root& root, std::exception_ptr thrown) noexcept
{
    report_unhandled(service_.handler(), root, std::move(thrown));
}

std::uint64_t guest_scheduler::new_id(turn* by, std::uint64_t above) noexcept
{
    if (by != nullptr && by->root != nullptr)
        above = std::max(above, by->root->id());
    return service_.new_ids(above, 1);
}

std::uint64_t guest_scheduler::tasks_forked(turn* by, std::uint32_t count) noexcept
{
    add(one_task * count);
    return service_.new_ids(by->root->id(), count);
}

bool guest_scheduler::refuses_tasks() const noexcept
{
    return service_.over() || host_ == nullptr;
}

guest_scheduler& find_guest(asio::execution_context& context, const void* kind, const void* executor,
                            std::unique_ptr<guest_executor> (*make)(const void* executor))
{
    return asio::use_service<guest_service>(context).find(kind, executor, make);
}

void report_detached(joinable_root& ended, const std::exception_ptr& thrown) noexcept
{
    try {
        std::rethrow_exception(thrown);
    } catch (const cancelled_error&) {
    } catch (...) {
        scheduler::tell_unhandled(&ended.sched(), ended, std::current_exception());
    }
}

bool follow_turn(turn* by, after_turn& job) noexcept
{
    if (by == nullptr || by->sched->guest() == nullptr)
        return false;
    static_cast<guest_turn*>(by)->after = &job;
    return true;
}

}  // namespace leat::detail

namespace leat {

asio::any_io_executor this_task::asio_executor()
{
    const leat::executor on = executor();
    if (detail::guest_scheduler* const guest = on.sched().guest())
        return guest->host().as_any();
    return on;
}

void set_on_unhandled(asio::execution_context& of, detail::callback<void(const unhandled_failure&)> handler)
{
    asio::use_service<detail::guest_service>(of).set_handler(std::move(handler));
}

}  // namespace leat
