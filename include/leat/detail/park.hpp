// Parking: the one way in which a task waits.
//
// A task is a chain of coroutine frames, each awaiting the next, above a `task_root`, the block that a
// scheduler runs. A task that must wait publishes waiters, nodes in its own frame, one for each thing that
// may wake it, and parks. Its park word then decides who does:
//
//            prepare_park()           claim()                    resume, finish_park()
//   running ───────────────▶ parked ────────────▶ <the winner> ───────────────────────▶ running
//      │                     shielded    ▲
//      └── begin_arming() ──▶ arming ────┘ (won_while_arming: the task is still awake and goes on by itself)
//
//   running    the task runs, or is queued to run: nobody may wake it.
//   arming     the task is awake but has published some of its waiters (operations which cannot be
//              published under locks, such as Asio's). A claim succeeds, but the winner must not schedule.
//   parked     may be claimed by any waiter and by the cancellation of its context.
//   shielded   may be claimed by waiters only: a group that waits for its children must not leave early.
//   calling    has been won by a blocking call, which uses the frame until its end: nobody may wake it.
//   <winner>   the address of the waiter that won, or by_context, or by_shutdown.
//
// Who may do what:
//   - Only the task itself leaves `running`, and only it returns to `running`, when it has been resumed.
//   - claim() is one compare-and-swap, so exactly one claim of a park succeeds. The winner alone delivers
//     the result into the winning waiter, and alone schedules the task.
//   - A waiter is linked into the queue of its source (a channel, a timer wheel, a context...) and
//     unlinked from it only under that source's lock; a claim through a waiter is made under that lock
//     while the waiter is linked. A task that was won by somebody else takes the lock of each of its
//     sources, even of those that have dropped its waiter, before it goes on. So whoever holds a source's
//     lock and sees a waiter may touch it and its task: neither can have gone.
//   - A source that fails to claim a waiter drops it from its queue and looks at the next.
//   - A waiter that wins has been unlinked by the winner, so a task with one waiter that was won through
//     it takes no lock again.
//   - A canceller that has won a task with an on_stop hook calls that instead of scheduling the task. The hook
//     acts for the task, which does not run: it may park it again, shielded, until what it waits for has ended.
//   - After it has published, the awaiting side touches neither the frame nor the root: the task may
//     already run elsewhere. Sources are published under their locks, with `parked` stored before the
//     first of the locks is released.
//
// Memory order. claim() is acquire-release: what the task wrote before it parked is visible to the winner.
// What the winner writes after its claim is published by the queue that hands the root to a worker (or by
// the source's lock, when the claim found the task arming). Cancellation is the one Dekker pair: the
// task stores `parked`, then loads its stop state; the canceller stores the stop state, then reads the
// park word by its compare-and-swap. All four are sequentially consistent, so at least one sees the other:
// either prepare_park() refuses to park or the canceller claims the park.
//
// Cancellation finds a parked task through its *enrolment*: the first time a task parks under a context it
// is linked into that context's list, and stays there until it ends or changes context. So parking costs no
// lock of the context's.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/config.hpp>
#include <leat/detail/intrusive.hpp>
#include <leat/detail/location.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/error.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace leat::inspect {
class task_info;
}

namespace leat::detail {

class context_node;
class fork_scope;
class guest_scheduler;
class reactor;
class scheduler;
class task_root;
class timer_shard;
class wait_description;
class waiter;
class blocking_queue;

/// One turn of a task: from being resumed by a scheduler until it parks, yields or ends. Each worker has
/// one, and it says what the code that runs in a task may know about its worker.
struct turn {
    std::coroutine_handle<> next{};  ///< trampoline only: whom the loop resumes now
    task_root* root = nullptr;
    scheduler* sched = nullptr;
    std::int32_t budget = 0;  ///< ready operations left until the task has to let others run
    bool left = false;        ///< the task has parked or been queued again; do not touch it
    bool ended = false;       ///< the root frame has reached its end
    bool scripted = false;    ///< choices are made by the scheduler (simulation), not by `random`
    std::uint8_t seat = 0;    ///< which of several workers it is, from one; zero: there are no others
    std::uint64_t random = 0x9e3779b97f4a7c15U;
    std::uint64_t next_id = 0;
    std::uint64_t id_step = 1;

