#include "pool.hpp"

#include <leat/detail/fork_scope.hpp>
#include <leat/inspect.hpp>

#include "chain_reader.hpp"
#include "cpu_count.hpp"
#include "destroy_chain.hpp"
#include "unhandled.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace leat::detail {
namespace {

constexpr std::chrono::milliseconds between_checks{5};
constexpr std::chrono::seconds between_reports{5};

runtime_options checked(runtime_options options)
{
    if (options.workers < 0 || options.workers > 4096)
        throw usage_error{"leat: runtime_options::workers is the number of worker threads, or zero for the "
                          "default; " +
                          std::to_string(options.workers) + " is neither"};
    if (options.blocking_threads <= 0)
        throw usage_error{
            "leat: runtime_options::blocking_threads is at least one, or blocking() would never run"};
    if (options.grace < std::chrono::nanoseconds::zero())
        throw usage_error{"leat: runtime_options::grace is a span of time, and not negative"};
    if (options.long_turn < std::chrono::nanoseconds::zero())
        throw usage_error{"leat: runtime_options::long_turn is a span of time, or zero; it is not negative"};
    return options;
}

/// Threads of this process that are none of the given number; if there are any, a deadlock can not be proved.
bool other_threads(std::size_t ours) noexcept
{
#if defined(__linux__)
#if defined(__SANITIZE_THREAD__)
    ++ours;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    ++ours;
#endif
#endif
    std::error_code failed;
    std::size_t all = 0;
    for (std::filesystem::directory_iterator at{"/proc/self/task", failed}, end; !failed && at != end;
         at.increment(failed))
        ++all;
    return failed || all > ours;
#else
    static_cast<void>(ours);
    return true;
#endif
}

}  // namespace

pool::pool(runtime_options options)
    : options_{checked(std::move(options))}, blocking_{static_cast<std::size_t>(options_.blocking_threads)}
{
    const std::size_t count =
        options_.workers != 0 ? static_cast<std::size_t>(options_.workers) : default_workers();
    ids_outside_.store(count + 1, std::memory_order_relaxed);
    id_step_ = count + 1;
    try {
        root_context_ = cancel_node::make(nullptr);
        unstoppable_ = cancel_node::make(nullptr);
        idle_.reserve(count);
        workers_.reserve(count);
        for (std::size_t i = 0; i < count; ++i)
            workers_.push_back(std::make_unique<worker>(*this, i, count));
        for (const auto& each : workers_)
            each->thread_ = std::thread{[&w = *each] { w.run(); }};
    } catch (...) {
        end_workers();
        workers_.clear();
        for (context_node* const made :
             {root_context_, static_cast<context_node*>(static_cast<cancel_node*>(unstoppable_))})
            if (made != nullptr)
                made->unref();
        throw;
    }
    enlist();
}

pool::~pool()
{
    if (worker_of(current_turn()) != nullptr || blocking_.on_its_thread()) {
        std::fputs("leat: a runtime was destroyed in one of its own tasks or blocking calls, which it would "
                   "have to wait for\n",
                   stderr);
        std::terminate();
    }
    stop();
    forget();
    while (callers_outside_.load(std::memory_order_acquire) != 0)
        std::this_thread::yield();
    // What was spawned after stop().
    destroy_left();
    // The workers' timers go before the nodes: a context may outlive both.
    workers_.clear();
    root_context_->unref();
    static_cast<cancel_node*>(unstoppable_)->unref();
}

// The task that is made ready keeps the pool alive until it has been queued, but perhaps not until the caller
// has left; so callers from outside are counted, and the destructor waits for them.
void pool::ready(task_root& root, turn* by) noexcept
{
    if (worker* const w = worker_of(by != nullptr ? by : current_turn()))
        w->make_next(root);
    else
        inject(root);
}

void pool::ready_later(task_root& root, turn* by) noexcept
{
    if (worker* const w = worker_of(by != nullptr ? by : current_turn()))
        w->make_last(root);
    else
        inject(root);
}

void pool::yielded(task_root& root, turn* by) noexcept
{
    worker* const w = worker_of(by);
    if (w == nullptr) {
        inject(root);
    } else if (const std::size_t waiting = injected_.length();
               waiting == 0 || waiting + w->queue_.length() <= run_queue::size) [[likely]] {
        w->make_last(root);
    } else {
        injected_.push(root);
        notify_remote();
    }
}

void pool::fork(task_root& root, turn* by) noexcept
{
    if (worker* const w = worker_of(by))
        w->make_forked(root);
    else
        inject(root);
}

