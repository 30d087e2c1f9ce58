// What samples/log_report does with a log: reads it, parses it with as many tasks as there are workers, and counts.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include "../samples/log_report/summarize.hpp"

#include <filesystem>

namespace {

using item = std::int64_t;

/// A log of so many lines in the combined format, two seconds apart, in a directory of its own.
class made_log {
public:
    explicit made_log(item lines)
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "leat.perf.XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr)
            throw std::runtime_error{"there is no temporary directory"};
        directory_ = pattern;
        std::ofstream out{file()};
        std::string line;
        std::uint64_t state = 1;
        for (item i = 0; i < lines; ++i) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            const std::uint64_t dice = state >> 33;
            const unsigned status = dice % 100 < 2 ? 500 : dice % 100 < 10 ? 404 : 200;
            const std::uint64_t size = dice % 100'000;
            const unsigned at = static_cast<unsigned>(i * 2 % 86'400);
            char text[256];
            std::snprintf(
                text, sizeof text,
                "10.1.2.%u - - [%02u/May/2024:%02u:%02u:%02u +0000] \"GET /item/%u HTTP/1.1\" %u %llu "
                "\"-\" \"Mozilla/5.0 (X11; Linux)\"\n",
                static_cast<unsigned>(dice % 256), static_cast<unsigned>(i * 2 / 86'400 % 28 + 1), at / 3600,
                at / 60 % 60, at % 60, static_cast<unsigned>(dice / 256 % 5000), status,
                static_cast<unsigned long long>(size));
            out << text;
            bytes_ += size;
            errors_ += status >= 500;
        }
        if (!out.flush())
            throw std::runtime_error{"the log could not be written"};
    }
    made_log(const made_log&) = delete;
    made_log& operator=(const made_log&) = delete;
    ~made_log()
    {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    std::string file() const
    {
        return (directory_ / "access.log").string();
    }
    std::uint64_t bytes() const noexcept
    {
        return bytes_;
    }
    std::uint64_t errors() const noexcept
    {
        return errors_;
    }

private:
    std::filesystem::path directory_;
    std::uint64_t bytes_ = 0;
    std::uint64_t errors_ = 0;
};

leat::task<> count_log(perf::repetition& rep)
{
    const item lines = rep.amount(2'000'000);
    const made_log log{lines};
    log_report::order asked;
    asked.files = {log.file()};
    asked.workers = static_cast<std::size_t>(rep.workers());
    std::uint64_t printed = 0;
    log_report::screen screen{"log_report", printed};
    log_report::report whole{asked.options};
    rep.start();
    const bool all = co_await log_report::count(asked, screen, whole);
    rep.stop(lines);
    const log_report::sums& sums = whole.all();
    if (!all || sums.bytes != log.bytes() || sums.errors != log.errors())
        throw perf::wrong_result{"the log has been counted wrongly"};
    rep.expect(static_cast<item>(sums.requests), lines);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"log_report", "ns/line", count_log}});
}
