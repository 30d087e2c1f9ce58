#include "pipeline.hpp"

#include "../common/file.hpp"
#include "../common/output.hpp"
#include "../common/words.hpp"
#include "format.hpp"
#include "hash.hpp"
#include "walk.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace digest {
namespace {

using namespace std::chrono_literals;

/// One file on its way through. Copies share the slot that the sum goes into.
struct job {
    std::string path;
    std::string listed;  ///< the sum that it should have, if it is from a list
    leat::channel<leat::result<std::string>> sum{1};
};

/// The same at its end: with its sum, or the reason why there is none.
struct ready_job {
    std::string path;
    std::string listed;
    leat::result<std::string> sum;
};

/// What lies between those who find files and those who digest and print them. Workers take from `to_do` as
/// they find time, while `in_order` keeps the order. The capacity of `in_order` bounds how far everybody can
/// run ahead while one big file is being digested, and with it the memory.
struct belt {
    leat::channel<job> to_do{64};
    leat::channel<job> in_order{1024};

    leat::task<> put(std::string path, std::string listed = {}) const
    {
        const job next{std::move(path), std::move(listed)};
        co_await in_order.send(next);
        co_await to_do.send(next);
    }

    leat::task<> put_unreadable(std::string path, std::error_code why) const
    {
        const job next{std::move(path), {}};
        co_await next.sum.send(why);
        co_await in_order.send(next);
    }

    void close() const
    {
        to_do.close();
        in_order.close();
    }
};

// ---- Finding: one task, either of these --------------------------------------------------------

leat::task<> walk_trees(const std::vector<std::string>& roots, belt files)
{
    walk trees = co_await leat::blocking([&] { return walk{roots}; });
    while (!trees.ended()) {
        const std::vector<found> met = co_await leat::blocking([&] { return trees.some(); });
        for (const found& file : met) {
            if (file.error)
                co_await files.put_unreadable(file.path, file.error);
            else
                co_await files.put(file.path);
        }
    }
    files.close();
}

leat::task<> put_listed(std::string_view line, std::size_t digits, belt files, tally& done)
{
    if (line.ends_with('\r'))
        line.remove_suffix(1);
    if (line.empty() || line.starts_with('#'))
        co_return;
    if (std::optional<listed_sum> file = parse_sum_line(line, digits))
        co_await files.put(std::move(file->name), std::move(file->sum));
    else
        ++done.misformatted;
}

leat::task<> read_list(const request& asked, belt files, tally& done)
{
    const std::size_t digits = hash{asked.algorithm}.digits();
    std::string buffer(64 * 1024, '\0');
    std::string text;
    common::input list;
    while (!list.ended()) {
        const std::size_t got = co_await leat::blocking([&] {
            if (!list.is_open())
                list.open(asked.list);
            return list.read(std::as_writable_bytes(std::span{buffer}));
        });
        text.append(buffer, 0, got);
        std::size_t begin = 0;
        for (std::size_t end; (end = text.find('\n', begin)) != text.npos; begin = end + 1)
            co_await put_listed(std::string_view{text}.substr(begin, end - begin), digits, files, done);
        text.erase(0, begin);
    }
    co_await put_listed(text, digits, files, done);
    files.close();
}

// ---- Digesting: a few tasks --------------------------------------------------------------------

leat::task<std::string> digest_file(const std::string& path, const std::string& algorithm,
                                    std::span<std::byte> buffer, tally& done)
{
    hash sum{algorithm};
    common::input file;
    while (!file.ended()) {
        // A small file takes one trip to the blocking threads: open, read, read again in vain, close.
        const std::size_t got = co_await leat::blocking([&] {
            if (!file.is_open())
                file.open(path);
            return file.read(buffer);
        });
        sum.update(buffer.first(got));
        done.bytes += got;
    }
    co_return sum.finish();
}

leat::task<> work(belt files, const std::string& algorithm, tally& done)
{
    std::vector<std::byte> buffer(1024 * 1024);
    while (std::optional<job> next = co_await files.to_do.recv()) {
        leat::result<std::string> sum =
            co_await leat::as_result(digest_file(next->path, algorithm, buffer, done));
        co_await next->sum.send(std::move(sum));
    }
}

// ---- Printing: one task that restores the order, and one that prints ---------------------------

leat::task<> restore_order(belt files, leat::sender<ready_job> ready)
{
    while (std::optional<job> next = co_await files.in_order.recv()) {
        std::optional<leat::result<std::string>> sum = co_await next->sum.recv();
        ready_job file{std::move(next->path), std::move(next->listed), std::move(*sum)};
        co_await ready.send(std::move(file));
    }
    ready.close();
}

class printer {
public:
    printer(const request& asked, tally& done) : asked_{asked}, done_{done}
    {
    }