void pool::go_on(task_root& root, turn* by) noexcept
{
    if (worker* const w = worker_of(by))
        w->go_on(root);
    else
        inject(root);
}

void pool::inject(task_root& root) noexcept
{
    callers_outside_.fetch_add(1, std::memory_order_acquire);
    injected_.push(root);
    notify_remote();
    // Either this sees that it is over, or the end's last look into the queue sees the task.
    if (over_.load(std::memory_order_seq_cst)) [[unlikely]]
        destroy_injected();
    callers_outside_.fetch_sub(1, std::memory_order_release);
}

void pool::notify_local() noexcept
{
    if (sleepers_.load(std::memory_order_relaxed) != 0 && searching_.load(std::memory_order_relaxed) == 0)
        wake_one();
}

void pool::notify_remote() noexcept
{
    if (searching_.load(std::memory_order_seq_cst) == 0 && sleepers_.load(std::memory_order_seq_cst) != 0)
        wake_one();
}

void pool::wake_one() noexcept
{
    worker* chosen = nullptr;
    bool in_reactor = false;
    {
        std::lock_guard hold{idle_lock_};
        if (idle_.empty() || searching_.load(std::memory_order_seq_cst) != 0)
            return;
        // Those who wait in the reactor and who are on watch are woken last: others would have to take their
        // places.
        auto at = std::find_if(idle_.rbegin(), idle_.rend(), [&](const worker* w) {
                      return !w->in_reactor_ && w != watcher_;
                  }).base();
        if (at == idle_.begin())
            at = std::find_if(idle_.begin(), idle_.end(), [](const worker* w) { return !w->in_reactor_; });
        else
            --at;
        if (at == idle_.end())
            --at;
        chosen = *at;
        idle_.erase(at);
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
        searching_.fetch_add(1, std::memory_order_seq_cst);
        in_reactor = chosen->in_reactor_;
    }
    // It may have woken by itself meanwhile; then the wake-up is one too many, which does no harm.
    chosen->wake(in_reactor);
}

void pool::wake_all() noexcept
{
    std::lock_guard hold{idle_lock_};
    for (worker* const each : idle_) {
        searching_.fetch_add(1, std::memory_order_seq_cst);
        each->wake(each->in_reactor_);
    }
    sleepers_.fetch_sub(static_cast<int>(idle_.size()), std::memory_order_seq_cst);
    idle_.clear();
}

bool pool::any_queue_filled() const noexcept
{
    if (!injected_.empty())
        return true;
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const auto& w) { return !w->queue_.empty() || !w->forks_.empty(); });
}

std::int64_t pool::earliest_deadline() const noexcept
{
    std::int64_t earliest = timer_wheel::never;
    for (const auto& each : workers_)
        earliest = std::min(earliest, each->timers_.earliest_hint());
    return earliest;
}

std::size_t pool::armed_timers() const noexcept
{
    std::size_t armed = 0;
    for (const auto& each : workers_)
        armed += each->timers_.armed();
    return armed;
}

std::uint64_t pool::total_turns() const noexcept
{
    std::uint64_t turns = 0;
    for (const auto& each : workers_)
        turns += each->turns_.load(std::memory_order_relaxed);
    return turns;
}

void pool::task_created(turn* by) noexcept
{
    if (worker* const w = worker_of(by))
        worker::add(w->created_);
    else
        created_outside_.fetch_add(1, std::memory_order_relaxed);
}

