// The heart of a worker_pool: jobs, those who work on them, and those who wait for a place.
//
//                 submit                        a worker asks for work              its function ends
//   outside ──────────────────▶ queued ─────────────────────────▶ running ─────────────────────────▶ done
//      └── a worker waits: straight to running         │ cancelled, or no worker is left               ▲
//                                                      └───────────────────────────────────────────────┘
//
// Always, under the pool's lock:
//   - If a worker waits, nothing is queued and nobody waits for a place.
//   - If somebody waits for a place, the queue is full. They are served like jobs: by priority, then in the order in which
//     they came.
//   - count_ workers are there, or have been called for; the queue is longer than it should be by no more than those
//     who have been called for. If the group had no place for the last of these, no more are called for to a full queue.
// So work goes straight to a worker who waits; else, if the pool may grow, a new one is called for; else it is queued.
//
// Nothing is started under the lock: a submission that calls for a worker has its submitter start it when he has let go.
//
// A job is held by the pool until it is done, and by its handle. While it runs it has a context of its own below that of
// the group, so that it can be cancelled by anybody who holds it; a queued one is taken out of the queue instead. To make a
// context for each job would cost more than all the rest, so a worker has one, job_context, for one job after the other, as
// long as nobody could tell: he takes the next one if a job was told to end, or has left somebody behind who knows its
// context. Then that is the job's alone, and ends with it.
//   - Under the pool's lock told_to_stop is set of a job that runs, before anybody cancels its context, without the lock.
//     The worker looks, under the same lock, when it has run. So a context that he keeps is cancelled by nobody later.
//   - He waits for jobs under this context, too. If it is cancelled then, the group's has been.
//
// The end. After close() workers end when there is nothing left to do. Should they end before, because their context has
// or one of them has failed, the last one to go refuses all that is queued: no handle waits for ever.
#pragma once

#include <leat/context.hpp>
#include <leat/detail/call.hpp>
#include <leat/detail/joining.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/outcome.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/pooled.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/group.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

namespace leat {

/// Which jobs come first. Those of the same priority are taken in the order in which they came.
enum class job_priority : unsigned char { high, normal, low };

struct worker_pool_options {
    std::size_t workers = 4;      ///< how many there are at least
    std::size_t max_workers = 0;  ///< how many there may be; zero: no more than `workers`
    std::size_t queue =
        64;  ///< how many jobs wait for a worker, before whoever submits more has to wait himself
    /// How long a worker who is one more than `workers` stays without work.
    clock::duration idle = clock::duration{10'000'000'000};
};

struct job_options {
    job_priority priority = job_priority::normal;
};

struct worker_pool_stats {
    std::size_t workers = 0;
    std::size_t running = 0;  ///< jobs that workers are working on
    std::size_t queued = 0;   ///< jobs that wait for a worker
    std::size_t waiting = 0;  ///< submissions that wait for a place in the queue
    std::uint64_t ended = 0;  ///< jobs that are done, cancelled ones included
};

template <class T>
class job_handle;

namespace detail {

class worker_pool_core;
class next_job;

/// The context that jobs run under. Ends when nobody has it any more.
class job_context final : public counts_owners<job_context> {
public:
    explicit job_context(const context& above) : own_{with_cancel(above)}
    {
    }
    const context& get() const noexcept
    {
        return own_.first;
    }
    void end() const noexcept
    {
        own_.second();
    }
    cancel_node& node() const noexcept
    {
        return *own_.first.node().canceller();
    }

private:
    const cancellable_context own_;
};

/// A job without its type.
class pool_job : public list_link<pool_job> {
public:
    enum class stage : unsigned char { outside, queued, running, done };

    pool_job(worker_pool_core& of, job_priority rank);
    pool_job(const pool_job&) = delete;
    pool_job& operator=(const pool_job&) = delete;