    /// Whether there are other workers, on which other tasks of the runtime may run just now.
    bool has_company() const noexcept
    {
        return seat != 0;
    }
    /// A uniformly distributed number below `bound`.
    std::uint32_t choose(std::uint32_t bound) noexcept;
};

/// The turn that runs on this thread, or null. Never inlined: a compiler may otherwise keep the address of
/// a thread-local over a suspension point, after which the coroutine may run on another thread.
turn* current_turn() noexcept;

/// Whether a context has been cancelled, and how to be told.
class stop_state {
public:
    /// Zero, or the errc with which the context ended. Set once.
    int error() const noexcept
    {
        return error_.load(std::memory_order_seq_cst);
    }

    /// Makes a task reachable for cancellation. Called by the task itself, with no lock held.
    virtual void enroll(task_root& root) noexcept = 0;
    /// Undoes enroll().
    virtual void expel(task_root& root) noexcept = 0;

protected:
    constexpr stop_state() noexcept = default;
    ~stop_state() = default;

    atomic<int> error_{0};
};

enum class [[nodiscard]] claim_result {
    lost,
    won,               ///< the winner delivers and schedules
    won_while_arming,  ///< the winner delivers; the task is awake and finds out by itself
};

enum class [[nodiscard]] park_result {
    parked,
    refused,  ///< the context has been cancelled; the task is still running
    claimed,  ///< the context has been cancelled and the canceller will resume the task: suspend
};

/// What happens instead of waking a parked task when its context ends: for a wait that has to see something
/// through first, such as an operation of Asio's.
class stop_hook {
public:
    /// Called without locks by the canceller, who has won the task and acts for it here: makes it ready, or
    /// parks it again, shielded.
    virtual void context_ended(turn* by) noexcept = 0;

protected:
    ~stop_hook() = default;
};

/// What happens when a task that has been scheduled is about to run: for a wait whose end has to be settled before
/// its frame goes on, because it may have to wait again.
class turn_hook {
public:
    /// Called once, without locks, at the start of a turn, for the task. False: the task has parked again, and may
    /// be running elsewhere already.
    virtual bool begin_turn(turn& here) noexcept = 0;

protected:
    ~turn_hook() = default;
};

/// What a scheduler runs: the root of an await chain, with what the whole chain shares. The base is its
/// link in the list of the context it is enrolled with, under that context's lock.
class task_root : public list_link<task_root> {
public:
    using word = std::uintptr_t;
    static constexpr word running = 0;
    static constexpr word arming = 1;
    static constexpr word parked = 2;
    static constexpr word shielded = 3;
    static constexpr word by_context = 4;
    static constexpr word by_shutdown = 5;
    static constexpr word inspected = 6;  ///< a reader of the await chain holds the task; see inspect.cpp
    static constexpr word calling = 7;

    task_root(const task_root&) = delete;
    task_root& operator=(const task_root&) = delete;

    // -- by the task itself ------------------------------------------------------------------------

    /// Whether the task's context, or the task itself, has been cancelled.
    bool stop_requested() const noexcept
    {
        return stop_->error() != 0 || cancel_requested_.load(std::memory_order_seq_cst);
    }

    /// Why it was: errc::cancelled or errc::deadline_exceeded. Precondition: stop_requested().
    errc stop_reason() const noexcept
    {
        const int why = stop_->error();
        return why != 0 ? static_cast<errc>(why) : errc::cancelled;
    }

    /// Gives the task its context if it has not been given one yet; see fork_scope.hpp. Before anything that looks at
    /// it. Throws std::bad_alloc.
    void settle()
    {
        if (context_ == nullptr) [[unlikely]]
            settle_context();
    }

    /// Makes the task reachable for its context, if it is not yet. Call with no lock held.
    void enroll() noexcept
    {
        if (enrolled_ != stop_) [[unlikely]]
            change_enrolment();
    }

    bool enrolled() const noexcept
    {
        return enrolled_ == stop_;
    }
    /// Whether it can be found in the list of some context, be it one that it has left for another.
    bool listed() const noexcept
    {
        return enrolled_ != nullptr;
    }

