#pragma once

#include <leat/detail/memory.hpp>

#include <new>
#include <utility>

namespace leat::detail {

/// Room for a T that is made later, once. As a std::optional that stays where it is, but an instance of that costs every
/// program more to compile than most of leat's headers do.
template <class T>
class delayed {
public:
    delayed() noexcept
    {
    }
    delayed(const delayed&) = delete;
    delayed& operator=(const delayed&) = delete;
    ~delayed()
    {
        if (made_)
            value_.~T();
    }

    /// Precondition: there is none.
    template <class... Args>
    T& emplace(Args&&... args)
    {
        T* const made = ::new (static_cast<void*>(std::addressof(value_))) T(std::forward<Args>(args)...);
        made_ = true;
        return *made;
    }
    explicit operator bool() const noexcept
    {
        return made_;
    }
    T& operator*() noexcept
    {
        return value_;
    }
    T* operator->() noexcept
    {
        return std::addressof(value_);
    }

private:
    union {
        T value_;
    };
    bool made_ = false;
};

}  // namespace leat::detail
