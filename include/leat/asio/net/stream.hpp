// stream: a connection with a buffer for reading, limits, timeouts, and writers that take turns.
//
// Reading. What has arrived and was not asked for yet is in buffer_. One task reads at a time; a second
// one is a mistake, which is found (reading_). Whatever cuts a read short, the context or a timeout, leaves
// what has arrived in the buffer: use_task delivers what a cancelled read got, and nothing is taken out before
// the whole line or frame is there. read_some() and read_exactly() into the caller's memory are the exception.
//
// Writing. writer_ is a channel with one place: who has put his signal there writes. So writers are served in order,
// can be cancelled while they wait, and a stream that nobody waits for costs one short lock. A write that is cut
// short after its first byte (cancelled, timed out, failed) leaves `broken_`: what came after it would be read as the
// rest of it.
//
// Timeouts are those of leat's clock, so that they can be tested in virtual time. `moved_` is when the last byte
// moved in either direction; a wait that reaches its idle limit looks there first, and goes on waiting if the other
// direction was busy meanwhile. Nothing is lost by that, as a cancelled read has taken nothing, nor has a cancelled write
// to the system. A layer in between (TLS) may have taken bytes, so its writes are not cancelled before it is certain
// that they have to be (write_through_layer).
#pragma once

#include <leat/asio/net/error.hpp>
#include <leat/asio/net/frame.hpp>
#include <leat/asio/net/limits.hpp>
#include <leat/asio/net/read_buffer.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/error.hpp>
#include <leat/group.hpp>
#include <leat/result.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>
#include <leat/time.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat::net {

namespace detail {

[[noreturn]] void throw_concurrent_reads();

}  // namespace detail

/// A connection: a buffer in front of a socket of Asio's, a pipe, a serial port, or a tls_socket (which is what to use
/// for TLS: Asio's own ssl::stream bears no read beside a write).
///
/// Threads  one task reads at a time, any number write, on any workers: Asio's sockets bear one read beside one write,
///          although that is not promised. close() and abort() when nobody else is about to begin a read or write.
/// Life     tasks that read or write refer to the stream: it has to stay until they have ended. It does not move.
/// Cost     one buffer, which grows from 4 KiB to `max_buffer`, and one channel.
template <class Next>
class stream {
public:
    using next_layer_type = Next;

    explicit stream(Next next, const stream_options& options = {})
        : next_{std::move(next)}, options_{options}, moved_{clock::now()}
    {
        if (options_.max_buffer == 0)
            options_.max_buffer = stream_options{}.max_buffer;
        options_.idle_timeout = std::min(options_.idle_timeout, detail::farthest_limit);
        // Asio does it before the first operation, which may be two at a time here.
        if constexpr (requires(std::error_code& ignored) {
                          next_.lowest_layer().native_non_blocking(true, ignored);
                      }) {
            std::error_code ignored;
            next_.lowest_layer().native_non_blocking(true, ignored);
        }
    }
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    Next& next_layer() noexcept
    {
        return next_;
    }
    const Next& next_layer() const noexcept
    {
        return next_;
    }
    auto get_executor() noexcept
    {
        return next_.get_executor();
    }
    /// What can be read without waiting.
    ///
    /// Threads  for the task that reads.
    std::size_t buffered() const noexcept
    {
        return buffer_.size();
    }

    /// Reads what there is, at least a byte.
    ///
    /// Result  how many bytes; zero at the end of the stream, and for a buffer of no bytes.
    /// Throws  timed_out_error by read_timeout or idle_timeout; cancelled_error, timed_out_error: the task's
    ///         context ended first; std::system_error; usage_error if another task is reading. So do all reads.
    /// Cancel  safe: what has arrived is still to be read.
    [[nodiscard]] task<std::size_t> read_some(asio::mutable_buffer into)
    {
        const reading_scope alone{*this};
        if (into.size() == 0)
            co_return 0;
        if (buffered() == 0) {
            const detail::time_limit limit{options_.read_timeout};
            // The caller's memory, without a copy.
            co_return co_await receive(into, limit);
        }
        co_return buffer_.take(into);
    }

