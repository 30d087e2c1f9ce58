#include <leat/asio/net.hpp>

#include <asio/ip/address.hpp>
#include <asio/ip/v6_only.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace leat::net {
namespace {

class net_category final : public std::error_category {
public:
    const char* name() const noexcept override
    {
        return "leat.net";
    }
    std::string message(int code) const override
    {
        switch (static_cast<errc>(code)) {
        case errc::too_long: return "longer than the limit";
        case errc::truncated: return "the peer closed in the middle";
        case errc::broken: return "an earlier operation was cut short";
        case errc::peer_gone: return "the peer has gone";
        case errc::no_address: return "no address to connect to";
        }
        return "unknown error";
    }
    std::error_condition default_error_condition(int code) const noexcept override
    {
        switch (static_cast<errc>(code)) {
        case errc::too_long: return std::errc::message_size;
        case errc::truncated: return std::errc::connection_aborted;
        case errc::broken: return std::errc::broken_pipe;
        case errc::peer_gone: return std::errc::connection_aborted;
        case errc::no_address: return std::errc::address_not_available;
        }
        return std::error_category::default_error_condition(code);
    }
};

}  // namespace

const std::error_category& error_category() noexcept
{
    static const net_category the_category;
    return the_category;
}

bool is_disconnect(const std::error_code& why) noexcept
{
    // Asio's codes first: those of its own system category have no relatives in std::errc.
    return why == asio::error::eof || why == asio::error::connection_reset ||
           why == asio::error::broken_pipe || why == asio::error::connection_aborted ||
           why == asio::error::not_connected || why == std::errc::connection_reset ||
           why == std::errc::broken_pipe || why == std::errc::connection_aborted;
}

namespace detail {

// ---- Connecting ----------------------------------------------------------------------------------

std::string describe(const endpoint& of)
{
    const bool six = of.address().is_v6();
    return (six ? "[" : "") + of.address().to_string() + (six ? "]:" : ":") + std::to_string(of.port());
}

void throw_connect_error(const std::vector<std::string>& names, const std::vector<std::error_code>& why)
{
    std::string all = "leat: connect";
    for (std::size_t i = 0; i < names.size(); ++i)
        all += (i == 0 ? ": " : "; ") + names[i] + ": " + why[i].message();
    throw connect_error{why.front(), all};
}

namespace {

task<socket> try_endpoint(executor on, endpoint to)
{
    socket made{on};
    co_await made.async_connect(to, use_task);
    std::error_code ignored;
    made.set_option(tcp::no_delay{true}, ignored);
    co_return made;
}

}  // namespace
}  // namespace detail

connect_error::connect_error(std::error_code first, const std::string& all)
    : std::system_error{first}, all_{all}
{
}

std::vector<endpoint> interleave(const std::vector<endpoint>& addresses)
{
    std::vector<endpoint> ordered;
    ordered.reserve(addresses.size());
    if (addresses.empty())
        return ordered;
    const bool six_first = addresses.front().address().is_v6();
    std::size_t next[2] = {0, 0};  // of the first family, and of the other
    const auto find = [&](std::size_t which) {
        while (next[which] < addresses.size() &&
               (addresses[next[which]].address().is_v6() == six_first) != (which == 0))
            ++next[which];
        return next[which] < addresses.size();
    };
    for (std::size_t turn = 0; ordered.size() < addresses.size(); turn ^= 1U)
        if (find(turn))
            ordered.push_back(addresses[next[turn]++]);
    return ordered;
}

task<std::vector<endpoint>> lookup(executor on, std::string host, std::string service)
{
    std::error_code no_number;
    const auto address = asio::ip::make_address(host, no_number);
    unsigned port = 0;
    const auto digits = std::from_chars(service.data(), service.data() + service.size(), port);
    if (!no_number && !service.empty() && digits.ec == std::errc{} &&
        digits.ptr == service.data() + service.size() && port <= 65535)
        co_return std::vector<endpoint>{endpoint{address, static_cast<unsigned short>(port)}};

    using answer_type = result<std::vector<endpoint>>;
    const channel<answer_type> answer{1};
    // A plain handler, which owns the resolver: the task may go while the system is still looking.
    const auto asking = std::make_shared<resolver>(on);
    asking->async_resolve(host, service,
                          [asking, tell = leat::detail::closes_at_end<answer_type>{answer}](
                              std::error_code failed, const tcp::resolver::results_type& found) {
                              try {
                                  std::vector<endpoint> all;
                                  for (const auto& each : found)
                                      all.push_back(each.endpoint());
                                  if (!failed && all.empty())
                                      failed = errc::no_address;
                                  if (failed)
                                      static_cast<void>(tell->try_send(answer_type{failed}));
                                  else
                                      static_cast<void>(tell->try_send(answer_type{std::move(all)}));
                              } catch (const std::bad_alloc&) {
                                  // The channel is closed when the handler goes: the lookup is abandoned.
                              }
                          });
    auto told = co_await answer.recv();
    if (!told)
        throw std::system_error{make_error_code(leat::errc::abandoned), "leat: lookup of " + host};
    if (!*told)
        throw std::system_error{told->error(), "leat: lookup of " + host + ":" + service};
    co_return std::move(**told);
}

task<socket> connect(executor on, std::vector<endpoint> addresses, connect_options options)
{
    auto attempt = [on](const endpoint& to) { return detail::try_endpoint(on, to); };
    auto name = [](const endpoint& of) { return detail::describe(of); };
    co_return co_await race_to_connect(std::move(addresses), std::move(attempt), name, options);
}

task<socket> connect(executor on, std::string host, std::string service, connect_options options)
{
    const std::vector<endpoint> found = co_await lookup(on, std::move(host), std::move(service));
    co_return co_await connect(on, interleave(found), options);
}

