#pragma once

#include <leat/detail/flat_table.hpp>
#include <leat/detail/hash.hpp>
#include <leat/detail/keyed_attempts.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/shared_attempt.hpp>
#include <leat/detail/thread_slots.hpp>
#include <leat/result.hpp>
#include <leat/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

/// What concurrent_map::load_or_store() gives: the value that is in the map now, and whether it was there before.
template <class V>
class loaded_value {
public:
    loaded_value(V v, bool before) : value(std::move(v)), loaded{before}
    {
    }

    V value;
    bool loaded;
};

namespace detail {

/// The map itself. Held by its handle, and by work that is under way for it.
template <class K, class V, class Hash, class Equal>
class map_core {
    using table = flat_table<K, V, Equal>;
    using node = typename table::node;
    using place = typename table::place;

public:
    map_core(const Hash& hash, const Equal& equal) : attempts{hash, equal}, hash_{hash}, equal_{equal}
    {
    }

    std::optional<V> load(const K& key) const
    {
        const std::uint64_t hash = spread(key);
        const read_pin pin;
        const node* const found = shard(hash).find(key, hash, equal_);
        return found != nullptr ? std::optional<V>{found->value} : std::nullopt;
    }
    bool contains(const K& key) const
    {
        const std::uint64_t hash = spread(key);
        const read_pin pin;
        return shard(hash).find(key, hash, equal_) != nullptr;
    }
    void store(K&& key, V&& value)
    {
        const std::uint64_t hash = spread(key);
        auto fresh = make_owned<node>(std::move(key), std::move(value));
        change(hash, [&](table& in) {
            if (place* const at = in.find_place(fresh->key, hash, equal_))
                in.replace(*at, *fresh);
            else
                in.insert(*fresh, hash);
            static_cast<void>(fresh.release());
        });
    }
    std::optional<V> swap(K&& key, V&& value)
    {
        const std::uint64_t hash = spread(key);
        auto fresh = make_owned<node>(std::move(key), std::move(value));
        return take_out(hash, [&](table& in) {
            place* const at = in.find_place(fresh->key, hash, equal_);
            node* old = nullptr;
            if (at != nullptr)
                old = &in.replace(*at, *fresh);
            else
                in.insert(*fresh, hash);
            static_cast<void>(fresh.release());
            return old;
        });
    }
    loaded_value<V> load_or_store(K&& key, V&& value)
    {
        const std::uint64_t hash = spread(key);
        const read_pin pin;
        if (const node* const found = shard(hash).find(key, hash, equal_))
            return {found->value, true};
        auto fresh = make_owned<node>(std::move(key), std::move(value));
        const node* mine = fresh.get();
        bool loaded = false;
        change(hash, [&](table& in) {
            if (place* const at = in.find_place(fresh->key, hash, equal_)) {
                mine = at->entry.load(std::memory_order_relaxed);
                loaded = true;
            } else {
                in.insert(*fresh, hash);
                static_cast<void>(fresh.release());
            }
        });
        return {mine->value, loaded};
    }
    bool erase(const K& key)
    {
        if (!contains(key))
            return false;
        const std::uint64_t hash = spread(key);
        bool found = false;
        change(hash, [&](table& in) {
            if (place* const at = in.find_place(key, hash, equal_)) {
                in.erase(*at);
                found = true;
            }
        });
        return found;
    }
    std::optional<V> load_and_delete(const K& key)
    {
        const std::uint64_t hash = spread(key);
        return take_out(hash, [&](table& in) {
            place* const at = in.find_place(key, hash, equal_);
            return at != nullptr ? &in.erase(*at) : nullptr;
        });
    }
    template <class U>
    bool compare_and_swap(K&& key, const U& old, V&& value)
    {
        const std::uint64_t hash = spread(key);
        auto fresh = make_owned<node>(std::move(key), std::move(value));
        bool swapped = false;
        change(hash, [&](table& in) {
            place* const at = in.find_place(fresh->key, hash, equal_);
            if (at == nullptr || !(at->entry.load(std::memory_order_relaxed)->value == old))
                return;
            in.replace(*at, *fresh);
            static_cast<void>(fresh.release());
            swapped = true;
        });
        return swapped;
    }
    template <class U>
    bool compare_and_delete(const K& key, const U& old)
    {
        const std::uint64_t hash = spread(key);
        bool erased = false;
        change(hash, [&](table& in) {
            place* const at = in.find_place(key, hash, equal_);
            if (at == nullptr || !(at->entry.load(std::memory_order_relaxed)->value == old))
                return;
            in.erase(*at);
            erased = true;
        });
        return erased;
    }
    template <class See>
    void range(See& see) const
    {
        const read_pin pin;
        auto each = [&see](const node& entry) { return see(entry.key, entry.value); };
        for (const table& in : shards_)
            if (!in.for_each(each, equal_))
                return;
    }
    template <class See>
    bool visit(const K& key, See& see) const
    {
        const std::uint64_t hash = spread(key);
        const read_pin pin;
        const node* const found = shard(hash).find(key, hash, equal_);
        if (found != nullptr)
            see(found->value);
        return found != nullptr;
    }
    void clear() noexcept
    {
        for (table& in : shards_)
            change(in, [](table& all) { all.clear(); });
    }
    std::size_t size() const noexcept
    {
        std::size_t sum = 0;
        for (const table& in : shards_)
            sum += in.count();
        return sum;
    }

