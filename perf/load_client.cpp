// The other side of the rows over TCP, the same for leat and for every rival, on the last processor: plain epoll, or a
// tool that everybody uses. The program that has started it, the server, is kept to the first.
//
//   load_client echo PORT CONNECTIONS MESSAGES 1     64 bytes there and back, one message at a time on each connection
//   load_client accept PORT AT-A-TIME TIMES 1        connects, waits for the end, closes
//   load_client set PORT CONNECTIONS REQUESTS AHEAD  redis-benchmark -t set -P AHEAD; or get
//   load_client http PORT CONNECTIONS REQUESTS 1     wrk, which takes a time: that of so many requests at 50,000/s
//
// Prints how many seconds that took, without the connecting of `echo`, and how many times it was done. Exit 1 if what came
// back is not what was sent; 77, with a word on stderr, if there is no such tool.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using message = std::array<char, 64>;

int must(int got, const char* what)
{
    if (got < 0)
        throw std::runtime_error{std::string{what} + ": " + std::strerror(errno)};
    return got;
}

void keep_to(pid_t thread, long processor)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<std::size_t>(processor), &only);
    sched_setaffinity(thread, sizeof only, &only);
}

/// All threads of the server, and those that they will start.
void part_from_server()
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors < 2)
        return;
    const std::filesystem::path threads = "/proc/" + std::to_string(getppid()) + "/task";
    for (const auto& each : std::filesystem::directory_iterator{threads})
        keep_to(std::atoi(each.path().filename().c_str()), 0);
    keep_to(0, processors - 1);
}

int dial(int port)
{
    const int made = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(connect(made, reinterpret_cast<const sockaddr*>(&to), sizeof to), "connect");
    const int yes = 1;
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return made;
}

class watch {
public:
    void add(int descriptor)
    {
        epoll_event about{};
        about.events = EPOLLIN;
        about.data.fd = descriptor;
        must(epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &about), "epoll_ctl");
    }
    template <class F>
    void wait(F each)
    {
        const int count =
            must(epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), -1), "epoll_wait");
        for (int i = 0; i < count; ++i)
            each(events_[static_cast<std::size_t>(i)].data.fd);
    }

private:
    int epoll_ = must(epoll_create1(0), "epoll_create1");
    std::array<epoll_event, 256> events_{};
};

double seconds_since(std::chrono::steady_clock::time_point begin)
{
    return std::chrono::duration<double>{std::chrono::steady_clock::now() - begin}.count();
}

double echo(int port, int connections, long messages)
{
    message out{};
    out.fill('m');
    watch all;
    std::vector<int> open;
    for (int i = 0; i < connections; ++i)
        open.push_back(dial(port));
    // Once over each, so that all of them are being served.
    for (const int each : open) {
        message in{};
        must(static_cast<int>(send(each, out.data(), out.size(), 0)), "send");
        if (recv(each, in.data(), in.size(), MSG_WAITALL) != static_cast<ssize_t>(in.size()) || in != out)
            throw std::runtime_error{"something else came back"};
        all.add(each);
    }
    const auto begin = std::chrono::steady_clock::now();
    long left_to_send = messages;
    long left_to_get = messages;
    const auto send_one = [&](int to) {
        if (left_to_send == 0)
            return;
        --left_to_send;
        if (send(to, out.data(), out.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(out.size()))
            throw std::runtime_error{"send was short"};
    };
    for (const int each : open)
        send_one(each);
    while (left_to_get > 0)
        all.wait([&](int from) {
            message in{};
            if (recv(from, in.data(), in.size(), 0) != static_cast<ssize_t>(in.size()) || in != out)
                throw std::runtime_error{"something else came back"};
            --left_to_get;
            send_one(from);
        });
    const double taken = seconds_since(begin);
    for (const int each : open)
        close(each);
    return taken;
}

double accept(int port, int at_a_time, long times)
{
    watch all;
    const auto begin = std::chrono::steady_clock::now();
    long left_to_dial = times;
    long left = times;
    const auto dial_one = [&] {
        if (left_to_dial == 0)
            return;
        --left_to_dial;
        all.add(dial(port));
    };
    for (int i = 0; i < at_a_time; ++i)
        dial_one();
    while (left > 0)
        all.wait([&](int from) {
            char byte = 0;
            if (recv(from, &byte, 1, 0) > 0)
                throw std::runtime_error{"a byte came"};
            close(from);
            --left;
            dial_one();
        });
    return seconds_since(begin);
}

// ---- Tools ---------------------------------------------------------------------------------------

struct run {
    double seconds;
    double times;
};

class no_such_tool : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What a command has printed. Throws no_such_tool if there is no such program, std::runtime_error if it fails.
std::string output_of(const std::string& command, const std::string& package)
{
    const std::string tool = command.substr(0, command.find(' '));
    std::FILE* const pipe =
        popen(("command -v " + tool + " >/dev/null || exit 127; exec " + command + " 2>&1").c_str(), "r");
    if (pipe == nullptr)
        throw std::runtime_error{"can not start " + tool};
    std::string text;
    std::array<char, 4096> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe))
        text.append(piece.data(), got);
    const int status = pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        throw no_such_tool{"no " + tool + " (Debian: " + package + ")"};
    if (status != 0)
        throw std::runtime_error{tool + " has failed: " + text};
    return text;
}

