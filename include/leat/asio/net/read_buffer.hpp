// What has arrived and was not asked for yet.
#pragma once

#include <asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace leat::net::detail {

/// Bytes in the order in which they came: [begin_, end_) of one block. It is made with the first byte, grows by doubling,
/// and moves what it holds to its front only when there is no room behind.
class read_buffer {
public:
    std::size_t size() const noexcept
    {
        return end_ - begin_;
    }
    std::string_view bytes() const noexcept
    {
        return {block_.get() + begin_, size()};
    }
    void drop(std::size_t count) noexcept
    {
        begin_ += count;
    }
    /// As much as there is, and fits.
    std::size_t take(asio::mutable_buffer into) noexcept
    {
        const std::size_t count = std::min(into.size(), size());
        if (count != 0)
            std::memcpy(into.data(), block_.get() + begin_, count);
        drop(count);
        return count;
    }
    std::string cut(std::size_t count)
    {
        std::string piece{block_.get() + begin_, count};
        drop(count);
        return piece;
    }
    /// Memory for more, at least so much that `want` bytes fit in all; the block grows up to the greater of `want` and
    /// `limit`. Precondition: want > size(). Throws std::bad_alloc.
    asio::mutable_buffer room(std::size_t want, std::size_t limit)
    {
        if (begin_ == end_)
            begin_ = end_ = 0;
        if (end_ == capacity_ || begin_ + want > capacity_)
            make_room(want, limit);
        return {block_.get() + end_, capacity_ - end_};
    }
    /// So much of the room has been filled.
    void filled(std::size_t count) noexcept
    {
        end_ += count;
    }

private:
    void make_room(std::size_t want, std::size_t limit);

    std::unique_ptr<char[]> block_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace leat::net::detail
