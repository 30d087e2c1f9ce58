#pragma once

#include <leat/detail/hash.hpp>
#include <leat/detail/keyed_attempts.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/shared_attempt.hpp>
#include <leat/result.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace leat {

/// What single_flight::run() gives: the value, and whether others were given it too.
template <class V>
class flight_result {
public:
    flight_result(V v, bool others) : value(std::move(v)), shared{others}
    {
    }

    V value;
    bool shared;
};
template <>
class flight_result<void> {
public:
    explicit flight_result(bool others) noexcept : shared{others}
    {
    }

    bool shared;
};

namespace detail {

/// Waits for the flight of a key; begins it if there is none.
template <class Board, class K, class V, class F>
class flight_operation final : public attempt_waiter<V> {
public:
    using value_type = flight_result<V>;

    template <class G>
    flight_operation(Board& of, K&& key, G&& f) : of_{of}, key_(std::move(key)), f_(std::forward<G>(f))
    {
    }
    flight_operation(flight_operation&& other) noexcept(std::is_nothrow_move_constructible_v<K> &&
                                                        std::is_nothrow_move_constructible_v<F>)
        : of_{other.of_}, key_(std::move(other.key_)), f_(std::move(other.f_))
    {
    }

    bool is_there() noexcept
    {
        this->let_go();
        return false;
    }
    void prepare(turn& here)
    {
        this->let_go();
        bool begins = false;
        auto* const found = join_or_begin(of_, begins, key_, of_.hash_of(key_));
        this->wait_for(found);
        if (begins)
            begin_work(static_cast<attempt<V>&>(*found), std::move(f_), here, "single flight");
    }
    const char* kind() const noexcept override
    {
        return "single flight";
    }
    value_type value()
    {
        attempt<V>& flight = this->landed();
        if constexpr (std::is_void_v<V>)
            return value_type{flight.shared()};
        else if (flight.shared())
            return value_type{flight.result.peek(), true};
        else
            return value_type{flight.result.take(), false};
    }
    result<value_type> take_result()
    {
        return result_of_attempt(*this);
    }
    std::exception_ptr failure() noexcept
    {
        return this->failure_of_landed();
    }

private:
    Board& of_;
    K key_;
    F f_;
};

}  // namespace detail

/// Lets concurrent callers who want the same share one run of the work.
///
/// V is copied to each of them; share what is large by a std::shared_ptr.
///
/// Threads  any tasks, concurrently. Keys are compared under a short lock, so comparing them must not wait.
/// Life     may be destroyed as soon as every run() has returned. Work that nobody waits for any more does not touch it.
template <class K, class V, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class single_flight {
    using board = detail::keyed_attempts<K, V, Hash, Equal>;

public:
    using key_type = K;
    using value_type = V;

    explicit single_flight(const Hash& hash = Hash{}, const Equal& equal = Equal{}) : board_{hash, equal}
    {
    }
    single_flight(const single_flight&) = delete;
    single_flight& operator=(const single_flight&) = delete;

    /// Runs `f`, plain or a coroutine, for a key; or, if it is being run for that key, waits for what that gives.
    ///
    /// A coroutine runs in a task of its own, under a context of its own with the values of the caller that began it; a
    /// plain function within its caller.
    ///
    /// Result   the value, and whether several callers were given it.
    /// Throws   what `f` throws, which is given to all who share it; cancelled_error, timed_out_error: the task's context
    ///          ended first; std::bad_alloc.
    /// Cancel   safe: the caller leaves, and the work goes on for the others. When nobody waits for it any more it is
    ///          cancelled, and the next call begins anew. As a case of a select it begins if no other case is
    ///          ready; with otherwise() it does not.
    /// Life     the work may go on after the caller has been cancelled, so `f` must refer to nothing that goes with the
    ///          caller.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto run(K key, F&& f)
    {
        static_assert(
            std::is_void_v<V> || std::copy_constructible<V>,
            "leat: the value of a single_flight is given to many: for what can not be copied, take a "
            "std::shared_ptr to it");
        return detail::flight_operation<board, K, V, std::decay_t<F>>{board_, std::move(key),
                                                                      std::forward<F>(f)};
    }

    /// Has the next run() of a key begin anew, even while the work is under way: those who wait for that still get it.
    ///
    /// Result  whether there was any.
    bool forget(const K& key)
    {
        return board_.remove(key);
    }

    /// How many keys are being worked on.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return board_.size();
    }

private:
    board board_;
};

}  // namespace leat
