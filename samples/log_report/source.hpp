#pragma once

#include "../common/file.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct z_stream_s;

namespace log_report {

/// The text of a log, which may be compressed by gzip. Blocks whoever calls it, but not for long. Throws
/// std::system_error, and std::runtime_error for what is not gzip although it began so.
class source {
public:
    explicit source(std::string path);
    source(const source&) = delete;
    source& operator=(const source&) = delete;
    ~source();

    void open();
    /// Appends what comes next, of at most about this size, maybe nothing. How many bytes of the file that took.
    std::size_t read(std::string& text, std::size_t size);
    bool ended() const noexcept;

private:
    enum class format : unsigned char { unknown, plain, gzip };

    std::size_t fill();
    void find_format();
    void inflate(std::string& text, std::size_t size);

    const std::string path_;
    common::input file_;
    format format_ = format::unknown;
    std::vector<std::byte> raw_;  ///< what has been read of a compressed file
    std::size_t begin_ = 0;       ///< of what has not been decompressed
    std::size_t end_ = 0;
    std::unique_ptr<z_stream_s> stream_;
    bool inside_ = false;  ///< of a compressed member
};

}  // namespace log_report
