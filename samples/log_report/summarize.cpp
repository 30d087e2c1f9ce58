#include "summarize.hpp"

#include "../common/output.hpp"
#include "../common/words.hpp"
#include "source.hpp"

#include <leat/flow/for_each.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>

namespace log_report {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t block_size = 256 * 1024;
constexpr std::size_t longest_line = 1024 * 1024;
constexpr std::size_t files_at_a_time = 4;

/// What has been done, as others see it.
struct progress {
    std::atomic<std::uint64_t> read{0};  ///< bytes of the files
    std::uint64_t size = 0;              ///< of all regular files, or zero if others are among them
};

std::string bar(double part)
{
    constexpr std::size_t width = 24;
    const std::size_t full = std::min(width, static_cast<std::size_t>(part * static_cast<double>(width)));
    return "[" + std::string(full, '#') + std::string(width - full, '.') + "] " +
           std::to_string(static_cast<int>(100 * part)) + " %, ";
}

std::uint64_t size_of(const std::vector<std::string>& files)
{
    std::uint64_t sum = 0;
    for (const std::string& path : files) {
        struct stat status;
        if (path == "-" || ::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
            return 0;
        sum += static_cast<std::uint64_t>(status.st_size);
    }
    return sum;
}

/// Cuts the text behind its last whole line; what is behind stays for the next block.
std::string cut_rest(std::string& text, bool ended)
{
    std::string rest;
    const std::size_t end = text.rfind('\n');
    if (end != text.npos) {
        if (!ended)
            rest = text.substr(end + 1);
        text.resize(ended ? text.size() : end + 1);
    } else if (!ended && text.size() < longest_line) {
        rest.swap(text);
    }
    return rest;
}

class reading {
public:
    reading(const order& asked, progress& done, screen& out) : asked_{asked}, done_{done}, out_{out}
    {
    }

    /// Several files at a time, each by a blocking thread: no worker waits for a disk, or a pipe.
    leat::task<> read_all(leat::sender<std::string> blocks)
    {
        auto read = [this, &blocks](const std::string& path) { return read_or_complain(path, blocks); };
        co_await leat::for_each(asked_.files, {.workers = files_at_a_time}, read);
        blocks.close();
    }
    bool all_read() const noexcept
    {
        return failures_ == 0;
    }

private:
    leat::task<> read_or_complain(const std::string& path, const leat::sender<std::string>& blocks)
    {
        const auto how = co_await leat::as_result(read(path, blocks));
        if (how)
            co_return;
        if (how.error() == leat::errc::cancelled)
            throw leat::cancelled_error{};
        std::string why = how.error().message();
        try {
            std::rethrow_exception(how.exception());
        } catch (const std::exception& problem) {
            why = problem.what();
        }
        ++failures_;
        const auto out = co_await out_.lock();
        co_await out->complain(std::move(why));
    }

    leat::task<> read(const std::string& path, const leat::sender<std::string>& blocks)
    {
        source file{path == "-" ? "/dev/stdin" : path};
        co_await leat::blocking([&] { file.open(); });
        std::string rest;
        while (!file.ended()) {
            std::string text = std::move(rest);
            const std::size_t got = co_await leat::blocking([&] { return file.read(text, block_size); });
            done_.read += got;
            rest = cut_rest(text, file.ended());
            if (!text.empty())
                co_await blocks.send(std::move(text));
        }
    }

    const order& asked_;
    progress& done_;
    screen& out_;
    std::atomic<int> failures_{0};
};

leat::task<> parse(leat::receiver<std::string> blocks, report& into)
{
    while (const std::optional<std::string> block = co_await blocks.recv()) {
        for (std::string_view text = *block; !text.empty();) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            if (end != 0)
                into.add_line(text.substr(0, end));
            text.remove_prefix(std::min(end + 1, text.size()));
        }
        // A block takes long: whoever has something to read must not wait until there are none.
        co_await leat::this_task::yield();
    }
}

leat::task<> show(const progress& done, screen& to)
{
    const auto begin = leat::clock::now();
    leat::ticker clock{200ms};
    for (;;) {
        co_await clock.tick();
        const std::chrono::duration<double> taken = leat::clock::now() - begin;
        const auto read = static_cast<double>(done.read.load());
        const std::string part = done.size != 0 ? bar(read / static_cast<double>(done.size)) : "";
        const auto out = co_await to.lock();
        co_await out->show_progress(part + common::byte_size(read) + ", " +
                                    common::byte_size(read / taken.count()) + "/s");
    }
}

}  // namespace

leat::task<bool> count(const order& asked, screen& shared, report& into)
{
    progress done;
    done.size = size_of(asked.files);
    reading files{asked, done, shared};
    // Each worker counts for himself: nobody waits for a lock.
    std::deque<report> parts;
    const leat::channel<std::string> blocks{asked.workers};
    co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
        auto progress_shown = co_await all.spawn(show(done, shared));
        co_await leat::with_group([&](leat::task_group& crew) -> leat::task<> {
            co_await crew.spawn(files.read_all(blocks));
            for (std::size_t i = 0; i < asked.workers; ++i)
                co_await crew.spawn(parse(blocks, parts.emplace_back(asked.options)));
        });
        progress_shown.cancel();
    });
    for (const report& part : parts)
        into.add(part);
    co_return files.all_read();
}

leat::task<bool> fulfil(const order& asked)
{
    std::uint64_t printed = 0;
    screen shared{"log_report", printed};
    report whole{asked.options};
    const bool all = co_await count(asked, shared, whole);
    std::string page = asked.json ? whole.json() : whole.text();
    const auto out = co_await shared.lock();
    co_await out->line(std::move(page));
    co_await out->flush();
    co_return all;
}

}  // namespace log_report
