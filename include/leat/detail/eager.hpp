// Awaiting what is nearly always there at once: a free lock, a permit, what has been done once.
//
// An operation is a waiter: a node with links, a vtable, its task, its state. To make one costs a dozen stores into the
// frame, which is more than taking a free lock does. So these functions give a request instead: a few words that say
// what is wanted. Awaited, it tries to take it; only if it can not, an operation is made of it, and waits.
//
//     class request {
//         using operation_type = ...;               made of a request
//         using value_type = ...;                   that of the operation
//         using kept_type = ...;                    trivial: says what has been taken
//         bool try_now(task_root&, kept_type&) noexcept;    takes it, or says false and has done nothing
//         static value_type take(kept_type) noexcept;       after it was true
//         operation_type make();                            after it was false; may leave the request without its parts
//         static constexpr bool in_any_context = true;      may be there: try_now() does not look at the context
//     };
//
// Between try_now() and take() nothing of the user's runs and nothing suspends, so that what has been taken can not be
// lost there, and nobody has to give it back.
#pragma once

#include <leat/detail/memory.hpp>
#include <leat/detail/operation.hpp>
#include <leat/result.hpp>

#include <type_traits>
#include <utility>

namespace leat::detail {

/// Whether the running task may take what it finds ready: it has not been cancelled, and is not to let others run
/// first.
inline bool may_take(const task_root& root, const turn& here) noexcept
{
    return !root.stop_requested() && here.budget > 1;
}

template <class Request, bool Throwing>
class eager_awaiter {
    using op = typename Request::operation_type;
    using value_type = typename Request::value_type;
    using kept_type = typename Request::kept_type;
    static_assert(std::is_trivial_v<kept_type>);

public:
    // Neither the request nor the root is kept: an operation does that, if there has to be one.
    eager_awaiter(Request& request, task_root& root)
    {
        kept_type taken;
        if (request.try_now(root, taken)) [[likely]] {
            waits_ = false;
            std::construct_at(&kept_, taken);
        } else {
            root.settle();
            std::construct_at(&slow_, root, request.make());
            waits_ = true;
        }
    }
    eager_awaiter(const eager_awaiter&) = delete;
    eager_awaiter& operator=(const eager_awaiter&) = delete;
    ~eager_awaiter()
    {
        if (waits_) [[unlikely]]
            std::destroy_at(&slow_);
    }

    bool await_ready()
    {
        return !waits_ || slow_.await_ready();
    }
    bool await_suspend(std::coroutine_handle<> frame) noexcept
    {
        return slow_.await_suspend(frame);
    }
    decltype(auto) await_resume()
    {
        using type = std::conditional_t<Throwing, value_type, result<value_type>>;
        if (waits_) [[unlikely]]
            return static_cast<type>(slow_.await_resume());
        if constexpr (std::is_void_v<value_type>)
            return type();
        else if constexpr (Throwing || std::is_reference_v<value_type>)
            return type(Request::take(kept_));
        else
            return type{std::in_place, Request::take(kept_)};
    }

private:
    bool waits_;
    union {
        kept_type kept_;
        owning_awaiter<op, Throwing> slow_;  ///< if waits_
    };
};

/// What is awaited. Until then it may be copied; awaited as often as one likes, each time anew, unless make() gives away
/// what the request holds (once_request: the function).
template <class Request>
class [[nodiscard]] eager_call : private Request {
public:
    using value_type = typename Request::value_type;
    static constexpr bool in_any_context = detail::in_any_context<Request>;

    template <class... Args>
    explicit eager_call(std::in_place_t, Args&&... args) : Request{std::forward<Args>(args)...}
    {
    }

    // For the library.
    auto as_operation()
    {
        return Request::make();
    }
    auto await_in(task_root& root)
    {
        return eager_awaiter<Request, true>{*this, root};
    }
    auto await_result_in(task_root& root)
    {
        return eager_awaiter<Request, false>{*this, root};
    }
};

/// Whether it is an operation that has not been made yet.
template <class A>
constexpr bool is_eager = false;
template <class Request>
constexpr bool is_eager<eager_call<Request>> = true;

}  // namespace leat::detail
