#pragma once

#include <leat/detail/pointer.hpp>

#include <type_traits>
#include <utility>

namespace leat::detail {

template <class Signature>
class callback;

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
          call_{[](void* object, Args... args) {
              (*static_cast<std::decay_t<F>*>(object))(std::forward<Args>(args)...);
          }}
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

}  // namespace leat::detail