    /// Fills the buffer.
    ///
    /// Throws  as read_some(); std::system_error of errc::truncated if the peer closed before.
    /// Cancel  what had arrived is in the caller's memory, and the number of bytes is lost. Use the other form.
    [[nodiscard]] task<> read_exactly(asio::mutable_buffer into)
    {
        const reading_scope alone{*this};
        const detail::time_limit limit{options_.read_timeout};
        std::size_t had = buffer_.take(into);
        while (had < into.size()) {
            const std::size_t got = co_await receive(into + had, limit);
            if (got == 0)
                detail::throw_truncated("read_exactly", had);
            had += got;
        }
    }

    /// Reads that many bytes, at most max_buffer.
    ///
    /// Throws  as read_some(); errc::truncated; errc::too_long if that is more than the buffer may hold.
    /// Cancel  safe: what has arrived is still to be read.
    [[nodiscard]] task<std::string> read_exactly(std::size_t count)
    {
        const reading_scope alone{*this};
        if (count > options_.max_buffer)
            detail::throw_too_long("read_exactly", options_.max_buffer);
        const detail::time_limit limit{options_.read_timeout};
        const bool complete = co_await fill(count, limit);
        if (!complete)
            detail::throw_truncated("read_exactly", buffered());
        co_return buffer_.cut(count);
    }

    /// Reads up to a delimiter.
    ///
    /// Result  what was read, with the delimiter; nullopt if the peer has closed and there is nothing.
    /// Throws  as read_some(); errc::truncated if the peer closed in the middle; errc::too_long if there is no
    ///         delimiter within `limit` bytes (zero: max_buffer). After that, the bytes are still to be read.
    /// Cancel  safe: what has arrived is still to be read.
    /// Life    refers to the delimiter until it has been awaited.
    [[nodiscard]] task<std::optional<std::string>> read_until(std::string_view delimiter,
                                                              std::size_t limit = 0)
    {
        const reading_scope alone{*this};
        const std::size_t found = co_await find(delimiter, limit, "read_until");
        if (found == 0)
            co_return std::nullopt;
        co_return buffer_.cut(found);
    }

    /// Reads a line, which ends with "\n" or "\r\n", and returns it without. Else as read_until().
    [[nodiscard]] task<std::optional<std::string>> read_line(std::size_t limit = 0)
    {
        const reading_scope alone{*this};
        const std::size_t found = co_await find("\n", limit, "read_line");
        if (found == 0)
            co_return std::nullopt;
        std::string_view line = buffer_.bytes().substr(0, found - 1);
        if (!line.empty() && line.back() == '\r')
            line.remove_suffix(1);
        std::string copy{line};
        buffer_.drop(found);
        co_return copy;
    }

    /// Reads a frame: a length, then as many bytes, which are not limited by max_buffer but by the format.
    ///
    /// Result  the payload; nullopt if the peer has closed between two frames.
    /// Throws  as read_some(); errc::truncated; errc::too_long, before any of the payload is read; usage_error for
    ///         a format that makes no sense; std::bad_alloc.
    /// Cancel  safe within the header. Within a payload that is longer than max_buffer what had arrived is lost, and
    ///         the stream with it: further reads give errc::broken.
    [[nodiscard]] task<std::optional<std::string>> read_frame(frame_format format = {})
    {
        const reading_scope alone{*this};
        detail::frame_header::check(format);
        const detail::time_limit limit{options_.read_timeout};
        const bool headed = co_await fill(format.header, limit);
        if (!headed) {
            if (buffered() == 0)
                co_return std::nullopt;
            detail::throw_truncated("read_frame", buffered());
        }
        const std::size_t length = detail::frame_header::decode(format, buffer_.bytes().data());
        if (length <= options_.max_buffer) {
            const bool whole = co_await fill(format.header + length, limit);
            if (!whole)
                detail::throw_truncated("read_frame", buffered());
            std::string payload{buffer_.bytes().substr(format.header, length)};
            buffer_.drop(format.header + length);
            co_return payload;
        }
        co_return co_await read_large(format, length, limit);
    }

