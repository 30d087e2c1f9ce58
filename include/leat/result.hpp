#pragma once

#include <leat/error.hpp>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace leat {

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
    struct failure {
        failure(std::error_code why, std::exception_ptr what) noexcept : code{why}, thrown{std::move(what)}
        {
        }
        std::error_code code;
        std::exception_ptr thrown;
    };

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
        return has_value() ? std::error_code{} : std::get<1>(state_).code;
    }

    /// What was thrown; null if there is a value, or if the failure is only a code.
    std::exception_ptr exception() const noexcept
    {
        return has_value() ? nullptr : std::get<1>(state_).thrown;
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
        if (has_value())
            return;
        const failure& why = std::get<1>(state_);
        if (why.thrown)
            std::rethrow_exception(why.thrown);
        detail::throw_error(why.code);
    }

    std::variant<stored, failure> state_;
};

}  // namespace leat
