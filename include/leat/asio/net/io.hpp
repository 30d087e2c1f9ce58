// Whole reads and writes on any stream of Asio's, without a buffer that stays (for one that does, see stream.hpp).
#pragma once

#include <leat/asio/use_task.hpp>

#include <asio/buffer.hpp>
#include <asio/completion_condition.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace leat::net {

/// Fills the buffers.
///
/// Result  how many bytes that is.
/// Throws  as use_task; asio::error::eof if the peer closed before.
/// Cancel  what had arrived is lost with the wait: the stream is of no use afterwards.
/// Life    refers to the stream and the memory until it has been awaited.
template <class Stream, class Buffers>
[[nodiscard]] auto read_exactly(Stream& from, const Buffers& into)
{
    return asio::async_read(from, into, asio::transfer_all(), use_task);
}

/// Writes everything.
///
/// Result  how many bytes that is.
/// Throws  as use_task.
/// Cancel  part of it may have been sent: the stream is of no use afterwards.
/// Life    refers to the stream and the memory until it has been awaited.
/// Threads one write of a stream at a time; net::stream serialises them.
template <class Stream, class Buffers>
[[nodiscard]] auto write_all(Stream& to, const Buffers& what)
{
    return asio::async_write(to, what, asio::transfer_all(), use_task);
}

/// Reads until `kept` holds the delimiter, and no more than `limit` bytes.
///
/// Result  the number of bytes up to and with the delimiter. `kept` may have more: what was read with it, which the
///         next call looks at first. Erase what has been used.
/// Throws  as use_task; asio::error::eof if the peer closed before; asio::error::not_found if there is no
///         delimiter within the limit.
/// Cancel  safe: what has arrived is in `kept`.
/// Life    refers to the stream and to `kept` until it has been awaited.
template <class Stream>
[[nodiscard]] auto read_until(Stream& from, std::string& kept, std::string_view delimiter, std::size_t limit)
{
    return asio::async_read_until(from, asio::dynamic_buffer(kept, limit), std::string{delimiter}, use_task);
}

}  // namespace leat::net
