#include <leat/context.hpp>
#include <leat/spawn.hpp>

#include <leat/detail/context_node.hpp>
#include <leat/detail/frame_pool.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stop_token>

namespace leat {
namespace detail {
namespace {

/// How many members of a list are told for each time that the lock is taken.
constexpr int told_per_lock = 64;

class never final : public stop_state {
public:
    constexpr never() noexcept = default;
    void enroll(task_root& root) noexcept override
    {
        root.sched().unstoppable().enroll(root);
    }
    void expel(task_root& root) noexcept override
    {
        root.sched().unstoppable().expel(root);
    }
};
constinit never nobody_stops;

class background_context final : public context_node {
public:
    background_context() noexcept : context_node{lasting::yes}
    {
    }

private:
    void destroy(context_node*&) noexcept override
    {
        std::terminate();
    }
};

/// Storage without a destructor call: contexts may be held until after main.
union background_holder {
    background_holder() noexcept : node{}
    {
    }
    ~background_holder()
    {
    }
    background_context node;
};

class value_node final : public context_node {
public:
    value_node(context_node& parent, const void* key, owned<context_value> value) noexcept
        : context_node{&parent, parent.canceller()}, key_{key}, value_{std::move(value)}
    {
    }

private:
    const void* own_value(const void* key) const noexcept override
    {
        return key == key_ ? value_->at : nullptr;
    }
    void destroy(context_node*&) noexcept override
    {
        delete this;
    }

    const void* key_;
    const owned<context_value> value_;
};

/// Has its parent's values, and nobody to end it.
class shielded_node final : public context_node {
public:
    explicit shielded_node(context_node* parent) noexcept : context_node{parent, nullptr}
    {
    }
    /// For one that was made before its parent was to be kept alive.
    void adopt_parent(context_node& parent) noexcept
    {
        parent.ref();
        parent_ = &parent;
    }

private:
    void destroy(context_node*&) noexcept override
    {
        delete this;
    }
};

constinit node_registry::shard registry[node_registry::shards];

/// Held while the nodes of a tree are ended, before any of them is told. A lock for each tree would be one for
/// all, as merge() joins trees.
constinit spinlock trees;

}  // namespace

stop_state& never_stopped() noexcept
{
    return nobody_stops;
}

context_node& background_node() noexcept
{
    static background_holder holder;
    return holder.node;
}

void context_node::unref() noexcept
{
    context_node* dying = nullptr;
    drop(this, dying);
    while (dying != nullptr) {
        context_node* const node = std::exchange(dying, dying->next_dying_);
        context_node* const above = node->parent_;
        node->destroy(dying);
        drop(above, dying);
    }
}

const void* context_node::find(const void* key) const noexcept
{
    for (const context_node* node = this; node != nullptr; node = node->parent_)
        if (const void* const value = node->own_value(key))
            return value;
    return nullptr;
}

node_registry::shard& node_registry::of(const cancel_node& node) noexcept
{
    return registry[(reinterpret_cast<std::uintptr_t>(&node) >> 8) % shards];
}

node_registry::shard& node_registry::at(std::size_t index) noexcept
{
    return registry[index];
}

void node_registry::add(cancel_node& node) noexcept
{
    shard& s = of(node);
    std::lock_guard hold{s.lock};
    s.nodes.push_back(node);
}

void node_registry::remove(cancel_node& node) noexcept
{
    shard& s = of(node);
    std::lock_guard hold{s.lock};
    s.nodes.remove(node);
}

cancel_node::cancel_node(context_node* parent, std::int64_t deadline) noexcept
    : context_node{parent, this}, deadline_{deadline}
{
    links_[0].owner = links_[1].owner = this;
}

cancel_node* cancel_node::make(context_node* parent, std::int64_t deadline)
{
    cancel_node* const above = parent != nullptr ? parent->canceller() : nullptr;
    if (above != nullptr && above->deadline_ < deadline)
        deadline = above->deadline_;
    cancel_node* node = nullptr;
    try {
        node = new (allocate_frame(sizeof(cancel_node))) cancel_node{parent, deadline};
    } catch (...) {
        if (parent != nullptr)
            parent->unref();
        throw;
    }
    if (above != nullptr) {
        node->links_[0].above = above;  // kept alive by the reference to the parent
        node->attach(node->links_[0]);
    }
    // A deadline that an ancestor has too is the ancestor's to watch.
    if (deadline != timer_wheel::never && (above == nullptr || deadline < above->deadline_)) {
        if (scheduler* const sched = ambient_scheduler())
            node->watch(*sched, current_turn());
        else
            node->check_deadline();
    }
    return node;
}

void cancel_node::also_heed(cancel_node& other) noexcept
{
    other.ref();
    links_[1].above = &other;
    if (other.deadline_ < deadline_)
        deadline_ = other.deadline_;
    attach(links_[1]);
}

void cancel_node::attach(child_link& link) noexcept
{
    cancel_node& above = *link.above;
    int ended = 0;
    {
        std::lock_guard hold{above.lock};
        ended = above.error();
        if (ended == 0)
            above.children_.push_back(link);
    }
    if (ended != 0)
        cancel(static_cast<errc>(ended), above.cause());
}

/// Ends a node when a token is asked to stop.
class cancel_node::follower {
    /// The node may be in its destructor, which then waits for this to return: it must not be revived.
    class stopper {
    public:
        explicit stopper(cancel_node& node) noexcept : node_{node}
        {
        }
        void operator()() const noexcept
        {
            cancel_node& held = node_;
            if (!held.try_ref())
                return;
            held.cancel(errc::cancelled);
            held.unref();
        }

