#pragma once

#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/detail/delayed.hpp>
#include <leat/detail/eager.hpp>
#include <leat/detail/range.hpp>
#include <leat/detail/reference.hpp>
#include <leat/detail/select_core.hpp>
#include <leat/detail/started_operation.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace leat {

/// What select gives when no case has a handler: which case happened, and its value.
template <class... Ts>
class select_result {
public:
    template <std::size_t I, class... Args>
    explicit select_result(std::in_place_index_t<I> at, Args&&... args)
        : index{I}, value{at, std::forward<Args>(args)...}
    {
    }

    std::size_t index;
    std::variant<Ts...>
        value;  ///< std::monostate for cases without a value, std::reference_wrapper for references
};

namespace detail {

/// Which of several, and its value.
template <class V>
class indexed_value {
public:
    indexed_value(std::size_t i, V v) : index{i}, value{std::move(v)}
    {
    }

    std::size_t index;
    V value;
};

}  // namespace detail

/// What select_range gives: the index of the receiver, and the value it received.
template <class T>
using select_range_result = detail::indexed_value<detail::received<T>>;

namespace detail {

/// Stands for a handler where there is none.
class no_handler {
public:
    no_handler() noexcept
    {
    }
};

template <class F, class T>
struct handler_takes_value : std::bool_constant<std::invocable<F&, T>> {};
template <class F>
struct handler_takes_value<F, void> : std::false_type {};

template <operation Op, class F>
class select_case {
public:
    using value_type = typename Op::value_type;
    static constexpr bool starts = std::derived_from<Op, started_operation>;
    static constexpr bool begins = beginning_operation<Op>;
    static constexpr bool is_default = false;
    static constexpr bool has_handler = !std::is_same_v<F, no_handler>;

    select_case(bool enabled, Op&& op, F&& handler)
        : op_{std::move(op)}, handler_{std::move(handler)}, enabled_{enabled}
    {
    }

    bool must_wait() const noexcept
    {
        return !enabled_ || op_.must_wait();
    }
    waiter* arm(task_root& root, turn& here)
    {
        // What has to be started, or begins something, is and does, once nothing else is ready.
        if (!enabled_ || starts)
            return nullptr;
        op_.root = &root;
        if constexpr (begins)
            return op_.is_there() ? &op_ : nullptr;
        op_.prepare(here);
        return &op_;
    }
    /// What arm() has left out; null if that is nothing.
    waiter* begin(turn& here)
    {
        if constexpr (begins)
            if (enabled_) {
                op_.prepare(here);
                return &op_;
            }
        return static_cast<void>(here), nullptr;
    }
    /// Starts it, if it is one that is to be; null otherwise.
    started_operation* start(task_root& root)
    {
        if constexpr (starts) {
            if (!enabled_)
                return nullptr;
            op_.root = &root;
            op_.begin();
            return &op_;
        }
        return static_cast<void>(root), nullptr;
    }
    started_operation* started() noexcept
    {
        if constexpr (starts)
            if (op_.begun())
                return &op_;
        return nullptr;
    }
    value_type take()
    {
        if (const std::error_code why = op_.error())
            throw_error(why);
        return op_.value();
    }
    /// Calls the handler with the value, or without if it does not want it.
    decltype(auto) handle()
    {
        if constexpr (handler_takes_value<F, value_type>::value)
            return handler_(take());
        else {
            static_assert(std::invocable<F&>,
                          "leat: a select handler takes the value of its operation, or nothing");
            static_cast<void>(take());
            return handler_();
        }
    }

private:
    Op op_;
    F handler_;
    bool enabled_;
};

template <class F>
class default_case {
public:
    using value_type = void;
    static constexpr bool is_default = true;
    static constexpr bool has_handler = !std::is_same_v<F, no_handler>;
    static constexpr bool starts = false;
    static constexpr bool begins = false;

    explicit default_case(F&& handler) : handler_{std::move(handler)}
    {
    }

