#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

// Files as blocking threads want them. A call that has begun on a blocking thread can not be taken back, so
// these return soon, even from pipes and terminals where nothing happens: Ctrl-C need not wait for them.
namespace common {

/// A file that is read from its beginning to its end. Everything throws std::system_error.
class input {
public:
    input() noexcept = default;
    input(const input&) = delete;
    input& operator=(const input&) = delete;
    ~input();

    void open(const std::string& path);
    bool is_open() const noexcept;

    /// Fills the buffer as far as the file goes, and closes the file at its end. From anything but a regular
    /// file, takes what is there; nothing after a tenth of a second without any.
    std::size_t read(std::span<std::byte> buffer);

    /// Whether everything has been read.
    bool ended() const noexcept;

private:
    std::size_t read_once(std::span<std::byte> buffer);
    void close() noexcept;

    std::string path_;
    int descriptor_ = -1;
    bool regular_ = false;
    bool ended_ = false;
};

/// Writes some of the text and tells how much; nothing if the reader has not made room within a tenth of a
/// second. Throws std::system_error.
std::size_t write_some(int descriptor, std::string_view text);

}  // namespace common
