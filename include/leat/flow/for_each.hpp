#pragma once

#include <leat/detail/range.hpp>
#include <leat/detail/spinlock.hpp>
#include <leat/flow/pipeline.hpp>
#include <leat/group.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {
namespace detail {

/// Where the workers of a loop are in a range; each element is given out once.
template <class R>
class shared_walk {
    using iterator = decltype(std::begin(std::declval<R&>()));
    using sentinel = decltype(std::end(std::declval<R&>()));

public:
    explicit shared_walk(R& range) : at_(std::begin(range)), end_(std::end(range))
    {
    }
    /// The next element's place. Iterators are stepped under the lock: that must not wait.
    std::optional<iterator> next()
    {
        const spin_guard hold{lock_};
        if (at_ == end_)
            return std::nullopt;
        std::optional<iterator> here{at_};
        ++at_;
        return here;
    }

private:
    spinlock lock_;
    iterator at_;
    sentinel end_;
};

/// Between two elements whose function does not wait, others get a turn, and a cancelled loop ends.
inline constexpr int elements_between_yields = 16;

template <class R, class Body>
task<> walk(shared_walk<std::remove_reference_t<R>>& through, Body& body)
{
    using element = decltype(*std::begin(std::declval<std::remove_reference_t<R>&>()));
    int until_yield = elements_between_yields;
    for (;;) {
        const auto here = through.next();
        if (!here)
            break;
        if constexpr (is_coroutine<Body, element>)
            co_await body(**here);
        else
            static_cast<void>(body(**here));
        if (--until_yield == 0) {
            until_yield = elements_between_yields;
            co_await this_task::yield();
        }
    }
}

/// R may be a reference: an lvalue that is walked where it is.
template <class R, class F>
task<> run_loop(R range, std::size_t workers, F f)
{
    shared_walk<std::remove_reference_t<R>> through{range};
    auto start = [&](task_group& group) -> task<> {
        for (std::size_t i = 0; i < workers; ++i)
            group.try_spawn(walk<R, F>(through, f));
        co_return;
    };
    co_await with_group([&](task_group& group) { return start(group); });
}

template <class T, class Element, class Reduce, class Transform>
task<> add_up(std::optional<T>& sum, Element&& element, Reduce& reduce, Transform& transform)
{
    if constexpr (is_coroutine<Transform, Element>) {
        T made = co_await transform(std::forward<Element>(element));
        if (sum)
            made = reduce(std::move(*sum), std::move(made));
        sum.emplace(std::move(made));
    } else {
        T made = transform(std::forward<Element>(element));
        if (sum)
            made = reduce(std::move(*sum), std::move(made));
        sum.emplace(std::move(made));
        co_return;
    }
}

template <class R, class T, class Reduce, class Transform>
task<T> run_reduce(R range, std::size_t workers, T initial, Reduce reduce, Transform transform)
{
    using plain = std::remove_reference_t<R>;
    using element = decltype(*std::begin(std::declval<plain&>()));
    shared_walk<plain> through{range};
    std::vector<std::optional<T>> sums(workers);
    auto worker = [&](std::optional<T>& sum) -> task<> {
        auto body = [&](element each) -> task<> {
            return add_up<T, element, Reduce, Transform>(sum, static_cast<element&&>(each), reduce,
                                                         transform);
        };
        co_await walk<R, decltype(body)>(through, body);
    };
    auto start = [&](task_group& group) -> task<> {
        for (std::optional<T>& each : sums)
            group.try_spawn(worker(each));
        co_return;
    };
    co_await with_group([&](task_group& group) { return start(group); });
    for (std::optional<T>& each : sums)
        if (each)
            initial = reduce(std::move(initial), std::move(*each));
    co_return initial;
}

template <class R>
concept looped_range = range<std::remove_reference_t<R>>;

}  // namespace detail

/// Calls f, plain or a coroutine, for each element of a range, `workers` at a time: so few are under way, and so little
/// memory is used, however long the range is.
///
///     co_await leat::for_each(urls, {.workers = 8}, fetch);
///
/// An lvalue is walked where it is, and f may change its elements; it has to last until this has been awaited. Its
/// iterators can be stepped more than once (no input iterators). `buffer` and `ordered` have no meaning here.
///
/// Throws   the first failure, once all calls under way have ended: it has cancelled them, and no other begins.
/// Cancel   by the caller's context.
template <class R, class F>
    requires detail::looped_range<R>
[[nodiscard]] task<> for_each(R&& items, const stage_options& options, F f)
{
    return detail::run_loop<R, F>(std::forward<R>(items), detail::checked_workers(options), std::move(f));
}

/// reduce(...reduce(reduce(initial, transform(a)), transform(b))...), `workers` calls of transform at a time, in any
/// order and grouping: reduce is associative and commutative. It is plain; transform may be a coroutine.
///
/// Throws, cancel   as for_each.
template <class R, class T, class Reduce, class Transform>
    requires detail::looped_range<R>
[[nodiscard]] task<T> transform_reduce(R&& items, const stage_options& options, T initial, Reduce reduce,
                                       Transform transform)
{
    return detail::run_reduce<R, T, Reduce, Transform>(std::forward<R>(items),
                                                       detail::checked_workers(options), std::move(initial),
                                                       std::move(reduce), std::move(transform));
}

}  // namespace leat
