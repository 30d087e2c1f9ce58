#pragma once

#include <leat/detail/outlet.hpp>
#include <leat/detail/range.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

struct generate_options {
    std::size_t buffer = 0;  ///< how many values it may be ahead of its readers
};

namespace detail {

template <class T>
struct without_optional {
    static constexpr bool ends = false;
    using type = T;
};
template <class T>
struct without_optional<std::optional<T>> {
    static constexpr bool ends = true;
    using type = T;
};

template <class R>
class generate_range {
    using T = range_value<R>;

public:
    explicit generate_range(R items) : items_(std::move(items))
    {
    }
    task<> operator()(outlet<T>& out)
    {
        for (auto&& each : items_) {
            if constexpr (owns_elements<R>) {
                const result<> sent = co_await as_result(out.send(std::move(each)));
                if (unread(sent))
                    break;
            } else {
                T copy(each);
                const result<> sent = co_await as_result(out.send(std::move(copy)));
                if (unread(sent))
                    break;
            }
        }
    }

private:
    R items_;
};

template <class F>
class generate_calls {
    using answer = result_of<F>;
    using T = typename without_optional<answer>::type;

public:
    explicit generate_calls(F f) : f_(std::move(f))
    {
    }
    task<> operator()(outlet<T>& out)
    {
        for (;;) {
            std::optional<T> next;
            if constexpr (is_coroutine<F>)
                next = co_await f_();
            else
                next = f_();
            if (!next)
                break;
            const result<> sent = co_await as_result(out.send(std::move(*next)));
            if (unread(sent))
                break;
        }
    }

private:
    F f_;
};

/// A coroutine that sends what it generates.
template <class T, class F>
class generate_sends {
public:
    explicit generate_sends(F f) : f_(std::move(f))
    {
    }
    task<> operator()(outlet<T>& out)
    {
        if constexpr (std::invocable<F&, outlet<T>&>) {
            result<> ended;
            try {
                co_await f_(out);
            } catch (const channel_closed_error&) {
                ended = std::current_exception();
            }
            // Nobody reads: that is how an endless one ends. Any other channel is the generator's own affair.
            channel_open_check(out, ended);
        } else {
            // The generator holds a sender of its own, which would keep the channel open: it sends to another.
            const channel<T> inner;
            auto both = [&](task_group& group) -> task<> {
                co_await group.spawn(feed(inner));
                while (auto next = co_await inner.recv()) {
                    const result<> sent = co_await as_result(out.send(std::move(*next)));
                    if (unread(sent))
                        break;
                }
                inner.close();
            };
            co_await with_group([&](task_group& group) { return both(group); });
        }
    }

private:
    static void channel_open_check(outlet<T>& out, const result<>& ended)
    {
        if (!ended) {
            closed_operation gone = out.closed();
            if (!complete_now(gone))
                ended.value();
        }
    }
    task<> feed(channel<T> inner)
    {
        bool cut = false;
        try {
            co_await f_(sender<T>{inner});
        } catch (const channel_closed_error&) {
            cut = inner.closed();
            if (!cut)
                throw;
        }
        inner.close();
    }

    F f_;
};

/// What a function sends that takes one argument, of one type: a sender or an outlet.
template <class Argument>
struct sent_through {};
template <class T>
struct sent_through<sender<T>> {
    using type = T;
};
template <class T>
struct sent_through<outlet<T>> {
    using type = T;
};
template <class Call>
struct sent_by_call {};
template <class R, class Argument>
struct sent_by_call<R (*)(Argument)> : sent_through<std::remove_cvref_t<Argument>> {};
template <class R, class C, class Argument>
struct sent_by_call<R (C::*)(Argument)> : sent_through<std::remove_cvref_t<Argument>> {};
template <class R, class C, class Argument>
struct sent_by_call<R (C::*)(Argument) const> : sent_through<std::remove_cvref_t<Argument>> {};
template <class F>
struct sent_by : sent_by_call<F> {};
template <class F>
    requires requires { &F::operator(); }
struct sent_by<F> : sent_by_call<decltype(&F::operator())> {};

template <class R>
concept generated_range = range<R> && !std::invocable<std::decay_t<R>&>;

}  // namespace detail

/// Starts a task that sends the elements of a range, one after the other.
///
/// The range is copied, or moved, into the task, arrays too; what a view refers to has to last as long as the group.
///
/// Result   their receiver. When it has gone, with every copy, or been closed, the task ends.
/// Throws   usage_error: the group's limit leaves no place.
/// Cancel   by the group's context.
template <class R>
    requires detail::generated_range<R>
[[nodiscard]] auto generate(task_group& group, R&& items, generate_options options = {})
    -> receiver<detail::range_value<detail::kept_range<R>>>
{
    using range = detail::kept_range<R>;
    return detail::start_stage<detail::range_value<range>>(
        group, options.buffer, "generate",
        detail::generate_range<range>{detail::keep_range(std::forward<R>(items))});
}

/// Starts a task that sends what a function gives, again and again. The function is plain or a coroutine. If it gives
/// optionals, the first that is empty is the end; else there is none.
///
/// Result, throws, cancel   as above. What the function throws fails the group.
template <class F>
    requires std::invocable<std::decay_t<F>&>
[[nodiscard]] auto generate(task_group& group, F&& f, generate_options options = {})
    -> receiver<typename detail::without_optional<detail::result_of<std::decay_t<F>>>::type>
{
    using value = typename detail::without_optional<detail::result_of<std::decay_t<F>>>::type;
    return detail::start_stage<value>(group, options.buffer, "generate",
                                      detail::generate_calls<std::decay_t<F>>{std::forward<F>(f)});
}

/// Starts a coroutine that sends what it generates to the outlet<T>& or sender<T> that it is given.
///
///     auto primes = leat::generate<int>(group, [](leat::outlet<int>& out) -> leat::task<> { ... });
///
/// Result, throws, cancel   as above. The end of the coroutine is the end of the values. When nobody reads any more it
///                          is cancelled, wherever it waits.
template <class T, class F>
    requires(std::invocable<std::decay_t<F>&, outlet<T>&> || std::invocable<std::decay_t<F>&, sender<T>>)
[[nodiscard]] receiver<T> generate(task_group& group, F&& f, generate_options options = {})
{
    return detail::start_stage<T>(group, options.buffer, "generate",
                                  detail::generate_sends<T, std::decay_t<F>>{std::forward<F>(f)});
}
/// The same where the coroutine's parameter says what T is.
template <class F>
    requires(!std::invocable<std::decay_t<F>&>)
[[nodiscard]] auto generate(task_group& group, F&& f, generate_options options = {})
    -> receiver<typename detail::sent_by<std::decay_t<F>>::type>
{
    return generate<typename detail::sent_by<std::decay_t<F>>::type>(group, std::forward<F>(f), options);
}

}  // namespace leat
