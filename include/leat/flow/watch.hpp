#pragma once

#include <leat/detail/audience.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace leat {

namespace detail {

class change_waiter;

/// What of a watch does not depend on its type: its version, its end, and who waits for either.
class watch_base {
public:
    watch_base() noexcept = default;
    watch_base(const watch_base&) = delete;
    watch_base& operator=(const watch_base&) = delete;

    void close() noexcept;
    bool closed() const noexcept
    {
        const spin_guard hold{lock};
        return is_closed;
    }
    std::uint64_t current_version() const noexcept
    {
        const spin_guard hold{lock};
        return version;
    }
    /// Wakes all who wait. Without the lock, after a change.
    void wake_everybody() noexcept;

    mutable spinlock lock;
    waiter_list waiting;
    std::uint64_t version = 1;  ///< of the value; that of a watch's first is 1
    bool is_closed = false;
};

template <class T>
class watch_core final : public watch_base {
public:
    explicit watch_core(shared<const T> first) noexcept : value{std::move(first)}
    {
    }
    /// Installs a value; if `expected` is not null, only over that version. Gives back what was there, or what was not
    /// installed, to be destroyed without the lock.
    bool install(shared<const T>& next, const std::uint64_t* expected) noexcept
    {
        {
            const spin_guard hold{lock};
            if (is_closed || (expected != nullptr && *expected != version))
                return false;
            std::swap(value, next);
            ++version;
        }
        wake_everybody();
        return true;
    }
    shared<const T> get(std::uint64_t& seen) const noexcept
    {
        const spin_guard hold{lock};
        seen = version;
        return value;
    }

private:
    shared<const T> value;
};

/// An owner of it as the standard library has them. The road not taken is to keep the value in one of those from the
/// start, which costs every program <memory>.
template <class T>
std::shared_ptr<const T> share_with_std(shared<const T> value)
{
    const T* const at = value.get();
    // It owns by what the deleter holds, and lets go there: a deleter itself lives as long as there are weak pointers. It
    // points to the value by a second constructor, which does not touch a T that knows its std::shared_ptr: that would be
    // several threads at once.
    return std::shared_ptr<const T>{
        std::shared_ptr<const T>{nullptr,
                                 [held = std::move(value)](std::nullptr_t) mutable noexcept { held = {}; }},
        at};
}

/// Waits until a watch has another version than `seen`, or has ended. Those who are woken look for themselves, so that
/// they see the latest.
class change_waiter : public waiter {
public:
    spinlock& source() noexcept final
    {
        return of_.lock;
    }
    bool try_complete(wake_list&) noexcept final
    {
        return due();
    }
    /// Under the lock: whether there is something new for it.
    bool due() const noexcept
    {
        return of_.version != seen_ || of_.is_closed;
    }
    void link() noexcept final
    {
        of_.waiting.push_back(*this);
    }
    void unlink() noexcept final
    {
        of_.waiting.remove(*this);
    }
    const char* kind() const noexcept final
    {
        return "change of a watched value";
    }
    void prepare(turn&) noexcept
    {
    }
    std::error_code error() const noexcept
    {
        return {};
    }

protected:
    change_waiter(watch_base& of, const std::uint64_t& seen) noexcept : of_{of}, seen_{seen}
    {
    }
    ~change_waiter() = default;

    watch_base& of_;
    const std::uint64_t& seen_;
};

template <class T>
class change_operation final : public change_waiter {
public:
    using value_type = std::optional<T>;

    change_operation(watch_core<T>& of, std::uint64_t& seen) noexcept
        : change_waiter{of, seen}, core_{of}, mark_{seen}
    {
    }
    change_operation(const change_operation& other) noexcept : change_operation{other.core_, other.mark_}
    {
    }
    value_type value()
    {
        std::uint64_t now = 0;
        const shared<const T> latest = core_.get(now);
        if (now == mark_)
            return std::nullopt;  // it has ended
        value_type copy{std::in_place, *latest};
        mark_ = now;
        return copy;
    }

private:
    watch_core<T>& core_;
    std::uint64_t& mark_;
};

}  // namespace detail

/// One reader of a watch, who knows what it has seen.
///
/// Threads  one at a time for the object; the watch itself, any.
/// Life     of one that has been moved from, only destroying and assigning to it are allowed.
template <class T>
class watcher {
    using core = detail::watch_core<T>;

public:
    using value_type = T;

    /// Waits until the value is another than the one this watcher has seen last.
    ///
    /// Values that were replaced before it looked are skipped: what it gets is the latest.
    ///
    /// Result   the value, or nullopt once the watch has ended and its last value has been seen.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first; what copying the value throws, and then
    ///          it has not been seen.
    /// Cancel   safe: nothing has been seen. A case for select.
    /// Life     refers to the watcher without keeping it: await it in the same expression.
    [[nodiscard]] detail::change_operation<T> changed() noexcept
    {
        return detail::change_operation<T>{*core_, seen_};
    }
    /// changed() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    std::optional<T> blocking_changed()
    {
        return detail::wait_blocking(changed());
    }
    /// Whether changed() would not wait.
    bool has_changed() const noexcept
    {
        const detail::spin_guard hold{core_->lock};
        return core_->version != seen_ || core_->is_closed;
    }