/// The number behind the first occurrence of a text.
std::optional<double> number_after(const std::string& text, const std::string& mark)
{
    const std::size_t at = text.find(mark);
    if (at == std::string::npos)
        return std::nullopt;
    return std::strtod(text.c_str() + at + mark.size(), nullptr);
}

run redis(const std::string& command, int port, int connections, long requests, long ahead)
{
    const auto benchmark = [&](const std::string& what, int clients, long count, long at_once) {
        return output_of("redis-benchmark -h 127.0.0.1 -p " + std::to_string(port) + " -t " + what + " -c " +
                             std::to_string(clients) + " -n " + std::to_string(count) + " -P " +
                             std::to_string(at_once) + " --csv",
                         "redis-tools");
    };
    if (command == "get")
        benchmark("set", 1, 1, 1);  // so that there is something
    const std::string told = benchmark(command, connections, requests, ahead);
    const std::string name = command == "get" ? "GET" : "SET";
    const std::optional<double> rate = number_after(told, "\"" + name + "\",\"");
    if (!rate || *rate <= 0 || told.find("rror") != std::string::npos)
        throw std::runtime_error{"redis-benchmark has printed " + told};
    const auto times = static_cast<double>(requests);
    return {std::max(times / *rate, 1e-6), times};
}

run http(int port, int connections, long requests)
{
    const long seconds = std::max(1L, requests / 50'000);
    const std::string told =
        output_of("wrk -t 1 -c " + std::to_string(connections) + " -d " + std::to_string(seconds) +
                      "s http://127.0.0.1:" + std::to_string(port) + "/",
                  "wrk");
    const std::optional<double> rate = number_after(told, "Requests/sec:");
    // "  123456 requests in 2.00s, 15.00MB read"
    const std::size_t line = told.rfind('\n', told.find(" requests in "));
    const double times = line == std::string::npos ? 0 : std::strtod(told.c_str() + line, nullptr);
    if (!rate || *rate <= 0 || times <= 0 || told.find("rrors:") != std::string::npos ||
        told.find("Non-2xx") != std::string::npos)
        throw std::runtime_error{"wrk has printed " + told};
    return {times / *rate, times};
}

run load(const std::string& what, int port, int connections, long amount, long ahead)
{
    if (what == "set" || what == "get")
        return redis(what, port, connections, amount, ahead);
    if (what == "http")
        return http(port, connections, amount);
    return {what == "echo" ? echo(port, connections, amount) : accept(port, connections, amount),
            static_cast<double>(amount)};
}

}  // namespace

int main(int argc, char** argv)
{
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    const std::vector<std::string_view> known{"accept", "echo", "get", "http", "set"};
    if (words.size() != 5 || std::find(known.begin(), known.end(), words[0]) == known.end()) {
        std::fputs("usage: load_client echo|accept|set|get|http PORT CONNECTIONS AMOUNT AHEAD\n", stderr);
        return 2;
    }
    const auto number = [&](std::size_t which) { return std::atol(argv[which + 1]); };
    const int port = static_cast<int>(number(1));
    const int connections = static_cast<int>(number(2));
    const long amount = number(3);
    try {
        part_from_server();
        rlimit files{};
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        const run done = load(argv[1], port, connections, amount, number(4));
        std::printf("%.9f %.0f\n", done.seconds, done.times);
    } catch (const no_such_tool& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 77;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "load_client: %s\n", failure.what());
        return 1;
    }
}
