#pragma once

#include <leat/context.hpp>
#include <leat/detail/outlet.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/range.hpp>
#include <leat/detail/stage_options.hpp>
#include <leat/select.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

// What follows takes receivers and gives receivers, and starts the tasks in between in a group. Of all of it holds:
//
// Channels in between are unbuffered, but for those that take a stage_buffer.
//
//   End      when what they read from has ended, the receivers they give end, in turn. When the receivers they give
//            have gone, with every copy, or been closed, their tasks end, and let go of what they read from: so a
//            reader that stops early ends the whole line up to its source. What was on its way is dropped then.
//   Throws   usage_error: the group's limit leaves no place. What a function throws fails the group, which ends all.
//   Cancel   by the group's context.

struct stage_buffer {
    std::size_t buffer = 0;  ///< of the channels that are made; unbuffered unless told
};

namespace detail {

template <class T, class F>
class fan_out_work {
    using R = result_of<F, T>;

public:
    fan_out_work(receiver<T> in, std::size_t workers, F f)
        : in_{std::move(in)}, workers_{workers}, f_(std::move(f))
    {
    }
    task<> operator()(outlet<R>& out)
    {
        auto start = [&](task_group& group) -> task<> {
            for (std::size_t i = 0; i < workers_; ++i)
                group.try_spawn(worker(out));
            co_return;
        };
        co_await with_group([&](task_group& group) { return start(group); });
    }

private:
    task<> worker(outlet<R>& out)
    {
        while (auto item = co_await in_.recv()) {
            std::optional<R> made;
            if constexpr (is_coroutine<F, T>)
                made.emplace(co_await f_(std::move(*item)));
            else
                made.emplace(f_(std::move(*item)));
            const result<> sent = co_await as_result(out.send(std::move(*made)));
            if (unread(sent))
                break;
        }
    }

    receiver<T> in_;
    std::size_t workers_;
    F f_;
};

[[noreturn]] void throw_no_workers();
[[noreturn]] void throw_no_order();

template <class T>
class fan_in_work {
public:
    explicit fan_in_work(std::vector<receiver<T>> in) : in_{std::move(in)}
    {
    }
    task<> operator()(outlet<T>& out)
    {
        auto start = [&](task_group& group) -> task<> {
            for (receiver<T>& each : in_)
                group.try_spawn(forward(each, out));
            co_return;
        };
        co_await with_group([&](task_group& group) { return start(group); });
    }

private:
    static task<> forward(receiver<T>& from, outlet<T>& out)
    {
        while (auto item = co_await from.recv()) {
            const result<> sent = co_await as_result(out.send(std::move(*item)));
            if (unread(sent))
                break;
        }
    }

    std::vector<receiver<T>> in_;
};

template <class T, class Less>
class merge_work {
public:
    merge_work(std::vector<receiver<T>> in, Less less) : in_{std::move(in)}, less_(std::move(less))
    {
    }
    task<> operator()(outlet<T>& out)
    {
        // A heap of those that have a head, by the heads, then by their places.
        std::vector<head> heads;
        for (std::size_t i = 0; i < in_.size(); ++i) {
            auto first = co_await in_[i].recv();
            if (first) {
                heads.push_back(head{std::move(*first), i});
                rise(heads);
            }
        }
        while (!heads.empty()) {
            const std::size_t from = heads.front().from;
            const result<> sent = co_await as_result(out.send(std::move(heads.front().value)));
            if (unread(sent))
                break;
            auto next = co_await in_[from].recv();
            if (next) {
                heads.front().value = std::move(*next);
            } else {
                heads.front() = std::move(heads.back());
                heads.pop_back();
            }
            sink(heads);
        }
    }

private:
    struct head {
        head(T v, std::size_t i) : value(std::move(v)), from{i}
        {
        }
        T value;
        std::size_t from;
    };
    bool before(const head& a, const head& b)
    {
        if (less_(a.value, b.value))
            return true;
        return a.from < b.from && !less_(b.value, a.value);
    }
    void rise(std::vector<head>& heads)
    {
        for (std::size_t at = heads.size() - 1; at != 0 && before(heads[at], heads[(at - 1) / 2]);
             at = (at - 1) / 2)
            std::swap(heads[at], heads[(at - 1) / 2]);
    }
    void sink(std::vector<head>& heads)
    {
        for (std::size_t at = 0;;) {
            std::size_t least = at;
            for (const std::size_t child : {2 * at + 1, 2 * at + 2})
                if (child < heads.size() && before(heads[child], heads[least]))
                    least = child;
            if (least == at)
                return;
            std::swap(heads[at], heads[least]);
            at = least;
        }
    }

