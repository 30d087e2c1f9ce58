#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/channel_core.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/reference.hpp>
#include <leat/result.hpp>

#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

/// The capacity of a channel that never makes a sender wait. Its memory is bounded by nothing but the
/// difference in speed between the two ends.
struct unbounded_t {
    explicit unbounded_t() = default;
};
inline constexpr unbounded_t unbounded{};

namespace detail {

template <class T>
using item_of = typename channel_item<T>::type;

/// What recv() gives: optional<T>, and for channel<void> whether there was a signal.
template <class T>
using received = std::conditional_t<std::is_void_v<T>, bool, std::optional<T>>;

/// Receives one value.
template <class T>
class recv_operation final : public channel_receiver<item_of<T>> {
    using core = channel_core<item_of<T>>;

public:
    using value_type = received<T>;

    explicit recv_operation(core* from) noexcept : channel_receiver<item_of<T>>{from}
    {
    }
    recv_operation(const recv_operation& other) noexcept : channel_receiver<item_of<T>>{other.channel_}
    {
    }

    void prepare(turn&) noexcept
    {
        // Of an operation that is awaited again.
        this->slot.reset();
        delete std::exchange(this->spent, nullptr);
    }
    bool try_complete(wake_list& wakes) noexcept override
    {
        return !this->channel_->recv_waits() && static_cast<core*>(this->channel_)->try_recv(*this, wakes);
    }
    bool must_wait() const noexcept
    {
        return this->channel_->nothing_to_receive();
    }
    const char* kind() const noexcept override
    {
        return "receive";
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    value_type value()
    {
        if constexpr (std::is_void_v<T>)
            return this->slot.has_value();
        else if constexpr (!channel_item<T>::boxed)
            return std::move(this->slot);
        else if (this->slot)
            return value_type{std::move(**this->slot)};
        else
            return std::nullopt;
    }
};

/// Sends one value: the caller's own object, which is moved from only once the send is certain, or a copy
/// that the operation keeps.
template <class T, bool Owned>
class send_operation final : public channel_sender<item_of<T>> {
    using core = channel_core<item_of<T>>;
    using outcome = channel_waiter::outcome;
    static constexpr bool boxed = channel_item<T>::boxed;
    struct nothing {
        nothing() noexcept
        {
        }
    };
    static_assert(
        Owned || !boxed || std::is_move_assignable_v<T>,
        "leat: a value whose move may throw is given back by move assignment if it is not sent, and "
        "this type has none: make its move constructor noexcept, or send a copy of it");
    using payload = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
    using kept = std::conditional_t<Owned, payload, payload*>;

public:
    using value_type = void;

    template <class V>
    explicit send_operation(core* to, V&& value)
        : channel_sender<item_of<T>>{to}, kept_(std::forward<V>(value))
    {
    }
    // Until it is awaited; then it stays where it is.
    send_operation(send_operation&& other) noexcept(std::is_nothrow_move_constructible_v<kept>)
        : channel_sender<item_of<T>>{other.channel_}, kept_(std::move(other.kept_))
    {
    }
    ~send_operation()
    {
        delete place_;
        if constexpr (boxed && !Owned)
            give_back();
    }

    void prepare(turn&)
    {
        if (to().is_unbounded() && place_ == nullptr)
            place_ = new typename core::node;
        if constexpr (boxed) {
            if (!box_)
                box_ = make_owned<T>(std::move(payload_ref()));
            this->item = &box_;
        } else {
            this->item = &payload_ref();
        }
    }
    bool try_complete(wake_list& wakes) noexcept override
    {
        return !to().send_waits() && to().try_send(*this, place_, wakes);
    }
    bool must_wait() const noexcept
    {
        return to().no_room();
    }
    const char* kind() const noexcept override
    {
        return "send";
    }
    std::error_code error() const noexcept
    {
        return this->result == outcome::closed ? make_error_code(errc::channel_closed) : std::error_code{};
    }
    void value() const noexcept
    {
    }

private:
    payload& payload_ref() noexcept
    {
        if constexpr (Owned)
            return kept_;
        else
            return *kept_;
    }
    core& to() const noexcept
    {
        return *static_cast<core*>(this->channel_);
    }
    // A value that was boxed and not sent returns to its owner. If that move throws too, the value is gone:
    // there is nobody left to tell.
    // (The road not taken is to destroy the owner's object and build it anew: if that throws, the owner is left
    // with an object that it will destroy although there is none.)
    void give_back() noexcept
    {
        if (box_)
            try {
                *kept_ = std::move(*box_);
            } catch (...) {
            }
    }

