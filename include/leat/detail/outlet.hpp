// The sending end of what the functions of flow/ start: it keeps its channel's core, but does not keep the channel
// open. So when the last receiver goes the channel closes, as it would if nobody could send any more, and whoever
// sends through an outlet is told that nobody reads.
#pragma once

#include <leat/channel.hpp>
#include <leat/detail/call.hpp>
#include <leat/detail/memory.hpp>
#include <leat/group.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// Waits until a channel has been closed.
class closed_operation final : public channel_waiter {
public:
    using value_type = void;

    explicit closed_operation(channel_base* of) noexcept : channel_waiter{of, side::watches}
    {
    }
    closed_operation(const closed_operation& other) noexcept : closed_operation{other.channel_}
    {
    }

    void prepare(turn&) noexcept
    {
    }
    bool try_complete(wake_list&) noexcept override
    {
        return channel_->is_closed();
    }
    const char* kind() const noexcept override
    {
        return "end of a channel";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const noexcept
    {
    }
};

}  // namespace leat::detail

namespace leat {

/// Where a generator puts its values. When the last receiver goes the channel closes, and a send fails.
///
/// Not to be kept beyond the call it is passed to. Threads: any.
template <class T>
class outlet {
    using core = detail::channel_core<detail::item_of<T>>;

public:
    using value_type = T;

    /// As sender::send(): throws channel_closed_error when nobody reads any more, which ends a generator.
    [[nodiscard]] detail::send_operation<T, false> send(T&& value) const
    {
        return detail::send_operation<T, false>{core_, std::addressof(value)};
    }
    [[nodiscard]] detail::send_operation<T, true> send(const T& value) const
        requires std::copy_constructible<T>
    {
        return detail::send_operation<T, true>{core_, value};
    }
    /// Waits until nobody reads any more. A case for select.
    [[nodiscard]] detail::closed_operation closed() const noexcept
    {
        return detail::closed_operation{core_};
    }

    // For the library.
    explicit outlet(const channel<T>& of) noexcept : core_{detail::channel_access::core(of)}
    {
        core_->pin();
    }
    outlet(outlet&& other) noexcept : core_{std::exchange(other.core_, nullptr)}
    {
    }
    outlet& operator=(outlet&&) = delete;
    ~outlet()
    {
        if (core_ != nullptr) {
            core_->close();
            core_->unpin();
        }
    }
    void close() const noexcept
    {
        core_->close();
    }

private:
    core* core_;
};

namespace detail {

/// After a send: true if nobody reads any more. Throws what else has kept it from happening.
inline bool unread(const result<>& sent)
{
    if (sent)
        return false;
    if (sent.error() == errc::channel_closed)
        return true;
    sent.value();
    return true;
}

template <class T>
task<> end_when_unread(const outlet<T>& out, task_group& stage)
{
    co_await out.closed();
    stage.cancel();
}

template <class T, class Work>
task<> work_and_close(outlet<T>& out, Work& work)
{
    co_await work(out);
    out.close();
}

// One stage: its work, and somebody who cancels that when nobody reads what it gives. Both are children of a group of
// the stage's own, so that ending it early is no failure of the group that it was started in.
template <class T, class Work>
task<> run_stage(outlet<T> out, Work work)
{
    // The body does not wait: it could be cancelled by the first child, which would be a failure.
    auto start = [&](task_group& stage) -> task<> {
        stage.try_spawn(end_when_unread<T>(out, stage));
        stage.try_spawn(work_and_close<T, Work>(out, work));
        co_return;
    };
    co_await with_group([&](task_group& stage) { return start(stage); });
}

[[noreturn]] void throw_no_place_for_stage();

/// Starts `work(outlet<T>&)`, a coroutine; returns what it sends.
template <class T, class Work>
receiver<T> start_stage(task_group& group, std::size_t buffer, const char* name, Work work)
{
    const channel<T> made{buffer};
    if (!group.try_spawn(run_stage<T, Work>(outlet<T>{made}, std::move(work)), {.name = name}))
        throw_no_place_for_stage();
    return receiver<T>{made};
}

/// A receiver, or something that one can be made of.
template <class In>
concept receivable = requires { typename std::remove_cvref_t<In>::value_type; } &&
                     std::convertible_to<In, receiver<typename std::remove_cvref_t<In>::value_type>>;
template <class In>
using received_from = typename std::remove_cvref_t<In>::value_type;

}  // namespace detail
}  // namespace leat
