// The lines or frames of a stream as a channel, to be received, selected on, and passed on.
#pragma once

#include <leat/asio/net/stream.hpp>
#include <leat/channel.hpp>
#include <leat/error.hpp>
#include <leat/group.hpp>
#include <leat/result.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace leat::net {

namespace detail {

template <class Read>
task<> pump(sender<std::string> to, Read read)
{
    for (;;) {
        auto piece = co_await read();
        if (!piece)
            break;
        auto sent = co_await as_result(to.send(std::move(*piece)));
        if (!sent) {
            // Nobody wants more.
            if (sent.error() == leat::errc::channel_closed)
                co_return;
            sent.value();
        }
    }
    to.close();
}

}  // namespace detail

/// Starts a child of the group that reads the stream's lines.
///
/// Result  where the lines can be received; the end, when the peer has closed after a whole line.
/// Throws  cancelled_error, timed_out_error: the task's context ended first; std::bad_alloc. What the reading throws
///         fails the group, and so cancels those in it who receive; the channel does not end then, as what came is
///         not all. So receive in the group.
/// Cancel  with the group: a line that has been read and that nobody has received by then is lost. Who stops receiving
///         before the end closes the receiver, or cancels the group, as the child would wait for ever to hand over the
///         next; it ends quietly when it finds the channel closed.
/// Life    refers to the stream until the group has ended.
template <class Next>
[[nodiscard]] task<receiver<std::string>> lines(task_group& in, stream<Next>& from, std::size_t capacity = 0)
{
    channel<std::string> ch{capacity};
    auto read = [&from] { return from.read_line(); };
    co_await in.spawn(detail::pump(sender<std::string>{ch}, read));
    co_return receiver<std::string>{ch};
}

/// The same for frames.
template <class Next>
[[nodiscard]] task<receiver<std::string>> frames(task_group& in, stream<Next>& from, frame_format format = {},
                                                 std::size_t capacity = 0)
{
    detail::frame_header::check(format);
    channel<std::string> ch{capacity};
    auto read = [&from, format] { return from.read_frame(format); };
    co_await in.spawn(detail::pump(sender<std::string>{ch}, read));
    co_return receiver<std::string>{ch};
}

}  // namespace leat::net
