// The server: what all clients share, and how it begins and ends.
#pragma once

#include "journal.hpp"
#include "pubsub.hpp"
#include "resp.hpp"
#include "store.hpp"

#include <leat/context.hpp>
#include <leat/sync/event.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mini_redis {

struct settings {
    std::string address = "127.0.0.1";
    unsigned short port = 6379;
    bool append_only = false;
    fsync_policy fsync = fsync_policy::everysec;
    std::string directory = ".";
    std::string file = "appendonly.aof";
    std::size_t max_clients = 10'000;
    std::chrono::seconds grace{10};
    request_limits limits;
    /// Replies are sent when they have become that many bytes, also in the middle of a pipeline; and a single reply
    /// that would be larger than the second is refused.
    std::size_t flush_at = 64 * 1024;
    std::size_t max_reply = 256 * 1024 * 1024;
    /// A subscriber that has not read so many bytes is dropped.
    std::size_t max_queued = 32 * 1024 * 1024;
};

/// What other clients may see of one.
struct client_info {
    std::uint64_t id = 0;
    std::string address;
    leat::clock::time_point connected;
    std::atomic<std::uint64_t> commands{0};
    std::atomic<bool> blocked{false};
    std::string name;                       ///< under the registry's lock, as the next
    const leat::canceller* kill = nullptr;  ///< ends the client; null when it is about to go
};

/// Who is connected.
class client_registry {
public:
    std::shared_ptr<client_info> enter(std::string address, const leat::canceller& kill);
    void leave(client_info& who);
    void rename(client_info& who, std::string name);
    std::string name_of(const client_info& who);
    /// A line for each client, or for one.
    std::string list(const client_info* only = nullptr);
    /// Ends a client by its id, if that is not zero, or else by its address. False if there is none.
    bool kill(std::uint64_t id, std::string_view address);

    struct totals {
        std::size_t connected = 0;
        std::size_t blocked = 0;
        std::uint64_t connections = 0;  ///< ever
        std::uint64_t commands = 0;
    };
    totals count();

private:
    std::mutex lock_;
    std::map<std::uint64_t, std::shared_ptr<client_info>> all_;
    std::uint64_t last_id_ = 0;
    std::uint64_t commands_of_gone_ = 0;
};

class server {
public:
    explicit server(settings how);
    /// Until it has drained.
    leat::task<> run();

    settings options;
    store data;
    broker topics;
    client_registry clients;
    std::optional<journal> log;
    const leat::clock::time_point started = leat::clock::now();
    leat::event listening;  ///< options.port is the one that it has, also if any was asked for

private:
    void load();
    leat::task<> expire_keys();
};

}  // namespace mini_redis