    /// One that nobody has but the submitter gets the pool, too.
    void ref_first() noexcept
    {
        refs_.store(2, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.load(std::memory_order_acquire) == 1 || refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    // What joining.hpp asks for.
    static constexpr const char* joined_as = "job of a worker pool";
    static constexpr const char* asked_twice =
        "leat: the result of a job was asked for twice; a job_handle is awaited once";
    void cancel() noexcept;
    void drop_handle() noexcept;
    bool done() const noexcept
    {
        return done_.load(std::memory_order_acquire);
    }
    void observe() noexcept
    {
        observed_ = true;
    }
    mutable spinlock join_lock;
    waiter_stack joiners;
    bool taken = false;

    /// It has run, or never will: tells those who wait. Without the pool's lock. Result: its failure, if nobody is
    /// going to look at that.
    std::exception_ptr complete(wake_list& wakes) noexcept;

    /// Runs the function and keeps what it gives, or throws. False: it is a coroutine,
    virtual bool run_now() noexcept = 0;
    /// and this does the same. Does not throw.
    virtual task<> run() = 0;
    /// It is not going to run.
    virtual void refuse(std::exception_ptr why) noexcept = 0;
    /// What it has thrown, if it has.
    virtual std::exception_ptr failure() const noexcept = 0;

    const job_priority priority;
    stage at = stage::outside;  ///< under the pool's lock, as the next
    bool told_to_stop = false;
    job_context* under = nullptr;  ///< while it runs: the worker's
    shared<job_context> left;      ///< when it has run, if others know it

protected:
    virtual ~pool_job() = default;

private:
    const shared<worker_pool_core> pool_;
    atomic<std::uint32_t> refs_{1};
    atomic<bool> done_{false};  ///< set under join_lock
    bool handled_ = true;       ///< somebody has the handle, or will; under join_lock
    bool observed_ = false;     ///< by whoever has it
};

class submit_waiter;

class worker_pool_core final : public counts_owners<worker_pool_core> {
public:
    static constexpr std::size_t ranks = 3;

    worker_pool_core(task_group& group, const worker_pool_options& options);
    worker_pool_core(const worker_pool_core&) = delete;
    worker_pool_core& operator=(const worker_pool_core&) = delete;

    /// Starts the workers that there are at least. Throws usage_error: the group has no place for them.
    void begin();
    /// Starts a worker who has been called for, if the group has a place. Without the lock.
    bool start_worker() noexcept;

    enum class [[nodiscard]] submitted : unsigned char { refused, full, accepted, calls_for_worker };

    /// Under the lock. Holds the job from now on, unless it is refused or there is no room.
    submitted submit(pool_job& job, wake_list& wakes) noexcept;
    /// Under the lock: the next job for a worker, who runs it under `under`; null if there is none.
    pool_job* take(job_context& under, wake_list& wakes) noexcept;

    /// A job has run, or not. Result: its failure, if nobody is going to look at that. `unseen`: nobody knows the context
    /// that it had; then whether it stays so.
    std::exception_ptr finished(pool_job& job, bool& unseen) noexcept;
    /// A job is not wanted any more. If it is not running it is done.
    void withdraw(pool_job& job) noexcept;
    /// A job has failed, and nobody is going to look: the pool fails.
    void orphaned(std::exception_ptr failure) noexcept;
    /// A worker who has waited for long enough may go. Under the lock of nobody; true: he is no longer counted.
    bool retire() noexcept;
    /// A worker has ended, otherwise than by retire().
    void left() noexcept;

    void close() noexcept;
    /// The same, and refuses what is queued, and cancels what runs.
    void stop() noexcept;

    worker_pool_stats stats() const noexcept;
    /// Under the lock.
    bool is_closed() const noexcept
    {
        return closed_;
    }
    bool idle() const noexcept
    {
        return queued_ == 0 && running_ == 0 && submitters_empty();
    }
    bool elastic() const noexcept
    {
        return options_.max_workers > options_.workers;
    }
    clock::duration idle_time() const noexcept
    {
        return options_.idle;
    }
    const leat::context& context() const noexcept
    {
        return context_;
    }

    mutable spinlock lock;
    waiter_list workers;  ///< who have nothing to do; the last to come is the first to go on
    waiter_list drainers;
    std::array<waiter_list, ranks> submitters;
    std::exception_ptr orphan;

private:
    static std::size_t rank(job_priority of) noexcept
    {
        return static_cast<std::size_t>(of);
    }
    bool submitters_empty() const noexcept;
    submit_waiter* win_submitter(wake_list& wakes) noexcept;
    void enqueue(pool_job& job) noexcept;
    void remove_queued(pool_job& job, wake_list& wakes) noexcept;
    void fill_queue(wake_list& wakes) noexcept;
    void set_running(pool_job& job, job_context& under) noexcept;
    void wake_if_idle(wake_list& wakes) noexcept;
    void refuse_submitters() noexcept;
    void refuse_queued() noexcept;

    task_group& group_;
    const leat::context context_;
    const worker_pool_options options_;
    std::array<linked_list<pool_job>, ranks> queue_;
    linked_list<pool_job> at_work_;
    std::size_t queued_ = 0;
    std::size_t running_ = 0;
    std::size_t waiting_ = 0;
    std::size_t count_ = 0;
    std::uint64_t ended_ = 0;
    bool closed_ = false;
    bool no_place_ = false;  ///< for the last worker who was called for

    friend class submit_waiter;
    friend class next_job;
};

/// Waits for a place for a job.
class submit_waiter : public waiter {
public:
    spinlock& source() noexcept final
    {
        return core_->lock;
    }
    bool try_complete(wake_list& wakes) noexcept final;
    void link() noexcept final;
    void unlink() noexcept final;
    void unlinked() noexcept final;
    const char* kind() const noexcept final
    {
        return "place in the queue of a worker pool";
    }
    std::error_code error() const noexcept
    {
        return how_ == worker_pool_core::submitted::refused ? make_error_code(errc::channel_closed)
                                                            : std::error_code{};
    }

protected:
    friend class worker_pool_core;

    // With a job, which keeps the pool, but for the time before it is prepared.
    explicit submit_waiter(worker_pool_core& to) noexcept : core_{&to}
    {
    }
    ~submit_waiter()
    {
        if (how_ == worker_pool_core::submitted::calls_for_worker)
            core_->left();
        if (job_ != nullptr)
            job_->drop_handle();
    }
    /// The job, whose handle then is the caller's.
    pool_job& accepted() noexcept
    {
        if (std::exchange(how_, worker_pool_core::submitted::accepted) ==
            worker_pool_core::submitted::calls_for_worker)
            static_cast<void>(core_->start_worker());
        return *std::exchange(job_, nullptr);
    }

    worker_pool_core* const core_;
    pool_job* job_ = nullptr;
    worker_pool_core::submitted how_ = worker_pool_core::submitted::full;
};

template <class T>
class typed_job : public pool_job {
public:
    using value_type = T;
    using pool_job::pool_job;

    outcome<T> result;

    void refuse(std::exception_ptr why) noexcept final
    {
        result.fail(std::move(why));
    }
    std::exception_ptr failure() const noexcept final
    {
        return result.has_value() ? nullptr : result.thrown();
    }
};

template <class T, class F>
class function_job final : public typed_job<T>, public pooled<(alignof(F) > 16 ? alignof(F) : 16)> {
public:
    function_job(worker_pool_core& of, job_priority rank, F&& f)
        : typed_job<T>{of, rank}, f_{std::in_place, std::move(f)}
    {
    }
    bool run_now() noexcept override
    {
        if constexpr (is_coroutine<F>) {
            return false;
        } else {
            try {
                if constexpr (std::is_void_v<T>) {
                    (*f_)();
                    this->result.emplace();
                } else if constexpr (std::is_reference_v<T>) {
                    T value = (*f_)();
                    this->result.emplace(std::addressof(value));
                } else {
                    this->result.emplace((*f_)());
                }
            } catch (...) {
                this->result.fail(std::current_exception());
            }
            f_.reset();
            return true;
        }
    }
    task<> run() override
    {
        if constexpr (is_coroutine<F>) {
            try {
                if constexpr (std::is_void_v<T>) {
                    co_await (*f_)();
                    this->result.emplace();
                } else if constexpr (std::is_reference_v<T>) {
                    T value = co_await (*f_)();
                    this->result.emplace(std::addressof(value));
                } else {
                    this->result.emplace(co_await (*f_)());
                }
            } catch (...) {
                this->result.fail(std::current_exception());
            }
            f_.reset();
        }
        co_return;
    }

private:
    std::optional<F> f_;
};

/// A task as a function that is called at most once.
template <class T>
class made_task {
public:
    explicit made_task(task<T>&& what) noexcept : what_{std::move(what)}
    {
    }
    made_task(made_task&& other) noexcept = default;
    ~made_task()
    {
        // Refused: no forgotten co_await.
        what_.discard();
    }
    LEAT_MAKES_TASK task<T> operator()() noexcept
    {
        return std::move(what_);
    }

private:
    task<T> what_;
};

template <class T, class F>
class submit_operation final : public submit_waiter {
public:
    using value_type = job_handle<T>;

    submit_operation(worker_pool_core& to, job_priority rank, F&& f)
        : submit_waiter{to}, rank_{rank}, f_(std::move(f))
    {
    }
    submit_operation(submit_operation&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
        : submit_waiter{*other.core_}, rank_{other.rank_}, f_(std::move(other.f_))
    {
    }
    void prepare(turn&)
    {
        if (job_ == nullptr)
            job_ = new function_job<T, F>{*core_, rank_, std::move(f_)};
    }
    value_type value() noexcept
    {
        return value_type{static_cast<typed_job<T>*>(&accepted())};
    }

private:
    job_priority rank_;
    F f_;
};

/// Waits until nothing is queued or running.
class drain_operation final : public waiter {
public:
    using value_type = void;

    explicit drain_operation(shared<worker_pool_core> of) noexcept : core_{std::move(of)}
    {
    }
    drain_operation(const drain_operation& other) noexcept : core_{other.core_}
    {
    }
    void prepare(turn&) noexcept
    {
    }
    spinlock& source() noexcept override
    {
        return core_->lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return core_->idle();
    }
    void link() noexcept override
    {
        core_->drainers.push_back(*this);
    }
    void unlink() noexcept override
    {
        core_->drainers.remove(*this);
    }
    const char* kind() const noexcept override
    {
        return "end of all jobs of a worker pool";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }

private:
    shared<worker_pool_core> core_;
};

}  // namespace detail
}  // namespace leat