    bool must_wait() const noexcept
    {
        return true;
    }
    waiter* arm(task_root&, turn&) noexcept
    {
        return nullptr;
    }
    waiter* begin(turn&) noexcept
    {
        return nullptr;
    }
    started_operation* start(task_root&) noexcept
    {
        return nullptr;
    }
    started_operation* started() noexcept
    {
        return nullptr;
    }
    void take() noexcept
    {
    }
    decltype(auto) handle()
    {
        return handler_();
    }

private:
    F handler_;
};

template <class C>
constexpr bool is_select_case = false;
template <class Op, class F>
constexpr bool is_select_case<select_case<Op, F>> = true;
template <class F>
constexpr bool is_select_case<default_case<F>> = true;

template <class T>
constexpr bool is_join_handle = false;
template <class T>
constexpr bool is_join_handle<join_handle<T>> = true;

/// Turns what the user may write as the operation of a case into an operation.
template <class A>
auto as_operation(A&& what)
{
    using type = std::remove_cvref_t<A>;
    if constexpr (selectable_operation<type>) {
        return type(std::forward<A>(what));
    } else if constexpr (requires { what.join(); }) {
        return what.join();
    } else if constexpr (requires { what.as_operation(); }) {
        return std::forward<A>(what).as_operation();
    } else {
        static_assert(always_false<A>,
                      "leat: a select case waits for an operation of leat: a send, a receive, "
                      "a timer, done(), a join...; run anything else in a task and join it");
    }
}

/// Whether it can be a case without a task of its own, and without a result to be lost.
template <class A>
concept has_operation =
    selectable_operation<std::remove_cvref_t<A>> || is_eager<std::remove_cvref_t<A>> || requires(A&& what) {
        requires std::derived_from<decltype(std::forward<A>(what).as_operation()), started_operation>;
    };

template <class F>
auto make_case(bool enabled, auto&& what, F handler)
{
    auto op = as_operation(std::forward<decltype(what)>(what));
    return select_case<decltype(op), F>{enabled, std::move(op), std::move(handler)};
}

template <class A>
auto as_case(A&& what)
{
    if constexpr (is_select_case<std::remove_cvref_t<A>>)
        return std::forward<A>(what);
    else
        return make_case(true, std::forward<A>(what), no_handler{});
}

template <class C>
concept suspending_case = C::has_handler && requires(C& c) {
    c.handle();
    requires is_task<std::remove_cvref_t<decltype(c.handle())>>;
};

template <bool Biased, class... Cases>
class select_operation {
    static constexpr std::size_t count = sizeof...(Cases);
    static constexpr std::size_t defaults = (std::size_t{Cases::is_default} + ... + 0);
    static_assert(defaults <= 1, "leat: a select has at most one otherwise()");

    static constexpr std::size_t fallback() noexcept
    {
        std::size_t at = 0;
        std::size_t found = select_core::none;
        ((Cases::is_default ? found = at : 0, ++at), ...);
        return found;
    }

public:
    static constexpr bool any_handler = (Cases::has_handler || ...);
    static constexpr bool starts = (Cases::starts || ...);
    static constexpr std::size_t size = count;
    // A select without cases only ever throws; its result has a type all the same.
    using plain_result = std::conditional_t<count == 0, select_result<std::monostate>,
                                            select_result<storable_t<typename Cases::value_type>...>>;
    using answer = std::conditional_t<any_handler, std::size_t, plain_result>;

    static constexpr bool any_suspending = (suspending_case<Cases> || ...);
    using follow_result = std::conditional_t<any_suspending, std::size_t, answer>;

    explicit select_operation(Cases&&... cases) : cases_{std::move(cases)...}
    {
    }

    /// Waits; what has been chosen is dealt with by the caller.
    class chooser {
    public:
        chooser(select_operation& of, task_root& root) noexcept : of_{of}, root_{root}
        {
        }
        bool await_ready()
        {
            turn& here = *root_.now;
            if constexpr (defaults != 0)
                if (!root_.stop_requested() && of_.all_must_wait() && here.budget > 1) {
                    --here.budget;
                    return true;
                }
            std::size_t at = 0;
            std::apply(
                [&](Cases&... c) {
                    ((select_core::set(slots_[at++], c.arm(root_, here), c.must_wait())), ...);
                },
                of_.cases_);
            core_.emplace(root_, slots_.data(), locks_.data(), count, fallback(), Biased);
            const bool answered = core_->start();
            if constexpr ((Cases::begins || ...))
                if (!answered && !core_->answered()) {
                    fill([&](auto& c) { return c.begin(here); });
                    return core_->start_begun();
                }
            return answered;
        }
        /// Between the two, if there was no answer: starts what has to be started.
        void start_cases()
        {
            fill([&](auto& c) { return c.start(root_); });
        }
        bool await_suspend(std::coroutine_handle<> frame) noexcept
        {
            return core_->suspend(frame);
        }
        std::size_t await_resume()
        {
            return fell_back() ? fallback() : core_->finish();
        }