    private:
        cancel_node& node_;
    };

public:
    follower(std::stop_token token, cancel_node& node) : callback_{std::move(token), stopper{node}}
    {
    }

private:
    std::stop_callback<stopper> callback_;
};

void cancel_node::follow(std::stop_token token)
{
    follows_ = make_owned<follower>(std::move(token), *this);
}

cancel_node::~cancel_node()
{
    follows_.reset();
    if (shard_ != nullptr) {
        shard_->disarm(*this);
        shard_->leave();
    }
    if (listed_)
        node_registry::remove(*this);
    for (child_link& link : links_)
        if (cancel_node* const above = link.above) {
            std::lock_guard hold{above->lock};
            if (link.linked())
                above->children_.remove(link);
        }
    while (context_callback* const left = callbacks_.pop_front())
        left->drop();
}

void cancel_node::destroy(context_node*& dying) noexcept
{
    context_node* const merged = links_[1].above;
    context_node* const values = second_values_;
    this->~cancel_node();
    free_frame(this, sizeof(cancel_node));
    drop(merged, dying);
    drop(values, dying);
}

void cancel_node::cancel(errc why, std::exception_ptr cause) noexcept
{
    wake_list wakes;
    cancel(why, cause, wakes);
    wakes.flush(current_turn());
}

void cancel_node::cancel(errc why, const std::exception_ptr& cause, wake_list& wakes) noexcept
{
    bool alone = false;
    {
        std::lock_guard hold{lock};
        if (children_.empty()) {
            if (error() != 0)
                return;
            end_locked(why, cause);
            alone = true;
        }
    }
    if (alone) {
        ref();
        tell(wakes);
        unref();
        return;
    }
    {
        std::lock_guard tree{trees};
        // By somebody who has come to the end of the tree below, and tells it.
        if (marked_)
            return;
        marked_ = true;
        ref();
        next_marked_ = nullptr;
        cancel_node* last = this;
        for (cancel_node* node = this; node != nullptr; node = node->next_marked_)
            node->mark_below(why, cause, last);
    }
    for (cancel_node* node = this; node != nullptr;) {
        cancel_node* const next = node->next_marked_;
        if (node->tells_)
            node->tell(wakes);
        node->unref();
        node = next;
    }
}

/// With the lock of trees, which has marked this node. Children are added to the list that ends with `last`.
void cancel_node::mark_below(errc why, const std::exception_ptr& cause, cancel_node*& last) noexcept
{
    std::lock_guard hold{lock};
    tells_ = error() == 0;
    end_locked(why, cause);
    for (child_link* link = children_.front(); link != nullptr; link = children_.after(*link)) {
        cancel_node& child = *link->owner;
        // A child that is being destroyed is left to its destructor.
        if (child.marked_ || !child.try_ref())
            continue;
        child.marked_ = true;
        child.next_marked_ = nullptr;
        last->next_marked_ = &child;
        last = &child;
    }
}

/// The first reason stays.
void cancel_node::end_locked(errc why, const std::exception_ptr& cause) noexcept
{
    if (error() != 0)
        return;
    cause_ = cause;
    error_.store(static_cast<int>(why), std::memory_order_seq_cst);
}

/// Once, by whoever has ended the node.
void cancel_node::tell(wake_list& wakes) noexcept
{
    turn* const by = current_turn();
    timer_shard* armed_at = nullptr;
    {
        std::lock_guard hold{lock};
        armed_at = shard_;
    }
    if (armed_at != nullptr)
        armed_at->disarm(*this);
    for (bool more = true; more;) {
        task_root* hooked = nullptr;
        context_callback* calls[told_per_lock];  // in no list any more: remove() must not find them linked
        int called = 0;
        int room = told_per_lock;
        {
            std::lock_guard hold{lock};
            while (room > 0 && !waiters.empty() && waiters.win_front(wakes) != nullptr)
                --room;
            while (room > 0) {
                task_root* const root = tasks_.pop_front();
                if (root == nullptr)
                    break;
                stopped_.push_back(*root);
                if (root->claim_for_context() == claim_result::won) {
                    if (root->on_stop == nullptr) [[likely]]
                        wakes.push(*root);
                    else
                        root->queued = std::exchange(hooked, root);
                }
                --room;
            }
            while (room > 0) {
                context_callback* const call = callbacks_.pop_front();
                if (call == nullptr)
                    break;
                calls[called++] = call;
                --room;
            }
            more = room == 0;
        }
        // Of many the first need not wait until the last has been told.
        if (more)
            wakes.flush(by);
        while (hooked != nullptr) {
            task_root* const root = std::exchange(hooked, hooked->queued);
            root->on_stop->context_ended(by);
        }
        for (int i = 0; i < called; ++i)
            calls[i]->run(by);
    }
    std::stop_source* tokens = nullptr;
    {
        std::lock_guard hold{lock};
        tokens = stop_source_.get();
    }
    if (tokens != nullptr) {
        // Those who have been won must not wait for code of the user's.
        wakes.flush(by);
        tokens->request_stop();
    }
}

bool cancel_node::ending(int& merged) const noexcept
{
    for (const cancel_node* node = this; node != nullptr; node = node->links_[0].above) {
        if (node->error() != 0)
            return true;
        if (node->links_[1].above != nullptr && merged-- > 0 && node->links_[1].above->ending(merged))
            return true;
    }
    return false;
}

const void* cancel_node::own_value(const void* key) const noexcept
{
    if (second_values_ == nullptr)
        return nullptr;
    // The first parent's values come first.
    if (const void* const value = parent_->find(key))
        return value;
    return second_values_->find(key);
}

void cancel_node::borrow_values(context_node& from) noexcept
{
    from.ref();
    second_values_ = &from;
}

std::exception_ptr cancel_node::cause() const
{
    std::lock_guard hold{const_cast<spinlock&>(lock)};
    return cause_;
}

void cancel_node::check_deadline() noexcept
{
    if (deadline_ != timer_wheel::never && error() == 0 &&
        clock::now().time_since_epoch().count() >= deadline_)
        cancel(errc::deadline_exceeded);
}

void cancel_node::watch(scheduler& sched, turn* by) noexcept
{
    if (deadline_ == timer_wheel::never)
        return;
    if (sched.now() >= deadline_) {
        cancel(errc::deadline_exceeded);
        return;
    }
    timer_shard& home = sched.timers(by);
    home.hold();
    timer_shard* unneeded = &home;
    {
        std::lock_guard hold{lock};
        if (!watched() && error() == 0)
            unneeded = std::exchange(shard_, &home);
    }
    if (unneeded != nullptr)
        unneeded->leave();
    if (unneeded == &home)
        return;
    home.arm(*this, deadline_, by);
    // Ended meanwhile, before it could be disarmed?
    if (error() != 0)
        home.disarm(*this);
}

std::stop_token cancel_node::token()
{
    auto fresh = make_owned<std::stop_source>();
    std::stop_token token;
    bool ended = false;
    {
        std::lock_guard hold{lock};
        if (!stop_source_)
            stop_source_ = std::move(fresh);
        token = stop_source_->get_token();
        ended = error() != 0;
    }
    if (ended)
        stop_source_->request_stop();
    return token;
}

bool cancel_node::add(context_callback& callback) noexcept
{
    std::lock_guard hold{lock};
    if (error() != 0)
        return false;
    callbacks_.push_back(callback);
    return true;
}

bool cancel_node::unseen(std::uint32_t holding) noexcept
{
    // With acquire: those who have let go had their last say before.
    if (holders() != holding)
        return false;
    std::lock_guard hold{lock};
    return error() == 0 && children_.empty() && callbacks_.empty() && waiters.empty() && !stop_source_;
}

bool cancel_node::remove(context_callback& callback) noexcept
{
    std::lock_guard hold{lock};
    if (!callback.linked())
        return false;
    callbacks_.remove(callback);
    return true;
}

void cancel_node::enroll(task_root& root) noexcept
{
    bool list = false;
    bool unwatched = false;
    {
        std::lock_guard hold{lock};
        (error() == 0 ? tasks_ : stopped_).push_back(root);
        list = !std::exchange(listed_, true);
        unwatched = deadline_ != timer_wheel::never && !watched();
    }
    if (list)
        node_registry::add(*this);
    if (unwatched)
        watch(root.sched(), root.now);
}

void cancel_node::expel(task_root& root) noexcept
{
    std::lock_guard hold{lock};
    if (root.linked())
        linked_list<task_root>::remove(root);
}

void cancel_node::expired(expiry& out) noexcept
{
    if (try_ref())
        out.call(*this);
}

void cancel_node::fire(turn*, wake_list& wakes) noexcept
{
    cancel(errc::deadline_exceeded, nullptr, wakes);
    unref();
}

void cancel_node::disowned(expiry& out) noexcept
{
    if (try_ref())
        out.call(*this);
}

// Under the lock whoever is listed is there, and so is his scheduler: a task leaves the lists, for which it takes the
// lock, before its scheduler ends.
void cancel_node::lost() noexcept
{
    const auto find_another = [&] {
        if (error() != 0 || watched())
            return;
        for (task_root* root = tasks_.front(); root != nullptr; root = tasks_.after(*root))
            if (move_watch(root->sched().timers(nullptr)))
                return;
        for (waiter* one = waiters.front(); one != nullptr; one = one->next)
            if (move_watch(one->root->sched().timers(nullptr)))
                return;
        for (context_callback* call = callbacks_.front(); call != nullptr; call = callbacks_.after(*call))
            if (move_watch(call->home()))
                return;
    };
    {
        std::lock_guard hold{lock};
        find_another();
    }
    unref();
}

/// Under lock. False if that one has been closed, too.
bool cancel_node::move_watch(timer_shard& to) noexcept
{
    // The scheduler is told while it can not end.
    const bool moved = to.while_open([&] {
        if (to.arm_locked(*this, deadline_))
            to.tell(deadline_, nullptr);
    });
    if (moved) {
        to.hold();
        std::exchange(shard_, &to)->leave();
    }
    return moved;
}

void done_operation::prepare(turn& here) noexcept
{
    if (node_ != nullptr && here.sched != nullptr && node_->deadline() != timer_wheel::never)
        node_->watch(*here.sched, &here);
}

spinlock& done_operation::source() noexcept
{
    return node_ != nullptr ? node_->lock : alone_;
}

bool done_operation::try_complete(wake_list&) noexcept
{
    return node_ != nullptr && node_->error() != 0;
}

void done_operation::link() noexcept
{
    if (node_ != nullptr)
        node_->waiters.push_back(*this);
}

void done_operation::unlink() noexcept
{
    if (node_ != nullptr)
        node_->waiters.remove(*this);
}

context make_context(context_node* adopted) noexcept
{
    return context{adopted};
}

context_node* make_value_node(context_node& parent, const void* key, owned<context_value> value)
{
    auto* const node = new value_node{parent, key, std::move(value)};
    parent.ref();
    return node;
}

namespace {

cancellable_context as_cancellable(cancel_node* node)
{
    context handle = make_context(node);
    return {handle, canceller{handle}};
}

context current_context()
{
    turn* const here = current_turn();
    if (here == nullptr || here->root == nullptr)
        return ambient_scheduler() != nullptr ? (ambient_scheduler()->root_context().ref(),
                                                 make_context(&ambient_scheduler()->root_context()))
                                              : background();
    here->root->own_context();
    here->root->context().ref();
    return make_context(&here->root->context());
}

}  // namespace
}  // namespace detail

context::context() noexcept : node_{&detail::background_node()}
{
    node_->ref();
}

context::context(std::stop_token token)
{
    detail::background_node().ref();
    detail::cancel_node* const made = detail::cancel_node::make(&detail::background_node());
    node_ = made;
    try {
        made->follow(std::move(token));
    } catch (...) {
        made->unref();
        throw;
    }
}

context::context(context&& other) noexcept : node_{std::exchange(other.node_, &detail::background_node())}
{
    other.node_->ref();
}

std::error_code context::error() const noexcept
{
    detail::cancel_node* const node = node_->canceller();
    if (node == nullptr)
        return {};
    node->check_deadline();
    const int code = node->error();
    return code != 0 ? make_error_code(static_cast<errc>(code)) : std::error_code{};
}

std::exception_ptr context::cause() const
{
    const std::error_code why = error();
    if (!why)
        return nullptr;
    if (std::exception_ptr given = node_->canceller()->cause())
        return given;
    return why == errc::deadline_exceeded ? std::make_exception_ptr(timed_out_error{})
                                          : std::make_exception_ptr(cancelled_error{});
}

std::optional<clock::time_point> context::deadline() const noexcept
{
    const detail::cancel_node* const node = node_->canceller();
    if (node == nullptr || node->deadline() == detail::timer_wheel::never)
        return std::nullopt;
    return clock::time_point{clock::duration{node->deadline()}};
}

context::operator std::stop_token() const
{
    return stop_token();
}

std::stop_token context::stop_token() const
{
    detail::cancel_node* const node = node_->canceller();
    return node != nullptr ? node->token() : std::stop_token{};
}

context background() noexcept
{
    return context{};
}

cancellable_context with_cancel(const context& parent)
{
    parent.node().ref();
    return detail::as_cancellable(detail::cancel_node::make(&parent.node()));
}

cancellable_context with_cancel()
{
    return with_cancel(detail::current_context());
}

cancellable_context with_deadline(const context& parent, clock::time_point deadline)
{
    parent.node().ref();
    return detail::as_cancellable(
        detail::cancel_node::make(&parent.node(), deadline.time_since_epoch().count()));
}

cancellable_context with_deadline(clock::time_point deadline)
{
    return with_deadline(detail::current_context(), deadline);
}

cancellable_context with_timeout(const context& parent, clock::duration span)
{
    const clock::time_point now = clock::now();
    // A span beyond the end of time is no limit.
    return with_deadline(parent,
                         span > clock::time_point::max() - now ? clock::time_point::max() : now + span);
}

cancellable_context with_timeout(clock::duration span)
{
    return with_timeout(detail::current_context(), span);
}

context without_cancel(const context& parent)
{
    auto* const node = new detail::shielded_node{&parent.node()};
    parent.node().ref();
    return detail::make_context(node);
}

cancellable_context merge(const context& first, const context& second)
{
    detail::context_node& a = first.node();
    a.ref();
    detail::cancel_node* const node = detail::cancel_node::make(&a);
    if (detail::cancel_node* const other = second.node().canceller())
        node->also_heed(*other);
    node->borrow_values(second.node());
    return detail::as_cancellable(node);
}

// The function is kept as a prepared task, so that nothing is allocated when the context ends. The context
// holds the state until it runs or drops it; the handle holds it too, and the context. The state holds
// neither: a context that nobody can end any more may go.
class after_func_handle::state final : public detail::context_callback {
public:
    state(detail::cancel_node* of, detail::shielded_node& under, detail::joinable_root& body,
          detail::timer_shard& home) noexcept
        : of_{of}, under_{under}, body_{&body}, home_{home}
    {
        home_.hold();
    }
    ~state()
    {
        home_.leave();
    }