    kept kept_;
    typename core::node* place_ = nullptr;
    [[no_unique_address]] std::conditional_t<boxed, owned<payload>, nothing> box_;
};

/// async_send() and async_recv(); defined by leat/asio/channel.hpp.
template <class Dependent>
struct asio_channel;

struct channel_access {
    template <class Handle>
    static auto core(const Handle& of) noexcept
    {
        return of.core_;
    }
};

/// A counted reference to a core; the base of the three handles.
template <class T>
class channel_handle {
protected:
    using core = channel_core<item_of<T>>;

public:
    channel_handle(const channel_handle& other) noexcept : core_{other.core_}
    {
        core_->ref();
    }
    channel_handle& operator=(const channel_handle& other) noexcept
    {
        other.core_->ref();
        core_->unref();
        core_ = other.core_;
        return *this;
    }
    ~channel_handle()
    {
        core_->unref();
    }

    /// Closes the channel. Values in the buffer can still be received; everybody who waits is woken,
    /// receivers with the end, senders with channel_closed_error, their values untouched. Idempotent.
    void close() const noexcept
    {
        core_->close();
    }
    bool closed() const noexcept
    {
        return core_->closed();
    }
    /// How many values are buffered; out of date at once if others use the channel.
    std::size_t size() const noexcept
    {
        return core_->size();
    }
    bool empty() const noexcept
    {
        return size() == 0;
    }
    /// How many values fit the buffer; SIZE_MAX if it is unbounded.
    std::size_t capacity() const noexcept
    {
        return core_->capacity();
    }

    /// Whether two handles name the same channel.
    friend bool operator==(const channel_handle& a, const channel_handle& b) noexcept
    {
        return a.core_ == b.core_;
    }

protected:
    friend struct channel_access;

    explicit channel_handle(core* adopted) noexcept : core_{adopted}
    {
    }

    core* core_;
};

/// The sending side of channel and sender.
template <class T, class Handle>
class send_side {
public:
    /// Sends a value, suspending while the channel has no room; unbuffered, until a receiver takes it.
    ///
    /// An rvalue stays where it is and is moved from only once the send is certain; an lvalue is copied at
    /// once. Waiting senders are served in the order they arrived.
    ///
    /// Throws   channel_closed_error; cancelled_error, timed_out_error: the task's context ended first;
    ///          std::bad_alloc, for unbounded channels and boxes. The caller's object then still has its value.
    ///          One whose move may throw is moved into a box before, which may throw what the move does, and
    ///          given back by move assignment: if that throws too, the value is lost.
    /// Cancel   safe: a cancelled send has sent nothing.
    /// Life     refers to the channel and to an rvalue without keeping them: await it in the same expression,
    ///          or keep both until it has been. `return leat::timeout(1s, ch.send(...))` of a function that is
    ///          no coroutine does not, if `ch` is its own.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one short lock; no allocation, but for unbounded channels and for boxes.
    [[nodiscard]] send_operation<T, false> send(T&& value) const
    {
        return send_operation<T, false>{core(), std::addressof(value)};
    }
    [[nodiscard]] send_operation<T, true> send(const T& value) const
        requires std::copy_constructible<T>
    {
        return send_operation<T, true>{core(), value};
    }

    /// Sends if that is possible without waiting. Never throws for want of room.
    ///
    /// Result   an error of errc::channel_full or errc::channel_closed if it was not; the value then is
    ///          still the caller's.
    /// Throws   std::bad_alloc, and what a throwing move throws, as send() does.
    /// Threads  any, also those of no runtime.
    result<> try_send(T&& value) const
    {
        return try_once(send_operation<T, false>{core(), std::addressof(value)});
    }
    result<> try_send(const T& value) const
        requires std::copy_constructible<T>
    {
        return try_once(send_operation<T, true>{core(), value});
    }