    /// Writes all of it. Writes of several tasks do not mix; they are served in order.
    ///
    /// Throws  timed_out_error by write_timeout or idle_timeout; cancelled_error, timed_out_error: the task's context
    ///         ended first; std::system_error; errc::broken if an earlier write was cut short; std::bad_alloc, after
    ///         which the stream may be broken, and is if the first byte was out.
    /// Cancel  safe before the first byte is out; later the stream is broken for writing. Through TLS, or another layer,
    ///         any write that is cut short while it has its turn breaks it.
    /// Life    refers to the bytes until it has been awaited.
    [[nodiscard]] task<> write(std::string_view what)
    {
        return write_parts(std::array<asio::const_buffer, 1>{asio::const_buffer{what.data(), what.size()}});
    }
    [[nodiscard]] task<> write(asio::const_buffer what)
    {
        return write_parts(std::array<asio::const_buffer, 1>{what});
    }
    /// Two pieces, one after the other, without copying them together.
    [[nodiscard]] task<> write(std::string_view head, std::string_view tail)
    {
        return write_parts(std::array<asio::const_buffer, 2>{asio::const_buffer{head.data(), head.size()},
                                                             asio::const_buffer{tail.data(), tail.size()}});
    }

    /// Writes a frame. As write(); errc::too_long if the format does not allow that length, usage_error if it makes no
    /// sense; nothing is written then.
    [[nodiscard]] task<> write_frame(std::string_view payload, frame_format format = {})
    {
        const detail::frame_header header{format, payload.size()};
        co_await write_parts(std::array<asio::const_buffer, 2>{
            header.bytes(), asio::const_buffer{payload.data(), payload.size()}});
    }

    /// Runs a task or an operation while the peer is there: what it sends meanwhile goes to the buffer, and should it
    /// close, the context of the work ends. The work may write, but not read. A peer that has only closed its sending
    /// side counts as gone: not for protocols in which that ends a request. Once the buffer is full nothing is noticed
    /// any more.
    ///
    /// Result  that of the work, also if it completed although the peer had gone.
    /// Throws  what the work throws; if it fails after the peer has gone, errc::peer_gone, or what the reading threw.
    /// Cancel  as the work.
    template <class A>
    [[nodiscard]] auto while_connected(A work) -> task<leat::detail::awaited_t<A>>
    {
        using value = leat::detail::awaited_t<A>;
        watch_end end;
        auto body = [&](task_group& both) -> task<value> {
            auto watching = co_await both.spawn(watch(both, end));
            const watching_scope until_done{end, std::move(watching)};
            co_return co_await std::move(work);
        };
        try {
            co_return co_await with_group([&](task_group& both) { return body(both); });
        } catch (...) {
            if (!end.why)
                throw;
        }
        std::rethrow_exception(end.why);
    }

    /// Says that nothing more will be written, after the writes that wait now: the peer reads the end. It can still be
    /// read (a half-close; with TLS, the other side may see it as the end of all). With TLS it waits until the other side
    /// has said the same, without a limit: put timeout() around it, or use close().
    ///
    /// Throws  cancelled_error, timed_out_error: the task's context ended while it waited for its turn; std::bad_alloc.
    ///         What the system says is ignored, and an end of the context while TLS says its goodbye.
    [[nodiscard]] task<> shutdown_write()
    {
        co_await writer_.send();
        const writing_scope alone{*this};
        if constexpr (requires { next_.async_shutdown(use_task); })
            static_cast<void>(co_await as_result(next_.async_shutdown(use_task)));
        std::error_code ignored;
        // Serial ports and pipes have a lowest layer, too, but no way to say it.
        if constexpr (requires {
                          next_.lowest_layer().shutdown(asio::socket_base::shutdown_send, ignored);
                      }) {
            next_.lowest_layer().shutdown(asio::socket_base::shutdown_send, ignored);
        } else if constexpr (requires { next_.shutdown(); }) {
            next_.shutdown();
        }
    }