    std::vector<receiver<T>> in_;
    Less less_;
};

struct natural_order {
    template <class T>
    bool operator()(const T& a, const T& b) const
    {
        return a < b;
    }
};

template <class... Ts>
class zip_work {
public:
    explicit zip_work(receiver<Ts>... in) : in_{std::move(in)...}
    {
    }
    task<> operator()(outlet<std::tuple<Ts...>>& out)
    {
        for (;;) {
            std::tuple<std::optional<Ts>...> got;
            const bool all = co_await fill(got, std::index_sequence_for<Ts...>{});
            if (!all)
                break;
            std::tuple<Ts...> row = std::apply(
                [](std::optional<Ts>&... each) { return std::tuple<Ts...>{std::move(*each)...}; }, got);
            const result<> sent = co_await as_result(out.send(std::move(row)));
            if (unread(sent))
                break;
        }
    }

private:
    template <std::size_t... I>
    task<bool> fill(std::tuple<std::optional<Ts>...>& into, std::index_sequence<I...>)
    {
        bool all = true;
        // One after the other; the first that has ended is the end.
        (co_await fill_one(std::get<I>(in_), std::get<I>(into), all), ...);
        co_return all;
    }
    template <class T>
    static task<> fill_one(receiver<T>& from, std::optional<T>& into, bool& all)
    {
        if (!all)
            co_return;
        into = co_await from.recv();
        all = into.has_value();
    }

    std::tuple<receiver<Ts>...> in_;
};

/// Passes on those from number `first` to before number `beyond`, and ends there.
template <class T>
class slice_work {
public:
    slice_work(receiver<T> in, std::size_t first, std::size_t beyond)
        : in_{std::move(in)}, first_{first}, beyond_{beyond}
    {
    }
    task<> operator()(outlet<T>& out)
    {
        for (std::size_t at = 0; at < beyond_; ++at) {
            auto item = co_await in_.recv();
            if (!item)
                break;
            if (at < first_)
                continue;
            const result<> sent = co_await as_result(out.send(std::move(*item)));
            if (unread(sent))
                break;
        }
    }

private:
    receiver<T> in_;
    std::size_t first_;
    std::size_t beyond_;
};

template <class T>
class or_done_work {
public:
    or_done_work(receiver<T> in, context until) : in_{std::move(in)}, until_{std::move(until)}
    {
    }
    task<> operator()(outlet<T>& out)
    {
        for (;;) {
            std::optional<T> item;
            bool ended = false;
            co_await select_biased(on(until_.done(), [&] { ended = true; }),
                                   on(in_.recv(), [&](std::optional<T> got) { item = std::move(got); }));
            if (ended || !item)
                break;
            bool read = true;
            co_await select_biased(on(until_.done(), [&] { ended = true; }),
                                   on(out.closed(), [&] { read = false; }), on(out.send(std::move(*item))));
            if (ended || !read)
                break;
        }
    }

private:
    receiver<T> in_;
    context until_;
};

// Who gives each value to all. It runs as one task, with somebody for each receiver that ends it when the last of
// them has gone; so it is no run_stage(), which has one outlet.
template <class T>
task<> tee_work(receiver<T> in, std::vector<owned<outlet<T>>>& outs)
{
    while (auto item = co_await in.recv()) {
        std::size_t open = 0;
        for (std::size_t i = 0; i < outs.size(); ++i) {
            // The last may have the value itself.
            T given(i + 1 == outs.size() ? std::move(*item) : *item);
            const result<> sent = co_await as_result(outs[i]->send(std::move(given)));
            open += unread(sent) ? 0U : 1U;
        }
        if (open == 0)
            break;
    }
    for (auto& each : outs)
        each->close();
}
template <class T>
task<> end_when_all_unread(std::vector<owned<outlet<T>>>& outs, task_group& stage)
{
    for (std::size_t i = 0; i < outs.size(); ++i)
        co_await outs[i]->closed();
    stage.cancel();
}
template <class T>
task<> run_tee(receiver<T> in, std::vector<owned<outlet<T>>> outs)
{
    auto start = [&](task_group& stage) -> task<> {
        stage.try_spawn(end_when_all_unread<T>(outs, stage));
        stage.try_spawn(tee_work<T>(std::move(in), outs));
        co_return;
    };
    co_await with_group([&](task_group& stage) { return start(stage); });
}

template <class T>
std::vector<receiver<T>> start_tee(task_group& group, receiver<T> in, std::size_t n, stage_buffer options)
{
    std::vector<receiver<T>> made;
    std::vector<owned<outlet<T>>> outs;
    for (std::size_t i = 0; i < n; ++i) {
        const channel<T> each{options.buffer};
        made.push_back(receiver<T>{each});
        outs.push_back(make_owned<outlet<T>>(each));
    }
    if (!group.try_spawn(run_tee<T>(std::move(in), std::move(outs)), {.name = "tee"}))
        throw_no_place_for_stage();
    return made;
}

/// Several receivers, of a range or one by one.
template <class R>
auto gather_receivers(R&& all)
{
    using T = received_from<range_value<std::remove_reference_t<R>>>;
    std::vector<receiver<T>> got;
    for (auto&& each : all)
        got.push_back(receiver<T>{each});
    return got;
}
template <class T, class... In>
std::vector<receiver<T>> list_receivers(In&&... all)
{
    std::vector<receiver<T>> got;
    got.reserve(sizeof...(all));
    (got.push_back(receiver<T>{std::forward<In>(all)}), ...);
    return got;
}

template <class R>
concept range_of_receivers = range<R> && receivable<range_value<std::remove_reference_t<R>>>;

}  // namespace detail

