#pragma once

#include <leat/context.hpp>
#include <leat/detail/fork_scope.hpp>
#include <leat/detail/join_scope.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/range.hpp>
#include <leat/detail/reference.hpp>
#include <leat/result.hpp>
#include <leat/select.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>

#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

/// What a failing child does to its group.
enum class group_policy : unsigned char {
    fail_fast,    ///< the first failure cancels the rest and is thrown once all have ended
    collect_all,  ///< the others go on; at the end all failures are thrown as one group_error
};

struct group_options {
    std::ptrdiff_t limit = 0;  ///< how many children may run at a time; zero: any number
    group_policy policy = group_policy::fail_fast;
    context_ref context{};  ///< the parent of the group's context, instead of the running task's
};

namespace detail {

/// Waits for a place under the group's limit, then starts the child.
template <class What>
class group_spawn_operation final : public join_scope::place_waiter {
public:
    using root_pointer = decltype(prepare_spawn(std::declval<const spawn_site&>(), std::declval<What&&>()));
    using value_type = join_handle<typename std::remove_pointer_t<root_pointer>::value_type>;

    group_spawn_operation(join_scope& of, What&& what, const spawn_options& options, location place)
        : place_waiter{of}, what_{std::move(what)}, name_{options.name}, instead_{options.context.get()},
          place_{place}
    {
    }
    group_spawn_operation(group_spawn_operation&& other) noexcept(std::is_nothrow_move_constructible_v<What>)
        : place_waiter{other.of_}, what_{std::move(other.what_)}, name_{other.name_},
          instead_{other.instead_}, place_{other.place_}
    {
    }
    ~group_spawn_operation()
    {
        // Never started because the wait for a place was cancelled: no forgotten co_await.
        if constexpr (is_task<What>)
            if (asked_)
                what_.discard();
    }

    void prepare(turn&) noexcept
    {
        asked_ = true;
    }
    value_type value()
    {
        root_pointer child = nullptr;
        try {
            child = prepare_spawn(of_.site(root->now, name_, place_, instead_), std::move(what_));
        } catch (...) {
            of_.give_place_back();
            throw;
        }
        of_.start(*child, root->now, true);
        return value_type{child};
    }

private:
    What what_;
    std::string_view name_;
    const leat::context* instead_;
    location place_;
    bool asked_ = false;
};

}  // namespace detail

/// The children of one with_group(). Given to its body; not to be kept beyond it.
///
/// A child starts on the executor of the task that spawns it, as with leat::spawn(); if no task does, on the
/// one on which the group began.
///
/// Threads  any, as long as the body runs or a child that uses it does.
class task_group {
public:
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    /// Starts a child, waiting for a place if the group has a limit. Takes what leat::spawn() takes.
    ///
    /// Result  a handle, for those who want the child's result before the group ends; may be dropped: the
    ///         group still waits for the child and hears of its failure.
    /// Throws  cancelled_error, timed_out_error: the context of the task that asks ended first; the child is
    ///         not started, and destroyed.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    [[nodiscard]] auto spawn(W&& what, const spawn_options& options,
                             detail::location place = detail::location::current())
    {
        return detail::group_spawn_operation<std::decay_t<W>>{scope_, std::decay_t<W>(std::forward<W>(what)),
                                                              options, place};
    }
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    [[nodiscard]] auto spawn(W&& what, detail::location place = detail::location::current())
    {
        return spawn(std::forward<W>(what), spawn_options{}, place);
    }

    /// Starts a child if the limit allows that now. If not, false, and a task that was passed is destroyed.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    bool try_spawn(W&& what, const spawn_options& options = {},
                   detail::location place = detail::location::current())
    {
        if (!scope_.try_take_place()) {
            if constexpr (detail::is_task<std::remove_cvref_t<W>>)
                what.discard();
            return false;
        }
        detail::turn* const here = detail::current_turn();
        try {
            auto* const child = detail::prepare_spawn(
                scope_.site(here, options.name, place, options.context.get()), std::forward<W>(what));
            scope_.start(*child, here, false);
        } catch (...) {
            scope_.give_place_back();
            throw;
        }
        return true;
    }

    /// The context the children run under; it ends with the first failure, by cancel(), and when the group
    /// has ended.
    const leat::context& context() const noexcept
    {
        return scope_.context();
    }

    /// Cancels the children and the body.
    void cancel(std::exception_ptr cause = nullptr) noexcept
    {
        scope_.cancel(std::move(cause));
    }

    /// How many children have not ended.
    std::size_t size() const noexcept
    {
        return scope_.live();
    }

    // For the library.
    explicit task_group(detail::join_scope& scope) noexcept : scope_{scope}
    {
    }

