#include "file.hpp"

#include "words.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

namespace common {
namespace {

[[noreturn]] void throw_errno(const std::string& what)
{
    throw std::system_error{errno, std::generic_category(), what};
}

bool ready_soon(int descriptor, short events)
{
    pollfd poll_for{descriptor, events, 0};
    return ::poll(&poll_for, 1, 100) > 0;
}

bool means_not_yet(int error) noexcept
{
    return error == EAGAIN || error == EINTR;
}

}  // namespace

input::~input()
{
    close();
}

void input::open(const std::string& path)
{
    path_ = path;
    // Not blocking: to open a pipe would mean to wait for its writer.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0)
        throw_errno(escape(path_));
    regular_ = S_ISREG(status.st_mode);
}

bool input::is_open() const noexcept
{
    return descriptor_ >= 0;
}

bool input::ended() const noexcept
{
    return ended_;
}

void input::close() noexcept
{
    if (descriptor_ >= 0)
        ::close(std::exchange(descriptor_, -1));
}

std::size_t input::read(std::span<std::byte> buffer)
{
    if (!regular_)
        return ready_soon(descriptor_, POLLIN) ? read_once(buffer) : 0;
    std::size_t got = 0;
    while (got < buffer.size() && !ended_)
        got += read_once(buffer.subspan(got));
    return got;
}

std::size_t input::read_once(std::span<std::byte> buffer)
{
    const ssize_t got = ::read(descriptor_, buffer.data(), buffer.size());
    if (got < 0 && !means_not_yet(errno))
        throw_errno(escape(path_));
    if (got == 0) {
        ended_ = true;
        close();
    }
    return static_cast<std::size_t>(std::max<ssize_t>(got, 0));
}

std::size_t write_some(int descriptor, std::string_view text)
{
    // A pipe that reports room has it for PIPE_BUF bytes.
    const std::size_t size = std::min<std::size_t>(text.size(), PIPE_BUF);
    if (!ready_soon(descriptor, POLLOUT))
        return 0;
    const ssize_t put = ::write(descriptor, text.data(), size);
    if (put < 0 && !means_not_yet(errno))
        throw_errno(descriptor == STDOUT_FILENO ? "standard output" : "standard error");
    return static_cast<std::size_t>(std::max<ssize_t>(put, 0));
}

}  // namespace common
