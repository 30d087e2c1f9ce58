// The append-only file: every request that has changed something, as it was sent, and read again at the next start.
//
// Who changes something appends a record to the batch that is being gathered, and gets a ticket; he replies to his
// client when the ticket is due. One task writes batch after batch, on a thread for blocking calls: while one is
// being written the next is gathered. So a single write, and a single fsync, serves everybody who has come meanwhile,
// and nobody who has been answered can lose what he was told, whatever kills the process.
//
//     append ──▶ gathered ──take()──▶ being written ──▶ written (and on the disk, with fsync always): tickets are due
//                    ▲                     │ no space: what has been written of it is cut off
//                    └── new appends       └──▶ tried again, until it succeeds; failing() meanwhile
#pragma once

#include "resp.hpp"

#include <leat/channel.hpp>
#include <leat/sync/event.hpp>
#include <leat/task.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mini_redis {

/// When what has been written goes to the disk. The process may be killed with each of them; the machine may lose its
/// power with `always`, and then loses a second with `everysec`.
enum class fsync_policy { always, everysec, no };

/// A file that only grows.
class log_file {
public:
    /// Makes it if it is not there. Throws std::system_error, also if another process has it.
    explicit log_file(std::string path);
    log_file(const log_file&) = delete;
    log_file& operator=(const log_file&) = delete;
    ~log_file();

    /// Reads the next piece. Result: how many bytes; zero at the end.
    std::size_t read(std::span<char> into);
    /// Writes all of them at the end, and waits for the disk if that is asked for; or nothing at all.
    std::error_code append(const std::vector<std::string>& records, bool to_disk);
    std::error_code sync() noexcept;
    /// What is behind that is gone.
    void cut(std::uint64_t size);
    std::uint64_t size() const noexcept
    {
        return size_.load(std::memory_order_relaxed);
    }
    const std::string& path() const noexcept
    {
        return path_;
    }

private:
    std::error_code write_at(std::uint64_t& end, const std::vector<std::string>& records) noexcept;

    std::string path_;
    int descriptor_;
    std::atomic<std::uint64_t> size_{0};
};

class journal {
    struct batch {
        std::vector<std::string> records;
        leat::event written;
    };

public:
    /// Stands for what has been appended so far.
    class ticket {
    public:
        ticket() noexcept = default;
        /// Whether there is something to wait for.
        bool is_due() const noexcept
        {
            return batch_ == nullptr || batch_->written.is_set();
        }
        /// Waits until it is as safe as the policy promises.
        leat::task<> wait() const;

    private:
        friend class journal;
        explicit ticket(std::shared_ptr<batch> of) noexcept : batch_{std::move(of)}
        {
        }
        std::shared_ptr<batch> batch_;
    };

    journal(std::string path, fsync_policy policy);

    /// Reads the file and does all of it again. What a crash has left unfinished at the end is cut off.
    ///
    /// Result  how many requests were read.
    /// Throws  std::runtime_error if the file is damaged anywhere else; what `execute` throws; std::system_error.
    std::uint64_t replay(const std::function<void(arguments)>& execute);

    /// Appends a record to the batch that is being gathered. Does not wait.
    ///
    /// Threads  any. The order of the calls is the order in the file.
    ticket append(std::string record);

    /// Writes what is appended, until close().
    leat::task<> run();
    /// Nothing more will be appended: run() returns when everything has been written and is on the disk.
    void close()
    {
        work_.close();
    }

    /// Whether the last attempt to write has failed: nothing should be changed now.
    bool failing() const noexcept
    {
        return failing_.load(std::memory_order_relaxed);
    }
    std::uint64_t size() const noexcept
    {
        return file_.size();
    }

private:
    std::shared_ptr<batch> take();
    leat::task<> write(const batch& what);
    leat::task<> sync_each_second();

    log_file file_;
    const fsync_policy policy_;
    std::mutex lock_;
    std::shared_ptr<batch> gathered_;  ///< under lock_
    leat::channel<void> work_{1};      ///< has a signal if something has been gathered
    std::atomic<bool> failing_{false};
    std::atomic<bool> dirty_{false};  ///< there is something that is not on the disk
};

}  // namespace mini_redis
