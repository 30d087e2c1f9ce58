// Function objects that are kept. Two kinds, as what is kept in the options of a call that is awaited has to be trivial to
// destroy: g++ 12 destroys some temporaries of a co_await expression twice.
#pragma once

#include <leat/detail/pointer.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// Calls what is at an address.
template <class R, class F, class... Args>
R call_at(void* object, Args... args)
{
    return static_cast<R>((*std::launder(static_cast<F*>(object)))(std::forward<Args>(args)...));
}

template <class Signature>
class callback;
template <class Signature>
class trivial_callback;

/// A function object of any type, or none; copies share it. What std::function is for, without its header,
/// which would be a good part of what it costs to include leat.
template <class... Args>
class callback<void(Args...)> {
public:
    callback() noexcept = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, callback> &&
                 std::is_invocable_v<std::decay_t<F>&, Args...>)
    callback(F&& f)
        : object_{make_shared_object<std::decay_t<F>>(std::forward<F>(f))},
          call_{&call_at<void, std::decay_t<F>, Args...>}
    {
    }

    explicit operator bool() const noexcept
    {
        return call_ != nullptr;
    }
    void operator()(Args... args) const
    {
        call_(object_.get(), std::forward<Args>(args)...);
    }

private:
    shared<void> object_;
    void (*call_)(void*, Args...) = nullptr;
};

/// The same for what is small and trivial: a function, or a lambda that captures references, pointers and numbers. Copies
/// are apart.
template <class R, class... Args>
class trivial_callback<R(Args...)> {
public:
    trivial_callback() noexcept = default;
    trivial_callback(std::nullptr_t) noexcept
    {
    }
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, trivial_callback> &&
                 std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
    trivial_callback(F&& f) noexcept : call_{&call_at<R, std::decay_t<F>, Args...>}
    {
        using kept = std::decay_t<F>;
        static_assert(
            std::is_trivially_copyable_v<kept> && std::is_trivially_destructible_v<kept> &&
                sizeof(kept) <= sizeof(object_) && alignof(kept) <= alignof(std::max_align_t),
            "leat: a callback in these options may capture references, pointers and numbers, up to 32 bytes");
        // A function itself, not a pointer to one, is there.
        if constexpr (std::is_pointer_v<std::remove_reference_t<F>>)
            if (f == nullptr)
                call_ = nullptr;
        ::new (static_cast<void*>(object_)) kept(std::forward<F>(f));
    }

    explicit operator bool() const noexcept
    {
        return call_ != nullptr;
    }
    R operator()(Args... args) const
    {
        return call_(object_, std::forward<Args>(args)...);
    }

private:
    alignas(std::max_align_t) mutable std::byte object_[32]{};
    R (*call_)(void*, Args...) = nullptr;
};

}  // namespace leat::detail