    /// send() for code of Asio's, with any completion token. Needs <leat/asio/channel.hpp>.
    ///
    /// Result   what the token makes of void(std::error_code): zero if the value was sent; errc::channel_closed;
    ///          asio::error::operation_aborted.
    /// Throws   std::bad_alloc; what moving or copying the value into the operation throws.
    /// Cancel   by the token's cancellation slot; then nothing has been sent. A value that was not sent goes with the
    ///          operation, before the handler is called; one that was given by std::ref() stays where it is, is moved
    ///          from only once it is sent, and has to be kept until then.
    /// Life     a pending operation does not keep the channel: if the last handle goes, it is closed. If the
    ///          handler's execution context goes first, nothing is sent and the handler is destroyed.
    /// Threads  any; the handler is called through its executor, never inside this call.
    /// Cost     one block, from the handler's allocator if it has one, and a function posted.
    template <class V, class Token, class Bridge = asio_channel<std::remove_cvref_t<Token>>>
        requires std::constructible_from<T, V>
    auto async_send(V&& value, Token&& token) const
    {
        return Bridge::template send<T>(static_cast<const Handle&>(*this), std::forward<V>(value),
                                        std::forward<Token>(token));
    }
    template <class Token, class Bridge = asio_channel<std::remove_cvref_t<Token>>>
    auto async_send(std::reference_wrapper<T> value, Token&& token) const
    {
        return Bridge::template send_from<T>(static_cast<const Handle&>(*this), value.get(),
                                             std::forward<Token>(token));
    }

    /// send() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await send(); channel_closed_error; as send() does.
    void blocking_send(T&& value) const
    {
        wait_blocking(send_operation<T, false>{core(), std::addressof(value)});
    }
    void blocking_send(const T& value) const
        requires std::copy_constructible<T>
    {
        wait_blocking(send_operation<T, true>{core(), value});
    }

private:
    auto core() const noexcept
    {
        return channel_access::core(static_cast<const Handle&>(*this));
    }
    template <class Op>
    static result<> try_once(Op&& op)
    {
        if (!complete_now(op))
            return errc::channel_full;
        return op.error() ? result<>{op.error()} : result<>{};
    }
};

/// The same for signals, which carry nothing.
template <class Handle>
class send_side<void, Handle> {
public:
    /// Sends a signal, suspending while the channel has no room; unbuffered, until a receiver takes it.
    ///
    /// Throws   channel_closed_error; cancelled_error, timed_out_error: the task's context ended first;
    ///          std::bad_alloc, if the channel is unbounded.
    /// Cancel   safe: a cancelled send has sent nothing.
    /// Life     refers to the channel without keeping it: await it in the same expression.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one short lock; no allocation, but for unbounded channels.
    [[nodiscard]] send_operation<void, true> send() const
    {
        return send_operation<void, true>{core(), std::monostate{}};
    }
    /// Sends if that is possible without waiting.
    ///
    /// Result   an error of errc::channel_full or errc::channel_closed if it was not.
    /// Throws   std::bad_alloc, if the channel is unbounded.
    /// Threads  any, also those of no runtime.
    result<> try_send() const
    {
        auto op = send();
        if (!complete_now(op))
            return errc::channel_full;
        return op.error() ? result<>{op.error()} : result<>{};
    }
    /// send() for code of Asio's, as for channels with values. Needs <leat/asio/channel.hpp>.
    template <class Token, class Bridge = asio_channel<std::remove_cvref_t<Token>>>
    auto async_send(Token&& token) const
    {
        return Bridge::template send<void>(static_cast<const Handle&>(*this), std::monostate{},
                                           std::forward<Token>(token));
    }

    /// send() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await send(); channel_closed_error; std::bad_alloc.
    void blocking_send() const
    {
        wait_blocking(send());
    }

private:
    auto core() const noexcept
    {
        return channel_access::core(static_cast<const Handle&>(*this));
    }
};

/// The receiving side of channel and receiver.
template <class T, class Handle>
class recv_side {
public:
    /// Receives the next value, suspending while the channel is open and empty.
    ///
    /// Waiting receivers are served in the order they arrived.
    ///
    /// Result   the value, or nullopt once the channel is closed and drained; for channel<void> true or
    ///          false.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first. What the move of a value
    ///          throws that is not noexcept: that value has been taken from the channel, and is lost.
    /// Cancel   safe: a cancelled receive has taken no value.
    /// Life     refers to the channel without keeping it: await it in the same expression, or keep the channel
    ///          until it has been. `return leat::timeout(1s, ch.recv())` of a function that is no coroutine
    ///          does not, if `ch` is its own.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one short lock; no allocation.
    [[nodiscard]] recv_operation<T> recv() const noexcept
    {
        return recv_operation<T>{channel_access::core(static_cast<const Handle&>(*this))};
    }

