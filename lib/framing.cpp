#include <leat/asio/net/error.hpp>
#include <leat/asio/net/frame.hpp>
#include <leat/asio/net/read_buffer.hpp>
#include <leat/asio/net/stream.hpp>
#include <leat/error.hpp>

#include <cstdint>
#include <string>
#include <system_error>

namespace leat::net::detail {

void frame_header::check(const frame_format& format)
{
    if (format.header != 1 && format.header != 2 && format.header != 4 && format.header != 8)
        throw usage_error{"leat: the header of a frame has 1, 2, 4 or 8 bytes"};
}

frame_header::frame_header(const frame_format& format, std::size_t length) : size_{format.header}
{
    check(format);
    std::uint64_t rest = length;
    for (std::size_t i = 0; i < size_; ++i, rest >>= 8U)
        bytes_[bytes_.size() - 1 - i] = static_cast<unsigned char>(rest & 0xffU);
    if (length > format.max_size || rest != 0)
        throw_too_long("write_frame", format.max_size);
}

std::size_t frame_header::decode(const frame_format& format, const char* bytes)
{
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < format.header; ++i)
        length = length << 8U | static_cast<unsigned char>(bytes[i]);
    if (length > format.max_size)
        throw_too_long("read_frame", format.max_size);
    return static_cast<std::size_t>(length);
}

void read_buffer::make_room(std::size_t want, std::size_t limit)
{
    if (want > capacity_) {
        const std::size_t larger =
            std::min(std::max({capacity_ * 2, want, std::size_t{4096}}), std::max(limit, want));
        std::unique_ptr<char[]> grown{new char[larger]};
        if (size() != 0)
            std::memcpy(grown.get(), block_.get() + begin_, size());
        block_ = std::move(grown);
        capacity_ = larger;
    } else if (size() != 0) {
        std::memmove(block_.get(), block_.get() + begin_, size());
    }
    end_ -= begin_;
    begin_ = 0;
}

void throw_too_long(const char* what, std::size_t limit)
{
    throw std::system_error{errc::too_long,
                            std::string{"leat: "} + what + ", " + std::to_string(limit) + " bytes"};
}

void throw_truncated(const char* what, std::size_t had)
{
    throw std::system_error{errc::truncated,
                            std::string{"leat: "} + what + ", after " + std::to_string(had) + " bytes"};
}

void throw_concurrent_reads()
{
    throw usage_error{
        "leat: two tasks read one stream at the same time, and neither would get what it expects"};
}

}  // namespace leat::net::detail
