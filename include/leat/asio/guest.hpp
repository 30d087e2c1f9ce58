// Tasks as guests of an executor that is not leat's: an io_context's, a strand, a thread_pool's, any other.
//
// For the library; users include leat/asio/spawn.hpp.
//
// Each execution context that has guests has one guest_service: the timers, the root context, the threads for
// blocking calls, and the guest_schedulers, one for each executor with tasks.
//
//   Turns     A scheduler has a queue, first in, first out, under a lock. It is drained by a function that is
//             posted to the executor: that function runs so many turns, and posts itself again if there are more.
//             `pending_` says that one has been posted and has not begun. Who adds a task posts one unless that is
//             so, or unless he is in a turn of this scheduler and hands over to one task while the queue is
//             empty: then the drain that runs him comes to it next. A drain that begins and finds more than one task
//             posts the next at once, so that other threads of the context can help; on a strand nobody could.
//             A task is in the queue once, or runs, or is parked: its turns never overlap, however many drains do.
//   Counting  users_ counts the tasks of a scheduler, and the pins of those who are about to give it one, and of
//             drains, from before they are posted (under the queue's lock, while the task that was added can not have
//             ended) until they have ended or been destroyed. While there are users the executor's work is held, so
//             io_context::run() does not return. With the last user of the service the timer is cancelled too: it
//             would keep run() waiting for nobody.
//   Places    The scheduler of a context's own executor stays until the context goes, so that leat::executor, which
//             counts nothing, can be kept as long. That of any other executor (there may be a strand for each
//             connection) lets go of the executor with its last user, and is used again for another. None is freed
//             before the service: a stale leat::executor refers to a scheduler that takes no tasks, or to
//             another's, never to nothing. Executors are found again among those used lately only; to have two
//             schedulers for one strand costs a post more, and is otherwise right, as the strand orders them.
//   The end   The context shuts its services down while no thread runs it. Then the service refuses tasks and posts
//             nothing any more, cancels the root context, waits for blocking calls that have begun, and
//             destroys the tasks, the youngest first, as the pool does at its end; those that are just being won
//             by others it waits for. Executors, work and the asio timer go here, because what they refer to goes
//             before the service does. A drain that is still queued is destroyed with the context and does nothing.
//
// Who frees what: the context its service; the service the schedulers and the root context; a scheduler its
// executor; a task itself, as everywhere. A spawn()'s handler is owned by its hosted_spawn; see spawn.hpp.
//
// Timers. One wheel for the context, one asio timer set to its earliest deadline, on an executor that runs the handler
// in place: on whichever thread of the context reaps the timer. It wakes tasks, each through its own executor. A drain
// looks at its end whether the timer has to be set earlier; who arms from outside sets it himself. armed_for_ and the
// asio timer are under timer_mutex_, which is taken with a shard's or a node's lock held, and takes none.
#pragma once

#include <leat/asio/handler.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/detail/intrusive.hpp>
#include <leat/detail/park.hpp>
#include <leat/this_task.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/io_context_strand.hpp>
#include <asio/is_executor.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/strand.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace leat::detail {

class guest_scheduler;
class guest_service;

/// Runs the turns of a scheduler. What is posted. Takes over a pin.
class drain_request {
public:
    using allocator_type = frame_allocator<void>;

    explicit drain_request(guest_scheduler& of) noexcept : of_{&of}
    {
    }
    drain_request(drain_request&& other) noexcept : of_{std::exchange(other.of_, nullptr)}
    {
    }
    drain_request& operator=(drain_request&&) = delete;
    ~drain_request();
    void operator()();
    allocator_type get_allocator() const noexcept
    {
        return {};
    }

private:
    guest_scheduler* of_;
};

/// An executor of any type.
class guest_executor {
public:
    guest_executor(bool serial, bool lasting, asio::io_context* io) noexcept
        : serial_{serial}, lasting_{lasting}, io_{io}
    {
    }
    guest_executor(const guest_executor&) = delete;
    guest_executor& operator=(const guest_executor&) = delete;
    virtual ~guest_executor() = default;

    virtual void post(guest_scheduler& of) const = 0;
    virtual void hold_work() = 0;
    virtual void drop_work() noexcept = 0;
    /// Whether it is this one. `kind` says what type `executor` has.
    virtual bool is(const void* kind, const void* executor) const noexcept = 0;
    /// Throws usage_error if the type is no I/O executor.
    virtual asio::any_io_executor as_any() const = 0;