    /// Publishes that the task waits. Precondition: enrolled().
    park_result prepare_park() noexcept
    {
        word_.store(parked, std::memory_order_seq_cst);
        if (!stop_requested()) [[likely]]
            return park_result::parked;
        word expected = parked;
        while (!word_.compare_exchange_weak(expected, running, std::memory_order_acq_rel)) {
            if (expected != parked && expected != inspected)
                return park_result::claimed;
            expected = parked;
        }
        return park_result::refused;
    }

    /// The same, deaf to cancellation.
    void prepare_shielded_park() noexcept
    {
        word_.store(shielded, std::memory_order_release);
    }

    /// From here on waiters may win although the task is awake.
    void begin_arming() noexcept
    {
        word_.store(arming, std::memory_order_seq_cst);
    }

    /// Ends arming by parking; false if a waiter has already won, so that the task must not suspend.
    [[nodiscard]] bool end_arming() noexcept
    {
        word expected = arming;
        return word_.compare_exchange_strong(expected, parked, std::memory_order_seq_cst);
    }

    /// Back to `running`; returns who won.
    word finish_park() noexcept
    {
        const word winner = word_.load(std::memory_order_acquire);
        word_.store(running, std::memory_order_relaxed);
        return winner;
    }

    // -- by whoever wants to wake it ---------------------------------------------------------------

    /// Tries to win the current park for a waiter. The lock of the waiter's source must be held.
    claim_result claim(waiter& by) noexcept
    {
        return claim_as(reinterpret_cast<word>(&by), shielded);
    }

    /// The same for the end of the last child.
    claim_result claim(const fork_scope& by) noexcept
    {
        return claim_as(reinterpret_cast<word>(&by), shielded);
    }

    /// Whether a waiter could win it now. Out of date at once, but for what the caller knows to be ordered before.
    bool can_be_won() const noexcept
    {
        const word seen = word_.load(std::memory_order_seq_cst);
        return seen == inspected || (seen >= arming && seen <= shielded);
    }

    /// Tries to win it for the cancellation of the context; fails if the park is shielded.
    claim_result claim_for_context() noexcept
    {
        return claim_as(by_context, parked);
    }

    /// Tries to win it in order to destroy the task.
    claim_result claim_for_shutdown() noexcept
    {
        return claim_as(by_shutdown, shielded);
    }

    /// By the thread of a blocking call that has won the task.
    void begin_call() noexcept
    {
        word_.store(calling, std::memory_order_release);
    }
    void end_call(waiter& by) noexcept
    {
        word expected = calling;
        while (!word_.compare_exchange_weak(expected, reinterpret_cast<word>(&by), std::memory_order_acq_rel))
            expected = calling;  // an inspector gives it back soon
    }

    // -- what the chain shares ---------------------------------------------------------------------

    scheduler& sched() const noexcept
    {
        return *sched_;
    }
    context_node& context() const noexcept
    {
        return *context_;
    }
    stop_state& stop() const noexcept
    {
        return *stop_;
    }
    std::uint64_t id() const noexcept
    {
        return id_;
    }
    std::string_view name() const noexcept
    {
        return name_ != nullptr ? std::string_view{name_} : std::string_view{};
    }

    std::coroutine_handle<> current{};  ///< where to resume; while parked, the innermost frame
    turn* now = nullptr;                ///< the turn it runs in, while it runs
    task_root* queued = nullptr;        ///< the next in a run queue or wake list
    stop_hook* on_stop = nullptr;       ///< set before parking; read by a canceller that has won
    turn_hook* on_turn = nullptr;       ///< set before parking or yielding; by whoever wins, only looked at

    /// Reached by the root frame's end, from the scheduler's loop: no frame of the task is running.
    virtual void finished(turn& here) noexcept = 0;
    /// The frames have been destroyed at the end of the runtime; what is left is to go.
    virtual void abandoned() noexcept = 0;
    /// Makes the context of the task its own, so that cancelling the task cancels what it starts.
    virtual void own_context()
    {
    }
    /// The scope that waits for it, if it was forked.
    virtual fork_scope* forked_in() const noexcept
    {
        return nullptr;
    }

    /// Replaces the context that operations of the task heed; returns the one before. No ownership moves.
    context_node* exchange_context(context_node& to) noexcept;

    /// Moves the task to another scheduler; takes effect when it is next scheduled.
    void move_to(scheduler& to) noexcept;

