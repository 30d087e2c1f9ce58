// redis-server itself, as it comes but for the disk, on the processor that other servers have: it executes requests on one
// thread, whatever the number of workers.
#include "../peer.hpp"

#include "../../load.hpp"

#include <csignal>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace {

sockaddr_in loopback(int port)
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// One that nobody has at the moment.
int free_port()
{
    const int made = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (bind(made, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        getsockname(made, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        throw std::runtime_error{"no port"};
    close(made);
    return ntohs(address.sin_port);
}

class redis_server {
public:
    redis_server() : port{free_port()}, process_{fork()}
    {
        if (process_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);  // this one's is for the figures
            const std::string number = std::to_string(port);
            execlp("redis-server", "redis-server", "--port", number.c_str(), "--bind", "127.0.0.1", "--save",
                   "", "--appendonly", "no", "--loglevel", "warning", "--dir", "/", nullptr);
            _exit(127);
        }
        while (!answers())
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    redis_server(const redis_server&) = delete;
    redis_server& operator=(const redis_server&) = delete;
    ~redis_server()
    {
        kill(process_, SIGKILL);
        waitpid(process_, nullptr, 0);
    }

    clockid_t clock() const
    {
        clockid_t its{};
        if (clock_getcpuclockid(process_, &its) != 0)
            throw std::runtime_error{"redis-server has no clock"};
        return its;
    }

    const int port;

private:
    bool answers() const
    {
        if (waitpid(process_, nullptr, WNOHANG) != 0)
            throw std::runtime_error{"redis-server has ended"};
        const sockaddr_in address = loopback(port);
        const int made = socket(AF_INET, SOCK_STREAM, 0);
        const bool connected =
            connect(made, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        close(made);
        return connected;
    }

    pid_t process_;
};

auto under_load(const char* what, int ahead)
{
    return [what, ahead](peer::repetition& rep) {
        if (std::thread::hardware_concurrency() > 1)
            peer::use_processors(1);
        const redis_server server;
        const std::int64_t amount = rep.amount(ahead == 1 ? 200'000 : 1'000'000);
        const perf::load_result got = perf::run_load(
            {what, 50, std::max<std::int64_t>(100 * ahead, amount), ahead}, server.port, server.clock());
        rep.value(got.per_second);
        rep.also("server_us", got.server_us);
    };
}

}  // namespace

int main(int argc, char** argv)
{
    return peer::program(argc, argv, "redis",
                         {{"redis_get.p1", "requests/s", under_load("get", 1)},
                          {"redis_get.p16", "requests/s", under_load("get", 16)},
                          {"redis_set.p1", "requests/s", under_load("set", 1)},
                          {"redis_set.p16", "requests/s", under_load("set", 16)}});
}