    /// Waits for a value that satisfies the predicate; at once if the current one does. That is then seen.
    ///
    /// Result   the value, or nullopt if the watch has ended without one.
    /// Throws   as changed(); what the predicate throws.
    /// Cancel   safe, but what the predicate has refused has been seen. Not a case for select: run it in a task and join
    ///          that. If the current value satisfies the predicate, that is the result though the context has ended.
    /// Life     refers to the watcher until it has been awaited.
    template <std::predicate<const T&> F>
    [[nodiscard]] task<std::optional<T>> wait_for(F wanted)
    {
        T now = get();
        for (;;) {
            if (wanted(std::as_const(now)))
                co_return std::optional<T>{std::in_place, std::move(now)};
            std::optional<T> next = co_await changed();
            if (!next)
                co_return std::nullopt;
            now = std::move(*next);
        }
    }

    /// The current value, which then has been seen. Of a watch that has ended, the last. Throws what copying it throws.
    T get()
    {
        return *core_->get(seen_);
    }
    /// The same without a copy of the value. Needs <memory>.
    ///
    /// Throws  std::bad_alloc: nothing more has been seen.
    /// Cost    a small allocation.
    std::shared_ptr<const T> share()
    {
        std::uint64_t now = 0;
        auto shared = detail::share_with_std<T>(core_->get(now));
        seen_ = now;
        return shared;
    }
    /// Whether the watch has ended.
    bool closed() const noexcept
    {
        return core_->closed();
    }

    // For the library.
    watcher(detail::shared<core> of, std::uint64_t seen) noexcept : core_{std::move(of)}, seen_{seen}
    {
    }

private:
    detail::shared<core> core_;
    std::uint64_t seen_;
};

/// A value that changes, and readers who want to know the latest: a configuration, a state, progress.
///
/// Setting it never waits and needs no reader. Readers see the latest value, not every one: for those, take a broadcast.
///
/// A reference type: copies name the same watch. When the last of them goes it ends, and its watchers get the end.
///
/// Threads  any, concurrently; also threads of no runtime.
template <class T>
class watch {
    static_assert(
        std::copy_constructible<T>,
        "leat: many read what is watched: for what can not be copied, take a std::shared_ptr to it");
    using core = detail::watch_core<T>;

public:
    using value_type = T;

    watch()
        requires std::default_initializable<T>
        : watch(T())
    {
    }
    explicit watch(T first)
        : open_{detail::make_shared_object<detail::opening<core>>(
              detail::make_shared_object<core>(detail::make_shared_object<const T>(std::move(first))))}
    {
    }

    /// Sets the value and wakes all who wait for a change, also if it is equal to the one before.
    ///
    /// Result  false if the watch has ended; the value is dropped.
    /// Throws  std::bad_alloc; what moving the value does.
    /// Cost    an allocation, a short lock, and what waking takes.
    bool set(T value) const
    {
        auto next = detail::make_shared_object<const T>(std::move(value));
        return open_->core->install(next, nullptr);
    }
    /// The same under the name that channels use.
    bool send(T value) const
    {
        return set(std::move(value));
    }
    /// Changes the value by `change(T&)`, called with a copy: again if somebody else has set it meanwhile. If it returns a
    /// bool, false leaves the value as it is.
    ///
    /// Result  whether the value was set.
    /// Throws  std::bad_alloc; what copying and moving the value and `change` throw: the value is as it was.
    template <std::invocable<T&> F>
    bool update(F change) const
    {
        for (;;) {
            std::uint64_t version = 0;
            T copy = *open_->core->get(version);
            if constexpr (std::same_as<std::invoke_result_t<F&, T&>, bool>) {
                if (!change(copy))
                    return false;
            } else {
                change(copy);
            }
            auto next = detail::make_shared_object<const T>(std::move(copy));
            if (open_->core->install(next, &version))
                return true;
            if (closed())
                return false;
        }
    }

    /// The current value, or the last one. Throws what copying it throws.
    T get() const
    {
        std::uint64_t version = 0;
        return *open_->core->get(version);
    }
    /// The same without a copy of the value. Needs <memory>.
    ///
    /// Throws  std::bad_alloc.
    /// Cost    a small allocation.
    std::shared_ptr<const T> share() const
    {
        std::uint64_t version = 0;
        return detail::share_with_std<T>(open_->core->get(version));
    }

    /// A reader who has seen the current value: its changed() waits for the next.
    [[nodiscard]] watcher<T> subscribe() const noexcept
    {
        return watcher<T>{open_->core, open_->core->current_version()};
    }

    /// Ends it: it can not be set any more, and watchers get the end, after what they have not seen. Idempotent.
    void close() const noexcept
    {
        open_->core->close();
    }
    bool closed() const noexcept
    {
        return open_->core->closed();
    }

    friend bool operator==(const watch& a, const watch& b) noexcept
    {
        return a.open_ == b.open_;
    }

private:
    detail::shared<detail::opening<core>> open_;
};

}  // namespace leat