    leat::task<> print(leat::receiver<ready_job> ready)
    {
        leat::ticker clock{200ms};
        while (!ended_)
            co_await leat::select(
                leat::on(ready.recv(), [&](std::optional<ready_job> next) { return take(std::move(next)); }),
                leat::on(clock.tick(), [&] { return refresh(); }));
        co_await out_.end_progress(progress());
        if (checking())
            co_await summarize();
    }

private:
    bool checking() const
    {
        return !asked_.list.empty();
    }

    leat::task<> take(std::optional<ready_job> next)
    {
        ended_ = !next;
        if (next)
            co_await print_file(std::move(*next));
    }

    leat::task<> refresh()
    {
        co_await out_.flush();
        co_await out_.show_progress(progress());
    }

    leat::task<> print_file(ready_job file)
    {
        ++done_.files;
        if (!file.sum)
            co_await print_problem(common::escape(file.path) + ": " + file.sum.error().message());
        if (checking())
            co_await out_.line(verdict_line(file.path, verdict(file)));
        else if (file.sum)
            co_await out_.line(sum_line(*file.sum, file.path));
    }

    leat::task<> print_problem(std::string problem)
    {
        ++done_.unreadable;
        if (asked_.keep_going || checking()) {
            co_await out_.complain(std::move(problem));
        } else {
            co_await out_.flush();
            throw std::runtime_error{problem};
        }
    }

    std::string_view verdict(const ready_job& file)
    {
        if (!file.sum)
            return "FAILED open or read";
        if (*file.sum == file.listed)
            return "OK";
        ++done_.mismatched;
        return "FAILED";
    }

    std::string progress() const
    {
        const std::chrono::duration<double> taken = leat::clock::now() - begin_;
        const auto bytes = static_cast<double>(done_.bytes);
        return common::counted(done_.files, "file", "files") + ", " + common::byte_size(bytes) + ", " +
               common::byte_size(bytes / taken.count()) + "/s";
    }

    leat::task<> summarize()
    {
        if (done_.files == 0)
            throw std::runtime_error{common::escape(asked_.list) +
                                     ": no properly formatted checksum lines found"};
        co_await warn(done_.misformatted, "line is improperly formatted", "lines are improperly formatted");
        co_await warn(done_.unreadable, "listed file could not be read", "listed files could not be read");
        co_await warn(done_.mismatched, "computed checksum did NOT match",
                      "computed checksums did NOT match");
    }

    leat::task<> warn(std::uint64_t number, std::string_view singular, std::string_view plural)
    {
        if (number > 0)
            co_await out_.complain("WARNING: " + common::counted(number, singular, plural));
    }

    const request& asked_;
    tally& done_;
    common::output out_{"digest", done_.printed};
    const leat::clock::time_point begin_ = leat::clock::now();
    bool ended_ = false;
};

}  // namespace

leat::task<> fulfil(const request& asked, tally& done)
{
    const belt files;
    const leat::channel<ready_job> ready;
    co_await leat::with_group([&](leat::task_group& crew) -> leat::task<> {
        leat::task<> find =
            asked.list.empty() ? walk_trees(asked.roots, files) : read_list(asked, files, done);
        co_await crew.spawn(std::move(find));
        for (std::size_t i = 0; i < asked.workers; ++i)
            co_await crew.spawn(work(files, asked.algorithm, done));
        co_await crew.spawn(restore_order(files, ready));
        printer desk{asked, done};
        co_await desk.print(ready);
    });
}

}  // namespace digest
