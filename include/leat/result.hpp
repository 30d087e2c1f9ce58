#pragma once

#include <leat/detail/memory.hpp>
#include <leat/error.hpp>

#include <new>
#include <type_traits>
#include <utility>
#include <variant>

namespace leat {

namespace detail {

/// Why there is no value.
class failure {
public:
    failure(std::error_code why, std::exception_ptr what) noexcept : code{why}, thrown{std::move(what)}
    {
    }
    [[noreturn]] void rethrow() const;

    std::error_code code;
    std::exception_ptr thrown;
};

/// That of a result whose assignment has thrown when neither what it had nor what it was to have was there:
/// errc::abandoned.
const failure& lost_in_assignment() noexcept;

/// What std::variant<std::monostate, failure> would be, which every program would have to compile.
class nothing_or_failure {
public:
    explicit nothing_or_failure(std::in_place_index_t<0>) noexcept
    {
    }
    nothing_or_failure(std::in_place_index_t<1>, std::error_code why, std::exception_ptr what) noexcept
        : failed_{true}
    {
        new (&failure_) failure(why, std::move(what));
    }
    nothing_or_failure(const nothing_or_failure& other) noexcept : failed_{other.failed_}
    {
        if (failed_) [[unlikely]]
            new (&failure_) failure(other.failure_);
    }
    nothing_or_failure(nothing_or_failure&& other) noexcept : failed_{other.failed_}
    {
        if (failed_) [[unlikely]]
            new (&failure_) failure(std::move(other.failure_));
    }
    nothing_or_failure& operator=(nothing_or_failure other) noexcept
    {
        clear();
        failed_ = other.failed_;
        if (failed_) [[unlikely]]
            new (&failure_) failure(std::move(other.failure_));
        return *this;
    }
    ~nothing_or_failure()
    {
        clear();
    }

    const failure* why() const noexcept
    {
        return failed_ ? &failure_ : nullptr;
    }

private:
    void clear() noexcept
    {
        if (failed_) [[unlikely]]
            failure_.~failure();
    }

    union {
        failure failure_;
    };
    bool failed_ = false;
};

}  // namespace detail

/// A value, or why there is none: a code, with the exception if one was thrown.
///
/// T may be void or a reference. Reading the value of a failed result throws what the operation would
/// have thrown. A T that is itself a code or an exception_ptr is made with std::in_place; without it, that is
/// why there is no value.
template <class T = void>
class [[nodiscard]] result {
    using stored = std::conditional_t<
        std::is_void_v<T>, std::monostate,
        std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<std::remove_reference_t<T>>, T>>;
    struct no_reference {};

public:
    using value_type = T;

    result() noexcept
        requires std::is_void_v<T>
        : state_{std::in_place_index<0>}
    {
    }

    template <class U = T>
        requires(!std::is_void_v<T> && !std::is_reference_v<T> && std::is_constructible_v<T, U> &&
                 !std::is_same_v<std::remove_cvref_t<U>, result> &&
                 !std::is_same_v<std::remove_cvref_t<U>, std::error_code> &&
                 !std::is_same_v<std::remove_cvref_t<U>, errc> &&
                 !std::is_same_v<std::remove_cvref_t<U>, std::exception_ptr>)
    result(U&& value) : state_{std::in_place_index<0>, std::forward<U>(value)}
    {
    }

    result(std::conditional_t<std::is_reference_v<T>, T, no_reference> value) noexcept
        requires std::is_reference_v<T>
        : state_{std::in_place_index<0>, std::addressof(value)}
    {
    }

    template <class... Args>
        requires(!std::is_void_v<T> && !std::is_reference_v<T> && std::is_constructible_v<T, Args...>)
    explicit result(std::in_place_t, Args&&... args)
        : state_{std::in_place_index<0>, std::forward<Args>(args)...}
    {
    }

    result(std::error_code code) noexcept : state_{std::in_place_index<1>, code, nullptr}
    {
    }

    result(errc code) noexcept : result{make_error_code(code)}
    {
    }

    result(std::exception_ptr thrown) noexcept
        : state_{std::in_place_index<1>, detail::code_of(thrown), std::move(thrown)}
    {
    }

    bool has_value() const noexcept
    {
        if constexpr (std::is_void_v<T>)
            return why() == nullptr;
        else
            return state_.index() == 0;
    }

    explicit operator bool() const noexcept
    {
        return has_value();
    }

    /// Throws if there is no value: the exception itself, or the one that belongs to the code.
    decltype(auto) value() &
    {
        require();
        return get(*this);
    }
    decltype(auto) value() const&
    {
        require();
        return get(*this);
    }
    decltype(auto) value() &&
    {
        require();
        return get(std::move(*this));
    }

    /// Precondition: has_value().
    decltype(auto) operator*() & noexcept
    {
        return get(*this);
    }
    decltype(auto) operator*() const& noexcept
    {
        return get(*this);
    }
    decltype(auto) operator*() && noexcept
    {
        return get(std::move(*this));
    }

    auto operator->() noexcept
        requires(!std::is_void_v<T>)
    {
        return std::addressof(get(*this));
    }
    auto operator->() const noexcept
        requires(!std::is_void_v<T>)
    {
        return std::addressof(get(*this));
    }

    /// Why there is no value; zero if there is one.
    std::error_code error() const noexcept
    {
        const detail::failure* const failed = why();
        return failed == nullptr ? std::error_code{} : failed->code;
    }

    /// What was thrown; null if there is a value, or if the failure is only a code.
    std::exception_ptr exception() const noexcept
    {
        const detail::failure* const failed = why();
        return failed == nullptr ? nullptr : failed->thrown;
    }

private:
    template <class Self>
    static decltype(auto) get(Self&& self) noexcept
    {
        if constexpr (std::is_void_v<T>)
            return;
        else if constexpr (std::is_reference_v<T>)
            return static_cast<T>(**std::get_if<0>(&self.state_));
        else if constexpr (std::is_lvalue_reference_v<Self>)
            return (*std::get_if<0>(&self.state_));
        else
            return static_cast<T&&>(*std::get_if<0>(&self.state_));
    }

    void require() const
    {
        if (const detail::failure* const failed = why()) [[unlikely]]
            failed->rethrow();
    }
    /// Null if there is a value.
    const detail::failure* why() const noexcept
    {
        if constexpr (std::is_void_v<T>) {
            return state_.why();
        } else {
            if (has_value()) [[likely]]
                return nullptr;
            const detail::failure* const failed = std::get_if<1>(&state_);
            return failed != nullptr ? failed : &detail::lost_in_assignment();
        }
    }

    std::conditional_t<std::is_void_v<T>, detail::nothing_or_failure, std::variant<stored, detail::failure>>
        state_;
};

}  // namespace leat