/// Starts so many workers, which take values from a receiver and send what a function makes of them: in the order in
/// which they are done. The function is plain or a coroutine, and called by all workers at the same time.
template <class In, class F>
    requires detail::receivable<In>
[[nodiscard]] auto fan_out(task_group& group, In&& in, std::ptrdiff_t workers, F f, stage_buffer options = {})
    -> receiver<detail::result_of<F, detail::received_from<In>>>
{
    using T = detail::received_from<In>;
    using R = detail::result_of<F, T>;
    static_assert(!std::is_void_v<R>,
                  "leat: the function of a fan_out gives a value; for one that does not there is "
                  "for_each(range, {.workers = n}, f)");
    if (workers <= 0)
        detail::throw_no_workers();
    return detail::start_stage<R>(group, options.buffer, "fan_out",
                                  detail::fan_out_work<T, F>{receiver<T>{std::forward<In>(in)},
                                                             static_cast<std::size_t>(workers),
                                                             std::move(f)});
}

/// The same with the options that stages of pipelines take: `buffer` is that of the receiver.
///
/// Throws  usage_error: no workers, or `ordered`, which pipelines can do: `from(in) | map(f, options)`.
template <class In, class F>
    requires detail::receivable<In>
[[nodiscard]] auto fan_out(task_group& group, In&& in, const stage_options& options, F f)
{
    if (options.ordered)
        detail::throw_no_order();
    return fan_out(group, std::forward<In>(in), static_cast<std::ptrdiff_t>(detail::checked_workers(options)),
                   std::move(f), stage_buffer{options.buffer.get()});
}

/// Gives each value to one of n readers: to the one that asks first. They share what they read from: closing one ends
/// all.
template <class In>
    requires detail::receivable<In>
[[nodiscard]] auto split(task_group&, In&& in, std::size_t n)
{
    using T = detail::received_from<In>;
    return std::vector<receiver<T>>(n, receiver<T>{std::forward<In>(in)});
}

/// Gives each value to all of n readers, a copy each. The slowest sets the pace, but for the buffers; one that has
/// gone is left out.
template <class In>
    requires detail::receivable<In>
[[nodiscard]] auto tee(task_group& group, In&& in, std::size_t n, stage_buffer options = {})
{
    using T = detail::received_from<In>;
    return detail::start_tee<T>(group, receiver<T>{std::forward<In>(in)}, n, options);
}
/// To two: `auto [a, b] = tee(group, in);`
template <class In>
    requires detail::receivable<In>
