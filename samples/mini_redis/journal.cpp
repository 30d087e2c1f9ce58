#include "journal.hpp"

#include <leat/blocking.hpp>
#include <leat/group.hpp>
#include <leat/time.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace mini_redis {

using namespace std::chrono_literals;

namespace {

std::error_code last_error() noexcept
{
    return {errno, std::system_category()};
}

}  // namespace

// ---- log_file ----------------------------------------------------------------------------------

log_file::log_file(std::string path)
    : path_{std::move(path)}, descriptor_{::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)}
{
    if (descriptor_ < 0)
        throw std::system_error{last_error(), path_};
    struct stat about{};
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 || ::fstat(descriptor_, &about) != 0) {
        const std::error_code why = last_error();
        ::close(descriptor_);
        throw std::system_error{
            why, path_ + (why == std::errc::operation_would_block ? " is in use by another process" : "")};
    }
    size_ = static_cast<std::uint64_t>(about.st_size);
    // That the file is there has to be on the disk, too.
    const std::size_t slash = path_.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    if (const int of = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); of >= 0) {
        ::fsync(of);
        ::close(of);
    }
}

log_file::~log_file()
{
    ::close(descriptor_);
}

std::size_t log_file::read(std::span<char> into)
{
    for (;;) {
        const ssize_t got = ::read(descriptor_, into.data(), into.size());
        if (got >= 0)
            return static_cast<std::size_t>(got);
        if (errno != EINTR)
            throw std::system_error{last_error(), path_};
    }
}

std::error_code log_file::append(const std::vector<std::string>& records, bool to_disk)
{
    const std::uint64_t before = size();
    std::uint64_t end = before;
    std::error_code failed = write_at(end, records);
    if (!failed && to_disk)
        failed = sync();
    // Nothing may follow half a record, and what is tried again must not be there twice. If this fails too, the next
    // attempt overwrites it.
    if (failed && ::ftruncate(descriptor_, static_cast<off_t>(before)) != 0)
        return last_error();
    size_ = failed ? before : end;
    return failed;
}

std::error_code log_file::write_at(std::uint64_t& end, const std::vector<std::string>& records) noexcept
{
    constexpr std::size_t at_a_time = 512;
    std::size_t next = 0;    // the record
    std::size_t offset = 0;  // and what has been written of it
    while (next < records.size()) {
        std::array<iovec, at_a_time> pieces;
        std::size_t count = 0;
        for (std::size_t i = next; i < records.size() && count < at_a_time; ++i, ++count) {
            const std::size_t skipped = i == next ? offset : 0;
            pieces[count] = {const_cast<char*>(records[i].data()) + skipped, records[i].size() - skipped};
        }
        const ssize_t written =
            ::pwritev(descriptor_, pieces.data(), static_cast<int>(count), static_cast<off_t>(end));
        if (written < 0 && errno != EINTR)
            return last_error();
        if (written > 0) {
            end += static_cast<std::uint64_t>(written);
            offset += static_cast<std::size_t>(written);
        }
        while (next < records.size() && offset >= records[next].size())
            offset -= records[next++].size();
    }
    return {};
}

std::error_code log_file::sync() noexcept
{
    return ::fdatasync(descriptor_) == 0 ? std::error_code{} : last_error();
}

void log_file::cut(std::uint64_t size)
{
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0)
        throw std::system_error{last_error(), path_};
    size_ = size;
}

// ---- journal -----------------------------------------------------------------------------------

journal::journal(std::string path, fsync_policy policy)
    : file_{std::move(path)}, policy_{policy}, gathered_{std::make_shared<batch>()}
{
}

std::uint64_t journal::replay(const std::function<void(arguments)>& execute)
{
    request_limits none;
    none.max_arguments = none.max_bulk = none.max_request = std::size_t{1} << 40;
    request_parser parser{none};
    std::uint64_t count = 0;
    try {
        while (const std::size_t got = file_.read(parser.room())) {
            parser.filled(got);
            for (arguments words = parser.next(); !words.empty(); words = parser.next(), ++count)
                execute(words);
        }
    } catch (const protocol_error& problem) {
        throw std::runtime_error{file_.path() + " is damaged at byte " + std::to_string(parser.consumed()) +
                                 ": " + problem.what()};
    }
    if (parser.in_the_middle()) {
        std::fprintf(stderr, "%s: the last %llu bytes are half a request, and are cut off\n",
                     file_.path().c_str(), static_cast<unsigned long long>(file_.size() - parser.consumed()));
        file_.cut(parser.consumed());
    }
    return count;
}

journal::ticket journal::append(std::string record)
{
    const std::lock_guard hold{lock_};
    if (gathered_->records.empty())
        static_cast<void>(work_.try_send());
    gathered_->records.push_back(std::move(record));
    return ticket{gathered_};
}

leat::task<> journal::ticket::wait() const
{
    if (batch_ != nullptr)
        co_await batch_->written.wait();
}

std::shared_ptr<journal::batch> journal::take()
{
    auto next = std::make_shared<batch>();
    const std::lock_guard hold{lock_};
    return std::exchange(gathered_, std::move(next));
}

leat::task<> journal::run()
{
    auto body = [this](leat::task_group& writers) -> leat::task<> {
        if (policy_ == fsync_policy::everysec)
            co_await writers.spawn(sync_each_second(), {.name = "fsync"});
        while (co_await work_.recv()) {
            const std::shared_ptr<batch> next = take();
            co_await write(*next);
            next->written.set();
        }
        writers.cancel();
    };
    co_await leat::with_group(body);
    co_await leat::blocking([this] { return file_.sync(); });
}

/// Until it has succeeded.
leat::task<> journal::write(const batch& what)
{
    for (;;) {
        const std::error_code failed = co_await leat::blocking(
            [&] { return file_.append(what.records, policy_ == fsync_policy::always); });
        dirty_ = true;
        const bool was_failing = failing_.exchange(static_cast<bool>(failed));
        if (!failed) {
            if (was_failing)
                std::fprintf(stderr, "%s: can be written again\n", file_.path().c_str());
            co_return;
        }
        if (!was_failing)
            std::fprintf(stderr, "%s: %s; trying again\n", file_.path().c_str(), failed.message().c_str());
        co_await leat::sleep_for(200ms);
    }
}

leat::task<> journal::sync_each_second()
{
    leat::ticker each_second{1s};
    for (;;) {
        co_await each_second.tick();
        if (!dirty_.exchange(false))
            continue;
        const std::error_code failed = co_await leat::blocking([this] { return file_.sync(); });
        if (failed)
            std::fprintf(stderr, "%s: %s\n", file_.path().c_str(), failed.message().c_str());
    }
}

}  // namespace mini_redis