    keyed_attempts<K, V, Hash, Equal> attempts;  ///< of load_or_compute()

private:
    /// Enough that writers seldom meet; a power of two.
    static constexpr unsigned shard_bits = 6;

    // std::hash of a number is the number: its bits are spread over all, for shards the high ones are taken, for places the
    // low ones. Never zero.
    std::uint64_t spread(const K& key) const
    {
        std::uint64_t x = static_cast<std::uint64_t>(hash_(key)) * 0x9e3779b97f4a7c15U;
        x ^= x >> 32;
        return x != 0 ? x : 1;
    }
    table& shard(std::uint64_t hash) noexcept
    {
        return shards_[hash >> (64 - shard_bits)];
    }
    const table& shard(std::uint64_t hash) const noexcept
    {
        return shards_[hash >> (64 - shard_bits)];
    }
    /// Changes a shard under its lock; destroys after it what can be destroyed.
    template <class Change>
    static void change(table& in, Change what)
    {
        typename table::garbage freed;
        const spin_guard hold{in.lock};
        // Declared before the guard, so destroyed after it.
        what(in);
        freed = in.reclaim();
    }
    template <class Change>
    void change(std::uint64_t hash, Change what)
    {
        change(shard(hash), what);
    }
    /// The same for what gives back the node that was taken out, or null: its value. It is kept by a pin, for it can not be
    /// moved from, as others may be reading it; so it is destroyed, if it can be, after a second look.
    template <class Change>
    std::optional<V> take_out(std::uint64_t hash, Change what)
    {
        table& in = shard(hash);
        std::optional<V> before;
        {
            const read_pin pin;
            const node* old = nullptr;
            {
                const spin_guard hold{in.lock};
                old = what(in);
            }
            if (old != nullptr)
                before.emplace(old->value);
        }
        change(in, [](table&) {});
        return before;
    }

    [[no_unique_address]] Hash hash_;
    [[no_unique_address]] Equal equal_;
    std::array<table, std::size_t{1} << shard_bits> shards_;
};

/// The work of load_or_compute(): unless the key has come meanwhile, makes its value and stores that.
template <class Core, class K, class V, class F>
class compute_work {
public:
    compute_work(shared<Core> in, const K& key, F&& f) : in_{std::move(in)}, key_(key), f_(std::move(f))
    {
    }
    compute_work(compute_work&& other) noexcept(std::is_nothrow_move_constructible_v<K> &&
                                                std::is_nothrow_move_constructible_v<F>)
        : in_{std::move(other.in_)}, key_(std::move(other.key_)), f_(std::move(other.f_))
    {
    }