    /// Drops the enrolment, if any.
    void leave_context() noexcept
    {
        if (enrolled_ != nullptr)
            change_enrolment_to(nullptr);
    }

#if LEAT_REGISTRY
    location spawned_at() const noexcept
    {
        return place_;
    }
    /// Says what the task is about to wait for. A string with static storage; and who can say more, which is asked only
    /// while the task is parked and held in place.
    void waits_for(const char* what, const wait_description* through = nullptr) noexcept
    {
        waits_for_ = what;
        waits_through_ = through;
    }
    const char* waits_for() const noexcept
    {
        return waits_for_;
    }
    const wait_description* waits_through() const noexcept
    {
        return waits_through_;
    }

protected:
    location place_{};
    const char* waits_for_ = "";
    const wait_description* waits_through_ = nullptr;
#else
    void waits_for(const char*, const wait_description* = nullptr) noexcept
    {
    }
#endif

protected:
    task_root(scheduler& sched, context_node& context, stop_state& stop, std::uint64_t id) noexcept
        : sched_{&sched}, context_{&context}, stop_{&stop}, id_{id}
    {
    }
    /// Unsettled, without scheduler and id.
    task_root() noexcept = default;
    virtual ~task_root();

    virtual void settle_context()
    {
    }

    void set_name(std::string_view name);
    void request_cancel() noexcept;

    atomic<word> word_{running};
    scheduler* sched_ = nullptr;
    context_node* context_ = nullptr;  ///< null: unsettled
    stop_state* stop_ = nullptr;
    stop_state* enrolled_ = nullptr;
    context_node* left_behind_ = nullptr;  ///< the root context of the scheduler it has moved from, counted
    std::uint64_t id_ = 0;
    char* name_ = nullptr;
    atomic<bool> cancel_requested_{false};

private:
    friend class chain_reader;

    claim_result claim_as(word winner, word highest) noexcept
    {
        word seen = word_.load(std::memory_order_seq_cst);
        for (;;) {
            if (seen == inspected) [[unlikely]]
                seen = wait_for_inspector();
            else if (seen < arming || seen > highest)
                return claim_result::lost;
            else if (word_.compare_exchange_weak(seen, winner, std::memory_order_seq_cst))
                return seen == arming ? claim_result::won_while_arming : claim_result::won;
        }
    }
    word wait_for_inspector() noexcept;
    void change_enrolment() noexcept;
    void change_enrolment_to(stop_state* to) noexcept;
};

/// Tasks that have been won, in order, to be scheduled once every lock has been released.
class wake_list {
public:
    wake_list() noexcept = default;
    wake_list(const wake_list&) = delete;
    wake_list& operator=(const wake_list&) = delete;

    bool empty() const noexcept
    {
        return first_ == nullptr;
    }
    void push(task_root& root) noexcept
    {
        root.queued = nullptr;
        if (first_ == nullptr)
            first_ = &root;
        else
            last_->queued = &root;
        last_ = &root;
    }
    /// Schedules them all. `by` is the turn that does it, if known.
    void flush(turn* by) noexcept
    {
        if (first_ != nullptr)
            schedule(by);
    }

private:
    void schedule(turn* by) noexcept;

    task_root* first_ = nullptr;
    task_root* last_ = nullptr;
};

/// What can tell what a parked task waits for.
class wait_description {
public:
    /// Says it in a report better than a word does: which of them, and who has it. Of a parked task that is held in
    /// place, without locks.
    virtual void describe(inspect::task_info&) const
    {
    }

protected:
    constexpr wait_description() noexcept = default;
    ~wait_description() = default;
};

/// One thing that may wake a parked task: a node in the frame of the operation that waits.
///
/// The virtual functions are what select needs to treat any mix of operations alike. All but source(), unlinked() and
/// must_wait() are called with the lock of source() held.
class waiter : public wait_description {
public:
    waiter() noexcept = default;
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    /// The lock of what is waited for. Asked once for a park, after prepare().
    virtual spinlock& source() noexcept = 0;
    /// Whether that lock is also taken by those who hold another waiter's source: the lock of a timer wheel
    /// is. Who takes several takes it last.
    virtual bool source_is_innermost() const noexcept
    {
        return false;
    }
    /// Completes the operation at once if that is possible now; true if it did. Peers that this wakes go
    /// to `wakes`; if it did not complete it must not wake any, as nobody flushes them then.
    virtual bool try_complete(wake_list& wakes) noexcept = 0;
    /// A look without the lock, even before prepare(): true only if try_complete() could not complete it at some
    /// moment during the call. Those who can tell hide this one.
    bool must_wait() const noexcept
    {
        return false;
    }
    virtual void link() noexcept = 0;
    virtual void unlink() noexcept = 0;
    /// Called by the task after unlink(), once the lock has been released.
    virtual void unlinked() noexcept
    {
    }
    /// Whether it would be complete because a context has ended, that of the task included: done().
    virtual bool ends_with_context() const noexcept
    {
        return false;
    }
    /// What the task waits for, for reports: "receive", "sleep"...
    virtual const char* kind() const noexcept = 0;

