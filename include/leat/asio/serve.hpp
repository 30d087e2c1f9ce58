// serve: a program that runs until it is told to stop, and then stops properly.
//
//     int main() { leat::serve(server, {.signals = {SIGINT, SIGTERM}, .grace = 30s}); }
//
//   running ──first signal──▶ draining ──second signal, or the grace is over──▶ cancelled ──cancel_grace──▶ stuck
//      └──────────────────────────┴───────────── main ends ────────────────────────┴──▶ over
//
// draining    drain_context() ends, nothing else: who accepts stops accepting, who has a request finishes it.
// cancelled   the context of main ends, and with it everything below.
// stuck       what is left is reported by name and await chain, and its frames are destroyed.
//
// The supervisor, supervise(), knows neither signals nor a runtime: it is given a channel of signals, so that every
// stage can be tested in virtual time (serve_until).
#pragma once

#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/reference.hpp>
#include <leat/error.hpp>
#include <leat/result.hpp>
#include <leat/runtime.hpp>
#include <leat/select.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <csignal>
#include <cstddef>
#include <exception>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace leat {

/// A few signals, at most eight. Throws usage_error if there are more.
class signal_list {
public:
    signal_list(std::initializer_list<int> signals);
    const int* begin() const noexcept
    {
        return numbers_.data();
    }
    const int* end() const noexcept
    {
        return numbers_.data() + count_;
    }

private:
    std::array<int, 8> numbers_{};
    std::size_t count_ = 0;
};

/// How serve() ends. Trivial to destroy, so that it may be written where it is used.
struct serve_options {
    /// What asks for the end: once to drain, twice to cancel.
    signal_list signals{SIGINT, SIGTERM};
    /// How long draining may take.
    std::chrono::nanoseconds grace = std::chrono::seconds{30};
    /// How long what has been cancelled may take to end.
    std::chrono::nanoseconds cancel_grace = std::chrono::seconds{5};
    /// Told of what is stuck then: a list with names and await chains. The default prints it.
    detail::trivial_callback<void(const std::string&)> on_stuck{};
};

/// The context that ends when the serve() around the task asks it to drain. Without one, it never ends.
///
/// Throws   usage_error outside of a task.
/// Threads  any task of a runtime. The context itself may be used anywhere, also when the service has gone.
context drain_context();

/// Whether that has happened.
///
/// Throws, Threads  as drain_context().
bool draining();

/// Says that the service is ready, to systemd (READY=1), if that wants to know: once for each serve(), whoever
/// says it first. listen_and_serve() does when it begins to accept. Without a serve(), nothing happens.
///
/// Throws, Threads  as drain_context(). That systemd can not be told is ignored.
void service_ready();

/// Sends a line such as "STATUS=..." to the service manager that has set NOTIFY_SOCKET. False if there is none, or if
/// it can not be reached.
bool notify_service_manager(std::string_view state) noexcept;

namespace detail {

/// What the tasks of a service know of it, through their context.
class service {
public:
    service();
    const leat::context& drain() const noexcept
    {
        return drain_.first;
    }
    void begin_to_drain(int signal);
    void ready() noexcept;

private:
    cancellable_context drain_;
    std::atomic<bool> ready_{false};
};
inline constexpr context_key<std::shared_ptr<service>> service_key{"service"};

/// How far a service has come when its supervisor returns.
enum class service_end : unsigned char {
    over,       ///< main has ended
    cancelled,  ///< it is to be cancelled
};
task<service_end> supervise(receiver<int> signals, receiver<void> over, service& of,
                            std::chrono::nanoseconds grace, canceller& hard);
/// Waits for the end of what has been cancelled. False if it is stuck, which has been reported.
task<bool> wait_for_end(receiver<void> over, const serve_options& options);

/// Signals as a channel. Listens from the constructor on.
class signal_source {
public:
    explicit signal_source(const signal_list& signals);
    signal_source(const signal_source&) = delete;
    signal_source& operator=(const signal_source&) = delete;
    ~signal_source();
    receiver<int> received() const;

private:
    struct state;
    std::shared_ptr<state> state_;
};

/// What signals did before; puts it back.
class kept_dispositions {
public:
    explicit kept_dispositions(const signal_list& signals) noexcept;
    kept_dispositions(const kept_dispositions&) = delete;
    kept_dispositions& operator=(const kept_dispositions&) = delete;
    ~kept_dispositions();

private:
    signal_list signals_;
    std::array<struct sigaction, 8> before_{};
};

template <class W>
struct main_value {
    using type = typename task_of<std::invoke_result_t<W&>>::type;
};
template <class T>
struct main_value<task<T>> {
    using type = T;
};
template <class W>
using main_value_t = typename main_value<std::decay_t<W>>::type;

/// A channel that is closed when its owner goes.
template <class T>
class closes_at_end {
public:
    explicit closes_at_end(channel<T> what) noexcept : what_{std::move(what)}
    {
    }
    closes_at_end(closes_at_end&& other) noexcept : what_{std::exchange(other.what_, std::nullopt)}
    {
    }
    closes_at_end& operator=(closes_at_end&&) = delete;
    ~closes_at_end()
    {
        if (what_)
            what_->close();
    }
    const channel<T>* operator->() const noexcept
    {
        return &*what_;
    }

private:
    std::optional<channel<T>> what_;
};

template <class W, class T>
task<T> run_main(W main, channel<void> over)
{
    const closes_at_end<void> tell{std::move(over)};
    if constexpr (is_task<W>)
        co_return co_await std::move(main);
    else if constexpr (is_task<std::invoke_result_t<W&>>)
        co_return co_await main();
    else
        co_return main();
}

/// A service whose main has been started, in the calling task's place, under a context of its own.
template <class T>
class started_service {
public:
    template <class W>
    explicit started_service(W&& main)
        : shared_{std::make_shared<service>()}, hard_{with_cancel()},
          within_{with_value(hard_.first, service_key, shared_)}
    {
        main_ =
            spawn(run_main<std::decay_t<W>, T>(std::forward<W>(main), over_), spawn_options{"main", within_});
    }
    task<service_end> supervise(receiver<int> signals, std::chrono::nanoseconds grace)
    {
        return detail::supervise(std::move(signals), over_, *shared_, grace, hard_.second);
    }
    task<bool> wait_for_end(const serve_options& options)
    {
        return detail::wait_for_end(over_, options);
    }
    join_handle<T>& main() noexcept
    {
        return main_;
    }

private:
    std::shared_ptr<service> shared_;
    cancellable_context hard_;
    leat::context within_;
    channel<void> over_;
    join_handle<T> main_;
};

template <class W, class T>
task<service_end> start_service(W main, serve_options options, join_handle<T>& handle)
{
    // Before the service begins, so that no signal ends the process.
    const signal_source signals{options.signals};
    started_service<T> started{std::move(main)};
    const service_end end = co_await started.supervise(signals.received(), options.grace);
    handle = std::move(started.main());
    co_return end;
}

template <class W, class T>
task<T> serve_in_task(receiver<int> signals, W main, serve_options options)
{
    started_service<T> started{std::move(main)};
    const service_end end = co_await started.supervise(std::move(signals), options.grace);
    if (end == service_end::cancelled) {
        const bool ended = co_await started.wait_for_end(options);
        if (!ended)
            throw std::system_error{make_error_code(errc::abandoned), "leat: the service does not end"};
    }
    co_return co_await started.main();
}

}  // namespace detail

