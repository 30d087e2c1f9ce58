#pragma once

#include <leat/detail/pointer.hpp>
#include <leat/result.hpp>

#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// How a value of T is kept: T itself; a pointer for a reference; nothing for void. Over-aligned values are
/// boxed, so that every promise has the same alignment and a frame's promise is found from its address.
template <class T>
struct keep {
    static constexpr bool boxed = alignof(T) > 16;
    using type = std::conditional_t<boxed, owned<T>, T>;
};
template <class T>
struct keep<T&> {
    static constexpr bool boxed = false;
    using type = T*;
};
template <class T>
struct keep<T&&> {
    static constexpr bool boxed = false;
    using type = T*;
};
template <>
struct keep<void> {
    static constexpr bool boxed = false;
    struct type {
        type() noexcept
        {
        }
    };
};

/// Where a task leaves what became of it: nothing yet, a value, or an exception.
template <class T>
class outcome {
    using stored = typename keep<T>::type;
    enum class state : unsigned char { empty, value, thrown };

public:
    outcome() noexcept
    {
    }
    outcome(const outcome&) = delete;
    outcome& operator=(const outcome&) = delete;
    ~outcome()
    {
        reset();
    }

    template <class... Args>
    void emplace(Args&&... args)
    {
        reset();
        if constexpr (keep<T>::boxed)
            new (&space_.value) stored(make_owned<T>(std::forward<Args>(args)...));
        else
            new (&space_.value) stored(std::forward<Args>(args)...);
        state_ = state::value;
    }
    void fail(std::exception_ptr thrown) noexcept
    {
        reset();
        new (&space_.thrown) std::exception_ptr(std::move(thrown));
        state_ = state::thrown;
    }
    void reset() noexcept
    {
        const state was = std::exchange(state_, state::empty);
        if (was == state::value)
            space_.value.~stored();
        else if (was == state::thrown)
            space_.thrown.~exception_ptr();
    }

    bool empty() const noexcept
    {
        return state_ == state::empty;
    }
    bool has_value() const noexcept
    {
        return state_ == state::value;
    }
    /// Null if there is a value; the error of a destroyed task if there is nothing.
    std::exception_ptr thrown() const noexcept
    {
        switch (state_) {
        case state::value: return nullptr;
        case state::thrown: return space_.thrown;
        case state::empty: break;
        }
        return std::make_exception_ptr(std::system_error{make_error_code(errc::abandoned)});
    }

    /// Moves what there is into another outcome; a throwing move becomes that outcome's exception.
    void move_to(outcome& to) noexcept
    {
        try {
            if (state_ == state::value)
                to.adopt(std::move(space_.value));
            else if (state_ == state::thrown)
                to.fail(std::move(space_.thrown));
        } catch (...) {
            to.fail(std::current_exception());
        }
        reset();
    }

    /// Takes the value out, or throws what was thrown, of which no copy stays behind. Once: it is gone afterwards.
    T take()
    {
        if (state_ != state::value) [[unlikely]]
            std::rethrow_exception(take_thrown());
        if constexpr (std::is_void_v<T>)
            return;
        else if constexpr (std::is_reference_v<T>)
            return static_cast<T>(*space_.value);
        else if constexpr (keep<T>::boxed)
            return std::move(*space_.value);
        else
            return std::move(space_.value);
    }

    /// The value where it is, to be looked at by several. Precondition: has_value().
    std::add_lvalue_reference_t<T> peek() noexcept
    {
        if constexpr (std::is_void_v<T>)
            return;
        else if constexpr (std::is_reference_v<T> || keep<T>::boxed)
            return *space_.value;
        else
            return space_.value;
    }

    /// The same as a result. Does not throw but for the move of T.
    result<T> take_result()
    {
        if (state_ != state::value)
            return result<T>{take_thrown()};
        if constexpr (std::is_void_v<T>)
            return result<T>{};
        else if constexpr (std::is_reference_v<T>)
            return result<T>{take()};
        else
            return result<T>{std::in_place, take()};
    }

private:
    // Whoever is given a failure may be the last to let go of it at any moment. A copy here would have its end on
    // another thread; only the count of the copies, which libstdc++ keeps where ThreadSanitizer does not see it, would
    // tell which was first.
    std::exception_ptr take_thrown() noexcept
    {
        if (state_ != state::thrown)
            return thrown();
        std::exception_ptr taken = std::move(space_.thrown);
        reset();
        return taken;
    }
    void adopt(stored&& value)
    {
        reset();
        new (&space_.value) stored(std::move(value));
        state_ = state::value;
    }

    union space {
        space() noexcept
        {
        }
        ~space()
        {
        }
        stored value;
        std::exception_ptr thrown;
    } space_;
    state state_ = state::empty;
};

}  // namespace leat::detail