    /// It runs one function at a time.
    bool serial() const noexcept
    {
        return serial_;
    }
    /// It is its context's own: there is one of the kind.
    bool lasting() const noexcept
    {
        return lasting_;
    }
    /// The context, if it is an io_context.
    asio::io_context* io() const noexcept
    {
        return io_;
    }

    static void operator delete(void* block, std::size_t size) noexcept
    {
        free_frame(block, size);
    }
    static void* operator new(std::size_t size)
    {
        return allocate_frame(size);
    }

private:
    const bool serial_;
    const bool lasting_;
    asio::io_context* const io_;
};

/// A function that has to wait until a turn is over. It may throw.
class after_turn {
public:
    virtual void turn_over() = 0;

protected:
    ~after_turn() = default;
};

/// The turn in which a drain runs tasks.
struct guest_turn final : turn {
    after_turn* after = nullptr;
};

/// The tasks of one executor.
class guest_scheduler final : public scheduler, public list_link<guest_scheduler> {
public:
    explicit guest_scheduler(guest_service& of) noexcept;
    ~guest_scheduler() override;

    void ready(task_root& root, turn* by) noexcept override;
    void ready_later(task_root& root, turn* by) noexcept override;
    void task_created(turn* by) noexcept override;
    void task_ended(turn* by) noexcept override;
    std::int64_t now() noexcept override;
    timer_shard& timers(turn* by) noexcept override;
    void timer_armed(timer_shard& shard, std::int64_t deadline, turn* by) noexcept override;
    reactor* io_reactor() noexcept override;
    blocking_queue& blocking() noexcept override;
    void unhandled(task_root& root, std::exception_ptr thrown) noexcept override;
    std::uint32_t choose(std::uint32_t) noexcept override
    {
        return 0;
    }
    std::uint64_t new_id(turn* by, std::uint64_t above) noexcept override;
    std::uint64_t tasks_forked(turn* by, std::uint32_t count) noexcept override;
    bool refuses_tasks() const noexcept override;
    guest_scheduler* guest() noexcept override
    {
        return this;
    }

    /// Runs turns, within reason. On the executor, with a pin, which it drops. Throws what an after_turn throws.
    void drain();

    /// Keeps the executor until unpin().
    void pin() noexcept;
    void unpin() noexcept;
    /// While there is a user.
    const guest_executor& host() const noexcept
    {
        return *host_;
    }

private:
    friend class guest_service;
    class attendance;

    static constexpr std::uint64_t one_task = 1;
    static constexpr std::uint64_t one_pin = std::uint64_t{1} << 32;

    std::uint64_t tasks() const noexcept
    {
        return users_.load(std::memory_order_acquire) & (one_pin - 1);
    }
    void add(std::uint64_t users) noexcept;
    void drop(std::uint64_t users) noexcept;
    void push(task_root& root, turn* by, bool hand_over) noexcept;
    task_root* begin() noexcept;
    task_root* take() noexcept;
    void hand_on() noexcept;

    guest_service& service_;
    std::unique_ptr<guest_executor> host_;  ///< changes while nobody uses it, under the service's mutex
    atomic<std::uint64_t> users_{0};
    bool working_ = false;  ///< under the service's mutex

    spinlock lock_;
    task_root* first_ = nullptr;  ///< under lock_, as are the next two
    task_root* last_ = nullptr;
    bool pending_ = false;
};

inline drain_request::~drain_request()
{
    if (of_ != nullptr)
        of_->unpin();
}

inline void drain_request::operator()()
{
    std::exchange(of_, nullptr)->drain();
}

/// A scheduler that is about to be given a task.
class scheduler_pin {
public:
    explicit scheduler_pin(scheduler& unpinned) noexcept : sched_{&unpinned}
    {
    }
    /// Takes over a pin.
    explicit scheduler_pin(guest_scheduler& pinned) noexcept : sched_{&pinned}, pinned_{&pinned}
    {
    }
    scheduler_pin(scheduler_pin&& other) noexcept
        : sched_{other.sched_}, pinned_{std::exchange(other.pinned_, nullptr)}
    {
    }
    scheduler_pin& operator=(scheduler_pin&&) = delete;
    ~scheduler_pin()
    {
        if (pinned_ != nullptr)
            pinned_->unpin();
    }
    scheduler& sched() const noexcept
    {
        return *sched_;
    }

private:
    scheduler* sched_;
    guest_scheduler* pinned_ = nullptr;
};

