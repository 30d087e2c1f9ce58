// RESP2, the other direction: replies, and requests as they are written.
#pragma once

#include "resp.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mini_redis {

/// Replies, one after the other.
class reply_writer {
public:
    void simple(std::string_view status);  ///< one line
    void error(
        std::string_view message);  ///< one line, which begins with a word in capitals; made one if it is not
    void integer(std::int64_t value);
    void bulk(std::string_view text);
    void null();
    void null_array();
    void array(std::size_t count);  ///< as many replies follow
    /// That a subscription has begun or ended, with the number of those that there are now.
    void confirm(std::string_view verb, bool of_pattern, const std::string_view* name, std::size_t count);

    std::size_t size() const noexcept
    {
        return text_.size();
    }
    std::string take() noexcept;
    const std::string& text() const noexcept
    {
        return text_;
    }
    /// For more replies, in the memory that is there, unless that is too much to keep.
    void clear() noexcept;

private:
    void number(char kind, std::int64_t value);

    std::string text_;
};

/// A request as it is sent, and as the append-only file has it.
std::string encode_request(arguments words);

}  // namespace mini_redis