    protected:
        /// Whether there was nothing to be had at the first look, and something else to do.
        bool fell_back() const noexcept
        {
            return defaults != 0 && !core_;
        }
        /// Sets the slots of the cases of which make(case) is not null.
        template <class Make>
        void fill(Make make)
        {
            std::size_t at = 0;
            const auto set = [&](auto& c) {
                select_slot& slot = slots_[at++];
                if (waiter* const op = make(c))
                    select_core::set(slot, op, false);
            };
            std::apply([&](Cases&... c) { (set(c), ...); }, of_.cases_);
        }

        select_operation& of_;
        task_root& root_;
        std::array<select_slot, count == 0 ? 1 : count> slots_;
        std::array<spinlock*, count == 0 ? 1 : count> locks_;
        delayed<select_core> core_;
    };

    /// Waits, then runs the handler or takes the value.
    class awaiter : public chooser {
    public:
        using chooser::chooser;

        answer await_resume()
        {
            return this->of_.conclude(chooser::await_resume());
        }
    };

    /// The same, with failure as a value.
    class result_awaiter : public chooser {
    public:
        using chooser::chooser;

        result<answer> await_resume() noexcept
        {
            if (!this->fell_back() && !this->core_->settle())
                return make_error_code(this->root_.stop_reason());
            try {
                return result<answer>{std::in_place, this->of_.conclude(chooser::await_resume())};
            } catch (...) {
                return std::current_exception();
            }
        }
    };

    auto await_in(task_root& root) & noexcept
    {
        return awaiter{*this, root};
    }
    auto await_in(task_root& root) && noexcept
    {
        return awaiter{*this, root};
    }
    auto await_result_in(task_root& root) noexcept
    {
        return result_awaiter{*this, root};
    }

    /// What has been started of a case.
    started_operation* started(std::size_t which) noexcept
    {
        started_operation* found = nullptr;
        std::size_t at = 0;
        std::apply([&](Cases&... c) { ((at++ == which ? void(found = c.started()) : void()), ...); }, cases_);
        return found;
    }
    /// For those who have waited by themselves.
    answer conclude_at(std::size_t chosen)
    {
        return conclude(chosen);
    }

    /// Starts the handler of a case; if that is a coroutine it is what is left to be awaited.
    LEAT_MAKES_TASK task<> start(std::size_t chosen)
    {
        return start_at<0>(chosen);
    }

private:
    bool all_must_wait() const noexcept
    {
        return std::apply([](const Cases&... c) { return (c.must_wait() && ...); }, cases_);
    }
    answer conclude(std::size_t chosen)
    {
        if constexpr (any_handler) {
            run(chosen, std::index_sequence_for<Cases...>{});
            return chosen;
        } else {
            return take<0>(chosen);
        }
    }
    template <std::size_t... I>
    void run(std::size_t chosen, std::index_sequence<I...>)
    {
        ((chosen == I ? run_case(std::get<I>(cases_)) : void()), ...);
    }
    template <class C>
    void run_case(C& c)
    {
        if constexpr (C::has_handler)
            static_cast<void>(c.handle());
        else
            static_cast<void>(c.take());
    }
    template <std::size_t I>
    LEAT_MAKES_TASK task<> start_at(std::size_t chosen)
    {
        if constexpr (I == count) {
            return {};
        } else {
            if (chosen != I)
                return start_at<I + 1>(chosen);
            auto& c = std::get<I>(cases_);
            if constexpr (suspending_case<std::remove_reference_t<decltype(c)>>)
                return ignore_value(c.handle());
            else {
                run_case(c);
                return {};
            }
        }
    }
    template <class T>
    LEAT_MAKES_TASK static task<> ignore_value(task<T> handler)
    {
        if constexpr (std::is_void_v<T>)
            return handler;
        else
            return [](task<T> inner) -> task<> {
                static_cast<void>(co_await std::move(inner));
            }(std::move(handler));
    }
    template <std::size_t I>
    plain_result take([[maybe_unused]] std::size_t chosen)
    {
        if constexpr (I + 1 < count)
            if (chosen != I)
                return take<I + 1>(chosen);
        if constexpr (count == 0) {
            return plain_result{std::in_place_index<0>};
        } else {
            auto& c = std::get<I>(cases_);
            if constexpr (std::is_void_v<decltype(c.take())>) {
                c.take();
                return plain_result{std::in_place_index<I>};
            } else if constexpr (std::is_reference_v<decltype(c.take())>) {
                auto&& value = c.take();
                return plain_result{std::in_place_index<I>, value};
            } else {
                return plain_result{std::in_place_index<I>, c.take()};
            }
        }
    }