/// The scheduler of an executor of some context, pinned. Throws std::bad_alloc; std::system_error with
/// errc::abandoned while the context goes.
guest_scheduler& find_guest(asio::execution_context& context, const void* kind, const void* executor,
                            std::unique_ptr<guest_executor> (*make)(const void* executor));

template <class E>
inline constexpr char executor_kind = 0;

template <class E>
constexpr bool is_strand = std::is_same_v<E, asio::io_context::strand>;
template <class E>
constexpr bool is_strand<asio::strand<E>> = true;

template <class E>
using context_type = std::remove_cvref_t<decltype(context_of(std::declval<const E&>()))>;

/// Whether an executor is what its context's get_executor() gives.
template <class E>
constexpr bool is_contexts_own = false;
template <class E>
    requires requires { typename context_type<E>::executor_type; }
constexpr bool is_contexts_own<E> = std::is_same_v<typename context_type<E>::executor_type, E>;

template <class E>
class guest_executor_of final : public guest_executor {
public:
    explicit guest_executor_of(const E& executor)
        : guest_executor{is_strand<E>, is_contexts_own<E>, io_of(executor)}, executor_{executor}
    {
    }

    void post(guest_scheduler& of) const override
    {
        asio::post(executor_, drain_request{of});
    }
    void hold_work() override
    {
        work_.emplace(executor_);
    }
    void drop_work() noexcept override
    {
        work_.reset();
    }
    bool is(const void* kind, const void* executor) const noexcept override
    {
        return kind == &executor_kind<E> && *static_cast<const E*>(executor) == executor_;
    }
    asio::any_io_executor as_any() const override
    {
        if constexpr (std::is_constructible_v<asio::any_io_executor, const E&>)
            return asio::any_io_executor(executor_);
        else
            throw usage_error{"leat: the executor that the task runs on is none for I/O"};
    }

    static std::unique_ptr<guest_executor> make(const void* executor)
    {
        return std::make_unique<guest_executor_of>(*static_cast<const E*>(executor));
    }

private:
    static asio::io_context* io_of(const E& executor)
    {
        if constexpr (std::is_base_of_v<asio::io_context, context_type<E>>)
            return &context_of(executor);
        else
            return static_cast<void>(executor), nullptr;
    }

    E executor_;
    std::optional<held_work<E>> work_;
};

/// Calls f with what a polymorphic executor holds, if its type is known here; says whether it did.
template <class Any, class F>
bool with_target(const Any& any, F f)
{
    const auto attempt = [&]<class E>(std::type_identity<E>) {
        // Old releases give a pointer to whatever is there.
        if (any.target_type() != typeid(E))
            return false;
        f(*any.template target<E>());
        return true;
    };
    return attempt(std::type_identity<executor>{}) ||
           attempt(std::type_identity<asio::io_context::executor_type>{}) ||
           attempt(std::type_identity<asio::strand<asio::io_context::executor_type>>{}) ||
           attempt(std::type_identity<asio::strand<asio::any_io_executor>>{});
}

/// An executor without work of its own: what is kept must not keep a context busy.
template <class E>
auto untracked(const E& executor)
{
    if constexpr (asio::execution::is_executor<E>::value)
        return asio::prefer(executor, asio::execution::outstanding_work.untracked);
    else
        return executor;
}

/// The scheduler of an executor: leat's own, or one for guests.
template <class E>
scheduler_pin pin_scheduler(const E& executor)
{
    if constexpr (std::is_base_of_v<leat::executor, E>) {
        if (!executor)
            throw usage_error{"leat: an empty executor runs no tasks"};
        return scheduler_pin{executor.sched()};
    } else {
        if constexpr (requires { executor.template target<leat::executor>(); }) {
            std::optional<scheduler_pin> found;
            if (with_target(executor, [&](const auto& held) { found.emplace(pin_scheduler(held)); }))
                return std::move(*found);
        }
        const auto kept = untracked(executor);
        using type = std::remove_const_t<decltype(kept)>;
        return scheduler_pin{
            find_guest(context_of(kept), &executor_kind<type>, &kept, &guest_executor_of<type>::make)};
    }
}

}  // namespace leat::detail
