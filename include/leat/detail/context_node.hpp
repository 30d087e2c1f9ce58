// The tree of contexts.
//
// A context is a handle on a node. Nodes point up with counted references and down with plain links, so
// that a node lives as long as somebody holds it or a descendant. There are two kinds: a value_node adds a
// value and is no part of cancellation; a cancel_node can end. Every node knows the nearest cancel_node at
// or above it, which is all that waiting operations look at.
//
// A cancel_node holds, under its lock: its children, the tasks enrolled with it (see park.hpp), the
// operations waiting on its done(), and the callbacks of after_func. It ends once: error_ goes from zero
// to the reason, under the lock, before anybody is told. Whoever is added later finds error_ set, and is not
// added. Whoever has set error_ tells the node's members, in batches: some are taken off their list under the lock,
// told without it.
//
// cancel() first ends the node and all below, then tells them. The nodes are on a list through themselves, so the
// depth of the tree costs no stack; a canceller marks the nodes on its list and holds references to them. The first
// part happens under the lock of trees, so whoever finds a node marked finds everything below it ended, and whoever
// has returned from cancel() as well, though somebody else may still be telling. (To let each canceller walk by
// itself and leave alone what another has begun is not enough: what that one has not come to is not ended yet.) A
// node without children is ended without the lock of trees: it gets none afterwards. A child that is being destroyed
// (its count is zero) is left alone: nobody can be waiting on it.
//
// Locks: the lock of trees is held when nodes' locks are taken, one after the other, and for as long as the tree
// is large: some 30 ns for each node. Two nodes' locks are never held together. A node's lock may be taken while the lock of some other
// source is held only by select, which takes all its sources' locks in the order of their addresses.
//
// A deadline is armed with the shard of the scheduler in which the node was made, or, if it was made outside
// of all, of the first scheduler in which a task enrols. When that scheduler ends, the deadline is handed to another
// that has something to wake for it, or waits for the next enrolment. The expiry takes a reference under
// the shard's lock; the destructor disarms under the same lock, so neither meets a half-destroyed other. shard_
// changes under the node's lock, and not after the end; it is counted, as the node may outlive the scheduler.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/intrusive.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/stop_token.hpp>
#include <leat/detail/timers.hpp>

#include <cstdint>
#include <exception>

namespace leat::detail {

class cancel_node;

class context_node {
public:
    context_node(const context_node&) = delete;
    context_node& operator=(const context_node&) = delete;

    void ref() noexcept
    {
        if (!everlasting_)
            refs_.fetch_add(1, std::memory_order_relaxed);
    }
    /// Only if somebody still holds it.
    [[nodiscard]] bool try_ref() noexcept
    {
        std::uint32_t seen = refs_.load(std::memory_order_relaxed);
        while (seen != 0)
            if (refs_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire,
                                            std::memory_order_relaxed))
                return true;
        return false;
    }
    /// The last one destroys the node, and then, in a loop, those above that nobody else holds.
    void unref() noexcept;

    context_node* parent() const noexcept
    {
        return parent_;
    }
    /// The nearest node that can be cancelled, or null.
    cancel_node* canceller() const noexcept
    {
        return canceller_;
    }
    /// What waiting operations under this context look at.
    stop_state& stop() const noexcept;

    /// The value kept under a key at or above this node, or null.
    const void* find(const void* key) const noexcept;

protected:
    /// Takes over a reference to the parent.
    context_node(context_node* parent, cancel_node* canceller) noexcept
        : parent_{parent}, canceller_{canceller}
    {
    }
    enum class lasting : bool { no, yes };
    explicit context_node(lasting how) noexcept
        : everlasting_{how == lasting::yes}, parent_{nullptr}, canceller_{nullptr}
    {
    }
    virtual ~context_node() = default;
    virtual const void* own_value(const void*) const noexcept
    {
        return nullptr;
    }
    /// Called when the count has become zero. The parent is let go of by the caller; what else the node holds it
    /// drops itself.
    virtual void destroy(context_node*& dying) noexcept = 0;
    /// Lets go of a node, if any; if that was the last reference, adds it to those that are to be destroyed.
    static void drop(context_node* node, context_node*& dying) noexcept
    {
        if (node == nullptr || node->everlasting_ || node->refs_.fetch_sub(1, std::memory_order_acq_rel) != 1)
            return;
        node->next_dying_ = dying;
        dying = node;
    }

    atomic<std::uint32_t> refs_{1};
    const bool everlasting_ = false;  ///< not counted: each context that is moved from holds it
    context_node* parent_;
    cancel_node* canceller_;

private:
    context_node* next_dying_ = nullptr;
};

/// The place of a cancel_node among the children of one that it heeds.
struct child_link : list_link<child_link> {
    cancel_node* owner = nullptr;
    cancel_node* above = nullptr;
};

/// What after_func leaves with a context.
class context_callback : public list_link<context_callback> {
public:
    /// The context has ended; called once, without locks.
    virtual void run(turn* by) noexcept = 0;
    /// The context goes away without having ended; called once instead of run().
    virtual void drop() noexcept = 0;
    /// Timers of the scheduler that it is to run on.
    virtual timer_shard& home() noexcept = 0;

protected:
    ~context_callback() = default;
};