    void release() noexcept
    {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }
    void run(detail::turn* by) noexcept override
    {
        detail::joinable_root& body = *std::exchange(body_, nullptr);
        if (of_ != nullptr)
            under_.adopt_parent(*of_);
        // A task that has been announced keeps its scheduler until it has been queued.
        if (home_.while_open([&] { body.announce(by); }))
            body.queue(by);
        else
            detail::destroy_unlaunched(body);
        release();
    }
    void drop() noexcept override
    {
        detail::destroy_unlaunched(*std::exchange(body_, nullptr));
        release();
    }
    detail::timer_shard& home() noexcept override
    {
        return home_;
    }
    bool stop() noexcept
    {
        // Of a context that can not end nothing is left to be stopped, but it has to be said.
        if (of_ == nullptr)
            return !stopped_.exchange(true, std::memory_order_relaxed);
        if (!of_->remove(*this))
            return false;
        drop();
        return true;
    }

private:
    detail::cancel_node* of_;
    detail::shielded_node& under_;
    detail::joinable_root* body_;
    detail::timer_shard& home_;  ///< knows whether the scheduler still takes tasks
    detail::atomic<int> holders_{2};
    detail::atomic<bool> stopped_{false};
};

after_func_handle::~after_func_handle()
{
    if (state_ != nullptr)
        state_->release();
}

bool after_func_handle::stop() noexcept
{
    return state_ != nullptr && state_->stop();
}

namespace detail {
namespace {

cancellable_context limit_under(task_root& root, clock::duration span, limit_scope::kind how)
{
    root.context().ref();
    const leat::context above = make_context(&root.context());
    return with_timeout(how == limit_scope::kind::shielding ? without_cancel(above) : above, span);
}

}  // namespace

limit_scope::limit_scope(task_root& root, clock::duration span, kind how)
    : limit_scope{root, limit_under(root, span, how)}
{
}

limit_scope::limit_scope(task_root& root, cancellable_context limit)
    : cancel_{std::move(limit.second)}, scope_{root, limit.first}
{
}

}  // namespace detail

after_func_handle detail::start_after_func(const leat::context& of, task<> body, location place)
{
    spawn_site site = spawn_site::here({}, place);
    auto* const under = new shielded_node{nullptr};
    const leat::context keep = make_context(under);
    site.context = under;
    joinable_root* const root = prepare_spawn(site, std::move(body));
    cancel_node* const node = of.node().canceller();
    std::unique_ptr<after_func_handle::state> made;
    try {
        made = std::make_unique<after_func_handle::state>(node, *under, *root, site.sched->timers(site.by));
    } catch (...) {
        destroy_unlaunched(*root);
        throw;
    }
    after_func_handle::state* const shared = made.release();
    after_func_handle handle{shared, of};
    if (node == nullptr)
        shared->drop();
    else if (!node->add(*shared))
        shared->run(site.by);
    else
        node->watch(*site.sched, site.by);
    return handle;
}

}  // namespace leat