private:
    detail::join_scope& scope_;
};

namespace detail {

std::size_t checked_limit(std::ptrdiff_t limit);

template <class Body>
using group_body_result = typename std::invoke_result_t<Body&, task_group&>::value_type;

template <class Body, class T>
task<T> run_group(group_options options, Body body)
{
    task_root& root = *co_await get_root{};
    join_scope scope{root,
                     options.policy == group_policy::collect_all ? scope_policy::collect_all
                                                                 : scope_policy::fail_fast,
                     checked_limit(options.limit), options.context.get()};
    task_group group{scope};
    outcome<T> got;
    {
        const context_scope within{root, scope.context()};
        try {
            if constexpr (std::is_void_v<T>) {
                co_await body(group);
                got.emplace();
            } else if constexpr (std::is_reference_v<T>) {
                T value = co_await body(group);
                got.emplace(std::addressof(value));
            } else {
                got.emplace(co_await body(group));
            }
        } catch (...) {
            scope.body_failed(std::current_exception());
        }
        auto all_ended = scope.join();
        co_await all_ended;
    }
    scope.rethrow();
    co_return got.take();
}

}  // namespace detail

/// Runs `body(group)` and every child that it spawns into the group; returns the body's result once all of
/// them have ended, whatever happened.
///
/// Throws  the first failure, of a child or of the body, once all have ended: it has cancelled the rest. What
///         the others throw because they were cancelled counts for nothing. With collect_all, a group_error.
///         What children throw whom the end of the caller's context, or of the one in the options, has
///         cancelled; those whom task_group::cancel() has cancelled throw nothing. usage_error: a negative
///         limit.
/// Cancel  body and children run under a context that is a child of the caller's; the wait for them is not cut
///         short. If the runtime ends and destroys the caller, its end also waits for the children that have
///         moved to another one, which therefore should heed their context.
/// Cost    two frames and a context beside what body and children take.
template <class Body>
    requires std::invocable<Body&, task_group&>
[[nodiscard]] auto with_group(const group_options& options, Body body)
    -> task<detail::group_body_result<Body>>
{
    return detail::run_group<Body, detail::group_body_result<Body>>(options, std::move(body));
}
template <class Body>
    requires std::invocable<Body&, task_group&>
[[nodiscard]] auto with_group(Body body) -> task<detail::group_body_result<Body>>
{
    return detail::run_group<Body, detail::group_body_result<Body>>(group_options{}, std::move(body));
}

/// The children of a with_results(): all give a T, which are returned in the order of spawning.
template <class T>
class result_group {
public:
    result_group(const result_group&) = delete;
    result_group& operator=(const result_group&) = delete;

    /// As task_group::spawn(); the result goes to the group.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    [[nodiscard]] task<> spawn(W&& what, spawn_options options = {},
                               detail::location place = detail::location::current())
    {
        return spawn_into(std::decay_t<W>(std::forward<W>(what)), options, place);
    }
    const leat::context& context() const noexcept
    {
        return group_.context();
    }
    void cancel(std::exception_ptr cause = nullptr) noexcept
    {
        group_.cancel(std::move(cause));
    }

    // For the library.
    result_group(task_group& group, std::vector<detail::owned<detail::outcome<T>>>& slots) noexcept
        : group_{group}, slots_{slots}
    {
    }