    std::tuple<Cases...> cases_;
};

template <class Select>
struct choose_case {
    explicit choose_case(Select& of) noexcept : of_{of}
    {
    }
    auto await_in(task_root& root) const noexcept
    {
        return typename Select::chooser{of_, root};
    }

private:
    Select& of_;
};

/// The same, with operations that have to be started.
template <class Select>
struct choose_started {
    explicit choose_started(Select& of) noexcept : of_{of}
    {
    }

    class awaiter : public Select::chooser {
    public:
        using Select::chooser::chooser;

        bool await_ready()
        {
            const bool answered = Select::chooser::await_ready();
            // Out of turn, perhaps, but with an answer.
            if (answered || this->core_->answered())
                return answered;
            this->start_cases();
            return false;
        }
    };
    auto await_in(task_root& root) const noexcept
    {
        return awaiter{of_, root};
    }

private:
    Select& of_;
};

/// Operations that lose are told to end, and have ended before anything else happens. If the context has ended
/// first they are, too; one that has succeeded then is the case that happens.
template <class Select>
task<typename Select::follow_result> select_and_end(Select what)
{
    std::size_t chosen = select_core::none;
    std::exception_ptr failed;
    try {
        choose_started<Select> choice{what};
        chosen = co_await std::move(choice);
    } catch (...) {
        failed = std::current_exception();
    }
    for (std::size_t i = 0; i < Select::size; ++i)
        if (started_operation* const op = what.started(i); op != nullptr && i != chosen)
            op->ask_to_end();
    for (std::size_t i = 0; i < Select::size; ++i)
        if (started_operation* const op = what.started(i); op != nullptr && i != chosen) {
            end_of_started ended{*op};
            co_await ended;
            if (failed && chosen == select_core::none && op->succeeded())
                chosen = i;
        }
    if (chosen == select_core::none)
        std::rethrow_exception(failed);
    if constexpr (Select::any_suspending) {
        task<> handler = what.start(chosen);
        if (handler)
            co_await std::move(handler);
        co_return chosen;
    } else {
        co_return what.conclude_at(chosen);
    }
}

template <class Select>
task<std::size_t> select_and_follow(Select what)
{
    choose_case<Select> choice{what};
    const std::size_t chosen = co_await std::move(choice);
    task<> handler = what.start(chosen);
    if (handler)
        co_await std::move(handler);
    co_return chosen;
}

template <bool Biased, class... Cases>
LEAT_MAKES_TASK auto make_select(Cases... cases)
{
    using type = select_operation<Biased, Cases...>;
    if constexpr (type::starts)
        return select_and_end(type{std::move(cases)...});
    else if constexpr ((suspending_case<Cases> || ...))
        return select_and_follow(type{std::move(cases)...});
    else
        return type{std::move(cases)...};
}

}  // namespace detail

/// One case of a select: an operation, and what to do with its value.
///
/// The handler takes the operation's value or nothing; it is plain or a coroutine, which is awaited. A case
/// that loses has had no effect. A join_handle may stand for its join().
template <class A, class F>
[[nodiscard]] auto on(A&& what, F handler)
{
    return detail::make_case(true, std::forward<A>(what), std::move(handler));
}
template <class A>
[[nodiscard]] auto on(A&& what)
{
    return detail::make_case(true, std::forward<A>(what), detail::no_handler{});
}

/// A case that takes part only if the condition holds.
template <class A, class F>
[[nodiscard]] auto on_if(bool condition, A&& what, F handler)
{
    return detail::make_case(condition, std::forward<A>(what), std::move(handler));
}
template <class A>
[[nodiscard]] auto on_if(bool condition, A&& what)
{
    return detail::make_case(condition, std::forward<A>(what), detail::no_handler{});
}

/// What happens if no case is ready: the select then does not wait.
template <class F>
[[nodiscard]] auto otherwise(F handler)
{
    return detail::default_case<F>{std::move(handler)};
}
[[nodiscard]] inline auto otherwise()
{
    return detail::default_case<detail::no_handler>{detail::no_handler{}};
}

