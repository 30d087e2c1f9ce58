#pragma once

#include <leat/leat.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace common {

/// Standard output by the page, and standard error, whose last line shows progress if it is a terminal.
/// Writing holds no worker up: a slow reader is waited for on a blocking thread.
class output {
public:
    /// Counts the lines that have reached standard output. Complaints begin with the name of the program.
    output(std::string program, std::uint64_t& printed);
    output(const output&) = delete;
    output& operator=(const output&) = delete;
    /// Takes the progress line away. What is still on the page is lost.
    ~output();

    /// Puts a line, which ends with a newline, on the page.
    leat::task<> line(std::string text);
    leat::task<> flush();

    /// Says something on standard error, after what is on the page.
    leat::task<> complain(std::string text);

    /// On a terminal, replaces what was shown before;
    leat::task<> show_progress(std::string text);
    /// the last time, for good.
    leat::task<> end_progress(std::string text);

private:
    leat::task<> erase_progress();

    const std::string program_;
    std::uint64_t& printed_;
    const bool terminal_;
    bool progress_shown_ = false;
    std::string page_;
};

}  // namespace common
