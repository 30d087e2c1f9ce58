// samples/mini_redis under redis-benchmark: a request at a time on each connection, and sixteen.
#include "served.hpp"

#include "../samples/mini_redis/server.hpp"

namespace {

leat::task<> serve(perf::repetition& rep, perf::load wanted)
{
    mini_redis::settings how;
    how.port = 0;
    mini_redis::server server{how};
    auto serving = leat::spawn(server.run());
    // It may fail before it listens: then this throws.
    static_cast<void>(co_await leat::select(server.listening.wait(), serving));
    const auto measured = co_await leat::as_result(perf::under_load(rep, wanted, server.options.port));
    serving.cancel();
    static_cast<void>(co_await leat::as_result(serving));
    measured.value();
}

template <int Ahead>
leat::task<> set(perf::repetition& rep)
{
    return serve(rep, {"set", 50, Ahead == 1 ? 200'000 : 1'000'000, Ahead});
}
template <int Ahead>
leat::task<> get(perf::repetition& rep)
{
    return serve(rep, {"get", 50, Ahead == 1 ? 200'000 : 1'000'000, Ahead});
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"redis_get.p1", "requests/s", get<1>},
                          {"redis_get.p16", "requests/s", get<16>},
                          {"redis_set.p1", "requests/s", set<1>},
                          {"redis_set.p16", "requests/s", set<16>}});
}