private:
    template <class W>
    static task<> keep(W what, detail::outcome<T>& slot)
    {
        // What takes the value of a slot is no coroutine, so that a reference stays one.
        const auto fill = [&slot](T&& value) {
            if constexpr (std::is_reference_v<T>)
                slot.emplace(std::addressof(value));
            else
                slot.emplace(std::forward<T>(value));
        };
        if constexpr (detail::is_task<W>)
            fill(co_await std::move(what));
        else if constexpr (detail::is_task<std::invoke_result_t<W&>>)
            fill(co_await what());
        else
            fill(what());
        co_return;
    }
    template <class W>
    task<> spawn_into(W what, spawn_options options, detail::location place)
    {
        detail::outcome<T>& slot = *slots_.emplace_back(detail::make_owned<detail::outcome<T>>());
        auto starting = group_.spawn(keep<W>(std::move(what), slot), options, place);
        static_cast<void>(co_await starting);
    }

    task_group& group_;
    std::vector<detail::owned<detail::outcome<T>>>& slots_;
};

namespace detail {

template <class T>
storable_t<T> take_storable(outcome<T>& from)
{
    if constexpr (std::is_void_v<T>) {
        from.take();
        return {};
    } else if constexpr (std::is_reference_v<T>) {
        auto&& value = from.take();
        return storable_t<T>{value};
    } else {
        return from.take();
    }
}

template <class T, class Body>
task<std::vector<storable_t<T>>> run_result_group(group_options options, Body body)
{
    std::vector<detail::owned<outcome<T>>> slots;
    auto inner = [&](task_group& group) -> task<> {
        result_group<T> results{group, slots};
        co_await body(results);
    };
    co_await with_group(options, [&](task_group& group) { return inner(group); });
    std::vector<storable_t<T>> all;
    all.reserve(slots.size());
    for (const auto& slot : slots) {
        // Its child was told to end by cancel(), or not started.
        if (slot->empty())
            throw cancelled_error{};
        all.push_back(take_storable(*slot));
    }
    co_return all;
}

}  // namespace detail

/// with_group() for children that all give a T: returns their results in the order in which they were
/// spawned, references as std::reference_wrapper. The group is to be filled by the body, one spawn at a time.
///
/// Throws  as with_group(); cancelled_error, too, if cancel() has left results missing.
template <class T, class Body>
[[nodiscard]] task<std::vector<detail::storable_t<T>>> with_results(const group_options& options, Body body)
{
    return detail::run_result_group<T, Body>(options, std::move(body));
}
template <class T, class Body>
[[nodiscard]] task<std::vector<detail::storable_t<T>>> with_results(Body body)
{
    return detail::run_result_group<T, Body>(group_options{}, std::move(body));
}

namespace detail {

/// What is run side by side: tasks as they are, anything else that can be awaited in a task of its own.
template <class A>
task<awaited_t<A>> as_task_coroutine(A what)
{
    co_return co_await static_cast<A&&>(what);
}
template <class A>
LEAT_MAKES_TASK auto as_task(A&& what)
{
    using type = std::remove_cvref_t<A>;
    if constexpr (is_task<type>)
        return std::forward<A>(what);
    else
        return as_task_coroutine<type>(std::forward<A>(what));
}
template <class A>
using side_value = typename decltype(as_task(std::declval<A>()))::value_type;

/// A tuple can hold references as they are.
template <class T>
using tuple_value = std::conditional_t<std::is_reference_v<T>, T, storable_t<T>>;
template <class T>
tuple_value<T> take_for_tuple(outcome<T>& from)
{
    if constexpr (std::is_reference_v<T>)
        return from.take();
    else
        return take_storable(from);
}

template <class... Ts>
task<std::tuple<tuple_value<Ts>...>> run_all(task<Ts>... tasks)
{
    task_root& root = *co_await get_root{};
    std::tuple<forked_task<Ts>...> children;
    fork_scope scope{root, scope_policy::fail_fast};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (scope.add(std::get<I>(children), tasks, I), ...);
    }(std::index_sequence_for<Ts...>{});
    auto all_ended = scope.join();
    co_await all_ended;
    scope.rethrow();
    co_return std::apply(
        [](forked_task<Ts>&... each) {
            return std::tuple<tuple_value<Ts>...>{take_for_tuple(each.result)...};
        },
        children);
}

