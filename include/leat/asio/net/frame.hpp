// Frames: a length, then as many bytes.
#pragma once

#include <asio/buffer.hpp>

#include <array>
#include <cstddef>

namespace leat::net {

/// How long a frame's header is, and what it may say.
struct frame_format {
    std::size_t header = 4;                   ///< bytes of the length, big-endian: 1, 2, 4 or 8
    std::size_t max_size = 16 * 1024 * 1024;  ///< the longest payload
};

namespace detail {

/// The length of a frame in front of it.
class frame_header {
public:
    /// Throws std::system_error of errc::too_long if the format does not allow that length; usage_error.
    frame_header(const frame_format& format, std::size_t length);

    asio::const_buffer bytes() const noexcept
    {
        return {bytes_.data() + (bytes_.size() - size_), size_};
    }
    /// Throws std::system_error of errc::too_long if it is more than the format allows.
    static std::size_t decode(const frame_format& format, const char* bytes);
    /// Throws usage_error.
    static void check(const frame_format& format);

private:
    std::array<unsigned char, 8> bytes_{};
    std::size_t size_;
};

[[noreturn]] void throw_too_long(const char* what, std::size_t limit);
[[noreturn]] void throw_truncated(const char* what, std::size_t had);

}  // namespace detail
}  // namespace leat::net