    /// Receives if that is possible without waiting.
    ///
    /// Result   the value, or an error of errc::channel_empty or errc::channel_closed.
    /// Throws   what a move throws that is not noexcept: the value is lost.
    /// Threads  any, also those of no runtime.
    result<T> try_recv() const
    {
        recv_operation<T> op = recv();
        if (!complete_now(op))
            return errc::channel_empty;
        auto got = op.value();
        if (!got)
            return errc::channel_closed;
        if constexpr (std::is_void_v<T>)
            return {};
        else
            return result<T>{std::in_place, std::move(*got)};
    }

    /// recv() for code of Asio's, with any completion token. Needs <leat/asio/channel.hpp>.
    ///
    /// Result   what the token makes of void(std::error_code, std::optional<T>), with bool for channel<void>: no error
    ///          and a value; no error and nullopt once the channel is closed and drained;
    ///          asio::error::operation_aborted.
    /// Throws   std::bad_alloc.
    /// Cancel   by the token's cancellation slot; then it has taken no value.
    /// Life     a pending operation does not keep the channel: if the last handle goes, it is closed. If the
    ///          handler's execution context goes first, nothing is taken and the handler is destroyed.
    /// Threads  any; the handler is called through its executor, never inside this call.
    /// Cost     one block, from the handler's allocator if it has one, and a function posted.
    template <class Token, class Bridge = asio_channel<std::remove_cvref_t<Token>>>
    auto async_recv(Token&& token) const
    {
        return Bridge::template recv<T>(static_cast<const Handle&>(*this), std::forward<Token>(token));
    }

    /// recv() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await recv(); as try_recv().
    received<T> blocking_recv() const
    {
        return wait_blocking(recv());
    }
};

}  // namespace detail

/// A queue between tasks, of fixed capacity, none (a send is a rendezvous with a receive), or unbounded.
///
/// A reference type: copies name the same channel. Values are received in the order in which they were
/// sent. T may be move-only and needs no default constructor; channel<void> carries signals.
///
/// Close it from the sending side when there is nothing more to send. When the last handle of a channel
/// goes, it closes.
///
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms.
template <class T>
class channel : public detail::channel_handle<T>,
                public detail::send_side<T, channel<T>>,
                public detail::recv_side<T, channel<T>> {
    using core = detail::channel_core<detail::item_of<T>>;

public:
    using value_type = T;

    /// Unbuffered.
    channel() : channel{0}
    {
    }
    /// With room for `capacity` values. Throws usage_error if that is negative or absurd, std::bad_alloc.
    template <std::integral N>
    explicit channel(N capacity) : detail::channel_handle<T>{new core{checked(capacity)}}
    {
    }
    explicit channel(unbounded_t) : detail::channel_handle<T>{new core{detail::channel_base::unbounded}}
    {
    }

private:
    template <class N>
    static std::size_t checked(N capacity)
    {
        if (std::cmp_less(capacity, 0) ||
            std::cmp_greater(capacity, std::numeric_limits<std::ptrdiff_t>::max()))
            detail::throw_bad_capacity();
        return static_cast<std::size_t>(capacity);
    }
};

/// The sending end of a channel, in the type. Made from a channel.
template <class T>
class sender : public detail::channel_handle<T>, public detail::send_side<T, sender<T>> {
public:
    using value_type = T;

    sender(const channel<T>& of) noexcept : detail::channel_handle<T>{of}
    {
    }
};

/// The receiving end of a channel, in the type. Made from a channel.
template <class T>
class receiver : public detail::channel_handle<T>, public detail::recv_side<T, receiver<T>> {
public:
    using value_type = T;

    receiver(const channel<T>& of) noexcept : detail::channel_handle<T>{of}
    {
    }
};

}  // namespace leat