    /// Ends the connection properly: waits for writes that are under way, says that no more will come, and waits until
    /// the peer has closed too, so that nothing that was sent is lost; for at most `limit`, and with at most 1 MiB of
    /// what it still sends. Then, and also if the task's context ends, closes. A task that still reads gets an error; the
    /// peer is not waited for then.
    ///
    /// Throws  nothing but cancelled_error and timed_out_error: the task's context ended first; it is closed then.
    [[nodiscard]] task<> close(std::chrono::nanoseconds limit = std::chrono::seconds{2})
    {
        const closing_scope always{*this};
        auto done = co_await as_result(timeout(limit, say_goodbye()));
        if (!done && this_task::context().cancelled())
            done.value();
    }

    /// Closes at once: what has not been sent may be lost, and whoever reads or writes gets an error. What the system says
    /// is ignored.
    ///
    /// Threads  when nobody else is about to begin a read or write.
    void abort() noexcept
    {
        std::error_code ignored;
        if constexpr (requires { next_.lowest_layer().close(ignored); }) {
            next_.lowest_layer().close(ignored);
        } else if constexpr (requires { next_.close(); }) {
            try {
                next_.close();
            } catch (...) {
                // As with those that can say it by a code.
            }
        }
    }

private:
    class reading_scope {
    public:
        explicit reading_scope(stream& of) : of_{of}
        {
            if (of.reading_.exchange(true, std::memory_order_acquire))
                detail::throw_concurrent_reads();
        }
        reading_scope(const reading_scope&) = delete;
        ~reading_scope()
        {
            of_.reading_.store(false, std::memory_order_release);
        }

    private:
        stream& of_;
    };
    class writing_scope {
    public:
        explicit writing_scope(stream& of) noexcept : of_{of}
        {
        }
        writing_scope(const writing_scope&) = delete;
        ~writing_scope()
        {
            static_cast<void>(of_.writer_.try_recv());
        }

    private:
        stream& of_;
    };
    class closing_scope {
    public:
        explicit closing_scope(stream& of) noexcept : of_{of}
        {
        }
        closing_scope(const closing_scope&) = delete;
        ~closing_scope()
        {
            of_.abort();
        }

    private:
        stream& of_;
    };

    // ---- Waiting ---------------------------------------------------------------------------------

    bool idles() const noexcept
    {
        return options_.idle_timeout > std::chrono::nanoseconds::zero();
    }
    void touch() noexcept
    {
        if (idles())
            moved_.store(clock::now(), std::memory_order_relaxed);
    }
    /// What came before the wait does not count against it.
    clock::duration idle_left(clock::time_point began) const noexcept
    {
        return std::max(began, moved_.load(std::memory_order_relaxed)) + options_.idle_timeout - clock::now();
    }

    /// Starts what `start()` gives until it ends by itself, by the limit or by idleness. What is cancelled has to have
    /// done nothing.
    template <class Start>
    task<result<std::size_t>> limited(Start start, detail::time_limit limit)
    {
        const auto began = clock::now();
        for (;;) {
            if (!limit.bounded() && !idles())
                co_return co_await as_result(start());
            auto left = limit.left();
            bool by_idleness = false;
            if (idles()) {
                const auto idle = idle_left(began);
                by_idleness = idle < left;
                left = std::min(left, idle);
            }
            auto got = co_await as_result(timeout(left, start()));
            if (got || got.error() != leat::errc::deadline_exceeded || !by_idleness ||
                this_task::context().cancelled())
                co_return got;
            // Idle for long enough, unless the other direction has moved something.
            if (idle_left(began) <= clock::duration::zero())
                co_return got;
        }
    }

    // ---- Reading ---------------------------------------------------------------------------------

    /// Result: how many bytes; zero at the end of the stream.
    task<std::size_t> receive(asio::mutable_buffer into, detail::time_limit limit)
    {
        if (cut_short_)
            throw std::system_error{errc::broken};
        auto start = [this, into] { return next_.async_read_some(into, use_task); };
        auto got = co_await limited(start, limit);
        if (got) {
            touch();
            co_return *got;
        }
        if (got.error() == asio::error::eof)
            co_return 0;
        co_return std::move(got).value();
    }

    /// Reads on, until there are more than now, and at most what there is room for when `want` fit in all. False at the end
    /// of the stream. Precondition: there are fewer than that.
    task<bool> more(std::size_t want, detail::time_limit limit)
    {
        const std::size_t got = co_await receive(buffer_.room(want, options_.max_buffer), limit);
        buffer_.filled(got);
        co_return got != 0;
    }

