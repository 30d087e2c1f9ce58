// What the process that is measured has used: for leat's own programs and for the rivals in C++.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <stdexcept>
#include <string>

#include <unistd.h>

namespace perf {

/// A row can not be measured here, as something has not been installed. Somebody has said what.
class lacking : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The status of a program that has not got a row, or can not run it here.
inline constexpr int exit_lacking = 77;

/// Memory that the process has at the moment; zero where that can not be told.
inline std::int64_t resident_bytes()
{
    std::int64_t pages = 0;
#if defined(__linux__)
    std::ifstream statm{"/proc/self/statm"};
    std::int64_t mapped = 0;
    if (!(statm >> mapped >> pages))
        return 0;
    pages *= sysconf(_SC_PAGESIZE);
#endif
    return pages;
}

/// The most it has had. Not getrusage(): what that says is inherited from the program that started this one.
inline std::int64_t peak_kilobytes()
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:"))
            return std::strtoll(line.c_str() + 6, nullptr, 10);
    return 0;
}

/// Processor time that all threads of a process have used: this one, or whose clock it is.
inline std::chrono::nanoseconds processor_time(clockid_t of = CLOCK_PROCESS_CPUTIME_ID)
{
    timespec now{};
    clock_gettime(of, &now);
    return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

}  // namespace perf
