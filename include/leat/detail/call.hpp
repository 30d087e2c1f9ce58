#pragma once

#include <leat/result.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>

#include <type_traits>
#include <utility>

namespace leat::detail {

/// What a function gives, plain or a coroutine.
template <class F, class... Args>
using result_of = typename task_of<std::invoke_result_t<F&, Args...>>::type;
template <class F, class... Args>
constexpr bool is_coroutine = is_task<std::remove_cvref_t<std::invoke_result_t<F&, Args...>>>;

/// A member, for g++ warns of a frame that refers to a local type, unless its function belongs to a class.
template <class F>
class plain_call {
public:
    static task<result_of<F>> begin(F& f)
    {
        co_return f();
    }
};
/// Calls it, as a task. The function has to stay where it is until that has ended.
template <class F>
LEAT_MAKES_TASK task<result_of<F>> call_as_task(F& f)
{
    if constexpr (is_coroutine<F>)
        return f();
    else
        return plain_call<F>::begin(f);
}

template <class T>
constexpr bool is_result_value = false;
template <class T>
constexpr bool is_result_value<result<T>> = true;

}  // namespace leat::detail
