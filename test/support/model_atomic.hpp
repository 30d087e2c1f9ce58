// What leat/detail/atomic.hpp gives in a model build.
#pragma once

#include "model.hpp"

#include <atomic>
#include <utility>

namespace leat::detail {

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

}  // namespace leat::detail