    /// Claims the task for this waiter and puts it on the list if it has to be scheduled.
    bool win(wake_list& wakes) noexcept
    {
        switch (root->claim(*this)) {
        case claim_result::won: wakes.push(*root); return true;
        case claim_result::won_while_arming: return true;
        case claim_result::lost: break;
        }
        return false;
    }

    task_root* root = nullptr;
    waiter* prev;  ///< while it is in a waiter_list
    waiter* next;
    bool linked = false;  ///< under the source's lock

protected:
    ~waiter() = default;
};

/// A FIFO of waiters; its owner's lock protects it.
///
/// A waiter is linked by a task that parks, so that it is published by set() is enough for those who look: before that
/// task goes on, somebody's claim, which is sequentially consistent, comes after it.
class waiter_list {
public:
    constexpr waiter_list() noexcept = default;

    bool empty() const noexcept
    {
        return front() == nullptr;
    }
    waiter* front() const noexcept
    {
        return first_.get();
    }
    /// Without the lock.
    bool looks_empty() const noexcept
    {
        return first_.look() == nullptr;
    }
    waiter* back() const noexcept
    {
        return last_;
    }
    void insert_before(waiter& following, waiter& node) noexcept
    {
        node.prev = following.prev;
        node.next = &following;
        if (following.prev != nullptr)
            following.prev->next = &node;
        else
            first_.set(&node);
        following.prev = &node;
        node.linked = true;
    }
    void push_back(waiter& node) noexcept
    {
        node.prev = last_;
        node.next = nullptr;
        if (last_ != nullptr)
            last_->next = &node;
        else
            first_.set(&node);
        last_ = &node;
        node.linked = true;
    }
    void push_front(waiter& node) noexcept
    {
        node.prev = nullptr;
        waiter* const second = front();
        node.next = second;
        (second != nullptr ? second->prev : last_) = &node;
        first_.set(&node);
        node.linked = true;
    }
    void remove(waiter& node) noexcept
    {
        if (!node.linked)
            return;
        if (node.prev != nullptr)
            node.prev->next = node.next;
        else
            first_.set(node.next);
        (node.next != nullptr ? node.next->prev : last_) = node.prev;
        node.linked = false;
    }
    waiter* pop_front() noexcept
    {
        waiter* const node = front();
        if (node != nullptr)
            remove(*node);
        return node;
    }
    /// Takes waiters from the front until one of them can be won; null if none can.
    waiter* win_front(wake_list& wakes) noexcept
    {
        while (waiter* node = pop_front())
            if (node->win(wakes))
                return node;
        return nullptr;
    }

private:
    published<waiter*> first_{nullptr};
    waiter* last_ = nullptr;
};

/// Waiters of whom there is hardly ever more than one; half as large as a waiter_list. The owner's lock protects it.
class waiter_stack {
public:
    void push(waiter& node) noexcept
    {
        node.prev = nullptr;
        node.next = top_;
        if (top_ != nullptr)
            top_->prev = &node;
        top_ = &node;
        node.linked = true;
    }
    void remove(waiter& node) noexcept
    {
        if (!node.linked)
            return;
        (node.prev != nullptr ? node.prev->next : top_) = node.next;
        if (node.next != nullptr)
            node.next->prev = node.prev;
        node.linked = false;
    }
    /// Takes them all, and wins those that can be won.
    void win_all(wake_list& wakes) noexcept
    {
        while (waiter* const node = top_) {
            remove(*node);
            node->win(wakes);
        }
    }

private:
    waiter* top_ = nullptr;
};

/// Where tasks run: the pool, a simulated world, a foreign executor, or (for one blocked thread) nothing
/// but a flag. Everything may be called from any thread unless it says otherwise.
class scheduler {
public:
    scheduler(const scheduler&) = delete;
    scheduler& operator=(const scheduler&) = delete;