    LEAT_MAKES_TASK auto operator()()
    {
        if constexpr (is_task<std::invoke_result_t<F&>>) {
            return compute();
        } else {
            std::optional<V> there = in_->load(key_);
            return there ? std::move(*there) : keep(f_());
        }
    }

private:
    task<V> compute()
    {
        std::optional<V> there = in_->load(key_);
        if (there)
            co_return std::move(*there);
        V made = co_await f_();
        co_return keep(std::move(made));
    }
    V keep(V made)
    {
        return in_->load_or_store(K(key_), std::move(made)).value;
    }

    shared<Core> in_;
    K key_;
    F f_;
};

/// Waits for the value of a key, which it computes if nobody does.
template <class Core, class K, class V, class F>
class compute_operation final : public attempt_waiter<V> {
public:
    using value_type = V;

    template <class G>
    compute_operation(const shared<Core>& in, K&& key, G&& f)
        : in_{in}, key_(std::move(key)), f_(std::forward<G>(f))
    {
    }
    compute_operation(compute_operation&& other) noexcept(std::is_nothrow_move_constructible_v<K> &&
                                                          std::is_nothrow_move_constructible_v<F>)
        : in_{std::move(other.in_)}, key_(std::move(other.key_)), f_(std::move(other.f_))
    {
    }
    ~compute_operation()
    {
        this->let_go();  // while in_ keeps the owner of the attempt
    }

    bool is_there()
    {
        this->let_go();
        found_ = in_->load(key_);
        return found_.has_value();
    }
    void prepare(turn& here)
    {
        if (is_there())
            return;
        bool begins = false;
        auto* const flight = join_or_begin(in_->attempts, begins, key_, in_->attempts.hash_of(key_));
        this->wait_for(flight);
        if (!begins)
            return;
        attempt<V>& begun = *flight;
        auto make_work = [&] {
            try {
                return compute_work<Core, K, V, F>{in_, key_, std::move(f_)};
            } catch (...) {
                // Those who have joined wait for it to land, and nobody else would have it do so.
                begun.result.fail(std::current_exception());
                begun.land();
                throw;
            }
        };
        begin_work(begun, make_work(), here, "load or compute");
    }
    bool try_quick() noexcept
    {
        return found_.has_value();
    }
    const char* kind() const noexcept override
    {
        return "load or compute";
    }
    V value()
    {
        if (found_)
            return std::move(*found_);
        return this->landed().result.peek();
    }
    result<V> take_result()
    {
        return result_of_attempt(*this);
    }
    std::exception_ptr failure() noexcept
    {
        return found_ ? nullptr : this->failure_of_landed();
    }

private:
    shared<Core> in_;
    K key_;
    F f_;
    std::optional<V> found_;
};

}  // namespace detail

