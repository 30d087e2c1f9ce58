// samples/http_hello under wrk, which keeps its connections.
#include "served.hpp"

#include "../samples/http_hello/connection.hpp"

namespace {

leat::task<> greet(const http_hello::request&, http_hello::response& to)
{
    return to.send(200, "text/plain", "Hello, world!\n");
}

leat::task<> hello(perf::repetition& rep)
{
    static const http_hello::settings how;
    return perf::serve(
        rep, [](leat::net::socket accepted) { return http_hello::serve(std::move(accepted), how, greet); },
        {"http", 64, 150'000});
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"http_hello", "requests/s", hello}});
}