    /// Waits until so many bytes are buffered. False if the stream ends before.
    task<bool> fill(std::size_t count, detail::time_limit limit)
    {
        while (buffered() < count) {
            const bool grew = co_await more(count, limit);
            if (!grew)
                co_return false;
        }
        co_return true;
    }

    /// How many bytes there are up to and with the delimiter; zero at a clean end.
    task<std::size_t> find(std::string_view delimiter, std::size_t most, const char* what)
    {
        if (delimiter.empty())
            throw usage_error{"leat: read_until an empty delimiter"};
        if (most == 0 || most > options_.max_buffer)
            most = options_.max_buffer;
        const detail::time_limit limit{options_.read_timeout};
        std::size_t looked_at = 0;
        for (;;) {
            const std::string_view have = buffer_.bytes();
            const std::size_t at = have.substr(0, most).find(delimiter, looked_at);
            if (at != std::string_view::npos)
                co_return at + delimiter.size();
            if (have.size() >= most)
                detail::throw_too_long(what, most);
            looked_at = have.size() >= delimiter.size() ? have.size() - delimiter.size() + 1 : 0;
            const bool grew = co_await more(std::min(have.size() + 1, most), limit);
            if (!grew) {
                if (buffered() == 0)
                    co_return 0;
                detail::throw_truncated(what, buffered());
            }
        }
    }

    task<std::optional<std::string>> read_large(frame_format format, std::size_t length,
                                                detail::time_limit limit)
    {
        // The payload grows with what arrives: a header alone does not make the program allocate.
        constexpr std::size_t step = 64 * 1024;
        std::string payload;
        buffer_.drop(format.header);
        cut_scope unless_whole{*this};
        while (payload.size() < length) {
            const std::size_t had = payload.size();
            payload.resize(std::min(length, had + std::max(step, had)));
            const asio::mutable_buffer room{payload.data() + had, payload.size() - had};
            std::size_t filled = buffer_.take(room);
            while (filled < room.size()) {
                const std::size_t got = co_await receive(room + filled, limit);
                if (got == 0)
                    detail::throw_truncated("read_frame", had + filled);
                filled += got;
            }
        }
        unless_whole.whole = true;
        co_return payload;
    }
    class cut_scope {
    public:
        explicit cut_scope(stream& of) noexcept : of_{of}
        {
        }
        cut_scope(const cut_scope&) = delete;
        ~cut_scope()
        {
            if (whole)
                return;
            of_.cut_short_ = true;
            // The middle of a payload, which nobody may take for lines.
            of_.buffer_.drop(of_.buffered());
        }
        bool whole = false;

    private:
        stream& of_;
    };

    /// How a watch and the work beside it tell each other which of them has ended first.
    struct watch_end {
        std::atomic<bool> decided{false};
        std::exception_ptr why;  ///< the watch was first; read when it has ended
    };
    class watching_scope {
    public:
        watching_scope(watch_end& end, join_handle<void> watch) noexcept : end_{end}, watch_{std::move(watch)}
        {
        }
        watching_scope(const watching_scope&) = delete;
        ~watching_scope()
        {
            end_.decided.store(true, std::memory_order_relaxed);
            watch_.cancel();
        }

    private:
        watch_end& end_;
        join_handle<void> watch_;
    };
    task<> watch(task_group& both, watch_end& end)
    {
        try {
            co_await read_ahead();
        } catch (const usage_error&) {
            throw;
        } catch (...) {
            // The group joins its children before anybody reads it.
            if (!end.decided.exchange(true, std::memory_order_relaxed)) {
                end.why = std::current_exception();
                both.cancel(end.why);
            }
        }
    }
    /// Throws errc::peer_gone at the end of the stream.
    task<> read_ahead()
    {
        const reading_scope alone{*this};
        while (buffered() < options_.max_buffer) {
            const asio::mutable_buffer room = buffer_.room(buffered() + 1, options_.max_buffer);
            auto got = co_await as_result(next_.async_read_some(room, use_task));
            if (!got) {
                if (this_task::context().cancelled())
                    co_return;
                if (got.error() == asio::error::eof || is_disconnect(got.error()))
                    throw std::system_error{errc::peer_gone};
                got.value();
            }
            touch();
            buffer_.filled(*got);
        }
    }