/// A hash map for many tasks at once: what Go's sync.Map does, and values that are computed once.
///
/// K and V are copied out. Reading takes no lock, and never waits for those who write; writers of one shard of the map take
/// turns. Each operation on one key happens at one instant. What is replaced or erased is destroyed once nobody reads it:
/// mostly at once, small and trivial ones many together.
///
/// Threads  any, concurrently, also those of no runtime. Hashing and comparing must not wait, nor use the map; keys, and in
///          compare_and_ values, are compared under a short lock.
/// Life     load_or_compute() may still be computing what nobody waits for when the map is destroyed; that does no harm.
template <class K, class V, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class concurrent_map {
    static_assert(
        std::copy_constructible<K> && std::copy_constructible<V>,
        "leat: keys and values of a concurrent_map are copied out: for what can not be copied, take a "
        "std::shared_ptr to it");
    using core = detail::map_core<K, V, Hash, Equal>;

public:
    using key_type = K;
    using mapped_type = V;

    explicit concurrent_map(const Hash& hash = Hash{}, const Equal& equal = Equal{})
        : core_{detail::make_shared_object<core>(hash, equal)}
    {
    }
    concurrent_map(const concurrent_map&) = delete;
    concurrent_map& operator=(const concurrent_map&) = delete;

    /// The value of a key, if it is there.
    [[nodiscard]] std::optional<V> load(const K& key) const
    {
        return core_->load(key);
    }
    [[nodiscard]] bool contains(const K& key) const
    {
        return core_->contains(key);
    }
    /// Calls `see(const V&)` with the value of a key, without copying it; false if it is not there. `see` may use the map.
    template <std::invocable<const V&> See>
    bool visit(const K& key, See see) const
    {
        return core_->visit(key, see);
    }

    /// Sets the value of a key.
    void store(K key, V value)
    {
        core_->store(std::move(key), std::move(value));
    }
    /// The same; gives the value that it had.
    std::optional<V> swap(K key, V value)
    {
        return core_->swap(std::move(key), std::move(value));
    }
    /// The value of a key; sets it if there is none.
    loaded_value<V> load_or_store(K key, V value)
    {
        return core_->load_or_store(std::move(key), std::move(value));
    }
    /// Takes a key out; false if it was not there.
    bool erase(const K& key)
    {
        return core_->erase(key);
    }
    /// The same; gives the value that it had.
    std::optional<V> load_and_delete(const K& key)
    {
        return core_->load_and_delete(key);
    }
    /// Sets the value of a key that has the value `old`; false if it has another, or none.
    bool compare_and_swap(K key, const V& old, V value)
        requires std::equality_comparable<V>
    {
        return core_->compare_and_swap(std::move(key), old, std::move(value));
    }
    /// Takes out a key that has the value `old`; false if it has another, or none.
    bool compare_and_delete(const K& key, const V& old)
        requires std::equality_comparable<V>
    {
        return core_->compare_and_delete(key, old);
    }

    /// The value of a key; if there is none, computed by `make`, plain or a coroutine, and set.
    ///
    /// All who ask meanwhile share one computation, which is as described for single_flight::run(). If the key is set by
    /// others before it has ended, theirs is the value.
    ///
    /// Throws   what `make` throws, given to all who share it, after which the next call tries again; cancelled_error,
    ///          timed_out_error: the task's context ended first; std::bad_alloc.
    /// Cancel   safe: the caller leaves, and the computation goes on for the others. When nobody waits for it any more it is
    ///          cancelled. As a case of a select it begins if no other case is ready; with otherwise() it does not.
    /// Life     the computation may go on after the caller has been cancelled, so `make` must refer to nothing that goes with
    ///          the caller.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto load_or_compute(K key, F&& make)
    {
        return detail::compute_operation<core, K, V, std::decay_t<F>>{core_, std::move(key),
                                                                      std::forward<F>(make)};
    }

    /// Calls `see(const K&, const V&)` for the entries until it says false.
    ///
    /// Every key that is there throughout is seen, none is seen twice, and each with a value that it has had meanwhile; what
    /// comes or goes meanwhile may be seen or not. `see` may use the map; while it runs, nothing that is taken out of any
    /// map is freed.
    ///
    /// Throws  what `see` throws; std::bad_alloc, if the hashes of different keys are equal.
    template <class See>
        requires std::is_invocable_r_v<bool, See&, const K&, const V&>
    void range(See see) const
    {
        core_->range(see);
    }
    /// The same for all of them.
    template <std::invocable<const K&, const V&> See>
    void for_each(See see) const
    {
        range([&see](const K& key, const V& value) {
            static_cast<void>(see(key, value));
            return true;
        });
    }

    /// Takes everything out that is there; not at one instant, if others write.
    void clear() noexcept
    {
        core_->clear();
    }
    /// How many there are; out of date at once if others write.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return core_->size();
    }
    [[nodiscard]] bool empty() const noexcept
    {
        return size() == 0;
    }

private:
    detail::shared<core> core_;
};

}  // namespace leat
