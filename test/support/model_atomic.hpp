// What leat/detail/atomic.hpp gives in a model build.
#pragma once

#include "model.hpp"

#include <atomic>
#include <utility>

namespace leat::detail {

inline constexpr bool is_model = true;

template <class T>
class atomic {
public:
    constexpr atomic() noexcept = default;
    constexpr atomic(T value) noexcept : value_{value}
    {
    }
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order = std::memory_order_seq_cst) const noexcept
    {
        model::explorer::point();
        const T value = value_;
        model::explorer::seen(watched_, false);
        return value;
    }
    void store(T value, std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        change(value);
    }
    T exchange(T value, std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        const T before = value_;
        change(value);
        return before;
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order = std::memory_order_seq_cst,
                                 std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        if (value_ != expected) {
            expected = value_;
            model::explorer::seen(watched_, false);
            return false;
        }
        change(value);
        return true;
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) noexcept
    {
        return compare_exchange_strong(expected, value);
    }
    T fetch_add(T by, std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        const T before = value_;
        change(static_cast<T>(before + by));
        return before;
    }
    T fetch_sub(T by, std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        const T before = value_;
        change(static_cast<T>(before - by));
        return before;
    }
    T fetch_and(T mask, std::memory_order = std::memory_order_seq_cst) noexcept
    {
        model::explorer::point();
        const T before = value_;
        change(static_cast<T>(before & mask));
        return before;
    }

private:
    // A change to the same value is none: who spins with exchange(true) on a lock that is taken spins.
    void change(T value) noexcept
    {
        const bool changed = value_ != value;
        value_ = value;
        model::explorer::seen(watched_, changed);
    }

    T value_{};
    mutable model::watched watched_;
};

/// Others come in between where they look; who has the lock does not stop for its own reads and writes, or there would
/// be too many schedules.
template <class T>
class published {
public:
    constexpr published() noexcept = default;
    constexpr published(T value) noexcept : value_{value}
    {
    }

    T get() const noexcept
    {
        return value_;
    }
    void set(T value) noexcept
    {
        value_ = value;
    }
    void show(T value) noexcept
    {
        model::explorer::point();
        value_ = value;
    }
    T look() const noexcept
    {
        model::explorer::point();
        return value_;
    }

private:
    T value_{};
};

}  // namespace leat::detail