task<socket> connect(std::string host, std::string service, connect_options options)
{
    const executor here{this_task::executor()};
    co_return co_await connect(here, std::move(host), std::move(service), options);
}

// ---- Listening -----------------------------------------------------------------------------------

namespace detail {

void report_failure(const listen_options& options, const connection_failure& what) noexcept
{
    try {
        if (options.on_error) {
            options.on_error(what);
            return;
        }
        const std::string text = leat::detail::describe(what.thrown);
        if (what.accepting)
            std::fprintf(stderr, "leat: can not accept connections: %s; waiting\n", text.c_str());
        else
            std::fprintf(stderr, "leat: connection %.*s: %s\n", static_cast<int>(what.peer.size()),
                         what.peer.data(), text.c_str());
    } catch (...) {
        // A server does not end because it can not complain.
    }
}

void report_end(const listen_options& options, std::string_view peer, const std::exception_ptr& thrown,
                bool told) noexcept
{
    const std::error_code why = leat::detail::code_of(thrown);
    const bool told_to_end =
        told && (why == std::errc::operation_canceled || why == asio::error::operation_aborted ||
                 why == leat::errc::deadline_exceeded);
    if (!told_to_end && !is_disconnect(why))
        report_failure(options, connection_failure{peer, thrown, false});
}

after_accept_error judge_accept_error(const std::error_code& why) noexcept
{
    if (why.category() != std::system_category() && why.category() != asio::error::get_system_category())
        return after_accept_error::give_up;
    switch (why.value()) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return after_accept_error::back_off;
    // What has happened to one connection before it was accepted, or to the network beneath it.
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case EPERM:
    case EINTR:
    case EAGAIN:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT: return after_accept_error::accept_next;
    default: return after_accept_error::give_up;
    }
}

namespace {

/// The descriptors that were passed to this process: the first is 3. Zero if there are none.
int count_of_inherited() noexcept
{
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const count = std::getenv("LISTEN_FDS");
    if (pid == nullptr || count == nullptr)
        return 0;
    long whose = 0;
    int many = 0;
    const std::string_view p{pid};
    const std::string_view c{count};
    if (std::from_chars(p.data(), p.data() + p.size(), whose).ptr != p.data() + p.size() ||
        std::from_chars(c.data(), c.data() + c.size(), many).ptr != c.data() + c.size())
        return 0;
    return whose == static_cast<long>(::getpid()) && many > 0 && many < 1024 ? many : 0;
}

constexpr int first_inherited = 3;

/// Which of them have been taken.
std::atomic<bool>& taken(int index)
{
    static std::array<std::atomic<bool>, 1024> all{};
    return all[static_cast<std::size_t>(index)];
}

/// The families of the kind of socket that is asked for, or -1.
int listening_family(int descriptor) noexcept
{
    int listening = 0;
    int type = 0;
    ::socklen_t size = sizeof(int);
    ::sockaddr_storage address{};
    ::socklen_t length = sizeof address;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0 ||
        ::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
        ::getsockname(descriptor, reinterpret_cast<::sockaddr*>(&address), &length) != 0)
        return -1;
    return address.ss_family;
}

/// Whether there is a socket that nobody answers at: what a server has left behind.
bool left_behind(const std::string& path, const local_stream::endpoint& at) noexcept
{
    // First, as a file of any other kind refuses, too.
    struct ::stat there{};
    if (::lstat(path.c_str(), &there) != 0 || !S_ISSOCK(there.st_mode))
        return false;
    // A server whose backlog is full is not waited for: it is one.
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return false;
    const bool refused =
        ::connect(probe, at.data(), static_cast<::socklen_t>(at.size())) != 0 && errno == ECONNREFUSED;
    ::close(probe);
    return refused;
}

template <class Acceptor, class Choose>
std::vector<Acceptor> take_inherited(const executor& on, Choose choose)
{
    std::vector<Acceptor> all;
    const int count = count_of_inherited();
    for (int i = 0; i < count; ++i) {
        const int descriptor = first_inherited + i;
        const auto protocol = choose(listening_family(descriptor));
        if (!protocol || taken(i).exchange(true))
            continue;
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        try {
            all.emplace_back(on, *protocol, descriptor);
        } catch (...) {
            // It can be had by the next call.
            taken(i).store(false);
            throw;
        }
    }
    return all;
}

}  // namespace
}  // namespace detail

acceptor listen(executor on, const endpoint& at, int backlog)
{
    acceptor made{on, at.protocol()};
    made.set_option(asio::socket_base::reuse_address{true});
    if (at.address().is_v6() && at.address().is_unspecified()) {
        // Where the system has no IPv4, it may refuse.
        std::error_code ignored;
        made.set_option(asio::ip::v6_only{false}, ignored);
    }
    made.bind(at);
    made.listen(backlog);
    return made;
}

local_acceptor listen(executor on, const local_stream::endpoint& at, int backlog)
{
    const std::string path = at.path();
    if (!path.empty() && path.front() != '\0' && detail::left_behind(path, at))
        ::unlink(path.c_str());
    local_acceptor made{on, at.protocol()};
    made.bind(at);
    made.listen(backlog);
    return made;
}

std::vector<acceptor> inherited_acceptors(executor on)
{
    return detail::take_inherited<acceptor>(on, [](int family) -> std::optional<tcp> {
        if (family == AF_INET)
            return tcp::v4();
        if (family == AF_INET6)
            return tcp::v6();
        return std::nullopt;
    });
}

std::vector<local_acceptor> inherited_local_acceptors(executor on)
{
    return detail::take_inherited<local_acceptor>(on, [](int family) -> std::optional<local_stream> {
        if (family == AF_UNIX)
            return local_stream{};
        return std::nullopt;
    });
}

}  // namespace leat::net