/// Runs a service, a task or a callable that gives one, on a runtime of its own, and blocks until it has ended. The
/// first signal asks it to drain (see drain_context()), the second, or the end of the grace, cancels it. What does not
/// end then is reported and destroyed. Tells systemd, if it has set NOTIFY_SOCKET, that the service is ready (see
/// service_ready()) and that it is stopping.
///
/// Result   what main returned.
/// Throws   what main threw: cancelled_error, with a signal_error as its cause, if it was cancelled; errc::abandoned
///          if it had to be destroyed; usage_error in a task, and for options that make no sense; std::system_error.
/// Threads  blocks the caller; not to be called in a task. The signals are had for as long as it runs, and then do
///          what they did before. A signal belongs to one serve() or with_signals() of the process at a time: of two
///          that overlap, the first to end puts back what it has found, and the other hears the signal no more. From when
///          main has ended or been cancelled until serve() returns, a signal does what the system does by default, even
///          if it was ignored before.
template <class W>
    requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
auto serve(W&& main, serve_options options = {}, runtime_options how = {}) -> detail::main_value_t<W>
{
    using value = detail::main_value_t<W>;
    how.grace = options.cancel_grace;
    if (options.on_stuck)
        how.on_stuck = options.on_stuck;
    const detail::kept_dispositions before{options.signals};
    join_handle<value> handle;
    runtime pool{std::move(how)};
    const detail::service_end end =
        pool.block_on(detail::start_service<std::decay_t<W>, value>(std::forward<W>(main), options, handle));
    if (end == detail::service_end::cancelled)
        pool.stop();
    auto joined = handle.join();
    result<value> got = joined.take_result();
    return std::move(got).value();
}

/// The same in a task, with signals from a channel: for programs that have a runtime already, and for tests, in
/// which time is virtual. When the channel is closed no more signals come.
///
/// Result, Throws  as serve(); errc::abandoned if main does not end: it is left running. cancelled_error,
///         timed_out_error: the context of the calling task ended; main has been told, too.
/// Cancel  ends main without draining, and does not wait for it.
template <class W>
    requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
[[nodiscard]] auto serve_until(receiver<int> signals, W&& main, serve_options options = {})
    -> task<detail::main_value_t<W>>
{
    return detail::serve_in_task<std::decay_t<W>, detail::main_value_t<W>>(std::move(signals),
                                                                           std::forward<W>(main), options);
}

namespace detail {

template <class T>
struct unless_value {
    using type = std::optional<storable_t<T>>;
};
template <>
struct unless_value<void> {
    using type = bool;
};
template <class T>
struct unless_value<std::optional<T>> {
    using type = std::optional<T>;
};

template <class A, class T>
task<typename unless_value<T>::type> run_unless_draining(A inner)
{
    using answer = typename unless_value<T>::type;
    const context own = this_task::context();
    const context drain = drain_context();
    const cancellable_context either = merge(own, drain);
    auto got = co_await as_result(with_context(either.first, std::move(inner)));
    if (!got && got.error() == errc::cancelled && drain.cancelled() && !own.cancelled())
        co_return answer{};
    if constexpr (std::is_void_v<T>) {
        got.value();
        co_return true;
    } else {
        co_return answer{std::move(got).value()};
    }
}

}  // namespace detail

/// Waits for what may be given up when the service drains: the next request, as opposed to one that has begun.
///
///     while (auto line = co_await leat::unless_draining(peer.read_line())) ...
///
/// Result   what the inner one gives, as an optional, or true if that is nothing; nullopt or false if the drain came
///          first and the inner one has been cancelled. An optional is given as it is.
/// Throws   what the inner one throws.
/// Cancel   as the inner one.
template <class A>
[[nodiscard]] auto unless_draining(A inner)
{
    return detail::run_unless_draining<A, detail::awaited_t<A>>(std::move(inner));
}

namespace net {
using leat::serve;
}

}  // namespace leat