[[nodiscard]] auto tee(task_group& group, In&& in)
{
    using T = detail::received_from<In>;
    auto both = detail::start_tee<T>(group, receiver<T>{std::forward<In>(in)}, 2, {});
    return std::array<receiver<T>, 2>{std::move(both[0]), std::move(both[1])};
}

/// Passes on what any of the receivers gives, as it comes; ends when all have ended.
template <class In, class... More>
    requires(detail::receivable<In> && (detail::receivable<More> && ...))
[[nodiscard]] auto fan_in(task_group& group, In&& first, More&&... more)
{
    using T = detail::received_from<In>;
    return detail::start_stage<T>(group, 0, "fan_in",
                                  detail::fan_in_work<T>{detail::list_receivers<T>(
                                      std::forward<In>(first), std::forward<More>(more)...)});
}
/// The same for a range of receivers.
template <class R>
    requires detail::range_of_receivers<R>
[[nodiscard]] auto fan_in(task_group& group, R&& all, stage_buffer options = {})
{
    using T = detail::received_from<detail::range_value<std::remove_reference_t<R>>>;
    return detail::start_stage<T>(group, options.buffer, "fan_in",
                                  detail::fan_in_work<T>{detail::gather_receivers(all)});
}

/// Passes on in order what receivers give that are in order themselves; equal ones in the order of the receivers.
template <class R, class Less = detail::natural_order>
    requires detail::range_of_receivers<R>
[[nodiscard]] auto merge(task_group& group, R&& all, Less less = {}, stage_buffer options = {})
{
    using T = detail::received_from<detail::range_value<std::remove_reference_t<R>>>;
    return detail::start_stage<T>(
        group, options.buffer, "merge",
        detail::merge_work<T, Less>{detail::gather_receivers(all), std::move(less)});
}
template <class In, class... More>
    requires(detail::receivable<In> && sizeof...(More) > 0 && (detail::receivable<More> && ...))
[[nodiscard]] auto merge(task_group& group, In&& first, More&&... more)
{
    using T = detail::received_from<In>;
    return merge(group, detail::list_receivers<T>(std::forward<In>(first), std::forward<More>(more)...));
}

/// One value of each receiver at a time, as tuples. The first that has ended is the end; what others had given by then
/// for the same tuple is dropped.
template <class... In>
    requires(sizeof...(In) > 0 && (detail::receivable<In> && ...))
[[nodiscard]] auto zip(task_group& group, In&&... in)
{
    return detail::start_stage<std::tuple<detail::received_from<In>...>>(
        group, 0, "zip",
        detail::zip_work<detail::received_from<In>...>{
            receiver<detail::received_from<In>>{std::forward<In>(in)}...});
}

/// The first n values.
template <class In>
    requires detail::receivable<In>
[[nodiscard]] auto take(task_group& group, In&& in, std::size_t n)
{
    using T = detail::received_from<In>;
    return detail::start_stage<T>(group, 0, "take",
                                  detail::slice_work<T>{receiver<T>{std::forward<In>(in)}, 0, n});
}
namespace detail {

/// skip(n) as a stage of a pipeline.
struct skip_stage {
    std::size_t count;
};

class skip_function {
public:
    template <class In>
        requires receivable<In>
    [[nodiscard]] auto operator()(task_group& group, In&& in, std::size_t n) const
    {
        using T = received_from<In>;
        return start_stage<T>(
            group, 0, "skip",
            slice_work<T>{receiver<T>{std::forward<In>(in)}, n, static_cast<std::size_t>(-1)});
    }
    [[nodiscard]] skip_stage operator()(std::size_t n) const noexcept
    {
        return skip_stage{n};
    }
};

}  // namespace detail

/// All but the first n: `skip(group, in, n)`. As a stage of a pipeline `skip(n)`; and on_error(skip) leaves out the
/// items for which a stage fails.
inline constexpr detail::skip_function skip{};

/// Passes on until the context ends, which is the end and no failure.
template <class In>
    requires detail::receivable<In>
[[nodiscard]] auto or_done(task_group& group, In&& in, context until)
{
    using T = detail::received_from<In>;
    return detail::start_stage<T>(
        group, 0, "or_done", detail::or_done_work<T>{receiver<T>{std::forward<In>(in)}, std::move(until)});
}

}  // namespace leat
