#include "server.hpp"

#include "client.hpp"
#include "commands.hpp"

#include <leat/asio/net.hpp>
#include <leat/blocking.hpp>
#include <leat/group.hpp>
#include <leat/this_task.hpp>

#include <asio/ip/address.hpp>

#include <cinttypes>
#include <cstdio>
#include <stdexcept>

namespace mini_redis {

using namespace std::chrono_literals;
namespace net = leat::net;

// ---- client_registry ---------------------------------------------------------------------------

std::shared_ptr<client_info> client_registry::enter(std::string address, const leat::canceller& kill)
{
    auto who = std::make_shared<client_info>();
    who->address = std::move(address);
    who->connected = leat::clock::now();
    who->kill = &kill;
    const std::lock_guard hold{lock_};
    who->id = ++last_id_;
    all_.emplace(who->id, who);
    return who;
}

void client_registry::leave(client_info& who)
{
    const std::lock_guard hold{lock_};
    commands_of_gone_ += who.commands;
    all_.erase(who.id);
}

void client_registry::rename(client_info& who, std::string name)
{
    const std::lock_guard hold{lock_};
    who.name = std::move(name);
}

std::string client_registry::name_of(const client_info& who)
{
    const std::lock_guard hold{lock_};
    return who.name;
}

std::string client_registry::list(const client_info* only)
{
    const auto now = leat::clock::now();
    const std::lock_guard hold{lock_};
    std::string lines;
    for (const auto& [id, who] : all_) {
        if (only != nullptr && who.get() != only)
            continue;
        const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - who->connected);
        lines += "id=" + std::to_string(id) + " addr=" + who->address + " name=" + who->name +
                 " age=" + std::to_string(age.count()) + " flags=" + (who->blocked ? "b" : "N") +
                 " tot-cmds=" + std::to_string(who->commands) + "\n";
    }
    return lines;
}

bool client_registry::kill(std::uint64_t id, std::string_view address)
{
    const std::lock_guard hold{lock_};
    for (const auto& [its_id, who] : all_) {
        if (id != 0 ? its_id != id : who->address != address)
            continue;
        // As if it had gone by itself, about which nobody complains.
        (*who->kill)(make_error_code(net::errc::peer_gone));
        return true;
    }
    return false;
}

client_registry::totals client_registry::count()
{
    const std::lock_guard hold{lock_};
    totals all{all_.size(), 0, last_id_, commands_of_gone_};
    for (const auto& [id, who] : all_) {
        all.blocked += who->blocked;
        all.commands += who->commands;
    }
    return all;
}

namespace {

leat::task<> serve_client(server& by, net::socket accepted)
{
    // Ended by CLIENT KILL, or for a subscriber that does not read.
    const leat::cancellable_context own = leat::with_cancel();
    client peer{by, std::move(accepted), own.second};
    const auto served = co_await leat::as_result(leat::with_context(own.first, peer.serve()));
    if (!served && own.first.cancelled() && !leat::this_task::context().cancelled())
        std::rethrow_exception(own.first.cause());
    served.value();
}

}  // namespace

// ---- server ------------------------------------------------------------------------------------

server::server(settings how) : options{std::move(how)}
{
}

leat::task<> server::run()
{
    if (options.append_only)
        co_await leat::blocking([this] { load(); });
    data.start(log ? &*log : nullptr);
    const net::endpoint at{asio::ip::make_address(options.address), options.port};
    net::acceptor acceptor = net::listen(leat::this_task::executor(), at);
    options.port = acceptor.local_endpoint().port();
    std::fprintf(stderr, "listening on port %d\n", options.port);
    listening.set();

    net::listen_options limits;
    limits.max_connections = options.max_clients;  // the next ones wait in the backlog
    auto handler = [this](net::socket accepted) { return serve_client(*this, std::move(accepted)); };
    auto body = [&](leat::task_group& tasks) -> leat::task<> {
        auto expiry = co_await tasks.spawn(expire_keys(), {.name = "expiry"});
        if (log)
            co_await tasks.spawn(log->run(), {.name = "journal"});
        co_await leat::listen_and_serve(acceptor, handler, limits);
        // The last client has gone.
        expiry.cancel();
        if (log)
            log->close();
    };
    co_await leat::with_group(body);
}

void server::load()
{
    log.emplace(options.directory + "/" + options.file, options.fsync);
    session replayed{*this};
    const std::uint64_t count = log->replay([&](arguments words) {
        const command* const what = find_command(words[0]);
        if (what == nullptr || what->does != command::writes || what->wait != nullptr)
            throw std::runtime_error{"a request that has no place in the file: " +
                                     std::string{words[0].substr(0, 128)}};
        replayed.run(words);
        if (replayed.out.text().starts_with('-'))
            throw std::runtime_error{"a request that can not be repeated: " + replayed.out.text()};
        replayed.out.clear();
    });
    std::fprintf(stderr, "%" PRIu64 " requests repeated from %s/%s\n", count, options.directory.c_str(),
                 options.file.c_str());
}

leat::task<> server::expire_keys()
{
    leat::ticker often{100ms};
    for (;;) {
        co_await often.tick();
        data.expire_some();
    }
}

}  // namespace mini_redis