template <class... Ts>
task<std::tuple<result<Ts>...>> run_settled(task<Ts>... tasks)
{
    task_root& root = *co_await get_root{};
    std::tuple<forked_task<Ts>...> children;
    fork_scope scope{root, scope_policy::collect_all};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (scope.add(std::get<I>(children), tasks, I), ...);
    }(std::index_sequence_for<Ts...>{});
    auto all_ended = scope.join();
    co_await all_ended;
    co_return std::apply(
        [](forked_task<Ts>&... each) {
            return std::tuple<leat::result<Ts>...>{each.result.take_result()...};
        },
        children);
}

template <class... Ts>
task<select_result<storable_t<Ts>...>> run_any(task<Ts>... tasks)
{
    using answer = select_result<storable_t<Ts>...>;
    task_root& root = *co_await get_root{};
    std::tuple<forked_task<Ts>...> children;
    fork_scope scope{root, scope_policy::race};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (scope.add(std::get<I>(children), tasks, I), ...);
    }(std::index_sequence_for<Ts...>{});
    auto all_ended = scope.join();
    co_await all_ended;
    scope.rethrow();
    const std::size_t first = scope.winner();
    std::vector<answer> picked;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        ((first == I
              ? void(picked.emplace_back(std::in_place_index<I>, take_storable(std::get<I>(children).result)))
              : void()),
         ...);
    }(std::index_sequence_for<Ts...>{});
    co_return std::move(picked.front());
}

template <class T, class Range>
std::vector<task<T>> gather(Range&& each_of)
{
    if constexpr (std::is_same_v<Range, std::vector<task<T>>>)
        return std::move(each_of);
    std::vector<task<T>> tasks;
    tasks.reserve(size_hint(each_of));
    for (auto&& each : each_of)
        tasks.push_back(as_task(std::move(each)));
    return tasks;
}

template <class T>
task<std::conditional_t<std::is_void_v<T>, void, std::vector<storable_t<T>>>> run_all_of(
    std::vector<task<T>> tasks)
{
    task_root& root = *co_await get_root{};
    forked_tasks<T> children{tasks.size()};
    fork_scope scope{root, scope_policy::fail_fast};
    for (std::size_t i = 0; i < tasks.size(); ++i)
        scope.add(children[i], tasks[i], i);
    auto all_ended = scope.join();
    co_await all_ended;
    scope.rethrow();
    if constexpr (!std::is_void_v<T>) {
        std::vector<storable_t<T>> values;
        values.reserve(children.size());
        for (forked_task<T>& each : children)
            values.push_back(take_storable(each.result));
        co_return values;
    }
}

template <class T>
task<std::vector<result<T>>> run_settled_of(std::vector<task<T>> tasks)
{
    task_root& root = *co_await get_root{};
    forked_tasks<T> children{tasks.size()};
    fork_scope scope{root, scope_policy::collect_all};
    for (std::size_t i = 0; i < tasks.size(); ++i)
        scope.add(children[i], tasks[i], i);
    auto all_ended = scope.join();
    co_await all_ended;
    std::vector<result<T>> results;
    results.reserve(children.size());
    for (forked_task<T>& each : children)
        results.push_back(each.result.take_result());
    co_return results;
}

}  // namespace detail