/// Waits until one of the cases can happen, and does exactly that one; chosen uniformly at random if several
/// can.
///
/// Result   with handlers, the index of the case that happened, after its handler has run; without, a
///          select_result.
/// Throws   what the case or its handler throws (a send case on a closed channel that is chosen:
///          channel_closed_error); cancelled_error or timed_out_error: the task's context ended first, and no
///          case happened. If a done() case is ready then, that case happens instead.
/// Cancel   safe: no case has had an effect, and values to be sent are still their owners'.
/// Asio     operations with use_task are started when no other case is ready; with otherwise() they are not. Those
///          that lose are cancelled, and have ended before the handler runs; what they had completed by then is
///          handed over if they were passed as lvalues (see use_task), else lost. If the context ends first, one that
///          has succeeded all the same is the case that happens.
/// Begins   once::call(), single_flight::run() and load_or_compute() begin their work when no other case is ready. A plain
///          function is then run to its end before anything is started or waited for, each of them if there are
///          several: its case happens, unless another has become ready meanwhile.
/// Life     its operations refer to their channels, contexts and handles without keeping them: await it in the
///          same expression.
/// Cost     no allocation, unless a handler is a coroutine; one lock for each case tried, all of them to park. With
///          otherwise(), none if no channel of the cases has anything to offer.
template <class... Cases>
[[nodiscard]] auto select(Cases&&... cases)
{
    return detail::make_select<false>(detail::as_case(std::forward<Cases>(cases))...);
}

/// The same, but the first of the ready cases is chosen.
template <class... Cases>
[[nodiscard]] auto select_biased(Cases&&... cases)
{
    return detail::make_select<true>(detail::as_case(std::forward<Cases>(cases))...);
}

namespace detail {

template <class T>
class select_range_operation {
public:
    explicit select_range_operation(std::vector<recv_operation<T>> cases) : cases_{std::move(cases)}
    {
    }

    /// Waits; what has been received is taken by those that derive from it.
    class chooser {
    public:
        chooser(std::vector<recv_operation<T>>& cases, task_root& root)
            : cases_{cases}, root_{root}, slots_(cases.size()), locks_(cases.size() + 1),
              core_{root, slots_.data(), locks_.data(), slots_.size(), select_core::none, false}
        {
        }
        bool await_ready() noexcept
        {
            for (std::size_t i = 0; i < slots_.size(); ++i) {
                cases_[i].root = &root_;
                cases_[i].prepare(*root_.now);
                select_core::set(slots_[i], &cases_[i], cases_[i].must_wait());
            }
            return core_.start();
        }
        bool await_suspend(std::coroutine_handle<> frame) noexcept
        {
            return core_.suspend(frame);
        }

    protected:
        std::vector<recv_operation<T>>& cases_;
        task_root& root_;
        std::vector<select_slot> slots_;
        std::vector<spinlock*> locks_;
        select_core core_;
    };

    class awaiter : public chooser {
    public:
        using chooser::chooser;

        select_range_result<T> await_resume()
        {
            const std::size_t chosen = this->core_.finish();
            return {chosen, this->cases_[chosen].value()};
        }
    };

    /// The same, with failure as a value.
    class result_awaiter : public chooser {
    public:
        using chooser::chooser;

        result<select_range_result<T>> await_resume()
        {
            if (!this->core_.settle())
                return make_error_code(this->root_.stop_reason());
            const std::size_t chosen = this->core_.chosen();
            return result<select_range_result<T>>{std::in_place, chosen, this->cases_[chosen].value()};
        }
    };

    auto await_in(task_root& root)
    {
        return awaiter{cases_, root};
    }
    auto await_result_in(task_root& root)
    {
        return result_awaiter{cases_, root};
    }

private:
    std::vector<recv_operation<T>> cases_;
};

}  // namespace detail

/// Receives from one of a number of channels that is known only at run time. The range holds receivers or
/// channels of one type; which of the ready ones is chosen is random.
///
/// Result, throws, cancel  as for select and recv(); of an empty range it waits until it is cancelled. Also
///          std::bad_alloc.
/// Life     refers to the channels without keeping them, as recv() does.
/// Cost     allocates three arrays; n log n to park.
template <detail::range Range>
[[nodiscard]] auto select_range(Range&& receivers)
{
    using handle = detail::range_value<Range>;
    using value = typename handle::value_type;
    std::vector<detail::recv_operation<value>> cases;
    cases.reserve(detail::size_hint(receivers));
    for (auto&& from : receivers)
        cases.push_back(from.recv());
    return detail::select_range_operation<value>{std::move(cases)};
}

}  // namespace leat
