// How a message travels to many.
//
// What is small and trivial is copied into each queue. Of everything else there is one object, immutable and counted,
// to which each queue refers: so queues copy nothing that could throw or take long, under their locks, and a message for
// a hundred readers is stored once. Each reader gets a copy of it when it takes it, the last one the object itself.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/pooled.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace leat::detail {

template <class T>
class counted_value : public pooled<(alignof(T) > alignof(std::max_align_t) ? alignof(T) : 16)> {
public:
    template <class... Args>
    explicit counted_value(Args&&... args) : value(std::forward<Args>(args)...)
    {
    }
    atomic<std::uint32_t> refs{1};
    T value;
};

/// A share in an immutable T, or null.
template <class T>
class counted_ref {
public:
    counted_ref() noexcept = default;
    template <class... Args>
    static counted_ref make(Args&&... args)
    {
        return counted_ref{new counted_value<T>{std::forward<Args>(args)...}};
    }
    counted_ref(const counted_ref& other) noexcept : to_{other.to_}
    {
        if (to_ != nullptr)
            to_->refs.fetch_add(1, std::memory_order_relaxed);
    }
    counted_ref(counted_ref&& other) noexcept : to_{std::exchange(other.to_, nullptr)}
    {
    }
    counted_ref& operator=(counted_ref other) noexcept
    {
        std::swap(to_, other.to_);
        return *this;
    }
    ~counted_ref()
    {
        // Acquire: whoever destroys it sees what the others did before they let go.
        if (to_ != nullptr && to_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete to_;
    }

    explicit operator bool() const noexcept
    {
        return to_ != nullptr;
    }
    const T& operator*() const noexcept
    {
        return to_->value;
    }
    const T* operator->() const noexcept
    {
        return &to_->value;
    }
    /// The value; moved out if nobody else has a share. Once. Throws what that copy or move throws.
    T take()
    {
        if (to_->refs.load(std::memory_order_acquire) == 1)
            return std::move(to_->value);
        return std::as_const(to_->value);
    }

private:
    explicit counted_ref(counted_value<T>* adopted) noexcept : to_{adopted}
    {
    }

    counted_value<T>* to_ = nullptr;
};

template <class T>
inline constexpr bool carried_in_place =
    std::is_trivially_copyable_v<T> && sizeof(T) <= 32 && alignof(T) <= 16;

template <class T>
using carried = std::conditional_t<carried_in_place<T>, T, counted_ref<T>>;

template <class T, class U>
carried<T> carry(U&& value)
{
    if constexpr (carried_in_place<T>)
        return T(std::forward<U>(value));
    else
        return counted_ref<T>::make(std::forward<U>(value));
}
template <class T>
T unpack(carried<T>& from)
{
    if constexpr (carried_in_place<T>)
        return from;
    else
        return from.take();
}
template <class T>
const T& peek(const carried<T>& at) noexcept
{
    if constexpr (carried_in_place<T>)
        return at;
    else
        return *at;
}

}  // namespace leat::detail