/// Which element of a range ended first, its index, and its value (std::monostate for void, a
/// std::reference_wrapper for a reference).
template <class T>
using when_any_result = detail::indexed_value<detail::storable_t<T>>;

namespace detail {

template <class T>
task<when_any_result<T>> run_any_of(std::vector<task<T>> tasks)
{
    if (tasks.empty())
        throw usage_error{"leat: when_any of nothing would never end"};
    task_root& root = *co_await get_root{};
    forked_tasks<T> children{tasks.size()};
    fork_scope scope{root, scope_policy::race};
    for (std::size_t i = 0; i < tasks.size(); ++i)
        scope.add(children[i], tasks[i], i);
    auto all_ended = scope.join();
    co_await all_ended;
    scope.rethrow();
    const std::size_t first = scope.winner();
    co_return when_any_result<T>{first, take_storable(children[first].result)};
}

template <class A>
concept awaitable_argument = !range<std::remove_cvref_t<A>>;

}  // namespace detail

/// Runs tasks (or operations) side by side on the executor and gives all their results, as a tuple;
/// std::monostate for void.
///
/// Throws  the first failure, once all have ended; it has cancelled the others. std::bad_alloc.
/// Cancel  with the caller's context; the wait for them is not cut short.
/// Cost    one frame for all, beside those of the tasks; one frame more for what is no task; a context once one of
///         them waits for something.
template <detail::awaitable_argument... As>
[[nodiscard]] auto when_all(As&&... tasks)
{
    return detail::run_all<detail::side_value<As>...>(detail::as_task(std::forward<As>(tasks))...);
}
/// The same for a range: a vector in the range's order, of std::reference_wrapper for references; nothing for
/// tasks without a value.
template <detail::range Range>
[[nodiscard]] auto when_all(Range&& tasks)
{
    using value = detail::side_value<detail::range_value<Range>>;
    return detail::run_all_of<value>(detail::gather<value>(std::forward<Range>(tasks)));
}

/// Runs tasks side by side; the first to end, by a value or by throwing, cancels the others. Returns, or
/// throws, its outcome once they have ended too.
///
/// Result  a select_result: index and variant. What a loser computed all the same is dropped; to wait for
///         one of several operations and lose nothing, use select. If all arguments are operations, this is a
///         select.
/// Throws, cancel, cost  as for when_all; a select if it is one.
template <detail::awaitable_argument... As>
    requires(sizeof...(As) > 0)
[[nodiscard]] auto when_any(As&&... tasks)
{
    if constexpr ((detail::has_operation<As> && ...))
        return select(std::forward<As>(tasks)...);
    else
        return detail::run_any<detail::side_value<As>...>(detail::as_task(std::forward<As>(tasks))...);
}
/// The same for a range. Throws usage_error if it is empty.
template <detail::range Range>
[[nodiscard]] auto when_any(Range&& tasks)
{
    using value = detail::side_value<detail::range_value<Range>>;
    return detail::run_any_of<value>(detail::gather<value>(std::forward<Range>(tasks)));
}

/// Runs tasks side by side and gives what became of each, as a tuple of result<T>. No failure cancels the
/// others or is thrown.
///
/// Throws  std::bad_alloc; that of a task that could not be started is in its result.
/// Cancel, cost  as for when_all.
template <detail::awaitable_argument... As>
[[nodiscard]] auto when_all_settled(As&&... tasks)
{
    return detail::run_settled<detail::side_value<As>...>(detail::as_task(std::forward<As>(tasks))...);
}
/// The same for a range, as a vector.
template <detail::range Range>
[[nodiscard]] auto when_all_settled(Range&& tasks)
{
    using value = detail::side_value<detail::range_value<Range>>;
    return detail::run_settled_of<value>(detail::gather<value>(std::forward<Range>(tasks)));
}

}  // namespace leat