    /// Makes a task runnable: next, if `by` is a turn of this scheduler (a hand-over stays on its worker).
    virtual void ready(task_root& root, turn* by) noexcept = 0;
    /// Makes a task runnable, behind those that already are.
    virtual void ready_later(task_root& root, turn* by) noexcept = 0;
    /// The same for the running task, which lets others run first.
    virtual void yielded(task_root& root, turn* by) noexcept
    {
        ready_later(root, by);
    }
    /// Makes a task runnable that the running one will wait for: before everything else, the last to be forked
    /// first, if that is possible.
    virtual void fork(task_root& root, turn* by) noexcept
    {
        ready_later(root, by);
    }
    /// Makes a task runnable for which `by`, if it is known, is about to end its turn: it goes straight on with it.
    virtual void go_on(task_root& root, turn* by) noexcept
    {
        ready(root, by);
    }
    /// A task now exists, which will be made runnable once.
    virtual void task_created(turn* by) noexcept = 0;
    /// A task has ended.
    virtual void task_ended(turn* by) noexcept = 0;

    /// Nanoseconds on the scheduler's clock.
    virtual std::int64_t now() noexcept = 0;
    /// The timers that the calling thread should use.
    virtual timer_shard& timers(turn* by) noexcept = 0;
    /// A timer has become the earliest of its shard.
    virtual void timer_armed(timer_shard& shard, std::int64_t deadline, turn* by) noexcept = 0;

    /// Where it waits for I/O; null if it does none.
    virtual reactor* io_reactor() noexcept
    {
        return nullptr;
    }

    /// Where jobs for threads that may block are queued.
    virtual blocking_queue& blocking() noexcept = 0;

    /// Itself, if its tasks are guests of an executor that is not leat's; null otherwise.
    virtual guest_scheduler* guest() noexcept
    {
        return nullptr;
    }

    /// A detached task has thrown. Called through tell_unhandled() only.
    virtual void unhandled(task_root& root, std::exception_ptr thrown) noexcept = 0;
    /// Adds to a report the tasks that run at the moment and are not in it.
    virtual void add_running(std::vector<inspect::task_info>&)
    {
    }
    /// A choice among `bound` possibilities, for turns that are scripted.
    virtual std::uint32_t choose(std::uint32_t bound) noexcept = 0;
    /// Larger than that of the task which runs in `by`, and than `above`: the end destroys the youngest first.
    virtual std::uint64_t new_id(turn* by, std::uint64_t above) noexcept = 0;
    /// So many tasks now exist, forked by the running one. Returns the first of their ids, which are one
    /// id_step of `by` apart. Like this where one thread deals out the ids.
    virtual std::uint64_t tasks_forked(turn* by, std::uint32_t count) noexcept
    {
        std::uint64_t last = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            task_created(by);
            last = new_id(by, by->root->id());
        }
        return last - (count - 1) * by->id_step;
    }
    /// Whether a new task would not be run any more, because this is the end.
    virtual bool refuses_tasks() const noexcept
    {
        return false;
    }

    /// The context of the tasks that are given none; cancelled when the scheduler stops.
    context_node& root_context() const noexcept
    {
        return *root_context_;
    }
    /// Where tasks enrol whose context can not be cancelled.
    stop_state& unstoppable() const noexcept
    {
        return *unstoppable_;
    }

    /// Tells a scheduler of a failure that nobody has seen; prints it if the scheduler has gone, for the handle
    /// of a task may outlive it.
    static void tell_unhandled(scheduler* of, task_root& root, std::exception_ptr thrown) noexcept;

protected:
    scheduler() noexcept = default;
    virtual ~scheduler() = default;

    /// From here on, until forget(), it is told of failures.
    void enlist() noexcept;
    /// Returns when nobody is telling it any more. Before anything that unhandled() needs is destroyed.
    void forget() noexcept;

    context_node* root_context_ = nullptr;
    stop_state* unstoppable_ = nullptr;

private:
    scheduler* enlisted_before_ = nullptr;  ///< with the lock of the list
    atomic<int> tellers_{0};
};

}  // namespace leat::detail