class cancel_node final : public context_node,
                          public stop_state,
                          private timed,
                          private expired_call,
                          private list_link<cancel_node> {
public:
    /// A child of `parent`, which may be null; takes over a reference to it. Born cancelled if it is.
    static cancel_node* make(context_node* parent, std::int64_t deadline = timer_wheel::never);
    /// Heeds a second parent too. Once, before anybody else knows the node.
    void also_heed(cancel_node& other) noexcept;
    void follow(std::stop_token token);
    /// Where values are looked for after the parent's. Once, before anybody else knows the node.
    void borrow_values(context_node& from) noexcept;

    /// Ends this node and every descendant, which have ended when it returns. Idempotent: the first reason stays. Any
    /// thread. Calls the
    /// callbacks of std::stop_tokens that were taken from the nodes.
    void cancel(errc why, std::exception_ptr cause = nullptr) noexcept;

    /// Whether this node has ended or is about to because an ancestor has.
    bool ending() const noexcept
    {
        int merged = most_merged;
        return ending(merged);
    }
    std::exception_ptr cause() const;
    std::int64_t deadline() const noexcept
    {
        return deadline_;
    }
    /// Ends the node if its deadline has passed and no timer has noticed yet.
    void check_deadline() noexcept;
    /// Has the deadline watched by a scheduler, if none does yet.
    void watch(scheduler& sched, turn* by) noexcept;
    std::stop_token token();

    /// False, and nothing is added, if the node has ended.
    [[nodiscard]] bool add(context_callback& callback) noexcept;
    /// False if it has been told or is about to be.
    bool remove(context_callback& callback) noexcept;

    void enroll(task_root& root) noexcept override;
    void expel(task_root& root) noexcept override;

    /// For somebody who would use one node for several things, one after the other: how many hold it now,
    std::uint32_t holders() const noexcept
    {
        return refs_.load(std::memory_order_acquire);
    }
    /// and whether it has been left as if nobody had seen it: there are no more of them, it has not ended, and
    /// nobody is to be told when it does.
    bool unseen(std::uint32_t holders) noexcept;

    /// Calls `see(root)` for each enrolled task of every cancel_node of the process, under the lock of its
    /// node. For reports and the end of a runtime. Defined by lib/for_each_task.hpp.
    template <class See>
    static void for_each_task(See see);

    spinlock lock;
    waiter_list waiters;  ///< operations that wait on done()

private:
    /// How many second parents ending() goes up to. Merged again and again, there may be any number of ways up.
    static constexpr int most_merged = 64;

    cancel_node(context_node* parent, std::int64_t deadline) noexcept;
    ~cancel_node() override;
    bool ending(int& merged) const noexcept;
    void destroy(context_node*& dying) noexcept override;
    const void* own_value(const void* key) const noexcept override;

    /// Under lock.
    bool watched() const noexcept
    {
        return shard_ != nullptr && !shard_->closed();
    }
    void expired(expiry& out) noexcept override;
    void fire(turn* by, wake_list& wakes) noexcept override;
    void disowned(expiry& out) noexcept override;
    void lost() noexcept override;
    bool move_watch(timer_shard& to) noexcept;

    void attach(child_link& link) noexcept;
    /// cancel() that leaves tasks to be scheduled by the caller, unless callbacks of stop_tokens are to be run.
    void cancel(errc why, const std::exception_ptr& cause, wake_list& wakes) noexcept;
    void end_locked(errc why, const std::exception_ptr& cause) noexcept;
    void mark_below(errc why, const std::exception_ptr& cause, cancel_node*& last) noexcept;
    void tell(wake_list& wakes) noexcept;

    friend class linked_list<cancel_node>;
    friend struct node_registry;

    linked_list<child_link> children_;
    linked_list<task_root> tasks_;    ///< enrolled, not yet told
    linked_list<task_root> stopped_;  ///< enrolled and told
    linked_list<context_callback> callbacks_;
    std::exception_ptr cause_;
    owned<std::stop_source> stop_source_;
    child_link links_[2];  ///< the second one's `above` is counted, the first one's is an ancestor
    context_node* second_values_ = nullptr;
    std::int64_t deadline_;
    cancel_node* next_marked_ = nullptr;  ///< on the list of the canceller that has marked it
    bool marked_ = false;                 ///< under the lock of trees
    bool tells_ = false;                  ///< whether that canceller has ended it, too
    timer_shard* shard_ = nullptr;        ///< with which the deadline is armed, or was
    bool listed_ = false;                 ///< in the registry; touched under lock

    class follower;
    owned<follower> follows_;
};

/// The nodes with which tasks have enrolled, by which all parked tasks of the process can be found. A few
/// lists, so that workers do not meet on one lock.
struct node_registry {
    static constexpr std::size_t shards = 8;
    struct shard {
        spinlock lock;
        linked_list<cancel_node> nodes;
    };
    static shard& of(const cancel_node& node) noexcept;
    static shard& at(std::size_t index) noexcept;
    static cancel_node* first(shard& s) noexcept
    {
        return s.nodes.front();
    }
    static cancel_node* next(shard& s, cancel_node& node) noexcept
    {
        return s.nodes.after(node);
    }
    static void add(cancel_node& node) noexcept;
    static void remove(cancel_node& node) noexcept;
};

/// Nobody can cancel this one: what background() and without_cancel() lead to.
stop_state& never_stopped() noexcept;
/// The node of background(): the root of roots, never destroyed.
context_node& background_node() noexcept;

inline stop_state& context_node::stop() const noexcept
{
    return canceller_ != nullptr ? static_cast<stop_state&>(*canceller_) : never_stopped();
}

}  // namespace leat::detail
