#include <leat/flow/worker_pool.hpp>

#include <leat/error.hpp>
#include <leat/select.hpp>

#include <algorithm>
#include <mutex>
#include <variant>

namespace leat {
namespace detail {

// -- a worker ------------------------------------------------------------------------------------------

/// Waits for a job; gives null when there will be none.
class next_job final : public waiter {
public:
    using value_type = pool_job*;

    next_job(worker_pool_core& of, job_context& with) noexcept : under{with}, core_{of}
    {
    }
    next_job(const next_job& other) noexcept : under{other.under}, core_{other.core_}
    {
    }
    ~next_job()
    {
        // Of a worker that is destroyed before it could begin.
        bool unseen = false;
        if (job != nullptr)
            static_cast<void>(core_.finished(*job, unseen));
    }
    void prepare(turn&) noexcept
    {
        job = nullptr;
        failure = nullptr;
    }
    spinlock& source() noexcept override
    {
        return core_.lock;
    }
    bool try_complete(wake_list& wakes) noexcept override
    {
        if (core_.orphan) {
            failure.swap(core_.orphan);
            return true;
        }
        job = core_.take(under, wakes);
        return job != nullptr || core_.is_closed();
    }
    // Who has worked last is the first to go on: the others may find that they are not needed.
    void link() noexcept override
    {
        core_.workers.push_front(*this);
    }
    void unlink() noexcept override
    {
        core_.workers.remove(*this);
    }
    const char* kind() const noexcept override
    {
        return "job for a worker";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value()
    {
        if (failure)
            std::rethrow_exception(std::exchange(failure, nullptr));
        return std::exchange(job, nullptr);
    }

    job_context& under;       ///< the worker's
    pool_job* job = nullptr;  ///< by whoever wins it; null if the pool has been closed
    std::exception_ptr failure;

private:
    worker_pool_core& core_;
};

namespace {

/// The place of a worker in the count, whether it has begun or not.
class worker_seat {
public:
    explicit worker_seat(shared<worker_pool_core> of) noexcept : core_{std::move(of)}
    {
    }
    worker_seat(worker_seat&& other) noexcept = default;
    ~worker_seat()
    {
        if (core_)
            core_->left();
    }
    worker_pool_core& core() const noexcept
    {
        return *core_;
    }
    /// True: it has gone.
    bool retire() noexcept
    {
        if (!core_->retire())
            return false;
        core_ = {};
        return true;
    }

private:
    shared<worker_pool_core> core_;
};

/// A job that a worker has taken. However the worker goes on, the job is done then.
class job_in_hand {
public:
    job_in_hand(worker_pool_core& of, pool_job& job) noexcept : core_{of}, job_{&job}
    {
    }
    job_in_hand(const job_in_hand&) = delete;
    job_in_hand& operator=(const job_in_hand&) = delete;
    ~job_in_hand()
    {
        bool unseen = false;
        if (job_ != nullptr)
            static_cast<void>(core_.finished(*job_, unseen));
    }
    /// Whether its context can be used for another, if nobody has seen it. Throws a failure that nobody looks at.
    bool finish(bool unseen)
    {
        if (const std::exception_ptr failure = core_.finished(*std::exchange(job_, nullptr), unseen))
            std::rethrow_exception(failure);
        return unseen;
    }

private:
    worker_pool_core& core_;
    pool_job* job_;
};

/// Works under this context, which the running task has been given. Result: whether there is more to do, under another.
task<bool> work_under(worker_seat& seat, job_context& under)
{
    worker_pool_core& core = seat.core();
    const std::uint32_t holders = under.node().holders();
    for (bool unseen = true; unseen;) {
        pool_job* job = nullptr;
        if (core.elastic()) {
            const auto got = co_await select(next_job{core, under}, after(core.idle_time()));
            if (got.index == 1) {
                if (seat.retire())
                    co_return false;
                continue;
            }
            job = std::get<0>(got.value);
        } else {
            next_job next{core, under};
            job = co_await next;
        }
        if (job == nullptr)
            co_return false;
        job_in_hand now{core, *job};
        if (under.get().cancelled()) {
            job->refuse(std::make_exception_ptr(cancelled_error{under.get().cause()}));
        } else if (!job->run_now()) {
            std::exception_ptr not_begun;
            try {
                co_await job->run();
            } catch (...) {
                not_begun = std::current_exception();
            }
            if (not_begun)
                job->refuse(not_begun);
        }
        unseen = now.finish(under.node().unseen(holders));
    }
    co_return true;
}

task<> work(worker_seat seat)
{
    for (bool more = true; more;) {
        const auto under = make_shared_object<job_context>(seat.core().context());
        more = co_await with_context(under->get(), work_under(seat, *under));
    }
}

std::exception_ptr as_cancelled()
{
    return std::make_exception_ptr(cancelled_error{});
}

/// For a job that has been taken out of the queue. Without the lock; `wakes` is what that gave.
void end_unbegun(pool_job& job, wake_list& wakes) noexcept
{
    job.refuse(as_cancelled());
    static_cast<void>(job.complete(wakes));
    wakes.flush(current_turn());
    job.unref();
}

bool is_failure(const std::exception_ptr& thrown) noexcept
{
    return thrown && code_of(thrown) != std::errc::operation_canceled;
}

worker_pool_options checked(worker_pool_options options)
{
    if (options.workers == 0)
        throw usage_error{"leat: a worker_pool has at least one worker"};
    options.max_workers = std::max(options.workers, options.max_workers);
    return options;
}

}  // namespace

// -- jobs ------------------------------------------------------------------------------------------------

pool_job::pool_job(worker_pool_core& of, job_priority rank) : priority{rank}, pool_{one_more_owner(of)}
{
}

void pool_job::cancel() noexcept
{
    pool_->withdraw(*this);
}

void pool_job::drop_handle() noexcept
{
    bool unseen = false;
    // Who has seen its result need not ask what it was.
    if (!observed_) {
        std::lock_guard hold{join_lock};
        handled_ = false;
        unseen = done() && !observed_;
    }
    if (unseen) {
        std::exception_ptr thrown = failure();
        if (is_failure(thrown))
            pool_->orphaned(std::move(thrown));
    }
    unref();
}

std::exception_ptr pool_job::complete(wake_list& wakes) noexcept
{
    std::exception_ptr thrown = failure();
    std::lock_guard hold{join_lock};
    done_.store(true, std::memory_order_release);
    joiners.win_all(wakes);
    return !handled_ && is_failure(thrown) ? thrown : nullptr;
}

// -- submitting -----------------------------------------------------------------------------------------

bool submit_waiter::try_complete(wake_list& wakes) noexcept
{
    how_ = core_->submit(*job_, wakes);
    return how_ != worker_pool_core::submitted::full;
}

void submit_waiter::link() noexcept
{
    core_->submitters[worker_pool_core::rank(job_->priority)].push_back(*this);
    ++core_->waiting_;
}

void submit_waiter::unlink() noexcept
{
    if (!linked)
        return;
    core_->submitters[worker_pool_core::rank(job_->priority)].remove(*this);
    --core_->waiting_;
}

// It may have been the last thing that a drain waited for. Also if a worker has dropped it, who can not tell: he parks, and
// then nobody is woken.
void submit_waiter::unlinked() noexcept
{
    wake_list wakes;
    {
        std::lock_guard hold{core_->lock};
        core_->wake_if_idle(wakes);
    }
    wakes.flush(current_turn());
}

// -- the core --------------------------------------------------------------------------------------------

worker_pool_core::worker_pool_core(task_group& group, const worker_pool_options& options)
    : group_{group}, context_{group.context()}, options_{checked(options)}
{
}

void worker_pool_core::begin()
{
    bool any = false;
    for (std::size_t i = 0; i < options_.workers; ++i) {
        {
            std::lock_guard hold{lock};
            // A worker who found no place has closed the pool; the next may find one.
            closed_ = false;
            ++count_;
        }
        any = start_worker() || any;
    }
    if (!any)
        throw usage_error{"leat: the group of a worker_pool has no place for a worker"};
}

bool worker_pool_core::start_worker() noexcept
{
    worker_seat seat{one_more_owner(*this)};
    bool started = false;
    try {
        started = group_.try_spawn(work(std::move(seat)), {.name = "worker"});
    } catch (const std::bad_alloc&) {
    }
    std::lock_guard hold{lock};
    no_place_ = !started;
    return started;
}

auto worker_pool_core::submit(pool_job& job, wake_list& wakes) noexcept -> submitted
{
    if (closed_)
        return submitted::refused;
    if (auto* const worker = static_cast<next_job*>(workers.win_front(wakes))) {
        job.ref_first();
        set_running(job, worker->under);
        worker->job = &job;
        return submitted::accepted;
    }
    const bool full = queued_ >= options_.queue;
    const bool calls = count_ < options_.max_workers && !(full && no_place_);
    if (full && !calls)
        return submitted::full;
    enqueue(job);
    if (!calls)
        return submitted::accepted;
    ++count_;
    return submitted::calls_for_worker;
}

pool_job* worker_pool_core::take(job_context& under, wake_list& wakes) noexcept
{
    for (linked_list<pool_job>& each : queue_)
        if (pool_job* const job = each.pop_front()) {
            --queued_;
            set_running(*job, under);
            fill_queue(wakes);
            return job;
        }
    // Only a queue without places is empty while somebody waits for one.
    if (submit_waiter* const next = win_submitter(wakes)) {
        next->job_->ref_first();
        set_running(*next->job_, under);
        return next->job_;
    }
    return nullptr;
}

bool worker_pool_core::submitters_empty() const noexcept
{
    return waiting_ == 0;
}

submit_waiter* worker_pool_core::win_submitter(wake_list& wakes) noexcept
{
    for (waiter_list& each : submitters)
        while (waiter* const first = each.pop_front()) {
            --waiting_;
            if (first->win(wakes)) {
                auto* const won = static_cast<submit_waiter*>(first);
                won->how_ = submitted::accepted;
                return won;
            }
        }
    return nullptr;
}

void worker_pool_core::fill_queue(wake_list& wakes) noexcept
{
    while (queued_ < options_.queue) {
        submit_waiter* const next = win_submitter(wakes);
        if (next == nullptr)
            return;
        enqueue(*next->job_);
    }
}

void worker_pool_core::enqueue(pool_job& job) noexcept
{
    job.ref_first();
    job.at = pool_job::stage::queued;
    queue_[rank(job.priority)].push_back(job);
    ++queued_;
}

void worker_pool_core::set_running(pool_job& job, job_context& under) noexcept
{
    job.at = pool_job::stage::running;
    job.under = &under;
    at_work_.push_back(job);
    ++running_;
}

void worker_pool_core::wake_if_idle(wake_list& wakes) noexcept
{
    if (idle())
        while (drainers.win_front(wakes) != nullptr)
            ;
}

std::exception_ptr worker_pool_core::finished(pool_job& job, bool& unseen) noexcept
{
    wake_list wakes;
    std::exception_ptr failure = job.complete(wakes);
    {
        std::lock_guard hold{lock};
        unseen = unseen && !job.told_to_stop;
        job_context& under = *std::exchange(job.under, nullptr);
        if (!unseen)
            job.left = one_more_owner(under);
        at_work_.remove(job);
        --running_;
        ++ended_;
        job.at = pool_job::stage::done;
        wake_if_idle(wakes);
    }
    wakes.flush(current_turn());
    job.unref();
    return failure;
}

void worker_pool_core::remove_queued(pool_job& job, wake_list& wakes) noexcept
{
    queue_[rank(job.priority)].remove(job);
    --queued_;
    ++ended_;
    job.at = pool_job::stage::done;
    fill_queue(wakes);
    wake_if_idle(wakes);
}

void worker_pool_core::withdraw(pool_job& job) noexcept
{
    wake_list wakes;
    shared<job_context> under;
    bool queued = false;
    {
        std::lock_guard hold{lock};
        queued = job.at == pool_job::stage::queued;
        if (queued)
            remove_queued(job, wakes);
        job.told_to_stop = true;
        under = job.under != nullptr ? one_more_owner(*job.under) : job.left;
    }
    if (under)
        under->end();
    if (queued)
        end_unbegun(job, wakes);
}

void worker_pool_core::orphaned(std::exception_ptr failure) noexcept
{
    wake_list wakes;
    {
        std::lock_guard hold{lock};
        if (auto* const worker = static_cast<next_job*>(workers.win_front(wakes)))
            worker->failure = std::move(failure);
        else if (count_ != 0 && !orphan)
            orphan = std::move(failure);
    }
    wakes.flush(current_turn());
}

bool worker_pool_core::retire() noexcept
{
    std::lock_guard hold{lock};
    if (count_ <= options_.workers || queued_ != 0 || waiting_ != 0 || closed_)
        return false;
    --count_;
    return true;
}

void worker_pool_core::left() noexcept
{
    {
        std::lock_guard hold{lock};
        if (--count_ != 0)
            return;
        closed_ = true;
    }
    refuse_submitters();
    refuse_queued();
}

void worker_pool_core::refuse_submitters() noexcept
{
    for (bool more = true; more;) {
        wake_list wakes;
        {
            std::lock_guard hold{lock};
            submit_waiter* const next = win_submitter(wakes);
            more = next != nullptr;
            if (more)
                next->how_ = submitted::refused;
            else
                wake_if_idle(wakes);
        }
        wakes.flush(current_turn());
    }
}

void worker_pool_core::refuse_queued() noexcept
{
    for (;;) {
        pool_job* job = nullptr;
        wake_list wakes;
        {
            std::lock_guard hold{lock};
            for (linked_list<pool_job>& each : queue_)
                if (job == nullptr)
                    job = each.front();
            if (job == nullptr)
                return;
            remove_queued(*job, wakes);
        }
        end_unbegun(*job, wakes);
    }
}

void worker_pool_core::close() noexcept
{
    {
        std::lock_guard hold{lock};
        closed_ = true;
    }
    refuse_submitters();
    for (bool more = true; more;) {
        wake_list wakes;
        {
            // There is nothing for those who wait to do.
            std::lock_guard hold{lock};
            more = workers.win_front(wakes) != nullptr;
        }
        wakes.flush(current_turn());
    }
}

void worker_pool_core::stop() noexcept
{
    close();
    refuse_queued();
    for (;;) {
        shared<job_context> under;
        {
            std::lock_guard hold{lock};
            pool_job* next = nullptr;
            for (next = at_work_.front(); next != nullptr && next->told_to_stop; next = at_work_.after(*next))
                ;
            if (next == nullptr)
                return;
            next->told_to_stop = true;
            under = one_more_owner(*next->under);
        }
        under->end();
    }
}

worker_pool_stats worker_pool_core::stats() const noexcept
{
    std::lock_guard hold{lock};
    worker_pool_stats now;
    now.workers = count_;
    now.running = running_;
    now.queued = queued_;
    now.waiting = waiting_;
    now.ended = ended_;
    return now;
}

}  // namespace detail

worker_pool::worker_pool(task_group& group, const worker_pool_options& options)
    : core_{detail::make_shared_object<detail::worker_pool_core>(group, options)}
{
    core_->begin();
}

}  // namespace leat