    // ---- Writing ---------------------------------------------------------------------------------

    template <std::size_t N>
    task<> write_parts(std::array<asio::const_buffer, N> parts)
    {
        const detail::time_limit limit{options_.write_timeout};
        if (auto mine = writer_.try_send(); !mine)
            co_await wait_for_turn(limit);
        const writing_scope alone{*this};
        if (broken_)
            throw std::system_error{errc::broken};
        std::size_t left = asio::buffer_size(parts);
        auto start = [this, &parts] { return next_.async_write_some(parts, use_task); };
        while (left != 0) {
            auto sent = co_await limited_write(start, limit);
            if (!sent) {
                broken_ =
                    broken_ || layered ||
                    (sent.error() != leat::errc::cancelled && sent.error() != leat::errc::deadline_exceeded);
                sent.value();
            }
            touch();
            left -= *sent;
            advance(parts, *sent);
            // Now, as the next turn may throw before it has begun: it needs memory.
            broken_ = left != 0;
        }
    }

    /// Whether there is something between the stream and the system that may have taken the bytes of a write that is
    /// cancelled, as TLS does. What is derived from Asio's sockets, descriptors and ports has a lowest layer only.
    static constexpr bool layered = requires(Next& of) { of.next_layer(); };

    template <class Start>
    task<result<std::size_t>> limited_write(Start start, detail::time_limit limit)
    {
        if constexpr (layered)
            if (idles())
                return result_of_write(start, limit);
        return limited(start, limit);
    }
    template <class Start>
    task<result<std::size_t>> result_of_write(Start start, detail::time_limit limit)
    {
        co_return co_await as_result(write_through_layer(start, limit));
    }
    /// Ends by the limit, or when nothing has moved for too long, and is not cancelled before that.
    template <class Start>
    task<std::size_t> write_through_layer(Start start, detail::time_limit limit)
    {
        std::optional<std::size_t> sent;
        auto body = [&](task_group& both) -> task<> {
            auto watching = co_await both.spawn(time_out(limit));
            sent = co_await start();
            watching.cancel();
        };
        try {
            co_await with_group([&](task_group& both) { return body(both); });
        } catch (...) {
            // What is done counts.
            if (!sent)
                throw;
        }
        co_return *sent;
    }
    task<> time_out(detail::time_limit limit)
    {
        const auto began = clock::now();
        for (;;) {
            const auto left = std::min(limit.left(), idle_left(began));
            if (left <= clock::duration::zero())
                throw timed_out_error{};
            auto slept = co_await as_result(sleep_for(left));
            if (!slept)
                co_return;
        }
    }
    task<> wait_for_turn(detail::time_limit limit)
    {
        if (limit.bounded())
            co_await timeout(limit.left(), writer_.send());
        else
            co_await writer_.send();
    }
    template <std::size_t N>
    static void advance(std::array<asio::const_buffer, N>& parts, std::size_t by) noexcept
    {
        for (asio::const_buffer& part : parts) {
            const std::size_t here = std::min(by, part.size());
            part += here;
            by -= here;
        }
    }

    task<> say_goodbye()
    {
        co_await shutdown_write();
        const reading_scope alone{*this};
        std::array<char, 4096> unread;
        std::size_t patience = 1024 * 1024;
        for (;;) {
            auto got = co_await as_result(next_.async_read_some(asio::buffer(unread), use_task));
            if (!got && this_task::context().cancelled())
                got.value();
            if (!got || *got >= patience)
                co_return;
            patience -= *got;
        }
    }

    Next next_;
    stream_options options_;
    detail::read_buffer buffer_;
    std::atomic<clock::time_point> moved_;
    std::atomic<bool> reading_{false};
    bool cut_short_ = false;  ///< by the reader
    bool broken_ = false;     ///< by whoever has the place in writer_
    channel<void> writer_{1};
};

}  // namespace leat::net