void pool::task_ended(turn* by) noexcept
{
    worker* const w = worker_of(by);
    // The count may be what the end waits for.
    if (w == nullptr)
        callers_outside_.fetch_add(1, std::memory_order_acquire);
    if (w != nullptr)
        w->ended_.store(w->ended_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    else
        ended_outside_.fetch_add(1, std::memory_order_release);
    if (draining_.load(std::memory_order_relaxed)) {
        const std::lock_guard hold{stop_mutex_};
        drained_.notify_all();
    }
    if (w == nullptr)
        callers_outside_.fetch_sub(1, std::memory_order_release);
}

std::uint64_t pool::live() const noexcept
{
    // Ends are read first: a task that is created meanwhile is counted twice rather than not at all.
    std::uint64_t ended = ended_outside_.load(std::memory_order_acquire);
    for (const auto& each : workers_)
        ended += each->ended_.load(std::memory_order_acquire);
    std::uint64_t created = created_outside_.load(std::memory_order_acquire);
    for (const auto& each : workers_)
        created += each->created_.load(std::memory_order_acquire);
    return created - ended;
}

std::int64_t pool::now() noexcept
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

timer_shard& pool::timers(turn* by) noexcept
{
    worker* const w = worker_of(by);
    return w != nullptr ? w->timers_ : workers_.front()->timers_;
}

void pool::timer_armed(timer_shard&, std::int64_t, turn* by) noexcept
{
    // A worker looks at its own timers before it sleeps. From elsewhere, somebody has to look again.
    if (worker_of(by) == nullptr)
        wake_all();
}

/// The first of a sequence, of which `last` is one, that is not below `lower`.
std::uint64_t pool::id_beyond(std::uint64_t last, std::uint64_t lower) const noexcept
{
    return lower > last ? last + (lower - last + id_step_ - 1) / id_step_ * id_step_ : last;
}

/// By a task that runs on a worker.
std::uint64_t pool::tasks_forked(turn* by, std::uint32_t count) noexcept
{
    std::atomic<std::uint64_t>& created = worker::of(*by).created_;
    created.store(created.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    const std::uint64_t before = id_beyond(by->next_id, by->root->id());
    by->next_id = before + count * id_step_;
    return before + id_step_;
}

std::uint64_t pool::new_id(turn* by, std::uint64_t above) noexcept
{
    if (worker_of(by) != nullptr) {
        if (by->root != nullptr)
            above = std::max(above, by->root->id());
        return by->next_id = id_beyond(by->next_id, above) + id_step_;
    }
    std::uint64_t next = ids_outside_.load(std::memory_order_relaxed);
    std::uint64_t id = 0;
    do
        id = id_beyond(next, above + 1);
    while (!ids_outside_.compare_exchange_weak(next, id + id_step_, std::memory_order_relaxed));
    return id;
}

void pool::unhandled(task_root& root, std::exception_ptr thrown) noexcept
{
    report_unhandled(options_.on_unhandled, root, std::move(thrown));
}

/// False if the worker runs nothing, or has gone on to something else meanwhile.
bool pool::describe_running(const worker& of, inspect::task_info& info) const
{
    const std::uint64_t turns = of.turns_.load(std::memory_order_acquire);
    info.id = of.shown_id_.load(std::memory_order_acquire);
#if LEAT_REGISTRY
    if constexpr (worker::shows_places) {
        info.spawned_at = describe_place(of.shown_place_.load(std::memory_order_acquire));
    }
#endif
    {
        std::lock_guard hold{of.shown_lock_};
        if (of.shown_name_of_ == info.id)
            info.name.assign(of.shown_name_.data(), of.shown_name_length_);
    }
    info.running = true;
    return info.id != 0 && of.turns_.load(std::memory_order_acquire) == turns &&
           of.shown_id_.load(std::memory_order_acquire) == info.id;
}

void pool::add_running(std::vector<inspect::task_info>& all)
{
    for (const auto& each : workers_) {
        inspect::task_info info;
        if (!describe_running(*each, info))
            continue;
        const auto known =
            std::find_if(all.begin(), all.end(), [&](const auto& it) { return it.id == info.id; });
        if (known == all.end())
            all.push_back(std::move(info));
        else if (!known->parked)
            known->running = true;
    }
}

// A turn is first seen some time after its beginning, so what is reported has lasted for at least that long.
void pool::watch_turns(std::int64_t at) noexcept
{
    const std::int64_t limit = options_.long_turn.count();
    if (limit == 0)
        return;
    for (const auto& each : workers_) {
        const std::uint64_t turn = each->turns_.load(std::memory_order_relaxed);
        if (each->shown_id_.load(std::memory_order_relaxed) == 0)
            continue;
        std::int64_t lasted = 0;
        {
            std::lock_guard hold{each->shown_lock_};
            if (std::exchange(each->watched_turn_, turn) != turn)
                each->watched_since_ = at;
            lasted = at - each->watched_since_;
            if (lasted < limit || std::exchange(each->reported_turn_, turn) == turn)
                continue;
        }
        try {
            inspect::task_info info;
            if (!describe_running(*each, info))
                continue;
            const std::string report = "leat: " + title(info) + " has been running for " +
                                       std::to_string(lasted / 1'000'000) + " ms without waiting" +
                                       spawned_in(info, "; ");
            if (options_.on_long_turn)
                options_.on_long_turn(report);
            else
                std::fprintf(stderr, "%s\n", report.c_str());
        } catch (...) {
            report_handler(std::current_exception());
        }
    }
}

void pool::report_handler(std::exception_ptr thrown) noexcept
{
    try {
        const std::string report = "leat: a completion handler of Asio threw " + describe(thrown);
        if (options_.on_unhandled) {
            options_.on_unhandled({thrown, report});
            return;
        }
        std::fprintf(stderr, "%s\n", report.c_str());
    } catch (...) {
    }
    std::terminate();
}

/// Marks a sleeper as one who has to be roused; false if somebody has woken.
bool pool::sleep_deeply(worker& who) noexcept
{
    std::lock_guard hold{idle_lock_};
    who.deep_ = all_asleep();
    return who.deep_;
}

/// Takes a worker that has woken off the list, and rouses those who have to know. True if it was off already:
/// then whoever took it off has made it a searcher.
bool pool::leave_idle(worker& who) noexcept
{
    // At most: the one in the reactor, and the one on watch or the next to be.
    std::array<std::pair<worker*, bool>, 2> roused{};
    std::size_t count = 0;
    bool was_off = true;
    {
        std::lock_guard hold{idle_lock_};
        const auto self = std::find(idle_.begin(), idle_.end(), &who);
        if (self != idle_.end()) {
            idle_.erase(self);
            sleepers_.fetch_sub(1, std::memory_order_seq_cst);
            was_off = false;
        }
        who.deep_ = false;
        // Whoever goes to sleep next takes the watch; so somebody has to get up for that.
        bool hand_on = watcher_ == &who;
        if (hand_on)
            watcher_ = nullptr;
        for (worker* const each : idle_)
            if (each->deep_ || (hand_on && !each->in_reactor_)) {
                hand_on = hand_on && each->in_reactor_;
                each->deep_ = false;
                roused[count++] = {each, each->in_reactor_};
            }
    }
    for (std::size_t i = 0; i != count; ++i)
        roused[i].first->wake(roused[i].second);
    return was_off;
}

void pool::alert_guard() noexcept
{
    if (off_guard_.load(std::memory_order_seq_cst) && off_guard_.exchange(false, std::memory_order_seq_cst))
        reactor_.interrupt();
}

/// With the reactor's role, after everybody has slept for a while. Returns after what further rest to look again,
/// negative if only after something has happened; `waited` is what it returned the last time.
std::int64_t pool::look_for_deadlock(worker& by, std::int64_t waited) noexcept
{
    constexpr std::int64_t first_wait = 20'000'000;
    constexpr std::int64_t longest_wait = 1'000'000'000;
    if (!options_.detect_deadlock || draining_.load(std::memory_order_relaxed))
        return -1;
    off_guard_.store(true, std::memory_order_seq_cst);
    const auto waiting = static_cast<std::size_t>(blocked_on_.load(std::memory_order_seq_cst));
    if (waiting == 0)
        return -1;
    off_guard_.store(false, std::memory_order_relaxed);
    const std::uint64_t turns = total_turns();
    const auto at_rest = [&] { return all_asleep() && !by.has_ready() && !any_queue_filled(); };
    if (!at_rest() || armed_timers() != 0 || blocking_.outstanding() != 0 || !reactor_.quiet() || live() == 0)
        return -1;
    if (other_threads(workers_.size() + blocking_.threads() + waiting))
        return waited < 0 ? first_wait : std::min(2 * waited, longest_wait);
    // Once more, now that nobody is left who could have come in between.
    if (!at_rest() || turns != total_turns())
        return -1;
    try {
        std::unique_lock hold{stop_mutex_};
        if (deadlock_report_.empty()) {
            hold.unlock();
            std::string report = "every task waits for another\n" + inspect::report(executor{*this});
            hold.lock();
            deadlock_report_ = std::move(report);
            hold.unlock();
            // Everybody is told to give up.
            root_context_->canceller()->cancel(errc::cancelled);
            return first_wait;
        } else {
            // They were told, and those who are left are deaf. They would wait for ever.
            hold.unlock();
            std::vector<task_root*> left;
            claim_parked(left);
            destroy_chains(left);
        }
    } catch (...) {
        std::terminate();
    }
    return -1;
}

std::string pool::deadlock() const
{
    const std::lock_guard hold{stop_mutex_};
    return deadlock_report_;
}

bool pool::wait_until_empty(std::chrono::nanoseconds grace) noexcept
{
    const auto until = std::chrono::steady_clock::now() + grace;
    std::unique_lock hold{stop_mutex_};
    draining_.store(true, std::memory_order_seq_cst);
    while (live() != 0) {
        const auto now = std::chrono::steady_clock::now();
        if (now >= until)
            return false;
        // A task that ended just before draining_ was raised has told nobody, hence the bound.
        drained_.wait_until(hold,
                            std::min<std::chrono::steady_clock::time_point>(now + between_checks, until));
    }
    return true;
}

void pool::end_workers() noexcept
{
    ending_.store(true, std::memory_order_seq_cst);
    auto next_report = std::chrono::steady_clock::now() + between_reports;
    for (const auto& each : workers_) {
        if (!each->thread_.joinable())
            continue;
        while (!each->exited_.load(std::memory_order_acquire)) {
            wake_all();
            std::this_thread::sleep_for(std::chrono::microseconds{50});
            if (std::chrono::steady_clock::now() >= next_report) {
                next_report += between_reports;
                std::string running;
                try {
                    running = inspect::report(executor{*this});
                } catch (...) {
                }
                std::fprintf(stderr,
                             "leat: the end of the runtime waits for worker %zu, in which a task runs "
                             "without ever waiting\n%s",
                             each->index_, running.c_str());
            }
        }
        each->thread_.join();
    }
}

void pool::claim_parked(std::vector<task_root*>& into)
{
    claim_parked_tasks(into, [this](const scheduler& of) { return &of == this; });
}

// Whatever is left is parked, or lies in a queue, or has just been won by a thread of another runtime's or of
// none, which is about to queue it. All are claimed before the first is destroyed, so that none can wake another,
// and so that no parent goes before a child that had not been found. What destructors spawn is found in the next
// round.
void pool::destroy_left() noexcept
{
    std::vector<task_root*> left;
    const auto found = [&](task_root* root) {
        if (root == nullptr)
            return;
        left.push_back(root);
        add_unknown_owners(*root, left);
    };
    const auto drain = [&](auto take) {
        std::array<task_root*, 64> some;
        while (const auto count = take(some.data()))
            std::for_each_n(some.begin(), count, found);
    };
    while (live() != 0) {
        for (const auto& each : workers_) {
            found(std::exchange(each->straight_on_, nullptr));
            found(each->slot_.exchange(nullptr));
            for (std::atomic<task_root*>& place : each->batch_)
                found(place.exchange(nullptr));
            while (task_root* const root = each->forks_.pop())
                found(root);
            drain([&](task_root** into) { return each->queue_.take(into, 64); });
        }
        drain([&](task_root** into) { return injected_.take(into, 64); });
        claim_parked(left);
        if (left.size() < live()) {
            std::this_thread::yield();
        } else {
            destroy_chains(left);
        }
    }
}

void pool::destroy_injected() noexcept
{
    std::array<task_root*, 64> some;
    while (const auto count = injected_.take(some.data(), some.size())) {
        std::vector<task_root*> left{some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count)};
        destroy_chains(left);
    }
}

void pool::stop() noexcept
{
    if (worker_of(current_turn()) != nullptr || blocking_.on_its_thread()) {
        static_cast<cancel_node*>(root_context_->canceller())->cancel(errc::cancelled);
        return;
    }
    {
        std::unique_lock hold{stop_mutex_};
        if (std::exchange(stopping_, true)) {
            drained_.wait(hold, [&] { return stopped_; });
            return;
        }
    }
    root_context_->canceller()->cancel(errc::cancelled);
    if (!wait_until_empty(options_.grace)) {
        try {
            const std::string report = "leat: " + std::to_string(live()) +
                                       " task(s) have not ended although they were cancelled\n" +
                                       inspect::report(executor{*this});
            if (options_.on_stuck)
                options_.on_stuck(report);
            else
                std::fprintf(stderr, "%s", report.c_str());
        } catch (...) {
            std::fputs("leat: tasks have not ended although they were cancelled\n", stderr);
        }
    }
    blocking_.stop();
    end_workers();
    // From here on nothing new comes from outside.
    for (const auto& each : workers_)
        each->timers_.close();
    destroy_left();
    over_.store(true, std::memory_order_seq_cst);
    destroy_injected();
    std::lock_guard hold{stop_mutex_};
    stopped_ = true;
    drained_.notify_all();
}

runtime_metrics pool::metrics()
{
    runtime_metrics all;
    all.workers = workers_.size();
    all.live_tasks = static_cast<std::size_t>(live());
    all.spawned = created_outside_.load(std::memory_order_relaxed);
    for (const auto& each : workers_) {
        all.spawned += each->created_.load(std::memory_order_relaxed);
        all.turns += each->turns_.load(std::memory_order_relaxed);
        all.steals += each->steals_.load(std::memory_order_relaxed);
        all.sleeps += each->sleeps_.load(std::memory_order_relaxed);
        all.queued += each->queue_.length() + each->forks_.length();
    }
    all.queued += injected_.length();
    all.armed_timers = armed_timers();
    all.blocking_threads = blocking_.threads();
    all.blocking_queued = blocking_.waiting();
    return all;
}

}  // namespace leat::detail
